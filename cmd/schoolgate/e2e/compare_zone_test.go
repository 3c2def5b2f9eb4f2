//go:build e2e

package e2e_test

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// origin is the zone that the compared servers ask for: of every kind of record and of answer some.
const origin = "compare.example."

// zoneText is what it has, behind SOA and NS. Names below "secure" are signed, in form.
const zoneText = `
$ORIGIN compare.example.
$TTL 300
@            SOA  ns.compare.example. host.compare.example. 1 3600 600 86400 120
@            NS   ns
@            MX   10 mail
@            TXT  "the top"
@            CAA  0 issue "ca.example"
ns           A    192.0.2.53
www          A    192.0.2.1
www          A    192.0.2.2
www          AAAA 2001:db8::1
www          HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.1 ipv6hint=2001:db8::1
v4           A    192.0.2.4
v6           AAAA 2001:db8::6
mapped       AAAA ::ffff:192.0.2.7
mail         MX   10 mail
mail         MX   20 mail.other.example.
mail         A    192.0.2.25
null-mx      MX   0 .
alias        CNAME www
alias2       CNAME alias
alias3       CNAME alias2
alias4       CNAME alias3
alias5       CNAME alias4
dangling     CNAME nothing-here
outside      CNAME www.elsewhere.example.
loop1        CNAME loop2
loop2        CNAME loop1
self         CNAME self
d            DNAME target
a.target     A    192.0.2.30
b.c.target   TXT  "below a DNAME"
target       A    192.0.2.31
txt          TXT  "one" "two" "three"
txt-empty    TXT  ""
txt-odd      TXT  "quote \" back \\ \000\255 ;"
_sip._tcp    SRV  10 60 5060 www
_sip._tcp    SRV  20 10 5060 alias
_none._tcp   SRV  0 0 0 .
svc          SVCB 1 www port=853 alpn="dot" key65000="\001\002"
svc-alias    SVCB 0 www
https-alias  HTTPS 0 www
naptr        NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:info@compare.example!" .
naptr        NAPTR 100 20 "s" "SIP+D2T" "" _sip._tcp
caa          CAA  128 issue ";"
caa          CAA  0 iodef "mailto:security@compare.example"
unknown      TYPE65280 \# 4 0A000001
unknown      TYPE700 \# 0
hinfo        HINFO "a computer" "a system"
loc          LOC  51 28 40.12 N 0 0 5.31 W 10m
rp           RP   host.compare.example. txt
afsdb        AFSDB 1 www
sshfp        SSHFP 1 1 0123456789abcdef0123456789abcdef01234567
_443._tcp    TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
uri          URI  10 1 "https://www.compare.example/"
ptr          PTR  www
kx           KX   10 www
null         TYPE10 \# 3 010203
spf          SPF  "v=spf1 -all"
eui          EUI48 00-00-5e-00-53-2a
cert         CERT PGP 0 0 AQIDBAU=
openpgp      OPENPGPKEY AQIDBAU=
smimea       SMIMEA 3 1 1 0123456789abcdef
dhcid        DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=
*.wild       A    192.0.2.40
*.wild       TXT  "from a wildcard"
*.wild-alias CNAME www
below.ent    A    192.0.2.50
MiXeD        A    192.0.2.60
mixed-alias  CNAME WwW.CoMpArE.eXaMpLe.
MiXeD        TXT  "Its Own Case"
sp\032ace    A    192.0.2.61
dot\.in      A    192.0.2.62
nul\000byte  A    192.0.2.63
high\255     A    192.0.2.64
\@\;\"\(\)   A    192.0.2.65
ttl0         0 A  192.0.2.70
ttl1         1 A  192.0.2.71
ttl-day      86400 A 192.0.2.72
ttl-week     604800 A 192.0.2.73
ttl-31       2147483647 A 192.0.2.74
ttl-mixed    60 A 192.0.2.75
ttl-mixed    600 A 192.0.2.76
ttl-chain    30 CNAME www
sub          NS   ns.sub
ns.sub       A    192.0.2.54
secure       SOA  ns.secure.compare.example. host.compare.example. 1 3600 600 86400 120
secure       A    192.0.2.80
secure       DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==
secure       DS   12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
www.secure   A    192.0.2.81
www.secure   AAAA 2001:db8::81
alias.secure CNAME www.secure
*.w.secure   A    192.0.2.82
txt.secure   TXT  "signed"
`

