package blocklist

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/bits"
	"net/netip"
	"runtime"
	"slices"
	"strings"
)

// A part's file is what a Part is in memory, so that reading it is all that a start has to do:
//
//	one line    "schoolgate part", PartVersion, the bytes of the description and of the block, SHA-256
//	            of both in hexadecimal, each behind a space
//	description JSON: partDescription
//	block       the tables, as table has them, and the padding

// PartVersion says how a part's file is written, and how lists were read for it: it changes when either
// does, so that no part is used that another version would have made otherwise.
const PartVersion = "2"

// ErrDamaged says that a part's file is not as it was written.
var ErrDamaged = errors.New("a compiled list is damaged")

// ErrPartVersion says that a part's file is of another PartVersion.
var ErrPartVersion = errors.New("a compiled list of another version")

const (
	partMagic      = "schoolgate part"
	maxDescription = 256 << 20
	maxBlock       = 4 << 30
)

// hashStep is how much is hashed at a time: while a hash works the scheduler cannot stop its thread, nor
// begin a collection for all the others.
const hashStep = 32 << 10

// partDescription is all of a part but its block.
type partDescription struct {
	Lists    []listDescription   `json:"lists"`
	Groups   []int               `json:"groups"`
	Seed     uint64              `json:"seed"`
	Sets     [][]uint32          `json:"sets"`
	Values   []partValue         `json:"values"`
	Suffixes []suffixDescription `json:"suffixes"`
	Letters  []byte              `json:"letters"` // lengths of codes
	Tables   []tableDescription  `json:"tables"`
	Nested   bool                `json:"nested"`
	Names    int                 `json:"names"`
}

type suffixDescription struct {
	Parent uint16  `json:"parent"`
	Label  []byte  `json:"label"`
	Value  *uint32 `json:"value,omitempty"`
	Code   uint8   `json:"code"` // its length
}

type tableDescription struct {
	Length uint16 `json:"length"`
	Names  uint32 `json:"names"`
}

// listDescription is a List without its names.
type listDescription struct {
	Format        Format         `json:"format"`
	Enforceable   int            `json:"enforceable"`
	Unenforceable int            `json:"unenforceable"`
	Exceptions    int            `json:"exceptions"`
	Skipped       int            `json:"skipped"`
	TooBroad      int            `json:"too_broad"`
	Problems      []Problem      `json:"problems,omitempty"`
	Warnings      []Problem      `json:"warnings,omitempty"`
	Addresses     []netip.Prefix `json:"addresses,omitempty"`
	Entries       int            `json:"entries"`
	Size          int            `json:"size"`
	Passes        bool           `json:"passes"`
}

// WriteTo writes the part's file. It implements io.WriterTo.
func (p *Part) WriteTo(w io.Writer) (int64, error) {
	description, err := json.Marshal(p.describe())
	if err != nil {
		return 0, fmt.Errorf("write a compiled list: %w", err)
	}
	defer runtime.KeepAlive(p) // and with it its block
	sum := sha256.New()
	_, _ = sum.Write(description) // a hash takes everything
	for b := range slices.Chunk(p.block, hashStep) {
		_, _ = sum.Write(b)
	}
	line := partLine(len(description), len(p.block), sum)
	written := int64(0)
	for _, b := range [][]byte{[]byte(line), description, p.block} {
		n, err := w.Write(b)
		written += int64(n)
		if err != nil {
			return written, fmt.Errorf("write a compiled list: %w", err)
		}
	}
	return written, nil
}

// partLine is the first line of a part's file.
func partLine(description, block int, sum hash.Hash) string {
	return fmt.Sprintf("%s %s %d %d %x\n", partMagic, PartVersion, description, block, sum.Sum(nil))
}

