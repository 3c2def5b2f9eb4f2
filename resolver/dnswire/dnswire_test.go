package dnswire_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/resolver/dnswire"
)

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func question(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typ)
	return m
}

func TestAQueryIsReadAsItWasWritten(t *testing.T) {
	m := question("WwW.eXample.ORG", dns.TypeHTTPS)
	m.SetEdns0(1400, true)
	m.CheckingDisabled = true
	packet := pack(t, m)

	var q dnswire.Query
	if status := q.Parse(packet); status != dnswire.StatusOK {
		t.Fatalf("status %d", status)
	}
	type facts struct {
		Name            string
		ID, Type, Class uint16
		EDNS, DO, CD    bool
		UDPSize         uint16
		End             int
	}
	want := facts{"\x03www\x07example\x03org\x00", m.Id, dns.TypeHTTPS, dns.ClassINET, true, true, true, 1400, 12 + 17 + 4}
	got := facts{string(q.Name()), q.ID, q.Type, q.Class, q.EDNS, q.DO, q.Flags&dnswire.FlagCD != 0, q.UDPSize, q.QuestionEnd}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestABadPacketGetsTheRightStatus(t *testing.T) {
	good := pack(t, question("example.org", dns.TypeA))
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	withOPT := func(data ...byte) []byte {
		return edit(func(b []byte) []byte {
			b[11] = 1
			b = append(b, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, byte(len(data)))
			return append(b, data...)
		})
	}
	for name, test := range map[string]struct {
		packet []byte
		want   dnswire.Status
	}{
		"nothing":                          {nil, dnswire.StatusIgnore},
		"half a header":                    {good[:6], dnswire.StatusIgnore},
		"a response":                       {edit(func(b []byte) []byte { b[2] |= 0x80; return b }), dnswire.StatusIgnore},
		"a header alone":                   {edit(func(b []byte) []byte { b[5] = 0; return b[:12] }), dnswire.StatusFormErr},
		"a question that is cut off":       {good[:20], dnswire.StatusFormErr},
		"a question without its class":     {good[:len(good)-2], dnswire.StatusFormErr},
		"two questions":                    {edit(func(b []byte) []byte { b[5] = 2; return append(b, b[12:]...) }), dnswire.StatusFormErr},
		"an answer in a query":             {edit(func(b []byte) []byte { b[7] = 1; return b }), dnswire.StatusFormErr},
		"octets behind the end":            {edit(func(b []byte) []byte { return append(b, 0) }), dnswire.StatusFormErr},
		"a pointer in the question":        {edit(func(b []byte) []byte { b[12], b[13] = 0xC0, 12; return b }), dnswire.StatusFormErr},
		"a label of the forbidden kinds":   {edit(func(b []byte) []byte { b[12] = 0x47; return b }), dnswire.StatusFormErr},
		"an update":                        {edit(func(b []byte) []byte { b[2] = 5 << 3; return b }), dnswire.StatusNotImp},
		"a notify":                         {edit(func(b []byte) []byte { b[2] = 4 << 3; return b }), dnswire.StatusNotImp},
		"an OPT record":                    {withOPT(), dnswire.StatusOK},
		"an OPT record with an option":     {withOPT(0, 3, 0, 0), dnswire.StatusOK},
		"an option longer than its record": {withOPT(0, 3, 0, 9), dnswire.StatusFormErr},
		"half an option":                   {withOPT(0, 3), dnswire.StatusFormErr},
		"two OPT records": {
			edit(func(b []byte) []byte {
				b[11] = 2
				opt := []byte{0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0}
				return append(append(b, opt...), opt...)
			}), dnswire.StatusFormErr,
		},
		"EDNS of another version": {
			edit(func(b []byte) []byte {
				b[11] = 1
				return append(b, 0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0)
			}), dnswire.StatusBadVers,
		},
		"EDNS of another version, whose options nobody knows": {
			edit(func(b []byte) []byte {
				b[11] = 1
				return append(b, 0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 2, 9, 9)
			}), dnswire.StatusBadVers,
		},
		"an OPT record in the authority section": {
			edit(func(b []byte) []byte {
				b[9] = 1
				return append(b, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
			}), dnswire.StatusFormErr,
		},
		"an OPT record in the answer section": {
			edit(func(b []byte) []byte {
				b[7] = 1
				return append(b, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
			}), dnswire.StatusFormErr,
		},
		"an OPT record with a name": {
			edit(func(b []byte) []byte {
				b[11] = 1
				return append(b, 1, 'x', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
			}), dnswire.StatusFormErr,
		},
		"no question, but a cookie":           {edit(func(b []byte) []byte { return withCookie(onlyHeader(b), 8) }), dnswire.StatusCookie},
		"no question, but an old cookie":      {edit(func(b []byte) []byte { return withCookie(onlyHeader(b), 24) }), dnswire.StatusCookie},
		"no question and no cookie, but EDNS": {edit(func(b []byte) []byte { return append(onlyHeader(b), 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0) }), dnswire.StatusFormErr},
		"a cookie, but two questions":         {edit(func(b []byte) []byte { b[5], b[11] = 2, 1; return withCookie(append(b, b[12:]...), 8) }), dnswire.StatusFormErr},
		"OPT as the type asked for":           {pack(t, question("example.org", dns.TypeOPT)), dnswire.StatusFormErr},
	} {
		t.Run(name, func(t *testing.T) {
			var q dnswire.Query
			if got := q.Parse(test.packet); got != test.want {
				t.Errorf("status %d, want %d", got, test.want)
			}
		})
	}
}

// The vectors of package blocklist hold both packages to one form of a name's key.
func TestKeysAreThoseOfBlocklist(t *testing.T) {
	f, err := os.Open("../../blocklist/testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	checked := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		key, err := hex.DecodeString(fields[1])
		if err != nil {
			continue
		}
		packet := append([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, bytes.ToUpper(key)...)
		if slices.ContainsFunc(key, func(b byte) bool { return b >= 0x80 }) {
			packet = append(packet[:12], key...) // ToUpper is for letters of text
		}
		packet = append(packet, 0, 1, 0, 1)
		var q dnswire.Query
		if status := q.Parse(packet); status != dnswire.StatusOK || !bytes.Equal(q.Name(), key) {
			t.Errorf("%s: status %d, key %x, want %x", fields[0], status, q.Name(), key)
		}
		checked++
	}
	if checked < 10 {
		t.Errorf("%d vectors read: the file has changed its form", checked)
	}
}

func rrs(t testing.TB, texts ...string) []dns.RR {
	t.Helper()
	var out []dns.RR
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rr)
	}
	return out
}

func response(t testing.TB, q *dns.Msg, answer, authority, additional []dns.RR) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetReply(q)
	m.Compress = true
	m.Answer, m.Ns, m.Extra = answer, authority, additional
	return m
}

func TestAnAnswerIsCutToWhatWasAskedFor(t *testing.T) {
	q := question("www.example.org", dns.TypeA)
	m := response(t, q,
		rrs(t, "www.example.org. 300 IN CNAME web.example.net.", "web.example.net. 60 IN A 192.0.2.1"),
		rrs(t, "example.net. 600 IN NS ns.example.net."),
		rrs(t, "ns.example.net. 600 IN A 192.0.2.53"))
	m.SetEdns0(4096, false)
	packet := pack(t, m)

	a, err := dnswire.ParseAnswer(packet, q.Id, []byte("\x03www\x07example\x03org\x00"), dns.TypeA, false)
	if err != nil {
		t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(a.Msg); err != nil {
		t.Fatal(err)
	}
	if len(got.Answer) != 2 || len(got.Ns) != 0 || len(got.Extra) != 0 || a.Negative {
		t.Errorf("kept %v", got)
	}
	for _, o := range a.TTLs {
		dnswire.AgeTTL(a.Msg, o, 50, 100)
	}
	if err := got.Unpack(a.Msg); err != nil {
		t.Fatal(err)
	}
	if ttls := []uint32{got.Answer[0].Header().Ttl, got.Answer[1].Header().Ttl}; !slices.Equal(ttls, []uint32{100, 10}) {
		t.Errorf("TTLs %v after 50 s under a limit of 100 s, want 100 and 10", ttls)
	}
}

func TestANegativeAnswerLivesAsLongAsItsSOASays(t *testing.T) {
	q := question("no.example.org", dns.TypeA)
	m := response(t, q, nil, rrs(t, "example.org. 3600 IN SOA ns. host. 1 2 3 4 120"), nil)
	m.Rcode = dns.RcodeNameError
	a, err := dnswire.ParseAnswer(pack(t, m), q.Id, []byte("\x02no\x07example\x03org\x00"), dns.TypeA, false)
	if err != nil {
		t.Fatal(err)
	}
	if ttl := dnswire.BoundTTLs(a.Msg, a.TTLs, 0, 86400); !a.Negative || !a.SOA || ttl != 120 {
		t.Errorf("negative %v, SOA %v, TTL %d; want a negative answer of 120 s", a.Negative, a.SOA, ttl)
	}
}

func TestAnAnswerToAnotherQuestionIsNotBelieved(t *testing.T) {
	q := question("example.org", dns.TypeA)
	key := []byte("\x07example\x03org\x00")
	good := response(t, q, rrs(t, "example.org. 60 IN A 192.0.2.1"), nil, nil)
	for name, change := range map[string]func(m *dns.Msg){
		"id":            func(m *dns.Msg) { m.Id++ },
		"name":          func(m *dns.Msg) { m.Question[0].Name = "example.net." },
		"type":          func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
		"class":         func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
		"no response":   func(m *dns.Msg) { m.Response = false },
		"no question":   func(m *dns.Msg) { m.Question = nil },
		"two questions": func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		"opcode":        func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
	} {
		m := good.Copy()
		change(m)
		if _, err := dnswire.ParseAnswer(pack(t, m), q.Id, key, dns.TypeA, false); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
	whole := pack(t, good)
	for n := range whole {
		if _, err := dnswire.ParseAnswer(bytes.Clone(whole[:n]), q.Id, key, dns.TypeA, false); err == nil {
			t.Errorf("cut off at %d octets of %d: believed", n, len(whole))
		}
	}
	if _, err := dnswire.ParseAnswer(whole, q.Id, key, dns.TypeA, false); err != nil {
		t.Errorf("the right one: %v", err)
	}
}

func TestEveryTargetIsFound(t *testing.T) {
	q := question("a.example", dns.TypeHTTPS)
	m := response(t, q, rrs(
		t, "a.example. 60 IN CNAME B.example.", "b.example. 60 IN DNAME c.example.",
		`b.example. 60 IN HTTPS 1 svc.example. ipv4hint=192.0.2.7,192.0.2.8 ipv6hint=2001:db8::7`,
		`b.example. 60 IN HTTPS 1 . alpn=h2`, "b.example. 60 IN HTTPS 0 alias.example.",
		"b.example. 60 IN A 192.0.2.9", "b.example. 60 IN AAAA ::ffff:192.0.2.10", "b.example. 60 IN TXT x",
	), nil, nil)
	type target struct {
		Kind dnswire.Target
		Name string
		Addr string
	}
	var got []target
	dnswire.Targets(pack(t, m), func(kind dnswire.Target, name []byte, addr netip.Addr) bool {
		text := ""
		if addr.IsValid() {
			text = addr.String()
		}
		got = append(got, target{kind, string(name), text})
		return true
	})
	want := []target{
		{dnswire.TargetCNAME, "\x01b\x07example\x00", ""},
		{dnswire.TargetDNAME, "\x01c\x07example\x00", ""},
		{dnswire.TargetAddress, "", "192.0.2.7"},
		{dnswire.TargetAddress, "", "192.0.2.8"},
		{dnswire.TargetAddress, "", "2001:db8::7"},
		{dnswire.TargetSVCB, "\x03svc\x07example\x00", ""},
		{dnswire.TargetSVCB, "\x05alias\x07example\x00", ""},
		{dnswire.TargetAddress, "", "192.0.2.9"},
		{dnswire.TargetAddress, "", "192.0.2.10"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyWhatTheQuestionLeadsToIsHandedOn(t *testing.T) {
	q := question("a.example", dns.TypeA)
	m := response(t, q,
		rrs(t, "other.example. 60 IN A 192.0.2.1", "notsub.old.example. 60 IN CNAME x.example.", "a.example. 60 IN CNAME sub.old.example.",
			"old.example. 60 IN DNAME new.example.", "sub.old.example. 60 IN CNAME sub.new.example.", "sub.new.example. 60 IN A 192.0.2.2",
			"notsub.new.example. 60 IN A 192.0.2.3"),
		rrs(t, "evil.example. 60 IN A 192.0.2.4", "evil.example. 60 IN CNAME listed.example.", "example. 60 IN NS ns.example."), nil)
	a, err := dnswire.ParseAnswer(pack(t, m), q.Id, []byte("\x01a\x07example\x00"), dns.TypeA, true)
	if err != nil {
		t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(a.Msg); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, rr := range append(got.Answer, got.Ns...) {
		kept = append(kept, rr.Header().Name+" "+dns.Type(rr.Header().Rrtype).String())
	}
	want := []string{"a.example. CNAME", "old.example. DNAME", "sub.old.example. CNAME", "sub.new.example. A", "example. NS"}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Error(diff)
	}
}

// A name that points into a time to live reads differently when that is lowered. What was judged must be
// what is served.
func TestATargetDoesNotChangeWithTheAgeOfTheAnswer(t *testing.T) {
	var msg []byte
	msg = append(msg, 0, 7, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0)
	msg = append(msg, "\x01a\x07example\x00\x00\x10\x00\x01"...)
	msg = append(msg, 0xC0, 12, 0, 16, 0, 1)
	ttl := len(msg)
	msg = append(msg, 1, 'z', 0, 0) // a TTL that is the name "z." too
	msg = append(msg, 0, 2, 1, 'x')
	msg = append(msg, 0xC0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 6, 3, 'b', 'a', 'd', 0xC0, byte(ttl))
	a, err := dnswire.ParseAnswer(msg, 7, []byte("\x01a\x07example\x00"), dns.TypeTXT, false)
	if err != nil {
		t.Fatal(err)
	}
	target := func() string {
		text := ""
		dnswire.Targets(a.Msg, func(_ dnswire.Target, name []byte, _ netip.Addr) bool { text = string(name); return true })
		return text
	}
	before := target()
	for _, o := range a.TTLs {
		dnswire.AgeTTL(a.Msg, o, 1<<20, 5)
	}
	if after := target(); before == "" || after != before {
		t.Errorf("the target was %q and is %q", before, after)
	}
}

func TestNamesInRecordsSurviveBeingWrittenAnew(t *testing.T) {
	for _, text := range []string{
		"a.example.	60	IN	MX	10 Mail.a.example.", "a.example.	60	IN	NAPTR	1 2 \"u\" \"E2U+sip\" \"x\" repl.example.",
		"a.example.	60	IN	SRV	1 2 3 srv.example.", "a.example.	60	IN	RP	who.example. what.example.",
		"a.example.	60	IN	MINFO	one.example. two.example.", "a.example.	60	CLASS1	TYPE65280	\\# 3 616263",
	} {
		records := rrs(t, text)
		typ := records[0].Header().Rrtype
		q := question("a.example", typ)
		if diff := cmp.Diff([]string{text}, handedOn(t, response(t, q, records, nil, nil), q, "\x01a\x07example\x00", false)); diff != "" {
			t.Error(diff)
		}
	}
}

// handedOn is the answer section that is left of an upstream's response.
func handedOn(t *testing.T, m, q *dns.Msg, key string, signed bool) (answer []string) {
	t.Helper()
	a, err := dnswire.ParseAnswer(pack(t, m), q.Id, []byte(key), q.Question[0].Qtype, signed)
	if err != nil {
		t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(a.Msg); err != nil {
		t.Fatal(err)
	}
	for _, rr := range got.Answer {
		answer = append(answer, rr.String())
	}
	return answer
}

func TestTheSOAOfOurOwnAnswersIsWellFormed(t *testing.T) {
	packet := pack(t, question("blocked.example", dns.TypeA))
	packet = dnswire.AppendSOA(packet, 30)
	packet = dnswire.AppendOPT(packet, 1232, 0, true, dnswire.EDEBlocked)
	dnswire.PutHeader(packet, dnswire.Header{ID: 1, Flags: dnswire.FlagQR, Rcode: 3, Questions: 1, Authority: 1, More: 1})
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		t.Fatal(err)
	}
	soa, ok := m.Ns[0].(*dns.SOA)
	if !ok || soa.Hdr.Name != "blocked.example." || soa.Hdr.Ttl != 30 || soa.Minttl != 30 {
		t.Errorf("SOA %v", m.Ns[0])
	}
	ede, ok := m.IsEdns0().Option[0].(*dns.EDNS0_EDE)
	if !ok || ede.InfoCode != dns.ExtendedErrorCodeBlocked || !m.IsEdns0().Do() {
		t.Errorf("OPT %v", m.IsEdns0())
	}
}

// What Parse takes, miekg takes and reads alike. The other way round does not hold: Parse refuses
// octets behind the end, several questions and the like.
// onlyHeader leaves of a query its header, with one additional record to come.
func onlyHeader(query []byte) []byte {
	query[5], query[11] = 0, 1
	return query[:12]
}

// withCookie appends an OPT record with a cookie of a size.
func withCookie(query []byte, size int) []byte {
	query = append(query, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, byte(size+4), 0, 10, 0, byte(size))
	return append(query, make([]byte, size)...)
}

func TestACookieHasEightOctetsOrSixteenToForty(t *testing.T) {
	for size := range 60 {
		query := pack(t, question("example.org", dns.TypeA))
		query[11] = 1
		start := len(query) + 15
		query = withCookie(query, size)
		var q dnswire.Query
		status := q.Parse(query)
		if size == 8 || size >= 16 && size <= 40 {
			if status != dnswire.StatusOK || q.CookieAt != start || q.CookieLen != size {
				t.Errorf("%d octets: status %d, %d octets at %d", size, status, q.CookieLen, q.CookieAt)
			}
		} else if status != dnswire.StatusFormErr || !q.EDNS || q.CookieLen != 0 {
			t.Errorf("%d octets: status %d, EDNS %v, a cookie of %d octets", size, status, q.EDNS, q.CookieLen)
		}
	}
}

// hasEmpty reports whether the first option with a code has no data.
func hasEmpty(m *dns.Msg, code uint16) bool {
	if m.IsEdns0() == nil {
		return false
	}
	for _, o := range m.IsEdns0().Option {
		if local, ok := o.(*dns.EDNS0_LOCAL); ok && local.Code == code {
			return len(local.Data) == 0
		}
	}
	return false
}

func FuzzQueryAgreesWithMiekg(f *testing.F) {
	m := question("www.Example.org", dns.TypeA)
	f.Add(pack(f, m))
	m.SetEdns0(4096, true)
	f.Add(pack(f, m))
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65101, Data: []byte{1}}, &dns.EDNS0_LOCAL{Code: 65100}}
	f.Add(pack(f, m))
	f.Add(pack(f, new(dns.Msg).SetNotify("rpz.Example.")))
	f.Add(withCookie(onlyHeader(pack(f, question("www.Example.org", dns.TypeA))), 24))
	f.Fuzz(func(t *testing.T, packet []byte) {
		var q dnswire.Query
		status := q.Parse(bytes.Clone(packet))
		if end := q.CookieAt + q.CookieLen; end > len(packet) || status == dnswire.StatusCookie && q.CookieLen == 0 {
			t.Fatalf("a cookie of %d octets ends at %d of %d", q.CookieLen, end, len(packet))
		}
		notify := status == dnswire.StatusNotImp && q.ParseNotify(packet)
		if status != dnswire.StatusOK && !notify {
			return
		}
		want := new(dns.Msg)
		if err := want.Unpack(packet); err != nil {
			// miekg reads the data of every record in the additional section; Parse only frames it, and
			// ParseNotify reads no record.
			if packet[11] == 0 && !notify {
				t.Fatalf("Parse took what miekg refuses: %v", err)
			}
			return
		}
		got, _, err := dns.UnpackDomainName(q.Name(), 0)
		if err != nil || !strings.EqualFold(got, want.Question[0].Name) || q.Type != want.Question[0].Qtype || q.Class != want.Question[0].Qclass {
			t.Fatalf("read %q %d %d, miekg reads %v", got, q.Type, q.Class, want.Question[0])
		}
		if opt := want.IsEdns0(); !notify && (opt != nil) != q.EDNS || opt != nil && opt.Do() != q.DO {
			t.Fatalf("EDNS %v DO %v, miekg reads %v", q.EDNS, q.DO, opt)
		}
		if !notify && q.Has(packet, 65100) != hasEmpty(want, 65100) {
			t.Fatalf("option 65100 found: %v; miekg reads %v", q.Has(packet, 65100), want)
		}
	})
}

// Whatever an upstream sends, what ParseAnswer takes is a message that miekg can read, has the
// question, and is walked by Targets and the TTL functions without harm.
func FuzzAnswerIsWellFormed(f *testing.F) {
	q := question("a.example", dns.TypeHTTPS)
	q.Id = 7
	m := response(f, q, rrs(f, "a.example. 60 IN CNAME b.example.", "b.example. 60 IN HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1"),
		rrs(f, "example. 60 IN SOA ns.example. host.example. 1 2 3 4 5"), nil)
	m.SetEdns0(1232, true)
	f.Add(pack(f, m), true)
	f.Add(pack(f, m), false)
	key := []byte("\x01a\x07example\x00")
	f.Fuzz(func(t *testing.T, packet []byte, keep bool) {
		a, err := dnswire.ParseAnswer(bytes.Clone(packet), 7, key, dns.TypeHTTPS, keep)
		if err != nil || a.Msg == nil {
			return
		}
		answers, authority := dnswire.Counts(a.Msg)
		if int(answers)+int(authority) != len(a.TTLs) {
			t.Fatalf("%d and %d records, %d TTLs", answers, authority, len(a.TTLs))
		}
		targets := func() (all string) {
			dnswire.Targets(a.Msg, func(_ dnswire.Target, name []byte, addr netip.Addr) bool {
				all += string(name) + addr.String() + ";"
				return true
			})
			return all
		}
		before := targets()
		dnswire.BoundTTLs(a.Msg, a.TTLs, 1, 1<<31-1)
		for _, o := range a.TTLs {
			dnswire.AgeTTL(a.Msg, o, 3, 0x01610000)
		}
		if after := targets(); after != before {
			t.Fatalf("targets %q became %q with age", before, after)
		}
		// miekg reads the data of every type; ours are checked for those that a client may trip over.
		if _, _, err := dns.UnpackDomainName(a.Msg, 12); err != nil {
			t.Fatalf("the question's name: %v", err)
		}
	})
}

func BenchmarkQueryParse(b *testing.B) {
	m := question("www.example.org", dns.TypeA)
	m.SetEdns0(1232, false)
	packet := pack(b, m)
	var q dnswire.Query
	b.ReportAllocs()
	for b.Loop() {
		if q.Parse(packet) != dnswire.StatusOK {
			b.Fatal("refused")
		}
	}
}

func BenchmarkParseAnswer(b *testing.B) {
	q := question("www.example.org", dns.TypeA)
	packet := pack(b, response(b, q, rrs(b, "www.example.org. 300 IN CNAME web.example.net.", "web.example.net. 60 IN A 192.0.2.1"), nil, nil))
	key := []byte("\x03www\x07example\x03org\x00")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dnswire.ParseAnswer(packet, q.Id, key, dns.TypeA, false); err != nil {
			b.Fatal(err)
		}
	}
}
