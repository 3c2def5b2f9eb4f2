package resolver_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// withCookie returns a query with a cookie, in hexadecimal.
func withCookie(cookie string) *dns.Msg {
	q := ask("localhost", dns.TypeA)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie}}
	return q
}

func cookieOf(m *dns.Msg) string {
	if o := m.IsEdns0(); o != nil {
		for _, option := range o.Option {
			if c, ok := option.(*dns.EDNS0_COOKIE); ok {
				return c.Cookie
			}
		}
	}
	return ""
}

func TestACookieIsAnsweredWithOneThatIsTaken(t *testing.T) {
	const client = "0102030405060708"
	s := start(t, nil)
	for _, network := range []string{"udp", "tcp"} {
		first := cookieOf(s.exchange(t, withCookie(client), network, "127.0.0.5"))
		if len(first) != 48 || !strings.HasPrefix(first, client+"01000000") {
			t.Fatalf("%s: cookie %q", network, first)
		}
		if again := cookieOf(s.exchange(t, withCookie(first), network, "127.0.0.5")); again != first {
			t.Errorf("%s: a good cookie was answered with %q, not itself", network, again)
		}
		if other := cookieOf(s.exchange(t, withCookie(first), network, "127.0.0.6")); len(other) != 48 || other == first {
			t.Errorf("%s: another's cookie was answered with %q", network, other)
		}
		if none := cookieOf(s.exchange(t, ask("localhost", dns.TypeA), network, "127.0.0.5")); none != "" {
			t.Errorf("%s: a cookie that nobody asked for: %q", network, none)
		}
		if outsider := cookieOf(s.exchange(t, withCookie(client), network, "127.0.0.66")); outsider != "" {
			t.Errorf("%s: an outsider got a cookie: %q", network, outsider)
		}
		for size := range 45 {
			q := withCookie(strings.Repeat("ab", size))
			r := s.exchange(t, q, network, "127.0.0.5")
			good := size == 8 || size >= 16 && size <= 40
			if good != (r.Rcode == dns.RcodeSuccess) || !good && (r.Rcode != dns.RcodeFormatError || r.IsEdns0() == nil) {
				t.Errorf("%s: a cookie of %d octets: %v", network, size, r)
			}
		}
	}
}

// RFC 7873 §5.4.
func TestACookieMayBeAllThatIsAskedFor(t *testing.T) {
	s := start(t, nil)
	q := withCookie("0102030405060708")
	q.Question = nil
	m := s.ask(t, q, "udp", "127.0.0.5")
	if m.Rcode != dns.RcodeSuccess || len(m.Question)+len(m.Answer) != 0 || len(cookieOf(m)) != 48 || m.Truncated {
		t.Errorf("got %v", m)
	}
}

func TestAForgedFloodDoesNotSilenceTheOwnerOfTheAddress(t *testing.T) {
	s := start(t, func(c *resolver.Config) { c.Settings.Access.RateLimit = slow(3) })
	cookie := cookieOf(s.ask(t, withCookie("0102030405060708"), "udp", "127.0.0.5"))
	for range 100 { // whoever forges the address does not see the answers
		s.ask(t, withCookie("0807060504030201"), "udp", "127.0.0.5")
	}
	if r := s.ask(t, ask("localhost", dns.TypeA), "udp", "127.0.0.5"); !r.Truncated {
		t.Errorf("without a cookie: %v", r)
	}
	if r := s.ask(t, withCookie(cookie), "udp", "127.0.0.5"); r.Truncated || len(r.Answer) != 1 {
		t.Errorf("with the cookie: %v", r)
	}
	if r := s.ask(t, ask("localhost", dns.TypeA), "tcp", "127.0.0.5"); len(r.Answer) != 1 {
		t.Errorf("over TCP: %v", r)
	}
	for range 3 {
		s.ask(t, withCookie(cookie), "udp", "127.0.0.5")
	}
	if r := s.ask(t, withCookie(cookie), "udp", "127.0.0.5"); !r.Truncated || cookieOf(r) != cookie {
		t.Errorf("the owner over its own limit: %v", r)
	}
}

