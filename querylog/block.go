package querylog

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
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

// level is that of DEFLATE: a third of the time of the usual one, for a tenth more octets.
const level = flate.BestSpeed

// packer makes blocks. Its buffers are used again.
type packer struct {
	plain  []byte
	packed bytes.Buffer
	writer *flate.Writer
	index  map[string]uint64
	which  []uint64
}

func newPacker() *packer { return &packer{index: map[string]uint64{}} }

// pack returns the questions as a block of its own, in their order, which need not be that of their times: readers sort
// the few that they look for.
func (p *packer) pack(questions []stored) []byte {
	h := header{count: uint32(len(questions)), first: questions[0].at, last: questions[0].at}
	for i := range questions {
		h.first, h.last = min(h.first, questions[i].at), max(h.last, questions[i].at)
	}
	p.packed.Reset()

	p.plain = p.plain[:0]
	clients := map[Client]uint64{}
	var order []Client
	which := make([]uint64, len(questions))
	for i := range questions {
		if i > 0 && questions[i].client == questions[i-1].client {
			which[i] = which[i-1]
			continue
		}
		n, known := clients[questions[i].client]
		if !known {
			n = uint64(len(order))
			clients[questions[i].client] = n
			order = append(order, questions[i].client)
		}
		which[i] = n
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
		p.plain = binary.AppendVarint(p.plain, questions[i].at-before)
		before = questions[i].at
	}
	for i := range questions {
		p.number(which[i])
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
	p.which = p.which[:0]
	last, at := "", uint64(0) // what the one before has, which most have too
	for i := range questions {
		text := *of(&questions[i])
		if i == 0 || text != last {
			var known bool
			if at, known = p.index[text]; !known {
				at = uint64(len(order))
				p.index[text] = at
				order = append(order, text)
			}
			last = text
		}
		p.which = append(p.which, at)
	}
	p.number(uint64(len(order)))
	for _, text := range order {
		p.text(text)
	}
	for _, n := range p.which {
		p.number(n)
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
		p.writer, _ = flate.NewWriter(&p.packed, level)
	} else {
		p.writer.Reset(&p.packed)
	}
	_, _ = p.writer.Write(p.plain)
	_ = p.writer.Close()
	p.plain = p.plain[:0]
}

// errBlock is a block whose content makes no sense.
var errBlock = errors.New("damaged block")

// unpacker reads blocks. Its buffers are used again. Not for concurrent use.
type unpacker struct {
	packed bytes.Reader
	reader io.ReadCloser
	plain  bytes.Buffer

	left string // of the part that is being read
	bad  bool   // something was not there
}

// unpack returns the questions of a block whose body has been read, all of them or, where wanted is not nil, those of the
// clients for which it reports true. A block without any costs no more than its first part.
func (u *unpacker) unpack(h header, body []byte, wanted func(Client) bool) ([]stored, error) {
	if int64(len(body)) != h.size()-headerSize || castagnoli(body) != h.body {
		return nil, errBlock
	}
	if err := u.begin(body[:h.clients]); err != nil {
		return nil, err
	}
	clients := make([]Client, u.length())
	want, any := make([]bool, len(clients)), false
	for i := range clients {
		clients[i] = Client{u.text(), u.text(), u.text(), u.text()}
		want[i] = wanted == nil || wanted(clients[i])
		any = any || want[i]
	}
	if u.bad {
		return nil, errBlock
	}
	if !any {
		return nil, nil
	}
	if err := u.begin(body[h.clients:]); err != nil {
		return nil, err
	}
	questions := make([]stored, h.count)
	at, client := h.first, make([]int, h.count)
	for i := range questions {
		at += u.signed()
		questions[i].at = at
	}
	for i := range questions {
		if client[i] = u.below(len(clients)); !u.bad {
			questions[i].client = clients[client[i]]
		}
	}
	for i := range questions {
		questions[i].typ = uint16(u.number())
	}
	for _, column := range columns {
		texts := make([]string, u.length())
		for i := range texts {
			texts[i] = u.text()
		}
		for i := range questions {
			if n := u.below(len(texts)); !u.bad {
				*column(&questions[i]) = texts[n]
			}
		}
	}
	if u.bad || u.left != "" {
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

// begin unpacks a part. Texts that are read from it are of one piece with it.
func (u *unpacker) begin(packed []byte) error {
	u.packed.Reset(packed)
	if u.reader == nil {
		u.reader = flate.NewReader(&u.packed)
	} else if err := u.reader.(flate.Resetter).Reset(&u.packed, nil); err != nil { // flate promises that it is one
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	u.plain.Reset()
	if _, err := u.plain.ReadFrom(io.LimitReader(u.reader, maxUnpacks)); err != nil {
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	u.left, u.bad = u.plain.String(), false
	return nil
}

func (u *unpacker) number() (n uint64) {
	for i := 0; i < len(u.left) && i < binary.MaxVarintLen64; i++ {
		b := u.left[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			u.left = u.left[i+1:]
			return n
		}
	}
	u.bad, u.left = true, ""
	return 0
}

// signed is a number as binary.AppendVarint writes it.
func (u *unpacker) signed() int64 {
	n := u.number()
	return int64(n>>1) ^ -int64(n&1)
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
	text := u.left[:n]
	u.left = u.left[n:]
	return text
}
