package blocklist

// A name is kept as bits: the code of its longest common suffix (suffixes), then its other labels from
// the right, letter by letter, each by a Huffman code that depends on the letter before. The bits of a
// name are the beginning of the bits of every name below it, so one pass over a name gives the bits of
// all that could cover it; and no two names have the same bits, so whoever has the bits has the name.
//
// A letter that no name of the list has after the one before has no code: there a walk ends, and what
// it looks for is not in the list.
const (
	symbolEnd    = 0  // a label ends
	symbolEscape = 39 // any byte that is not of the usual alphabet: eight bits follow
	symbols      = 40
	escapedBits  = 8

	maxLetterCode = 20 // bits
	maxSuffixCode = 32
	// maxBits is that of the worst name: 253 bytes of which each is escaped.
	maxBits = maxSuffixCode + (maxLetterCode+escapedBits)*maxName
)

// symbolOf returns the symbol of a byte of a label.
func symbolOf(c byte) uint8 {
	switch {
	case 'a' <= c && c <= 'z':
		return c - 'a' + 1
	case '0' <= c && c <= '9':
		return c - '0' + 27
	case c == '-':
		return 37
	case c == '_':
		return 38
	}
	return symbolEscape
}

// symbolTable is symbolOf as a table.
var symbolTable = func() (t [256]uint8) {
	for c := range t {
		t[c] = symbolOf(byte(c))
	}
	return t
}()

// letters are the codes of the symbols, by the symbol before; symbolEnd at the start of a label. Each is
// the code's bits and below them its length in lengthBits; 0 is none. A row is as long as a shift makes
// it. The table takes 10 KB and stays in the processor's first cache.
type letters [symbols << 6]uint32

const lengthBits = 8

// letterCounts are how often each symbol occurs, by the symbol before.
type letterCounts [symbols][symbols]uint64

// count adds a path.
func (lc *letterCounts) count(path []byte) {
	for len(path) > 0 {
		label := path[1 : path[0]+1]
		path = path[len(label)+1:]
		before := uint8(symbolEnd)
		for _, c := range label {
			s := symbolTable[c]
			lc[before][s]++
			before = s
		}
		lc[before][symbolEnd]++
	}
}

// lengths returns the lengths of the codes, row by row.
func (lc *letterCounts) lengths() []uint8 {
	out := make([]uint8, 0, symbols*symbols)
	for before := range lc {
		out = append(out, codeLengths(lc[before][:], maxLetterCode)...)
	}
	return out
}

// newLetters returns the codes of these lengths. ok is false where there are none.
func newLetters(lengths []uint8) (l *letters, ok bool) {
	if len(lengths) != symbols*symbols {
		return nil, false
	}
	l = new(letters)
	for before := range symbols {
		row := lengths[before*symbols:][:symbols]
		for _, n := range row {
			if n > maxLetterCode {
				return nil, false
			}
		}
		words, ok := codewords(row)
		if !ok {
			return nil, false
		}
		for i, w := range words {
			l[before<<6|i] = w.bits<<lengthBits | uint32(w.length)
		}
	}
	return l, true
}

// code is a name's bits as they are written.
type code struct {
	length uint     // in bits
	word   uint64   // the bits that fill no word yet
	words  []uint64 // those before; what has no room here is left out, and length goes on
}

// add appends bits, of which there are at most 32.
func (c *code) add(bits uint64, length uint) {
	at := c.length & 63
	c.word |= bits << at
	if at+length >= 64 {
		if i := c.length >> 6; i < uint(len(c.words)) {
			c.words[i] = c.word
		}
		c.word = bits >> (64 - at) // a shift by 64 gives 0
	}
	c.length += length
}

// addLabel appends a label, without its length octet. ok is false where the list has no such letters.
func (c *code) addLabel(l *letters, label []byte) (ok bool) {
	before := uint(symbolEnd)
	for _, b := range label {
		s := uint(symbolTable[b])
		w := l[before<<6|s]
		if w == 0 {
			return false
		}
		c.add(uint64(w>>lengthBits), uint(w&(1<<lengthBits-1)))
		if s == symbolEscape {
			c.add(uint64(b), escapedBits)
		}
		before = s
	}
	w := l[before<<6|symbolEnd]
	c.add(uint64(w>>lengthBits), uint(w&(1<<lengthBits-1)))
	return w != 0
}

// head returns the first 64 bits, or all where there are fewer.
func (c *code) head() uint64 {
	if c.length >= 64 {
		return c.words[0]
	}
	return c.word
}

// tail returns the i-th word behind the head, from 0; the last one is not full.
func (c *code) tail(i uint) uint64 {
	if i++; i == c.length>>6 {
		return c.word
	}
	return c.words[i]
}