func nsid(m *dns.Msg) string {
	if o := m.IsEdns0(); o != nil {
		for _, option := range o.Option {
			if n, ok := option.(*dns.EDNS0_NSID); ok {
				b, _ := hex.DecodeString(n.Nsid)
				return string(b)
			}
		}
	}
	return ""
}

func TestWhoMayAskIsToldWhichSiteAnswers(t *testing.T) {
	long := strings.Repeat("Llanfairpwllgwyngyll ", 3) + "ŵŵ" // the 64th octet is within a character
	for site, want := range map[string]string{"winchelsea": "winchelsea", "": "", long: long[:63]} {
		s := start(t, func(c *resolver.Config) {
			spec := schoolSpec(t)
			spec.Site = site
			c.Settings.Policy = compile(t, spec)
		})
		q := ask("localhost", dns.TypeA)
		q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
		for _, network := range []string{"udp", "tcp"} {
			if got := nsid(s.exchange(t, q, network, "")); got != want {
				t.Errorf("%s: NSID %q, want %q", network, got, want)
			}
			if got := nsid(s.exchange(t, ask("localhost", dns.TypeA), network, "")); got != "" {
				t.Errorf("%s: NSID %q, not asked for", network, got)
			}
			if got := nsid(s.exchange(t, q, network, "127.0.0.66")); got != "" {
				t.Errorf("%s: an outsider is told %q", network, got)
			}
		}
	}
}

// RFC 6891 §6.1.
func TestEDNSIsAnsweredAsItsStandardSays(t *testing.T) {
	s := start(t, nil, startUpstream(t, records("museum.example. 300 IN A 192.0.2.1")))
	plain, err := new(dns.Msg).SetQuestion("museum.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	with := func(section int, tail ...byte) []byte {
		b := bytes.Clone(plain)
		b[section]++
		return append(b, tail...)
	}
	const answers, authority, additional = 7, 9, 11
	opt := []byte{0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0}
	change := func(i int, v byte) []byte { b := bytes.Clone(opt); b[i] = v; return b }
	two := with(additional, append(bytes.Clone(opt), opt...)...)
	two[additional] = 2
	for name, test := range map[string]struct {
		packet []byte
		rcode  int
		edns   bool
		do     bool
	}{
		"none":                    {plain, dns.RcodeSuccess, false, false},
		"version 0":               {with(additional, opt...), dns.RcodeSuccess, true, false},
		"version 1":               {with(additional, change(6, 1)...), dns.RcodeBadVers, true, false},
		"version 255":             {with(additional, change(6, 255)...), dns.RcodeBadVers, true, false},
		"DO":                      {with(additional, change(7, 0x80)...), dns.RcodeSuccess, true, true},
		"unknown flags":           {with(additional, change(8, 0xff)...), dns.RcodeSuccess, true, false},
		"twice":                   {two, dns.RcodeFormatError, true, false},
		"in the answer section":   {with(answers, opt...), dns.RcodeFormatError, false, false},
		"in the authority":        {with(authority, opt...), dns.RcodeFormatError, false, false},
		"with an unknown option":  {with(additional, append(change(10, 6), 0xff, 0, 0, 2, 1, 2)...), dns.RcodeSuccess, true, false},
		"with an option cut off":  {with(additional, append(change(10, 6), 0xff, 0, 0, 9, 1, 2)...), dns.RcodeFormatError, true, false},
		"with half an option":     {with(additional, append(change(10, 2), 0xff, 0)...), dns.RcodeFormatError, true, false},
		"longer than the message": {with(additional, change(10, 9)...), dns.RcodeFormatError, false, false},
		"that is not the root's":  {with(additional, append([]byte{1, 'x'}, opt...)...), dns.RcodeFormatError, false, false},
	} {
		response, err := s.Ask(t.Context(), test.packet, netip.MustParseAddrPort("127.0.0.1:4000"), "udp", false)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(response); err != nil {
			t.Fatal(name, err)
		}
		o := m.IsEdns0()
		if m.Rcode != test.rcode || (o != nil) != test.edns || m.Rcode != dns.RcodeSuccess && len(response) > len(test.packet) {
			t.Errorf("%s: %v", name, m)
		}
		if o != nil && (o.Version() != 0 || o.UDPSize() != 1232 || o.Do() != test.do || o.Z() != 0 || o.Hdr.Name != ".") {
			t.Errorf("%s: OPT %v", name, o)
		}
	}
}