func (p *Part) describe() partDescription {
	d := partDescription{
		Seed: p.seed, Sets: p.sets, Letters: p.lengths, Nested: p.nested, Names: p.names,
		Lists: []listDescription{}, Groups: []int{}, Values: p.values, Tables: []tableDescription{},
	}
	for i, l := range p.lists {
		d.Groups = append(d.Groups, int(p.group[i]))
		d.Lists = append(d.Lists, listDescription{
			l.Format, l.Enforceable, l.Unenforceable, l.Exceptions, l.Skipped, l.TooBroad,
			l.Problems, l.Warnings, l.addresses, l.names.count, l.names.size, l.passes,
		})
	}
	for _, s := range p.suffixes.list {
		sd := suffixDescription{Parent: s.parent, Label: []byte(s.label), Code: s.code.length}
		if s.value != noValue {
			sd.Value = &s.value
		}
		d.Suffixes = append(d.Suffixes, sd)
	}
	for _, t := range p.tables {
		if t.names > 0 {
			d.Tables = append(d.Tables, tableDescription{t.length, t.names})
		}
	}
	return d
}

// ReadPart reads a part's file once, to its end, into memory of its own: whatever becomes of the file,
// a Part that was read stays as it is. What it returns has been verified, by the checksum and in each
// count and place that a look-up goes by. The error is the reader's, or wraps ErrDamaged or
// ErrPartVersion.
func ReadPart(r io.Reader) (*Part, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	line, err := in.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("read a compiled list: %w", err)
	}
	first := string(line) // line is the reader's
	rest, ours := strings.CutPrefix(first, partMagic+" ")
	version, rest, _ := strings.Cut(rest, " ")
	if ours && version != PartVersion && version != "" {
		return nil, fmt.Errorf("%w: %.20q, this is %s", ErrPartVersion, version, PartVersion)
	}
	var description, block int
	if n, err := fmt.Sscanf(rest, "%d %d ", &description, &block); !ours || n != 2 || err != nil {
		return nil, damaged("its first line")
	}
	if description < 0 || description > maxDescription || block < blockPadding || block > maxBlock {
		return nil, damaged("its size")
	}
	text := make([]byte, 0, min(description, 1<<20))
	body := bytes.NewBuffer(text)
	hashing := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(body, hashing), in, int64(description)); err != nil {
		return nil, readError(err)
	}
	p := new(Part)
	p.setBlock(block - blockPadding)
	if err := readHashed(in, p.block, hashing); err != nil {
		return nil, err
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, damaged("it goes on behind its end")
	}
	if first != partLine(description, block, hashing) {
		return nil, damaged("its checksum is another")
	}
	var d partDescription
	if err := json.Unmarshal(body.Bytes(), &d); err != nil {
		return nil, damaged("its description")
	}
	return p, p.restore(d)
}

// readHashed fills b, and hashes what it reads while it is at hand.
func readHashed(r io.Reader, b []byte, h hash.Hash) error {
	for len(b) > 0 {
		n, err := io.ReadFull(r, b[:min(len(b), hashStep)])
		if err != nil {
			return readError(err)
		}
		_, _ = h.Write(b[:n])
		b = b[n:]
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it is cut off")
	}
	return fmt.Errorf("read a compiled list: %w", err)
}

func damaged(what string) error { return fmt.Errorf("%w: %s", ErrDamaged, what) }

// restore fills a part that has its block.
func (p *Part) restore(d partDescription) error {
	p.seed, p.keys, p.nested, p.names = d.Seed, partKeys(d.Seed), d.Nested, d.Names
	if err := p.restoreLists(d); err != nil {
		return err
	}
	var ok bool
	p.lengths = d.Letters
	if p.letters, ok = newLetters(d.Letters); !ok {
		return damaged("its letters")
	}
	if err := p.restoreSuffixes(d.Suffixes); err != nil {
		return err
	}
	p.valueBits = uint(bits.Len(uint(max(len(p.values), 1) - 1)))
	return p.restoreTables(d.Tables)
}

