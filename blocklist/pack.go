package blocklist

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// commonSuffix is how many names must lie below a suffix for it to be a common one.
const commonSuffix = 48

// candidate is a suffix that may become a common one.
type candidate struct {
	ref    uint32 // of a node below it
	length int    // of its path
	names  int    // below it
}

// findSuffixes finds the common suffixes of the nodes: of all top-level domains, and of each suffix
// with enough names below it. Their codes are not set.
func (c *compiler) findSuffixes(nodes []record) {
	var found []candidate // each behind those below it
	var open []candidate  // the labels of the last path
	closeTo := func(depth int) {
		for len(open) > depth {
			last := len(open) - 1
			if x := open[last]; x.names >= commonSuffix || last == 0 && x.names > 0 {
				found = append(found, x)
			}
			open = open[:last]
		}
	}
	var last []byte
	for i, path := range c.paths(nodes) {
		common := commonPrefix(last, path)
		depth := 0
		for depth < len(open) && open[depth].length <= common {
			depth++
		}
		closeTo(depth)
		for end := lengthOf(open); end < len(path); {
			end += int(path[end]) + 1
			open = append(open, candidate{ref: nodes[i].ref, length: end})
		}
		for i := range len(open) - 1 {
			open[i].names++
		}
		last = path
	}
	closeTo(0)
	if len(found) >= maxSuffixes { // a name above another has as many below it, so that none loses its parent
		counts := make([]int, len(found))
		for i, x := range found {
			counts[i] = x.names
		}
		slices.Sort(counts)
		atLeast := counts[len(counts)-maxSuffixes+1] + 1
		found = slices.DeleteFunc(found, func(x candidate) bool { return x.names < atLeast })
	}
	list := []suffix{{value: noValue}}
	numbers := map[string]uint16{"": 0}
	for _, x := range slices.Backward(found) {
		path := c.path(x.ref)[:x.length]
		at := 0
		for next := 0; next < len(path); next += int(path[next]) + 1 {
			at = next
		}
		numbers[string(path)] = uint16(len(list))
		list = append(list, suffix{parent: numbers[string(path[:at])], label: string(path[at+1:]), value: noValue})
	}
	c.part.suffixes = newSuffixes(list, c.part.keys)
}

// lengthOf is the length of the path that is open.
func lengthOf(open []candidate) int {
	if len(open) == 0 {
		return 0
	}
	return open[len(open)-1].length
}

// cut returns the longest common suffix of a path, and what is left of the path.
func (c *compiler) cut(path []byte) (uint16, []byte) {
	at := uint16(0)
	for len(path) > 0 {
		child, ok := c.part.suffixes.child(at, path[1:path[0]+1])
		if !ok {
			break
		}
		at, path = child, path[path[0]+1:]
	}
	return at, path
}

// findCodes makes the codes of the suffixes and letters, and puts the values of nodes that are suffixes
// in their place. It returns the other nodes.
func (c *compiler) findCodes(nodes []record) []record {
	list := c.part.suffixes.list
	weights := make([]uint64, len(list))
	counts := new(letterCounts)
	rest := nodes[:0]
	for i, path := range c.paths(nodes) {
		at, path := c.cut(path)
		if len(path) == 0 {
			list[at].value = nodes[i].own
			continue
		}
		weights[at]++
		counts.count(path)
		rest = append(rest, nodes[i])
	}
	words, _ := codewords(codeLengths(weights, maxSuffixCode)) // lengths of our own are sound
	for i := range list {
		list[i].code = words[i]
	}
	c.part.lengths = counts.lengths()
	c.part.letters, _ = newLetters(c.part.lengths)
	c.part.names = len(nodes)
	c.part.valueBits = uint(bits.Len(uint(max(len(c.part.values), 1) - 1)))
	c.code.words = make([]uint64, maxBits/64+1)
	return rest
}

// encode sets the code of a path.
func (c *compiler) encode(path []byte) {
	at, path := c.cut(path)
	start := c.part.suffixes.list[at].code
	c.code.length, c.code.word = 0, 0
	c.code.add(uint64(start.bits), uint(start.length))
	for ; len(path) > 0; path = path[path[0]+1:] {
		c.code.addLabel(c.part.letters, path[1:path[0]+1])
	}
}

// pack writes the tables. It reports false where that takes another seed.
func (c *compiler) pack(nodes []record, progress func(share float64)) bool {
	for i, path := range c.paths(nodes) {
		c.encode(path)
		nodes[i].key = uint64(c.code.length)
	}
	byKey := func(a, b record) int { return cmp.Compare(a.key, b.key) }
	slices.SortFunc(nodes, byKey)
	progress(.3)
	p := c.part
	if len(nodes) > 0 {
		p.tables = make([]table, nodes[len(nodes)-1].key+1)
	}
	end := uint64(0)
	for i := 0; i < len(nodes); {
		j := i + 1
		for j < len(nodes) && nodes[j].key == nodes[i].key {
			j++
		}
		t := &p.tables[nodes[i].key]
		*t = newTable(uint16(nodes[i].key), uint32(j-i), p.valueBits)
		end = t.place(end)
		i = j
	}
	if p.block == nil {
		p.setBlock(int(end))
	}
	clear(p.block) // there was another seed
	for rest := nodes; len(rest) > 0; {
		t := &p.tables[rest[0].key]
		names := rest[:t.names]
		rest = rest[t.names:]
		for i, path := range c.paths(names) {
			c.encode(path)
			names[i].key = number(&c.code, p.keys)
		}
		slices.SortFunc(names, byKey)
		if !c.fill(t, names) {
			return false
		}
		progress(.3 + .7*float64(len(nodes)-len(rest))/float64(len(nodes)))
	}
	return true
}

// fill writes a table. The key of each name is its number. It reports false where a group has no room for
// its names.
func (c *compiler) fill(t *table, names []record) bool {
	groups, remainders := c.part.block[t.groups:], c.part.block[t.remainders:]
	begun, first := uint64(0), 0 // groups, and the first name of the last one
	begin := func(upTo uint64, name int) {
		for ; begun < upTo; begun++ {
			binary.LittleEndian.PutUint32(groups[groupBytes*begun:], uint32(name))
			first = name
		}
	}
	for i, name := range names {
		home := name.key >> t.restBits
		begin(home/groupHomes+1, i)
		at := firstMark + home%groupHomes + uint64(i-first)
		if at+groupHomes-home%groupHomes >= 8*groupBytes { // the zeros of this home and those behind need room too
			return false
		}
		groups[home/groupHomes*groupBytes+at>>3] |= 1 << (at & 7)
		at = uint64(i) * uint64(t.stride)
		putBits(remainders, at, name.key&(1<<t.restBits-1), uint(t.restBits))
		at += uint64(t.restBits)
		if t.length > 64 {
			c.encode(c.path(name.ref))
			for w := range tailWords(uint(t.length)) {
				putBits(remainders, at+64*uint64(w), c.code.tail(w), min(64, uint(t.length)-64*(w+1)))
			}
			at += uint64(t.length) - 64
		}
		putBits(remainders, at, uint64(name.own), c.part.valueBits)
	}
	begin(t.countGroups(), len(names))
	return true
}

// putBits writes the n lowest bits of v, the others being zero, where all bits are zero.
func putBits(b []byte, at, v uint64, n uint) {
	for shift := at & 7; n > 0; shift = 0 {
		b[at>>3] |= byte(v << shift)
		step := min(8-uint(shift), n)
		v >>= step
		at += uint64(step)
		n -= step
	}
}
