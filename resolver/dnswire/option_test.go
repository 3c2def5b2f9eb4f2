package dnswire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/resolver/dnswire"
)

func marker(b byte) (m dnswire.Marker) {
	copy(m[:], bytes.Repeat([]byte{b}, len(m)))
	return m
}

func TestHopsAndPaddingAreReadBackAndAreWellFormed(t *testing.T) {
	key := []byte("\x01a\x07example\x00")
	for hops := range dnswire.MaxHops + 1 {
		for _, block := range []int{0, 128} {
			var markers []dnswire.Marker
			for i := range hops {
				markers = append(markers, marker(byte(i)))
			}
			packet := dnswire.AppendQuery(nil, 7, key, dns.TypeA, dnswire.ClassIN, 1232, true, false)
			packet = dnswire.AppendQueryOptions(packet, markers, nil, block)
			if block > 0 && len(packet)%block != 0 {
				t.Errorf("%d hops: %d octets", hops, len(packet))
			}
			m := new(dns.Msg)
			if err := m.Unpack(packet); err != nil || m.IsEdns0() == nil || !m.IsEdns0().Do() {
				t.Fatalf("%d hops: %v %v", hops, err, m)
			}
			var q dnswire.Query
			if status := q.Parse(packet); status != dnswire.StatusOK || !slices.Equal(q.Hops(), markers) {
				t.Errorf("status %d, hops %x, want %x", status, q.Hops(), markers)
			}
			if q.Parse(pack(t, question("b.example", dns.TypeA))); len(q.Hops()) != 0 {
				t.Error("the hops of the query before are left")
			}
		}
	}
}

func TestEveryLengthOfANameIsPaddedToTheBlock(t *testing.T) {
	for size := 1; size < 63; size++ {
		key := append(append([]byte{byte(size)}, bytes.Repeat([]byte("x"), size)...), 0)
		packet := dnswire.AppendQueryOptions(dnswire.AppendQuery(nil, 7, key, dns.TypeA, dnswire.ClassIN, 1232, false, false), nil, nil, 128)
		if len(packet) != 128 || new(dns.Msg).Unpack(packet) != nil {
			t.Errorf("a label of %d: %d octets", size, len(packet))
		}
	}
}

func TestSomebodyElsesOptionHasNoHops(t *testing.T) {
	for _, data := range []string{"", "sgl1", "sgl1short", "sgl2" + fmt.Sprintf("%16d", 1), fmt.Sprintf("%16d", 1), "sgl"} {
		m := question("a.example", dns.TypeA)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65353, Data: []byte(data)}}
		var q dnswire.Query
		if status := q.Parse(pack(t, m)); status != dnswire.StatusOK || len(q.Hops()) != 0 {
			t.Errorf("%q: status %d, %d hops", data, status, len(q.Hops()))
		}
	}
}

func TestMoreHopsThanThereMayBeAreAsManyAsThereMayBe(t *testing.T) {
	m := question("a.example", dns.TypeA)
	m.SetEdns0(1232, false)
	option := &dns.EDNS0_LOCAL{Code: 65353, Data: append([]byte("sgl1"), bytes.Repeat([]byte("0123456789abcdef"), 5)...)}
	m.IsEdns0().Option = []dns.EDNS0{option, option, option}
	var q dnswire.Query
	if q.Parse(pack(t, m)); len(q.Hops()) != dnswire.MaxHops {
		t.Errorf("%d hops", len(q.Hops()))
	}
}

func TestAQueryWithoutEDNSHasNoOPTRecord(t *testing.T) {
	m := new(dns.Msg)
	if err := m.Unpack(dnswire.AppendQuery(nil, 7, []byte("\x01a\x00"), dns.TypeA, dnswire.ClassIN, 0, true, true)); err != nil {
		t.Fatal(err)
	}
	if m.IsEdns0() != nil || len(m.Extra) != 0 || !m.CheckingDisabled || m.Question[0].Name != "a." {
		t.Errorf("%v", m)
	}
}

