package feed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
)

// scripted is a server's end of the connections of a transfer, one after the other: the messages of
// answers, with the ID of the question that they answer.
type scripted struct {
	net.Conn
	answers *[]byte
	id      []byte
	out     []byte
}

func (c *scripted) Write(b []byte) (int, error) {
	c.id = bytes.Clone(b[2:4])
	return len(b), nil
}

// Read gives messages up to an empty one, where the connection ends.
func (c *scripted) Read(b []byte) (int, error) {
	if len(c.out) == 0 {
		rest := *c.answers
		if len(rest) < 2 {
			return 0, io.EOF
		}
		n := min(2+int(binary.BigEndian.Uint16(rest)), len(rest))
		c.out, *c.answers = bytes.Clone(rest[:n]), rest[n:]
		if n == 2 {
			return 0, io.EOF
		}
		copy(c.out[2:], c.id)
	}
	n := copy(b, c.out)
	c.out = c.out[n:]
	return n, nil
}

func (c *scripted) Close() error                    { return nil }
func (c *scripted) SetDeadline(time.Time) error     { return nil }
func (c *scripted) SetReadDeadline(time.Time) error { return nil }

// Whatever a server answers, and whatever is held: what is taken as a zone is text that blocklist.Parse
// reads to the last line, and that the next IXFR can start from.
func FuzzTransfer(f *testing.F) {
	frame := func(answers ...[]dns.RR) []byte {
		var stream []byte
		for _, rrs := range answers {
			if rrs == nil {
				stream = append(stream, 0, 0)
				continue
			}
			m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Answer: rrs, Compress: true}
			packet, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(packet))), packet...)
		}
		return stream
	}
	one, two := zoneVersion{serial: 1}.soa(), zoneVersion{serial: 2}.soa()
	records := []dns.RR{
		mustRR(`*.a\.b\000.rpz.example. IN CNAME .`), mustRR("a.rpz.example. IN TXT x"), mustRR("a.rpz.example. IN MX 1 b."),
		mustRR("a.rpz.example. IN CNAME rpz-passthru."), mustRR("a.rpz.example. IN HTTPS 1 . alpn=h2"),
	}
	held := "rpz.example. SOA ns.example. host.example. 1 3600 600 86400 60\na.rpz.example. CNAME .\n"
	f.Add(frame([]dns.RR{two}, nil, append(append([]dns.RR{two}, records...), two)), "")
	f.Add(frame([]dns.RR{two}, nil, []dns.RR{two}, records, []dns.RR{two}), "")
	f.Add(frame([]dns.RR{two}, nil, []dns.RR{two, one, mustRR("a.rpz.example. IN CNAME ."), two, records[0], two}), held)
	f.Add(frame([]dns.RR{two}, nil, []dns.RR{two, one, two, mustRR("a.rpz.example. IN CNAME ."), two}, nil, []dns.RR{two, two}), held)
	f.Fuzz(func(t *testing.T, answers []byte, old string) {
		if len(old) > 1<<16 {
			return
		}
		zone := mustKey(testZone)
		var dst target
		tr := &secondary{
			zone: Zone{Name: zone, Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}, dst: dst.open, bytes: 1 << 20, stall: time.Minute,
			old:  readBase(strings.NewReader(old), zone),
			dial: func(context.Context, string, string) (net.Conn, error) { return &scripted{answers: &answers}, nil },
		}
		result, err := tr.run(t.Context())
		if err != nil || result.Unchanged {
			return
		}
		text := dst.String()
		if strings.Count(text, "\n") != result.Records+1 || !strings.HasSuffix(text, "\n") {
			t.Fatalf("%+v for %q", result, text)
		}
		next := readBase(strings.NewReader(text), zone)
		if next == nil || next.serial != result.Serial {
			t.Fatalf("no base for the next transfer: %q", text)
		}
		if result.Incremental { // what no transfer wrote may hold what no transfer writes
			return
		}
		list, err := blocklist.Parse(strings.NewReader(text), blocklist.Options{Format: blocklist.FormatRPZ})
		if err != nil {
			if !errors.Is(err, blocklist.ErrEmpty) {
				t.Fatalf("%v: %q", err, text)
			}
			return
		}
		for _, p := range list.Problems {
			if slices.Contains([]string{"no record type", "no owner name", "outside of the zone", "parenthesis that is not closed", "a directive that is not followed"}, p.Reason) {
				t.Fatalf("%+v: %q", p, text)
			}
		}
	})
}

// Each octet of steps adds or deletes one of a few records; what note and apply make of them is what a
// plain set of lines makes of them, and a step that does not fit is an error exactly where it does not
// fit the set.
func FuzzDifference(f *testing.F) {
	f.Add("a\nb\n", []byte{0x80, 0x01, 0x82})
	f.Add("", []byte{0x00, 0x80, 0x80})
	f.Add("a\nb\nc\nd\n", []byte{0x00, 0x80, 0x01, 0x81, 0x01})
	f.Fuzz(func(t *testing.T, old string, steps []byte) {
		set := map[string]bool{}
		if old != "" && !strings.HasSuffix(old, "\n") || len(old) > 1<<12 {
			return
		}
		for line := range strings.Lines(old) {
			if set[line] {
				return
			}
			set[line] = true
		}
		d := difference{records: map[string]change{}}
		fits := true
		var failed error
		for _, b := range steps {
			line, add := string(rune('a'+b&0x7)), b&0x80 != 0
			if set[line+"\n"] == add {
				fits = false
			}
			set[line+"\n"] = add
			if failed = d.note([]byte(line), add); failed != nil {
				break
			}
		}
		var out bytes.Buffer
		w := &zoneWriter{out: bufio.NewWriter(&out)}
		if failed == nil {
			failed = d.apply(bufio.NewReader(strings.NewReader(old)), w)
		}
		if (failed == nil) != fits {
			t.Fatalf("fits: %v, error: %v", fits, failed)
		}
		if failed != nil {
			return
		}
		_ = w.flush()
		var want []string
		for line, in := range set {
			if in {
				want = append(want, line)
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(strings.Lines(out.String())); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
