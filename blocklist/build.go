package blocklist

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
)

// MaxNameBytes bounds what Build takes: the sum of the keys of all entries of all lists, some 30
// million names. A Loader stays below it.
const MaxNameBytes = 600 << 20

// Build makes a Set of lists, in the order in which they are to be named by Attribute. Building takes
// some 35 bytes for each distinct name and each name above one, beside the Set.
func Build(sources []Source) *Set {
	s := &Set{sets: newSets(), sources: make([]Source, len(sources))}
	for i, src := range sources {
		s.sources[i] = Source{ID: src.ID, Category: src.Category}
	}
	b := newBuilder()
	for i, src := range sources {
		if src.List == nil {
			continue
		}
		for k, key := range src.List.entries() {
			b.insert(key, owned{source: uint32(i), kind: k})
		}
	}
	s.trie = b.finish(&s.sets, sources)
	s.addresses = buildAddresses(&s.sets, sources)
	s.sets.index = nil
	return s
}

// builder is the tree while entries come in. A node is a number, in the order of creation: parents
// before their children. Node 0 is the root.
type builder struct {
	seed   maphash.Seed
	hashes []uint64
	parent []uint32
	text   []uint32 // where the label begins in labels
	labels []byte
	own    []uint32 // number of the entries at the node

	table []uint32 // open addressing by hash; 0 is free

	// What lists say of one name is a small number too, as few combinations occur.
	owns  [][]owned
	grown map[growth]uint32
}

// owned is one list's entry at a node.
type owned struct {
	source uint32
	kind   kind
}

type growth struct {
	from uint32
	with owned
}

func newBuilder() *builder {
	return &builder{
		seed: maphash.MakeSeed(), hashes: []uint64{0}, parent: []uint32{0}, text: []uint32{0}, own: []uint32{0},
		table: make([]uint32, 1<<10), owns: [][]owned{nil}, grown: map[growth]uint32{},
	}
}

// insert adds an entry. Entries come in the order of their sources.
func (b *builder) insert(key []byte, o owned) {
	var starts [maxLabels]uint8
	node, hash := uint32(0), uint64(0)
	for i := labelStarts(key, &starts) - 1; i >= 0; i-- {
		label := key[starts[i]:][:key[starts[i]]+1]
		hash = step(b.seed, hash, label)
		node = b.child(node, hash, label)
	}
	g := growth{from: b.own[node], with: o}
	to, ok := b.grown[g]
	if !ok {
		to = uint32(len(b.owns))
		entries := slices.Clone(b.owns[g.from])
		if last := len(entries) - 1; last >= 0 && entries[last].source == o.source {
			entries[last].kind |= o.kind
		} else {
			entries = append(entries, o)
		}
		b.owns = append(b.owns, entries)
		b.grown[g] = to
	}
	b.own[node] = to
}

// child returns the node of a label under parent. It is made where it is not there.
func (b *builder) child(parent uint32, hash uint64, label []byte) uint32 {
	slot := b.slot(hash)
	for ; b.table[slot] != 0; slot = (slot + 1) & uint64(len(b.table)-1) {
		n := b.table[slot]
		if b.hashes[n] == hash && b.parent[n] == parent && string(b.label(n)) == string(label) {
			return n
		}
	}
	n := uint32(len(b.hashes))
	b.table[slot] = n
	b.hashes, b.parent, b.own = append(b.hashes, hash), append(b.parent, parent), append(b.own, 0)
	b.text = append(b.text, uint32(len(b.labels)))
	b.labels = append(b.labels, label...)
	if len(b.hashes) > len(b.table)/4*3 {
		b.table = make([]uint32, 2*len(b.table))
		for n := 1; n < len(b.hashes); n++ {
			slot := b.slot(b.hashes[n])
			for b.table[slot] != 0 {
				slot = (slot + 1) & uint64(len(b.table)-1)
			}
			b.table[slot] = uint32(n)
		}
	}
	return n
}

func (b *builder) slot(hash uint64) uint64 { return bucket(hash, len(b.table)) }

// label returns the label of a node, its length octet first.
func (b *builder) label(n uint32) []byte {
	at := b.text[n]
	return b.labels[at:][:b.labels[at]+1]
}

// finish makes the trie.
func (b *builder) finish(ss *sets, sources []Source) trie {
	values, number := b.values(ss, sources)
	values = b.setAll(values, number)
	// A node stays where its value is not what the node above says of it, or where one below stays.
	// From the last node to the first, each child comes before its parent.
	stays := make([]bool, len(b.hashes))
	count := 0
	for n := len(b.hashes) - 1; n > 0; n-- {
		v, above := values[number[n]], values[number[b.parent[n]]].belowSet
		if stays[n] = stays[n] || v.selfSet != above || v.belowSet != above; stays[n] {
			stays[b.parent[n]] = true
			count++
		}
	}
	return b.pack(values, number, stays, count/4+1)
}