func TestWhatIsAnAnswerToAQuery(t *testing.T) {
	query := pack(t, question("A.example", dns.TypeA))
	answer := func(change func(m *dns.Msg)) []byte {
		m := new(dns.Msg).SetReply(question("a.EXAMPLE", dns.TypeA))
		change(m)
		return pack(t, m)
	}
	for name, test := range map[string]struct {
		response []byte
		want     bool
	}{
		"the answer, in another case":           {answer(func(*dns.Msg) {}), true},
		"another name":                          {answer(func(m *dns.Msg) { m.Question[0].Name = "b.example." }), false},
		"another type":                          {answer(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }), false},
		"another class":                         {answer(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), false},
		"no response":                           {answer(func(m *dns.Msg) { m.Response = false }), false},
		"no question":                           {answer(func(m *dns.Msg) { m.Question = nil }), false},
		"two questions":                         {answer(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), false},
		"FORMERR without a question":            {answer(func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeFormatError }), true},
		"SERVFAIL without a question":           {answer(func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeServerFailure }), false},
		"half a question":                       {answer(func(*dns.Msg) {})[:20], false},
		"a question without its type and class": {answer(func(*dns.Msg) {})[:23], false},
		"nothing":                               {nil, false},
	} {
		if got := dnswire.IsAnswer(test.response, query); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAServerThatDidNotUnderstandNeedNotRepeatTheQuestion(t *testing.T) {
	header := binary.BigEndian.AppendUint16([]byte{0, 7}, 1<<15|dnswire.RcodeFormErr)
	header = append(header, make([]byte, 8)...)
	key := []byte("\x01a\x00")
	if a, err := dnswire.ParseAnswer(header, 7, key, dns.TypeA, false); err != nil || a.Rcode != dnswire.RcodeFormErr || a.Msg != nil || a.EDNS {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := dnswire.ParseAnswer(header, 8, key, dns.TypeA, false); err == nil {
		t.Error("taken with another id")
	}
	header[3] = byte(dnswire.RcodeServFail)
	if _, err := dnswire.ParseAnswer(header, 7, key, dns.TypeA, false); err == nil {
		t.Error("SERVFAIL taken without its question")
	}
}

// What is handed on as the answer to a query is what ParseAnswer would not take for another's.
func FuzzIsAnswerAgreesWithParseAnswer(f *testing.F) {
	key := []byte("\x01a\x07example\x00")
	query := dnswire.AppendQuery(nil, 0, key, dns.TypeA, dnswire.ClassIN, 0, false, false)
	f.Add(pack(f, new(dns.Msg).SetReply(question("A.example", dns.TypeA))))
	f.Add([]byte("\x00\x07\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, response []byte) {
		if len(response) < 12 {
			if dnswire.IsAnswer(response, query) {
				t.Fatal("half a header is an answer")
			}
			return
		}
		response[2] &^= 0x78 // the opcode, which only ParseAnswer looks at
		_, err := dnswire.ParseAnswer(response, binary.BigEndian.Uint16(response), key, dns.TypeA, false)
		if mismatch := errors.Is(err, dnswire.ErrMismatch); mismatch == dnswire.IsAnswer(response, query) {
			t.Fatalf("ParseAnswer: %v, IsAnswer: %v", err, !mismatch)
		}
	})
}

func TestAnOptionIsFoundWhereverItStandsAndOnlyWithoutData(t *testing.T) {
	option := func(code uint16, data ...byte) dns.EDNS0 { return &dns.EDNS0_LOCAL{Code: code, Data: data} }
	for what, c := range map[string]struct {
		options []dns.EDNS0
		want    bool
	}{
		"alone":         {[]dns.EDNS0{option(65100)}, true},
		"after another": {[]dns.EDNS0{option(65101, 1, 2, 3), option(65100)}, true},
		"before one":    {[]dns.EDNS0{option(65100), option(65101, 1)}, true},
		"with data":     {[]dns.EDNS0{option(65100, 1)}, false},
		"as data":       {[]dns.EDNS0{option(65101, 0xFE, 0x4C, 0, 0)}, false},
		"none":          {nil, false},
	} {
		m := question("www.example", dns.TypeA)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = c.options
		for _, others := range [][]dns.RR{nil, {&dns.A{Hdr: dns.RR_Header{Name: "a.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{192, 0, 2, 1}}}} {
			m.Extra = append(others, m.IsEdns0())
			packet := pack(t, m)
			var q dnswire.Query
			if status := q.Parse(packet); status != dnswire.StatusOK || q.Has(packet, 65100) != c.want {
				t.Errorf("%s: status %d, found: %t", what, status, !c.want)
			}
		}
	}
	var q dnswire.Query
	if plain := pack(t, question("www.example", dns.TypeA)); q.Parse(plain) != dnswire.StatusOK || q.Has(plain, 65100) {
		t.Error("found in a packet without EDNS")
	}
}