func (p *Part) restoreLists(d partDescription) error {
	if len(d.Lists) != len(d.Groups) || len(d.Sets) == 0 || len(d.Sets[0]) > 0 {
		return damaged("its lists")
	}
	for i, l := range d.Lists {
		if d.Groups[i] < 0 || d.Groups[i] >= MaxCategories {
			return damaged("its categories")
		}
		p.group = append(p.group, uint8(d.Groups[i]))
		p.lists = append(p.lists, &List{
			Format: l.Format, Enforceable: l.Enforceable, Unenforceable: l.Unenforceable, Exceptions: l.Exceptions,
			Skipped: l.Skipped, TooBroad: l.TooBroad, Problems: l.Problems, Warnings: l.Warnings,
			addresses: l.Addresses, passes: l.Passes, names: names{count: l.Entries, size: l.Size, released: true},
		})
	}
	p.sets = d.Sets
	for _, set := range d.Sets {
		if !slices.IsSorted(set) || len(set) > 0 && set[len(set)-1] >= uint32(len(p.lists)) {
			return damaged("its sets of lists")
		}
	}
	p.values = d.Values
	for _, v := range d.Values {
		if v.Self >= uint32(len(p.sets)) || v.Below >= uint32(len(p.sets)) {
			return damaged("its values")
		}
	}
	return nil
}

func (p *Part) restoreSuffixes(described []suffixDescription) error {
	if len(described) == 0 || len(described) > maxSuffixes || len(described[0].Label) > 0 {
		return damaged("its suffixes")
	}
	lengths := make([]uint8, len(described))
	list := make([]suffix, len(described))
	for i, s := range described {
		lengths[i] = s.Code
		list[i] = suffix{parent: s.Parent, label: string(s.Label), value: noValue}
		if i > 0 && (int(s.Parent) >= i || len(s.Label) == 0 || len(s.Label) > maxLabel) {
			return damaged("its suffixes")
		}
		if s.Value != nil {
			if list[i].value = *s.Value; *s.Value >= uint32(len(p.values)) {
				return damaged("the values of its suffixes")
			}
		}
	}
	words, ok := codewords(lengths)
	if !ok {
		return damaged("the codes of its suffixes")
	}
	for i := range list {
		list[i].code = words[i]
	}
	p.suffixes = newSuffixes(list, p.keys)
	return nil
}

// restoreTables finds the tables in the block, and looks through them: what find goes by must lead to
// no place outside.
func (p *Part) restoreTables(described []tableDescription) error {
	end := uint64(0)
	last := uint16(0)
	for _, d := range described {
		if d.Length <= last || d.Length > maxBits || d.Names == 0 || d.Names > 1<<31 {
			return damaged("its tables")
		}
		last = d.Length
	}
	if last > 0 {
		p.tables = make([]table, int(last)+1)
	}
	for _, d := range described {
		t := &p.tables[d.Length]
		*t = newTable(d.Length, d.Names, p.valueBits)
		if end = t.place(end); end > uint64(len(p.block)-blockPadding) {
			return damaged("the size of its tables")
		}
		if !t.sound(p.block, p.valueBits, uint32(len(p.values))) {
			return damaged("one of its tables")
		}
	}
	if end != uint64(len(p.block)-blockPadding) {
		return damaged("the size of its tables")
	}
	return nil
}

// sound reports whether the groups of a table are of one another and of as many names as it has, and
// each name's value is one of values.
func (t *table) sound(block []byte, valueBits uint, values uint32) bool {
	seen := uint64(0) // names in the groups before
	homes := uint64(1) << t.homeBits
	for i := range t.countGroups() {
		group := block[t.groups+groupBytes*i:]
		if uint64(binary.LittleEndian.Uint32(group)) != seen {
			return false
		}
		at := uint64(firstMark)
		for left := min(groupHomes, homes-groupHomes*i); left > 0; at++ {
			if at == 8*groupBytes {
				return false
			}
			if group[at>>3]>>(at&7)&1 == 0 {
				left--
			} else {
				seen++
			}
		}
	}
	if seen != uint64(t.names) {
		return false
	}
	if valueBits == 0 || values == 1<<valueBits {
		return true
	}
	for i := range uint64(t.names) {
		at := (i+1)*uint64(t.stride) - uint64(valueBits)
		if bitsAt(block[t.remainders:], at)&(1<<valueBits-1) >= uint64(values) {
			return false
		}
	}
	return true
}
