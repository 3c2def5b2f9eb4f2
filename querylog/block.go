package querylog

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

// The bounds of a block. No writer makes larger ones, so that a damaged length is not believed.
const (
	maxBlock   = 16_384   // questions
	maxPart    = 16 << 20 // octets of a part, compressed
	maxUnpacks = 64 << 20 // octets of a part, unpacked
)

const (
	magic      = "SGQ1"
	headerSize = 40
)

// header is that of a block, as package doc has it.
type header struct {
	clients, rest, count uint32
	first, last          int64
	body                 uint32
}

// size is the block's, its header included.
func (h header) size() int64 { return headerSize + int64(h.clients) + int64(h.rest) }

// overlaps reports whether a question of the block may lie in a span, to excluded.
func (h header) overlaps(from, to int64) bool { return h.first < to && h.last >= from }

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func (h header) append(to []byte) []byte {
	start := len(to)
	to = append(to, magic...)
	for _, n := range []uint32{h.clients, h.rest, h.count} {
		to = binary.LittleEndian.AppendUint32(to, n)
	}
	to = binary.LittleEndian.AppendUint64(to, uint64(h.first))
	to = binary.LittleEndian.AppendUint64(to, uint64(h.last))
	to = binary.LittleEndian.AppendUint32(to, h.body)
	return binary.LittleEndian.AppendUint32(to, castagnoli(to[start:]))
}

// parseHeader reports false for what is no header.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || string(b[:4]) != magic || castagnoli(b[:headerSize-4]) != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return h, false
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	i64 := func(at int) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }
	h = header{clients: u32(4), rest: u32(8), count: u32(12), first: i64(16), last: i64(24), body: u32(32)}
	return h, h.clients <= maxPart && h.rest <= maxPart && h.count <= maxBlock
}

// packer makes blocks. Its buffers are used again.
type packer struct {
	plain  []byte
	packed bytes.Buffer
	writer *flate.Writer
	index  map[string]uint64
}

func newPacker() *packer { return &packer{index: map[string]uint64{}} }

// pack returns the questions as a block of its own, in the order of their times. It sorts them where they are.
func (p *packer) pack(questions []stored) []byte {
	slices.SortStableFunc(questions, func(a, b stored) int { return cmp.Compare(a.at, b.at) })
	h := header{count: uint32(len(questions)), first: questions[0].at, last: questions[len(questions)-1].at}
	p.packed.Reset()

	p.plain = p.plain[:0]
	clients := map[Client]uint64{}
	var order []Client
	for i := range questions {
		if _, known := clients[questions[i].client]; !known {
			clients[questions[i].client] = uint64(len(order))
			order = append(order, questions[i].client)
		}
	}
	p.number(uint64(len(order)))
	for _, c := range order {
		for _, text := range []string{c.IP, c.MAC, c.Name, c.User} {
			p.text(text)
		}
	}
	p.compress()
	h.clients = uint32(p.packed.Len())

	before := h.first
	for i := range questions {
		p.number(uint64(questions[i].at - before))
		before = questions[i].at
	}
	for i := range questions {
		p.number(clients[questions[i].client])
	}
	for i := range questions {
		p.number(uint64(questions[i].typ))
	}
	for _, column := range columns {
		p.column(questions, column)
	}
	p.compress()
	h.rest = uint32(p.packed.Len()) - h.clients
	h.body = castagnoli(p.packed.Bytes())
	return append(h.append(make([]byte, 0, headerSize+p.packed.Len())), p.packed.Bytes()...)
}

// columns are the texts of a question that are written once for each block.
//
//nolint:gochecknoglobals // a table: never written
var columns = [...]func(*stored) *string{
	func(s *stored) *string { return &s.group },
	func(s *stored) *string { return &s.category },
	func(s *stored) *string { return &s.outcome },
	func(s *stored) *string { return &s.transport },
	func(s *stored) *string { return &s.name },
}

