package blocklist

import (
	"cmp"
	"encoding/binary"
	"iter"
	"runtime"
	"slices"
	"unsafe"
)

// MaxNameBytes bounds what is compiled together: the sum of the Sizes of all lists, some 30 million
// names. Who compiles stays below it.
const MaxNameBytes = 600 << 20

// Member is a list that is to be compiled, with its category. Which members share one matters; which
// one it is does not.
type Member struct {
	List     *List // with its names
	Category Category
}

// CompilePart compiles lists together. seed is to be random: who knows it can write a list that makes
// look-ups slow. The same members and seed give the same part. progress, where it is not nil, is told
// the share that is done, from 0 to 1. While it runs it takes 16 bytes for each entry besides the lists
// and the part, all of it outside the collector's heap.
func CompilePart(members []Member, seed uint64, progress func(done float64)) *Part {
	if progress == nil {
		progress = func(float64) {}
	}
	p := &Part{seed: seed, keys: partKeys(seed)}
	c := &compiler{part: p, owns: [][]owned{nil}, grown: map[growth]uint32{}, known: map[input]uint32{}, numbers: map[partValue]uint32{}}
	defer c.free()
	defer runtime.KeepAlive(members) // whose names c reads where they are
	c.gather(members)
	progress(.05)
	c.sort(c.records, 0, func(share float64) { progress(.05 + .4*share) })
	nodes := c.fold()
	progress(.55)
	c.findSuffixes(nodes)
	rest := c.findCodes(nodes)
	progress(.7)
	for !c.pack(rest, func(share float64) { progress(.7 + .3*share) }) {
		p.seed++
		p.keys = partKeys(p.seed)
		p.suffixes = newSuffixes(p.suffixes.list, p.keys)
	}
	progress(1)
	return p
}

// compiler is a part being made.
type compiler struct {
	part    *Part
	chunks  [][]byte // of entries: those of the lists, and copies of small ones
	filling int      // the chunk to which copies are added
	isCopy  bool     // there is one
	records []record // of all entries
	memory  [][]byte // to be freed
	passing bool     // some entry lets names through

	// What lists say of one name is a small number, as few combinations occur.
	sets    *sets
	owns    [][]owned
	grown   map[growth]uint32
	known   map[input]uint32
	numbers map[partValue]uint32

	code    code
	touched byte // see paths
}

// record is an entry, then a node. It has no pointer: there are millions.
type record struct {
	key uint64 // what it is sorted by
	ref uint32 // its chunk, and in the lowest chunkBits where it begins there
	own uint32 // of an entry: its member and in the lowest four bits its kind; of a node: the number of its value
}

type growth struct {
	from uint32
	with owned
}

type input struct{ above, own uint32 }

const chunkBits = 22 // chunkSize is 1<<chunkBits

func (c *compiler) free() {
	for _, m := range c.memory {
		free(m)
	}
}

// room returns zeroed memory until the compiler is done.
func (c *compiler) room(size int) []byte {
	b, isOutside := allocate(size)
	if isOutside {
		c.memory = append(c.memory, b)
	}
	return b
}

// gather makes a record of each entry.
func (c *compiler) gather(members []Member) {
	groups := map[Category]uint8{}
	passes := make([]bool, 0, len(members))
	count := 0
	for _, m := range members {
		if _, ok := groups[m.Category]; !ok {
			groups[m.Category] = uint8(len(groups))
		}
		c.part.group = append(c.part.group, groups[m.Category])
		c.part.lists = append(c.part.lists, m.List.stats())
		passes = append(passes, m.List.passes)
		c.passing = c.passing || m.List.passes
		count += m.List.names.count
		for range m.List.abovePasses() {
			count++
		}
	}
	c.sets = newSets(c.part.group, passes)
	b := c.room(count * int(unsafe.Sizeof(record{})))
	c.records = unsafe.Slice((*record)(unsafe.Pointer(unsafe.SliceData(b))), count)[:0] //nolint:gosec // b is as long as that, page-aligned, and freed last
	for i, m := range members {
		ns := &m.List.names
		for _, chunk := range ns.chunks {
			if len(chunk) < chunkSize/2 { // so that references reach all chunks there can be
				for k, path := range entriesOf(chunk) {
					c.add(uint32(i), k, path)
				}
				continue
			}
			at := uint32(len(c.chunks)) << chunkBits
			c.chunks = append(c.chunks, chunk)
			for rest := chunk; len(rest) > 0; rest = rest[2+int(rest[1]):] {
				ref := at | uint32(len(chunk)-len(rest))
				c.records = append(c.records, record{ref: ref, own: uint32(i)<<4 | uint32(rest[0])})
			}
		}
		for path := range m.List.abovePasses() { // so that OpenBelow finds a node wherever something below is let through
			c.add(uint32(i), 0, path)
		}
	}
}