func TestAnAnswerOverUDPIsAsLargeAsTheClientTakesAndAtMost1400(t *testing.T) {
	for _, test := range []struct{ octets, offered, most int }{
		{0, 0, 512},
		{500, 100, 512},
		{500, 0, 512},
		{700, 512, 512},
		{1300, 1232, 1232},
		{1300, 1400, 1400},
		{1300, 4096, 1400},
		{1350, 65535, 1400},
		{1390, 4096, 1400},
		{1500, 4096, 1400},
	} {
		// One TXT record in so many octets, with its owner compressed: 33 of question, header and record.
		long := func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			if w.RemoteAddr().Network() == "udp" {
				m.Truncated = true
			} else {
				m.Compress = true
				txt := &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 300}}
				for left := test.octets - 33; left > 0; left -= 256 {
					txt.Txt = append(txt.Txt, strings.Repeat("x", min(left, 255)))
				}
				m.Answer = []dns.RR{txt}
			}
			_ = w.WriteMsg(m)
		}
		s := start(t, nil, startUpstream(t, long))
		q := new(dns.Msg).SetQuestion("long.example.", dns.TypeTXT)
		if test.offered > 0 {
			q.SetEdns0(uint16(test.offered), false)
		}
		_, whole := s.askRaw(t, q, "tcp", "127.0.0.1")
		_, response := s.askRaw(t, q, "udp", "127.0.0.1")
		m := new(dns.Msg)
		if err := m.Unpack(response); err != nil {
			t.Fatal(err)
		}
		fits := len(whole) <= test.most
		if len(response) > test.most || m.Truncated == fits || fits && len(response) != len(whole) {
			t.Errorf("%d octets, %d offered: %d came, truncated %v", len(whole), test.offered, len(response), m.Truncated)
		}
	}
}

func TestWhatIsBetweenServersIsNeverPassedOn(t *testing.T) {
	up := startUpstream(t, records())
	s := start(t, nil, up)
	meta := func(typ uint16) *dns.Msg { return ask("museum.example", typ) }
	for _, network := range []string{"udp", "tcp"} {
		for typ := uint16(128); typ <= 254; typ++ { // among them AXFR, IXFR, MAILB, TKEY and TSIG (RFC 6895 §3.1)
			if r := s.ask(t, meta(typ), network, "127.0.0.5"); r.Rcode != dns.RcodeRefused {
				t.Errorf("%s, type %s: %v", network, dns.Type(typ), r)
			}
		}
		if r := s.ask(t, meta(dns.TypeOPT), network, "127.0.0.5"); r.Rcode != dns.RcodeFormatError {
			t.Errorf("%s, type OPT: %v", network, r)
		}
		for opcode := 1; opcode <= 15; opcode++ { // IQUERY, STATUS, NOTIFY, UPDATE, DSO and what is not assigned
			q := meta(dns.TypeSOA)
			q.Opcode = opcode
			if r := s.ask(t, q, network, "127.0.0.5"); r.Rcode != dns.RcodeNotImplemented || r.Opcode != opcode {
				t.Errorf("%s, opcode %d: %v", network, opcode, r)
			}
		}
		for _, class := range []uint16{0, 2, dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 65535} {
			for name, typ := range map[string]uint16{"version.bind": dns.TypeTXT, "id.server": dns.TypeTXT, "hostname.bind": dns.TypeTXT, "museum.example": dns.TypeA} {
				q := ask(name, typ)
				q.Question[0].Qclass = class
				if r := s.ask(t, q, network, "127.0.0.5"); r.Rcode != dns.RcodeRefused || len(r.Answer)+len(r.Ns) != 0 {
					t.Errorf("%s, %s of class %d: %v", network, name, class, r)
				}
			}
		}
		if r := s.ask(t, meta(dns.TypeANY), network, "127.0.0.5"); len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != dns.TypeHINFO {
			t.Errorf("%s, ANY: %v", network, r)
		}
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("%d questions went upstream, the first: %v", n, <-up.queries)
	}
}
