package blocklist

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/bits"
)

// trie is a tree over labels from the top-level domain down, kept as one hash table without a single
// pointer: the collector has nothing to look at, and a look-up waits for memory about once a label.
//
// A node's hash is that of its path, so it is known before the node above has been found. It leads
// to a bucket, some four records side by side. A record has the node's label and the place of its
// parent's record, so what is found is the node, and not only something with the same hash:
//
//	4 bytes   the parent's record: where it begins; none for a top-level domain
//	4 bytes   index in values
//	1 byte    seven bits of the hash, to pass by other records; the top bit: there are nodes below
//	1+n bytes the label, its length octet first
//
// Each node's value is already what its ancestors' entries make of it: the last node that a walk
// finds has the answer. A node that would say the same as the node above is not there, unless one
// below it differs.
type trie struct {
	seed    maphash.Seed
	buckets []uint32 // where each bucket's records begin, and at the end where the last one's end
	records []byte
	values  []value
}

// value is what a node says of its own name, and of those below that have no node.
type value struct {
	self, below       Categories
	all               Categories // of which both the name and everything below it is in each
	selfSet, belowSet uint32     // numbers of sets
}

const (
	offValue = 4
	offTag   = 8
	offLabel = 9
	none     = math.MaxUint32 // no record begins here

	hasBelow = 0x80 // in the tag: a walk that meets it not is at its end
)

// step returns the hash of a name from that of the name above and the label, its length octet
// included. The root's is 0.
func step(seed maphash.Seed, above uint64, label []byte) uint64 {
	return (bits.RotateLeft64(above, 25) ^ maphash.Bytes(seed, label)) * 0x9e3779b97f4a7c15
}

// bucket returns the bucket for a hash.
func bucket(hash uint64, buckets int) uint64 {
	b, _ := bits.Mul64(hash, uint64(buckets))
	return b
}

// find returns where the record of a node begins.
func (t *trie) find(hash uint64, parent uint32, label []byte) (uint32, bool) {
	b := bucket(hash, len(t.buckets)-1)
	at, end := t.buckets[b], t.buckets[b+1]
	for at < end {
		r := t.records[at:]
		size := offLabel + 1 + int(r[offLabel])
		if r[offTag]&^hasBelow == byte(hash)&^hasBelow && binary.LittleEndian.Uint32(r) == parent && string(r[offLabel:size]) == string(label) {
			return at, true
		}
		at += uint32(size)
	}
	return 0, false
}

// valueAt returns the value of the node whose record begins at at.
func (t *trie) valueAt(at uint32) *value {
	return &t.values[binary.LittleEndian.Uint32(t.records[at+offValue:])]
}

// deepest returns the value of the last node on the walk to a name, nil where there is none, and whether
// that node is the name's own.
func (t *trie) deepest(key []byte) (v *value, own bool) {
	var starts [maxLabels]uint8
	hash, node := uint64(0), uint32(none)
	for i := labelStarts(key, &starts) - 1; i >= 0; i-- {
		label := key[starts[i]:][:key[starts[i]]+1]
		hash = step(t.seed, hash, label)
		at, ok := t.find(hash, node, label)
		if !ok {
			return v, false
		}
		node, v, own = at, t.valueAt(at), i == 0
	}
	return v, own
}

// match returns the categories of a name.
func (t *trie) match(key []byte) Categories {
	v, own := t.deepest(key)
	switch {
	case v == nil:
		return 0
	case own:
		return v.self
	}
	return v.below
}

// matchAll returns the categories in which a name and everything below it is.
func (t *trie) matchAll(key []byte) Categories {
	v, own := t.deepest(key)
	switch {
	case v == nil:
		return 0
	case own:
		return v.all
	}
	return v.below
}

// pathStep is a node on the way to a name: its own name, and the set that counts for the name.
type pathStep struct {
	name Name
	set  uint32
}

// path returns the nodes that match passes, the top-level domain first.
func (t *trie) path(n Name) []pathStep {
	var starts [maxLabels]uint8
	var path []pathStep
	key := []byte(n)
	hash, node := uint64(0), uint32(none)
	for i := labelStarts(key, &starts) - 1; i >= 0; i-- {
		label := key[starts[i]:][:key[starts[i]]+1]
		hash = step(t.seed, hash, label)
		at, ok := t.find(hash, node, label)
		if !ok {
			break
		}
		v := t.valueAt(at)
		node = at
		set := v.belowSet
		if i == 0 {
			set = v.selfSet
		}
		path = append(path, pathStep{name: n[starts[i]:], set: set})
	}
	return path
}

// labelStarts notes where each label of a key begins, and returns how many there are: none where the
// key is no name.
func labelStarts(key []byte, starts *[maxLabels]uint8) int {
	if len(key) > maxName {
		return 0
	}
	n := 0
	for i := 0; ; {
		if i >= len(key) {
			return 0
		}
		size := int(key[i])
		if size == 0 {
			return n
		}
		if n == maxLabels {
			return 0
		}
		starts[n] = uint8(i)
		n++
		i += size + 1
	}
}