// maxAbove bounds what a list of nothing but long names that it lets through can make of itself. An answer for a
// name above one that is left out says that nothing is below.
const maxAbove = 1 << 22

// abovePasses returns the path of each name above one that the list lets through, top-level domains
// first; the same one several times.
func (l *List) abovePasses() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !l.passes {
			return
		}
		left := maxAbove
		for k, path := range l.names.all() {
			for end := 0; k&passBoth != 0; left-- {
				if end += int(path[end]) + 1; end == len(path) {
					break
				}
				if left == 0 || !yield(path[:end]) {
					return
				}
			}
		}
	}
}

// add makes a record of an entry that is copied.
func (c *compiler) add(member uint32, k kind, path []byte) {
	if len(c.chunks) == 0 || len(c.chunks[c.filling])+2+len(path) > chunkSize || !c.isCopy {
		c.filling, c.isCopy = len(c.chunks), true
		c.chunks = append(c.chunks, c.room(chunkSize)[:0])
	}
	chunk := c.chunks[c.filling]
	ref := uint32(c.filling)<<chunkBits | uint32(len(chunk))
	c.chunks[c.filling] = append(append(chunk, byte(k), byte(len(path))), path...)
	c.records = append(c.records, record{ref: ref, own: member<<4 | uint32(k)})
}

// path returns the path of a record.
func (c *compiler) path(ref uint32) []byte {
	chunk, at := c.chunks[ref>>chunkBits], int(ref&(1<<chunkBits-1))
	return chunk[at+2:][:chunk[at+1]]
}

// paths returns the path of each record. Records in order have their paths all over the memory: it first
// touches those of the next few together, so that it waits for memory once and not for each.
func (c *compiler) paths(records []record) iter.Seq2[int, []byte] {
	const few = 64
	return func(yield func(int, []byte) bool) {
		for i, r := range records {
			if i%few == 0 {
				for _, next := range records[i:min(i+few, len(records))] {
					c.touched += c.chunks[next.ref>>chunkBits][next.ref&(1<<chunkBits-1)+1]
				}
			}
			if !yield(i, c.path(r.ref)) {
				return
			}
		}
	}
}

// sort sorts records by their paths from depth on: those below a name come right behind it. Equal paths
// are in the order of their members.
func (c *compiler) sort(records []record, depth int, progress func(share float64)) {
	for i, path := range c.paths(records) {
		records[i].key = window(path, depth)
	}
	byKey := func(a, b record) int { return cmp.Compare(a.key, b.key) }
	slices.SortFunc(records, byKey)
	for i := 0; i < len(records); {
		if progress != nil && i&(1<<18-1) == 0 {
			progress(float64(i) / float64(len(records)))
		}
		j := i + 1
		for j < len(records) && records[j].key == records[i].key {
			j++
		}
		switch same := records[i:j]; {
		case len(same) == 1:
		case len(c.path(same[0].ref)) < depth+8: // and so the others, whose windows show the same end
			slices.SortFunc(same, func(a, b record) int { return cmp.Compare(a.own, b.own) })
		default:
			c.sort(same, depth+8, nil)
		}
		i = j
	}
}

// window returns 8 bytes of a path as they sort. Where a path ends a zero follows, and where it goes on
// the length of a label, which is none.
func window(path []byte, depth int) uint64 {
	if len(path) >= depth+8 {
		return binary.BigEndian.Uint64(path[depth:])
	}
	var w uint64
	for i := depth; i < len(path); i++ {
		w |= uint64(path[i]) << (56 - 8*(i-depth))
	}
	return w
}

