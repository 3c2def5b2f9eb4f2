package blocklist

import (
	"encoding/binary"
	"math/bits"
)

// A table holds the names whose bits are equally many, as a sorted set of numbers kept the way of Elias
// and Fano. A name's bits, shuffled by a one-to-one function, are a number; its upper bits are its
// home, of which there are a power of two, one to two for each name; the rest is its remainder. What is
// kept of a name is its remainder, the number of its value, and a few bits that say which home it is in:
//
//	groups      for each 32 homes 16 bytes: how many names are in the homes before, in 4 bytes, and
//	            marks: for each home a 1 for each of its names, and a 0
//	remainders  for each name, in the order of homes: remainder, bits behind the 64th, value
//
// So a look-up waits for two places of memory. A group has room for 64 names where 16 to 32 are to be
// expected; should one ever have more, the part is made anew with another seed.
//
// The shuffle makes homes alike however alike the names are; as it is keyed by the part's seed, nobody
// can write a list that fills one home. Nothing is lost by it, so what is found is the name and not
// something like it.
type table struct {
	names      uint32
	length     uint16 // of the bits of each name
	homeBits   uint8
	restBits   uint8  // of the remainder
	stride     uint32 // bits of a name in remainders
	groups     uint64 // where they begin in the block, in bytes
	remainders uint64 // in bytes
}

const (
	groupHomes = 32
	groupBytes = 16
	firstMark  = 32 // the bit of a group at which the marks begin
)

// countGroups is how many groups a table has.
func (t *table) countGroups() uint64 { return (1<<t.homeBits + groupHomes - 1) / groupHomes }

// newTable returns the table for that many names, more than 0. Its places are not set.
func newTable(length uint16, names uint32, valueBits uint) table {
	whole := min(uint(length), 64)
	homeBits := min(uint(bits.Len32(names)), whole)
	return table{
		names: names, length: length, homeBits: uint8(homeBits), restBits: uint8(whole - homeBits),
		stride: uint32(uint(length) - homeBits + valueBits),
	}
}

// place puts the table at a place of the block, and returns where it ends.
func (t *table) place(at uint64) (end uint64) {
	t.groups = at
	t.remainders = t.groups + groupBytes*t.countGroups()
	return t.remainders + (uint64(t.names)*uint64(t.stride)+7)/8
}

// shuffle is the one-to-one function on numbers of so many bits, at most 64. keys are odd.
func shuffle(v uint64, width uint, keys [2]uint64) uint64 {
	mask := ^uint64(0) >> (64 - width)
	half := (width + 1) / 2
	v ^= v >> half
	v = v * keys[0] & mask
	v ^= v >> half
	v = v * keys[1] & mask
	v ^= v >> half
	return v
}

// number returns the number of a name: of its first 64 bits, and on which the others have been put.
func number(c *code, keys [2]uint64) uint64 {
	head, width := c.head(), min(c.length, 64)
	if c.length > 64 {
		h := keys[1]
		for i := range tailWords(c.length) {
			h = (h ^ c.tail(i)) * keys[0]
			h ^= h >> 32
		}
		head ^= h * keys[1]
	}
	return shuffle(head, width, keys)
}

// tailWords is how many words the bits behind the 64th begin.
func tailWords(length uint) uint { return (length - 1) / 64 }

// find returns the number of the value of the name with these bits, which are as many as the table's.
func (t *table) find(block []byte, c *code, keys [2]uint64, valueBits uint) (value uint32, ok bool) {
	v := number(c, keys)
	home := v >> t.restBits
	rest := v & (1<<t.restBits - 1)
	group := block[t.groups+home/groupHomes*groupBytes:]
	at := uint64(firstMark)
	for skip := int(home % groupHomes); skip > 0; {
		zeros := ^bitsAt(group, at)
		if n := bits.OnesCount64(zeros); skip > n {
			skip -= n
			at += 64
			continue
		}
		at += uint64(selectBit(zeros, skip-1)) + 1
		break
	}
	// One mark for each name before, and a zero for each home.
	entry := uint64(binary.LittleEndian.Uint32(group)) + at - firstMark - home%groupHomes
	for ; group[at>>3]>>(at&7)&1 == 1; at, entry = at+1, entry+1 {
		place := entry * uint64(t.stride)
		remainders := block[t.remainders:]
		if bitsAt(remainders, place)&(1<<t.restBits-1) != rest || !t.sameTail(remainders, place, c) {
			continue
		}
		return uint32(bitsAt(remainders, place+uint64(t.stride)-uint64(valueBits)) & (1<<valueBits - 1)), true
	}
	return 0, false
}

// sameTail reports whether the bits behind the 64th are those of the name whose remainder is at place.
func (t *table) sameTail(remainders []byte, place uint64, c *code) bool {
	if t.length <= 64 {
		return true
	}
	place += uint64(t.restBits)
	left := uint(t.length) - 64
	for i := range tailWords(uint(t.length)) {
		mask := ^uint64(0) >> (64 - min(left, 64))
		if bitsAt(remainders, place)&mask != c.tail(i) {
			return false
		}
		place += 64
		left -= 64
	}
	return true
}

// bitsAt returns the 64 bits that begin at bit at. 9 bytes are read.
func bitsAt(b []byte, at uint64) uint64 {
	i, shift := at>>3, at&7
	b = b[i : i+9]
	return binary.LittleEndian.Uint64(b)>>shift | uint64(b[8])<<1<<(63-shift)
}

// selectBit returns the position of the n-th bit that is set in w, n from 0, of more than n
// (Vigna, Broadword Implementation of Rank/Select Queries, 2008).
func selectBit(w uint64, n int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	s := w - w>>1&0x5555555555555555
	s = s&0x3333333333333333 + s>>2&0x3333333333333333
	s = (s + s>>4) & 0x0f0f0f0f0f0f0f0f * ones // byte i: bits set in bytes 0 to i
	below := (uint64(n)*ones | highs) - s      // the top bit of byte i stays where s's byte i is at most n
	at := bits.OnesCount64(below&highs) * 8
	n -= int(s << 8 >> at & 0xff)
	w >>= at
	for ; n > 0; n-- {
		w &= w - 1
	}
	return at + bits.TrailingZeros64(w)
}