// column writes each different text once, then for each question which one it has.
func (p *packer) column(questions []stored, of func(*stored) *string) {
	clear(p.index)
	var order []string
	for i := range questions {
		text := *of(&questions[i])
		if _, known := p.index[text]; !known {
			p.index[text] = uint64(len(order))
			order = append(order, text)
		}
	}
	p.number(uint64(len(order)))
	for _, text := range order {
		p.text(text)
	}
	for i := range questions {
		p.number(p.index[*of(&questions[i])])
	}
}

func (p *packer) number(n uint64) { p.plain = binary.AppendUvarint(p.plain, n) }

func (p *packer) text(s string) {
	p.number(uint64(len(s)))
	p.plain = append(p.plain, s...)
}

// compress moves what is plain to what is packed. Writing to memory can't fail.
func (p *packer) compress() {
	if p.writer == nil {
		p.writer, _ = flate.NewWriter(&p.packed, flate.DefaultCompression)
	} else {
		p.writer.Reset(&p.packed)
	}
	_, _ = p.writer.Write(p.plain)
	_ = p.writer.Close()
	p.plain = p.plain[:0]
}

// errBlock is a block whose content makes no sense.
var errBlock = errors.New("damaged block")

// unpack returns the questions of a block whose body has been read, all of them or, where wanted is not nil, those of the
// clients for which it reports true. A block without any costs no more than its first part.
func unpack(h header, body []byte, wanted func(Client) bool) ([]stored, error) {
	if int64(len(body)) != h.size()-headerSize || castagnoli(body) != h.body {
		return nil, errBlock
	}
	r, err := newUnpacker(body[:h.clients])
	if err != nil {
		return nil, err
	}
	clients := make([]Client, r.length())
	want, any := make([]bool, len(clients)), false
	for i := range clients {
		clients[i] = Client{r.text(), r.text(), r.text(), r.text()}
		want[i] = wanted == nil || wanted(clients[i])
		any = any || want[i]
	}
	if r.bad {
		return nil, errBlock
	}
	if !any {
		return nil, nil
	}
	if r, err = newUnpacker(body[h.clients:]); err != nil {
		return nil, err
	}
	questions := make([]stored, h.count)
	at, client := h.first, make([]int, h.count)
	for i := range questions {
		at += int64(r.number())
		questions[i].at = at
	}
	for i := range questions {
		if client[i] = r.below(len(clients)); !r.bad {
			questions[i].client = clients[client[i]]
		}
	}
	for i := range questions {
		questions[i].typ = uint16(r.number())
	}
	for _, column := range columns {
		texts := make([]string, r.length())
		for i := range texts {
			texts[i] = r.text()
		}
		for i := range questions {
			if n := r.below(len(texts)); !r.bad {
				*column(&questions[i]) = texts[n]
			}
		}
	}
	if r.bad || len(r.left) > 0 {
		return nil, errBlock
	}
	found := questions[:0]
	for i := range questions {
		if want[client[i]] {
			found = append(found, questions[i])
		}
	}
	return found, nil
}

// unpacker reads numbers and texts. What is not there is zero, and sets bad.
type unpacker struct {
	left []byte
	bad  bool
}

func newUnpacker(packed []byte) (*unpacker, error) {
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxUnpacks))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBlock, err)
	}
	return &unpacker{left: plain}, nil
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint(u.left)
	if size <= 0 {
		u.bad, u.left = true, nil
		return 0
	}
	u.left = u.left[size:]
	return n
}

// below is a number that must be less than n.
func (u *unpacker) below(n int) int {
	got := u.number()
	if got >= uint64(n) {
		u.bad = true
		return 0
	}
	return int(got)
}

// length is the number of things that follow, each of an octet at least.
func (u *unpacker) length() int {
	n := u.number()
	if n > uint64(len(u.left)) || n > math.MaxInt32 {
		u.bad = true
		return 0
	}
	return int(n)
}

func (u *unpacker) text() string {
	n := u.length()
	text := string(u.left[:n])
	u.left = u.left[n:]
	return text
}