// above is a node on the way down to the one that fold is at.
type above struct {
	length int // of its path
	below  uint32
	node   uint32
}

// fold makes one node of all entries of a name, with the value that these and those of the names above
// give it, and leaves out the nodes that would say no more than the one above. It returns the nodes,
// in the same order.
func (c *compiler) fold() []record {
	nodes := c.records[:0]
	var parents []uint32 // of each node, where some list lets names through
	stack := []above{{node: noValue}}
	var last []byte
	own := uint32(0) // the entries of the name that is being read
	for i, path := range c.paths(c.records) {
		r := c.records[i]
		own = c.grow(own, owned{member: r.own >> 4, kind: kind(r.own & 15)})
		if i+1 < len(c.records) && string(c.path(c.records[i+1].ref)) == string(path) {
			continue
		}
		node := record{ref: r.ref}
		common := commonPrefix(last, path)
		last = path
		for len(stack) > 1 && stack[len(stack)-1].length > common {
			stack = stack[:len(stack)-1]
		}
		top := stack[len(stack)-1]
		node.own = c.value(top.below, own)
		own = 0
		v := c.part.values[node.own]
		if v.Self == top.below && v.Below == top.below && !c.passing {
			continue
		}
		c.part.nested = c.part.nested || len(stack) > 1
		stack = append(stack, above{length: len(path), below: v.Below, node: uint32(len(nodes))})
		if c.passing {
			parents = append(parents, top.node)
		}
		nodes = append(nodes, node)
	}
	if c.passing {
		nodes = c.foldPassing(nodes, parents)
	}
	c.part.sets = c.sets.sets
	return nodes
}

// foldPassing gives each node what is known once all below it are, and leaves out the nodes that then
// say no more than the one above.
func (c *compiler) foldPassing(nodes []record, parents []uint32) []record {
	all := make([]uint64, len(nodes))
	for n, node := range nodes {
		v := c.part.values[node.own]
		all[n] = v.All
	}
	for n := range slices.Backward(nodes) { // those below a node come behind it
		if up := parents[n]; up != noValue {
			all[up] &= all[n]
		}
	}
	below := make([]uint32, len(nodes))
	for n, node := range nodes {
		below[n] = c.part.values[node.own].Below
	}
	kept := nodes[:0]
	for n, node := range nodes {
		v := c.part.values[node.own]
		v.All = all[n]
		above := uint32(0)
		if up := parents[n]; up != noValue {
			above = below[up]
		}
		if v.Self == above && v.Below == above && v.All == c.sets.masks[above] {
			continue
		}
		kept = append(kept, record{ref: node.ref, own: c.number(v)})
	}
	return kept
}

// grow returns the number of a name's entries with one more.
func (c *compiler) grow(from uint32, with owned) uint32 {
	g := growth{from: from, with: with}
	to, ok := c.grown[g]
	if !ok {
		to = uint32(len(c.owns))
		entries := slices.Clone(c.owns[from])
		if last := len(entries) - 1; last >= 0 && entries[last].member == with.member {
			entries[last].kind |= with.kind
		} else {
			entries = append(entries, with)
		}
		c.owns = append(c.owns, entries)
		c.grown[g] = to
	}
	return to
}

// value returns the number of the value of a name with these entries, below one that passes on the set
// above.
func (c *compiler) value(above, own uint32) uint32 {
	in := input{above: above, own: own}
	n, ok := c.known[in]
	if !ok {
		var v partValue
		v.Self, v.Below = c.sets.node(above, c.owns[own])
		v.All = c.sets.masks[v.Self] & c.sets.masks[v.Below]
		n = c.number(v)
		c.known[in] = n
	}
	return n
}

// number returns the number of a value.
func (c *compiler) number(v partValue) uint32 {
	n, ok := c.numbers[v]
	if !ok {
		n = uint32(len(c.part.values))
		c.part.values = append(c.part.values, v)
		c.numbers[v] = n
	}
	return n
}

// commonPrefix returns how many bytes of two paths are the same. What is a whole path of these is the
// path of a name above both.
func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