// zone is a server that answers for the whole of DNS out of one zone: it follows aliases within it, and knows
// nothing else.
type zone struct {
	records map[string][]dns.RR // by owner, in lower case
	strange atomic.Int64        // questions of another class, or other than questions
}

func newZone(t *testing.T) *zone {
	t.Helper()
	z := &zone{records: make(map[string][]dns.RR)}
	parser := dns.NewZoneParser(strings.NewReader(zoneText), "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		z.add(rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"txt-300": 300, "txt-600": 600, "txt-1100": 1100, "txt-1300": 1300, "txt-1500": 1500, "txt-5000": 5000, "txt-60000": 60000} {
		z.add(&dns.TXT{Hdr: header(name+"."+origin, dns.TypeTXT, 300), Txt: longText(size)})
	}
	for name, count := range map[string]int{"many-20": 20, "many-60": 60, "many-300": 300, "many-3000": 3000} {
		for i := range count {
			z.add(&dns.A{Hdr: header(name+"."+origin, dns.TypeA, 300), A: net.IPv4(198, 18, byte(i>>8), byte(i))})
		}
	}
	for _, ttl := range []uint32{1 << 31, 1<<31 + 300, 1<<32 - 1} {
		z.add(&dns.A{Hdr: header(fmt.Sprintf("ttl-%d.%s", ttl, origin), dns.TypeA, ttl), A: net.IPv4(192, 0, 2, 77)})
	}
	z.add(&dns.A{Hdr: header(longestName, dns.TypeA, 300), A: net.IPv4(192, 0, 2, 90)})
	z.add(&dns.A{Hdr: header(manyLabels, dns.TypeA, 300), A: net.IPv4(192, 0, 2, 91)})
	z.add(&dns.DNAME{Hdr: header("long-d."+origin, dns.TypeDNAME, 300), Target: longestName}) // nothing fits below
	z.add(&dns.CNAME{Hdr: header("to-longest."+origin, dns.TypeCNAME, 300), Target: longestName})
	return z
}

// longestName has 255 octets, manyLabels 127 labels at most.
var (
	longestName = strings.Repeat("l", 63) + "." + strings.Repeat("m", 63) + "." + strings.Repeat("n", 63) + "." + strings.Repeat("o", 43) + "." + origin
	manyLabels  = strings.Repeat("a.", 118) + origin
)

func header(name string, typ uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
}

func longText(size int) (parts []string) {
	for ; size > 0; size -= 200 {
		parts = append(parts, strings.Repeat("t", min(size, 200)))
	}
	return parts
}

func (z *zone) add(rr dns.RR) {
	owner := strings.ToLower(rr.Header().Name)
	z.records[owner] = append(z.records[owner], rr)
}

// names are the zone's, in order.
func (z *zone) names() []string { return slices.Sorted(maps.Keys(z.records)) }

// serve answers on one port over UDP and TCP until the test ends.
func (z *zone) serve(t *testing.T) (port int) {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = socket.LocalAddr().(*net.UDPAddr).Port
	listener, err := net.Listen("tcp", socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: socket, UDPSize: 4096}, {Listener: listener, MaxTCPQueries: -1}} {
		overTCP := s.Listener != nil
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := z.answer(q)
			size := dns.MaxMsgSize
			if opt := q.IsEdns0(); !overTCP {
				size = dns.MinMsgSize
				if opt != nil {
					size = max(size, int(opt.UDPSize()))
				}
			}
			m.Compress = true
			if m.Len() > size {
				m.Truncate(size)
				m.Truncated = true
			}
			_ = w.WriteMsg(m)
		})
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
	return port
}

// answer is what the zone has for a question. Names that begin with "say-" have answers of their own.
func (z *zone) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	opt := q.IsEdns0()
	if opt != nil {
		m.SetEdns0(1232, opt.Do())
	}
	question := q.Question[0]
	if question.Qclass != dns.ClassINET || q.Opcode != dns.OpcodeQuery {
		z.strange.Add(1)
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	name := strings.ToLower(question.Name)
	if first, _, _ := strings.Cut(name, "."); strings.HasPrefix(first, "say-") {
		z.say(m, strings.TrimPrefix(first, "say-"))
		return m
	}
	z.follow(m, question.Name, question.Qtype)
	if secure := "secure." + origin; dns.IsSubDomain(secure, name) {
		m.AuthenticatedData = q.AuthenticatedData || opt != nil && opt.Do()
		if opt != nil && opt.Do() {
			m.Answer, m.Ns = signed(m.Answer), signed(m.Ns)
		}
	}
	return m
}

