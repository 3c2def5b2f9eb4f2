package blocklist

import (
	"crypto/rand"
	"encoding/binary"
	"runtime"
)

// Part is one or several lists compiled together, to be matched as one. It is immutable, and safe for
// use by any number of goroutines. Its memory is one block outside the collector's heap, which is given
// back when nobody refers to the Part any more.
type Part struct {
	lists  []*List // of the members, without names
	group  []uint8 // of each member: which of them share a category, numbered in order
	seed   uint64
	keys   [2]uint64
	values []partValue
	sets   [][]uint32 // by number: members, ascending; 0 is the empty set

	suffixes  *suffixes
	letters   *letters
	lengths   []uint8 // of which letters was made
	tables    []table // by the length of the bits; of no names where there are none
	valueBits uint
	// nested says that some name lies below another: the first that a walk finds need not be the last.
	nested bool
	names  int
	block  []byte
}

// partValue is what a node says of its own name, and of those below that have no node.
type partValue struct {
	Self  uint32 `json:"self"` // number of a set
	Below uint32 `json:"below"`
	// All are the groups of categories of which both the name and everything below it is in each.
	All uint64 `json:"all"`
}

// blockPadding is behind what is in a block, so that reading 9 bytes never leaves it.
const blockPadding = 16

// setBlock gives the part a zeroed block for so many bytes, and the padding.
func (p *Part) setBlock(size int) {
	block, isOutside := allocate(size + blockPadding)
	adviseLarge(block)
	p.block = block
	if isOutside {
		runtime.AddCleanup(p, free, block)
	}
}

// NewSeed returns a random seed for CompilePart.
func NewSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return binary.LittleEndian.Uint64(b[:])
}

// partKeys are the keys of shuffle, odd, from a seed (splitmix64).
func partKeys(seed uint64) (keys [2]uint64) {
	for i := range keys {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		keys[i] = z ^ z>>31 | 1
	}
	return keys
}

// Lists returns the lists of the part in the order in which they were compiled: their counts, problems
// and addresses, and no names.
func (p *Part) Lists() []*List { return p.lists }

// Names is how many names the part keeps: those that no other of the same category covers.
func (p *Part) Names() int { return p.names }

// Bytes is how much memory the part's names take.
func (p *Part) Bytes() int { return len(p.block) }

// Walks of names whose bits fit in so many words need only that much room on the stack.
const fewWords = 4

// deepest returns the number of the value of the last node on the walk to a name, noValue where there
// is none, and whether that node is the name's own. labels are where the n labels of the key begin; n is
// -1 for what is no name, which has no value.
func (p *Part) deepest(key []byte, labels *[maxLabels]uint8, n int) (value uint32, own bool) {
	if n < 0 {
		return noValue, false
	}
	if len(p.tables) <= 64*fewWords {
		var room [fewWords]uint64
		value, own = p.walk(key, labels, n, room[:])
	} else {
		var room [maxBits/64 + 1]uint64
		value, own = p.walk(key, labels, n, room[:])
	}
	runtime.KeepAlive(p) // as long as its block is being read
	return value, own
}

func (p *Part) walk(key []byte, labels *[maxLabels]uint8, n int, room []uint64) (value uint32, own bool) {
	at, i := uint16(0), n-1 // i is the label below what has been walked
	value = p.suffixes.list[0].value
	if n == 0 {
		return value, value != noValue
	}
	for ; i >= 0; i-- {
		label := key[labels[i]+1:][:key[labels[i]]]
		child, ok := p.suffixes.child(at, label)
		if !ok {
			break
		}
		at = child
		if v := p.suffixes.list[at].value; v != noValue {
			if value, own = v, i == 0; !p.nested {
				return value, own
			}
		}
	}
	start := p.suffixes.list[at].code
	if i < 0 || start.length == 0 {
		return value, own
	}
	c := code{words: room}
	c.add(uint64(start.bits), uint(start.length))
	for ; i >= 0; i-- {
		label := key[labels[i]+1:][:key[labels[i]]]
		if !c.addLabel(p.letters, label) || c.length >= uint(len(p.tables)) {
			break
		}
		t := &p.tables[c.length]
		if t.names == 0 {
			continue
		}
		if v, ok := t.find(p.block, &c, p.keys, p.valueBits); ok {
			if value, own = v, i == 0; !p.nested {
				break
			}
		}
	}
	return value, own
}
