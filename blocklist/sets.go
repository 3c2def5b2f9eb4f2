package blocklist

import (
	"encoding/binary"
	"slices"
)

// owned is one member's entry at a name.
type owned struct {
	member uint32
	kind   kind
}

// sets numbers the sets of members (lists) that occur. There are few: as many as there are
// combinations of lists that some name is in. Number 0 is the empty set.
type sets struct {
	group  []uint8    // of each member: its category, below 64
	passes []bool     // of each member: some entry of it lets names through
	sets   [][]uint32 // by number: members, ascending
	masks  []uint64   // by number: their groups
	index  map[string]uint32
}

func newSets(group []uint8, passes []bool) *sets {
	return &sets{group: group, passes: passes, sets: [][]uint32{nil}, masks: []uint64{0}, index: map[string]uint32{"": 0}}
}

// intern returns the number of a set of members, ascending. It keeps members.
func (ss *sets) intern(members []uint32) uint32 {
	var buf [64]byte
	key := buf[:0]
	for _, m := range members {
		key = binary.LittleEndian.AppendUint32(key, m)
	}
	n, ok := ss.index[string(key)]
	if !ok {
		n = uint32(len(ss.sets))
		ss.sets, ss.masks = append(ss.sets, members), append(ss.masks, ss.mask(members))
		ss.index[string(key)] = n
	}
	return n
}

func (ss *sets) mask(members []uint32) (mask uint64) {
	for _, m := range members {
		mask |= 1 << ss.group[m]
	}
	return mask
}

// node returns the sets of a name with these entries, below one that passes on the set above: for the
// name itself, and for those below it.
func (ss *sets) node(above uint32, own []owned) (self, below uint32) {
	self = ss.intern(ss.join(above, own, blockSelf, passSelf))
	below = ss.intern(ss.join(above, own, blockBelow, passBelow))
	return self, below
}

// join returns the set above without the members whose entry passes, and with those whose entry
// blocks. A member adds nothing where another of its category covers the name already, by an entry
// higher up or earlier, and will not let go of it further down: with that, www.example.org in one
// list costs nothing where another list of the category has example.org.
func (ss *sets) join(above uint32, own []owned, block, pass kind) []uint32 {
	members := slices.Clone(ss.sets[above])
	for _, o := range own {
		if o.kind&pass != 0 && o.kind&block == 0 { // a list that says both blocks
			members = slices.DeleteFunc(members, func(m uint32) bool { return m == o.member })
		}
	}
	for _, o := range own {
		if o.kind&block == 0 {
			continue
		}
		covered := slices.ContainsFunc(members, func(m uint32) bool {
			return m == o.member || ss.group[m] == ss.group[o.member] && !ss.passes[m]
		})
		if !covered {
			at, _ := slices.BinarySearch(members, o.member)
			members = slices.Insert(members, at, o.member)
		}
	}
	return members
}