// values returns the values that occur, and the number of each node's.
func (b *builder) values(ss *sets, sources []Source) (values []value, number []uint32) {
	type input struct{ above, own uint32 }
	known := map[input]uint32{}
	index := map[value]uint32{}
	number = make([]uint32, len(b.hashes))
	for n := range b.hashes {
		in := input{own: b.own[n]}
		if n > 0 {
			in.above = values[number[b.parent[n]]].belowSet
		}
		id, ok := known[in]
		if !ok {
			v := ss.value(in.above, b.owns[in.own], sources)
			if id, ok = index[v]; !ok {
				id = uint32(len(values))
				values = append(values, v)
				index[v] = id
			}
			known[in] = id
		}
		number[n] = id
	}
	return values, number
}

// setAll sets value.all, which depends on what is below a node, and numbers the values anew.
func (b *builder) setAll(values []value, number []uint32) []value {
	all := make([]Categories, len(number))
	for n := range all {
		v := values[number[n]]
		all[n] = v.self & v.below
	}
	for n := len(all) - 1; n > 0; n-- {
		all[b.parent[n]] &= all[n]
	}
	var renumbered []value
	index := map[value]uint32{}
	for n := range number {
		v := values[number[n]]
		v.all = all[n]
		id, ok := index[v]
		if !ok {
			id = uint32(len(renumbered))
			renumbered = append(renumbered, v)
			index[v] = id
		}
		number[n] = id
	}
	return renumbered
}

// pack writes the records of the nodes that stay.
func (b *builder) pack(values []value, number []uint32, stays []bool, buckets int) trie {
	t := trie{seed: b.seed, values: values, buckets: make([]uint32, buckets+1)}
	for n := 1; n < len(stays); n++ {
		if stays[n] {
			t.buckets[bucket(b.hashes[n], buckets)+1] += uint32(offLabel + len(b.label(uint32(n))))
		}
	}
	for i := range buckets {
		t.buckets[i+1] += t.buckets[i]
	}
	t.records = make([]byte, t.buckets[buckets])
	next := slices.Clone(t.buckets)
	place := make([]uint32, len(stays)) // of each node's record
	place[0] = none
	for n := 1; n < len(stays); n++ {
		if !stays[n] {
			continue
		}
		label := b.label(uint32(n))
		i := bucket(b.hashes[n], buckets)
		at := next[i]
		next[i] += uint32(offLabel + len(label))
		place[n] = at
		r := t.records[at:next[i]]
		above := place[b.parent[n]]
		if above != none {
			t.records[above+offTag] |= hasBelow
		}
		binary.LittleEndian.PutUint32(r, above)
		binary.LittleEndian.PutUint32(r[offValue:], number[n])
		r[offTag] = byte(b.hashes[n]) &^ hasBelow
		copy(r[offLabel:], label)
	}
	return t
}

func newSets() sets {
	return sets{members: [][]uint32{nil}, masks: []Categories{0}, index: map[string]uint32{"": 0}}
}

// intern returns the number of a set of sources, ascending. It keeps members.
func (ss *sets) intern(members []uint32, sources []Source) uint32 {
	var buf [64]byte
	key := buf[:0]
	for _, id := range members {
		key = binary.LittleEndian.AppendUint32(key, id)
	}
	n, ok := ss.index[string(key)]
	if !ok {
		n = uint32(len(ss.members))
		var mask Categories
		for _, id := range members {
			mask = mask.With(sources[id].Category)
		}
		ss.members, ss.masks = append(ss.members, members), append(ss.masks, mask)
		ss.index[string(key)] = n
	}
	return n
}

// value returns the value of a node with these entries, below a node that passes on the set above.
func (ss *sets) value(above uint32, own []owned, sources []Source) value {
	self := join(ss.members[above], own, sources, blockSelf, passSelf)
	below := join(ss.members[above], own, sources, blockBelow, passBelow)
	v := value{selfSet: ss.intern(self, sources), belowSet: ss.intern(below, sources)}
	v.self, v.below = ss.masks[v.selfSet], ss.masks[v.belowSet]
	return v
}

// join returns the set above without the sources whose entry passes, and with those whose entry
// blocks. A source adds nothing where another of its category covers the name already, by an entry
// higher up or earlier, and will not let go of it further down: with that, www.example.org in one
// list costs nothing where another list of the category has example.org.
func join(above []uint32, own []owned, sources []Source, block, pass kind) []uint32 {
	members := slices.Clone(above)
	for _, o := range own {
		if o.kind&pass != 0 && o.kind&block == 0 { // a list that says both blocks
			members = slices.DeleteFunc(members, func(id uint32) bool { return id == o.source })
		}
	}
	for _, o := range own {
		if o.kind&block == 0 {
			continue
		}
		covered := slices.ContainsFunc(members, func(id uint32) bool {
			return id == o.source || sources[id].Category == sources[o.source].Category && !sources[id].List.passes
		})
		if !covered {
			at, _ := slices.BinarySearch(members, o.source)
			members = slices.Insert(members, at, o.source)
		}
	}
	return members
}

// size returns the bytes that the set's names take.
func (s *Set) size() int {
	return len(s.trie.records) + 4*len(s.trie.buckets) + 32*len(s.trie.values)
}

// A record is found by a 32-bit offset: this fails to compile when MaxNameBytes gets too large for that.
// The worst a list can do is names of one-byte labels, whose records take six times their bytes.
const _ = uint(math.MaxUint32 - 6*MaxNameBytes)