// follow adds the answer for a name, and for the names to which it leads.
func (z *zone) follow(m *dns.Msg, name string, typ uint16) {
	for range 12 {
		if !dns.IsSubDomain(origin, strings.ToLower(name)) {
			if len(m.Answer) == 0 {
				z.negative(m, name, dns.RcodeNameError)
			}
			return
		}
		rrs := z.at(name)
		next := ""
		matched := false
		for _, rr := range rrs {
			switch alias := rr.(type) {
			case *dns.DNAME:
				if typ != dns.TypeDNAME || !strings.EqualFold(alias.Hdr.Name, name) {
					if strings.EqualFold(alias.Hdr.Name, name) {
						break
					}
					m.Answer = append(m.Answer, rr)
					next = name[:len(name)-len(alias.Hdr.Name)] + alias.Target
					if len(next) > 254 {
						m.Rcode = dns.RcodeYXDomain
						return
					}
					m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME, rr.Header().Ttl), Target: next})
					continue
				}
			case *dns.CNAME:
				if typ != dns.TypeCNAME && typ != dns.TypeANY {
					next = alias.Target
					m.Answer = append(m.Answer, rr)
					continue
				}
			}
			if rr.Header().Rrtype == typ || typ == dns.TypeANY {
				matched = true
				m.Answer = append(m.Answer, rr)
			}
		}
		switch {
		case next != "":
			name = next
			continue
		case rrs == nil:
			z.negative(m, name, dns.RcodeNameError)
		case !matched:
			z.negative(m, name, dns.RcodeSuccess)
		}
		return
	}
}

// at is the records of a name: its own, a wildcard's, or the DNAME record above it. Not nil where the name exists.
func (z *zone) at(name string) []dns.RR {
	key := strings.ToLower(name)
	if rrs := z.records[key]; rrs != nil {
		return rrs
	}
	for owner := range z.records {
		if dns.IsSubDomain(key, owner) {
			return []dns.RR{} // an empty name between others
		}
	}
	for off, end := dns.NextLabel(key, 0); !end; off, end = dns.NextLabel(key, off) {
		above := key[off:]
		for _, rr := range z.records[above] {
			if rr.Header().Rrtype == dns.TypeDNAME {
				return []dns.RR{rr}
			}
		}
		if wild := z.records["*."+above]; wild != nil {
			rrs := make([]dns.RR, 0, len(wild))
			for _, rr := range wild {
				rr = dns.Copy(rr)
				rr.Header().Name = name
				rrs = append(rrs, rr)
			}
			return rrs
		}
		if z.records[above] != nil {
			return nil
		}
	}
	return nil
}

func (z *zone) negative(m *dns.Msg, name string, rcode int) {
	m.Rcode = rcode
	top := origin
	if secure := "secure." + origin; dns.IsSubDomain(secure, strings.ToLower(name)) {
		top = secure
	}
	m.Ns = append(m.Ns, z.records[top][0])
}

