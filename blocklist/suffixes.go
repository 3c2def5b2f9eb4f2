package blocklist

import (
	"encoding/binary"
	"math/bits"
)

// suffixes are the common suffixes of a part: the root, the top-level domains, and each suffix with
// many names below it. A walk passes through them first. They are so few that they stay in the
// processor's caches, so a name costs a wait for memory only for the labels that make it uncommon; and
// as each has one short code, its letters are not spelt out in every name below it.
type suffixes struct {
	list  []suffix // 0 is the root; each stands behind its parent
	slots []uint16 // open addressing by suffixHash: an index in list; 0 is free, since nobody looks for the root
	keys  [2]uint64
}

// suffix is one of them.
type suffix struct {
	parent uint16
	label  string // without its length octet; "" for the root
	value  uint32 // number of its value; noValue
	code   codeword
}

const (
	noValue     = 1<<32 - 1
	maxSuffixes = 1 << 14
)

// newSuffixes makes them findable.
func newSuffixes(list []suffix, keys [2]uint64) *suffixes {
	s := &suffixes{list: list, keys: keys, slots: make([]uint16, 1<<bits.Len(uint(2*len(list))))}
	for i, x := range list[1:] {
		slot := s.slot(x.parent, []byte(x.label))
		for s.slots[slot] != 0 {
			slot = (slot + 1) & (len(s.slots) - 1)
		}
		s.slots[slot] = uint16(i + 1)
	}
	return s
}

// child returns the suffix of a label, without its length octet, below another suffix.
func (s *suffixes) child(parent uint16, label []byte) (uint16, bool) {
	for slot := s.slot(parent, label); ; slot = (slot + 1) & (len(s.slots) - 1) {
		i := s.slots[slot]
		if i == 0 {
			return 0, false
		}
		if x := &s.list[i]; x.parent == parent && x.label == string(label) {
			return i, true
		}
	}
}

func (s *suffixes) slot(parent uint16, label []byte) int {
	h := (uint64(parent) + uint64(len(label))<<16 + s.keys[0]) * s.keys[1]
	for ; len(label) > 8; label = label[8:] {
		h = (h ^ binary.LittleEndian.Uint64(label)) * s.keys[0]
		h ^= h >> 32
	}
	var last uint64
	if n := len(label); n >= 4 {
		last = uint64(binary.LittleEndian.Uint32(label)) | uint64(binary.LittleEndian.Uint32(label[n-4:]))<<32
	} else if n > 0 {
		last = uint64(label[0]) | uint64(label[n/2])<<8 | uint64(label[n-1])<<16
	}
	h = (h ^ last) * s.keys[0]
	h ^= h >> 29
	h *= s.keys[1]
	return int(h >> (65 - bits.Len(uint(len(s.slots)))))
}