// say is the answers of a server that is odd, or wrong.
func (z *zone) say(m *dns.Msg, what string) {
	name := m.Question[0].Name
	a := func(owner string) dns.RR {
		return &dns.A{Hdr: header(owner, dns.TypeA, 300), A: net.IPv4(192, 0, 2, 99)}
	}
	ns := &dns.NS{Hdr: header(origin, dns.TypeNS, 300), Ns: "ns." + origin}
	soa := func(ttl, minimum uint32) dns.RR {
		soa := dns.Copy(z.records[origin][0]).(*dns.SOA)
		soa.Hdr.Ttl, soa.Minttl = ttl, minimum
		return soa
	}
	switch what {
	case "servfail":
		m.Rcode = dns.RcodeServerFailure
	case "refused":
		m.Rcode = dns.RcodeRefused
	case "notimp":
		m.Rcode = dns.RcodeNotImplemented
	case "formerr":
		m.Rcode = dns.RcodeFormatError
	case "notauth":
		m.Rcode = dns.RcodeNotAuth
	case "nodata-without-soa":
	case "nxdomain-without-soa":
		m.Rcode = dns.RcodeNameError
	case "lame":
		m.Ns = []dns.RR{&dns.NS{Hdr: header(".", dns.TypeNS, 300), Ns: "a.root-servers.net."}}
		m.RecursionAvailable = false
	case "referral":
		m.Ns = []dns.RR{ns}
		m.Extra = append(m.Extra, z.records["ns."+origin]...)
	case "soa-of-an-hour":
		m.Ns = []dns.RR{soa(3600, 60)}
	case "soa-of-a-minute":
		m.Ns = []dns.RR{soa(60, 3600)}
	case "soa-of-a-day":
		m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa(86400, 86400)}
	case "soa-of-nothing":
		m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa(0, 0)}
	case "soa-of-the-child":
		m.Ns = []dns.RR{soa(300, 300)}
		m.Ns[0].Header().Name = name
	case "more-than-asked":
		m.Answer = []dns.RR{a(name), a("unasked." + origin), &dns.TXT{Hdr: header(name, dns.TypeTXT, 300), Txt: []string{"unasked"}}}
	case "other-only":
		m.Answer = []dns.RR{a("unasked." + origin)}
	case "with-authority":
		m.Answer, m.Ns, m.Extra = []dns.RR{a(name)}, []dns.RR{ns}, append(m.Extra, z.records["ns."+origin]...)
	case "authoritative":
		m.Answer, m.Authoritative = []dns.RR{a(name)}, true
	case "authentic":
		m.Answer, m.AuthenticatedData = []dns.RR{a(name)}, true
	case "twice":
		m.Answer = []dns.RR{a(name), a(name)}
	case "nxdomain-with-answer":
		m.Rcode, m.Answer = dns.RcodeNameError, []dns.RR{a(name)}
	case "alias-to-nowhere":
		m.Rcode = dns.RcodeNameError
		m.Answer = []dns.RR{&dns.CNAME{Hdr: header(name, dns.TypeCNAME, 300), Target: "nowhere." + origin}}
		m.Ns = []dns.RR{soa(300, 120)}
	case "backwards":
		m.Answer = []dns.RR{a("www2." + origin), &dns.CNAME{Hdr: header(name, dns.TypeCNAME, 300), Target: "www2." + origin}}
	case "two-aliases":
		m.Answer = []dns.RR{
			&dns.CNAME{Hdr: header(name, dns.TypeCNAME, 300), Target: "www." + origin}, &dns.CNAME{Hdr: header(name, dns.TypeCNAME, 300), Target: "v4." + origin},
			a("www." + origin),
		}
	case "without-edns":
		m.Answer, m.Extra = []dns.RR{a(name)}, nil
	case "other-class":
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassCHAOS, Ttl: 300}, A: net.IPv4(192, 0, 2, 99)}}
	default:
		z.negative(m, name, dns.RcodeNameError)
	}
}

// sayings are the names of those answers.
var sayings = []string{
	"servfail", "refused", "notimp", "formerr", "notauth", "nodata-without-soa", "nxdomain-without-soa", "lame", "referral", "soa-of-an-hour",
	"soa-of-a-minute", "soa-of-a-day", "soa-of-nothing", "soa-of-the-child", "more-than-asked", "other-only", "with-authority", "authoritative",
	"authentic", "twice", "nxdomain-with-answer", "alias-to-nowhere", "backwards", "two-aliases", "without-edns", "other-class",
}

// signed is the records with something like a signature for each set of them, and of a negative answer
// something like the proof.
func signed(rrs []dns.RR) []dns.RR {
	out := slices.Clone(rrs)
	seen := make(map[string]bool)
	for _, rr := range rrs {
		h := rr.Header()
		if key := h.Name + dns.TypeToString[h.Rrtype]; !seen[key] {
			seen[key] = true
			out = append(out, signature(h.Name, h.Rrtype, h.Ttl))
		}
		if h.Rrtype == dns.TypeSOA {
			out = append(out, &dns.NSEC{Hdr: header("a.secure."+origin, dns.TypeNSEC, 120), NextDomain: "z.secure." + origin, TypeBitMap: []uint16{dns.TypeA, dns.TypeRRSIG, dns.TypeNSEC}},
				signature("a.secure."+origin, dns.TypeNSEC, 120))
		}
	}
	return out
}

func signature(name string, covered uint16, ttl uint32) dns.RR {
	return &dns.RRSIG{
		Hdr: header(name, dns.TypeRRSIG, ttl), TypeCovered: covered, Algorithm: dns.ECDSAP256SHA256, Labels: uint8(dns.CountLabel(name)), OrigTtl: ttl,
		Expiration: 4000000000, Inception: 1700000000, KeyTag: 12345, SignerName: "secure." + origin, Signature: strings.Repeat("A", 86) + "==",
	}
}
