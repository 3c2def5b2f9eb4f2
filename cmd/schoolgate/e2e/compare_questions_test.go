//go:build e2e

package e2e_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// asked is one question of the comparison, as it goes over the wire.
type asked struct {
	what    string // for people
	wire    []byte
	name    string // with the case of its letters
	typ     uint16
	class   uint16
	flags   uint16 // the header's second word
	edns    bool
	version uint8
	size    uint16
	do      bool
	options []uint16
	tcp     bool
	// malformed says what is wrong with it, where something is.
	malformed string
}

// The bits of the header's second word.
const (
	bitQR = 1 << 15
	bitAA = 1 << 10
	bitTC = 1 << 9
	bitRD = 1 << 8
	bitRA = 1 << 7
	bitZ  = 1 << 6
	bitAD = 1 << 5
	bitCD = 1 << 4
)

func (a *asked) opcode() int { return int(a.flags>>11) & 0xF }

func (a *asked) below(suffix string) bool {
	return dns.IsSubDomain(dns.Fqdn(suffix), strings.ToLower(a.name))
}

// says reports whether it is for one of the upstream's odd answers.
func (a *asked) says(what ...string) bool {
	first, _, _ := strings.Cut(strings.ToLower(a.name), ".")
	for _, w := range what {
		if first == "say-"+w {
			return true
		}
	}
	return false
}

// pack writes the message.
func (a *asked) pack(t *testing.T) {
	t.Helper()
	msg := []byte{0, 0, byte(a.flags >> 8), byte(a.flags), 0, 1, 0, 0, 0, 0, 0, 0}
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(a.name, buf, 0, nil, false)
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	msg = append(msg, buf[:n]...)
	msg = binary.BigEndian.AppendUint16(msg, a.typ)
	msg = binary.BigEndian.AppendUint16(msg, a.class)
	if a.edns {
		msg[11]++
		msg = append(msg, 0, 0, 41)
		msg = binary.BigEndian.AppendUint16(msg, a.size)
		msg = append(msg, 0, a.version, 0, 0, 0, 0)
		if a.do {
			msg[len(msg)-4] |= 0x80
		}
		at := len(msg)
		for _, code := range a.options {
			data := optionData[code]
			msg = binary.BigEndian.AppendUint16(msg, code)
			msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
			msg = append(msg, data...)
		}
		binary.BigEndian.PutUint16(msg[at-2:], uint16(len(msg)-at))
	}
	a.wire = msg
	over, edns := "udp", "no EDNS"
	if a.tcp {
		over = "tcp"
	}
	if a.edns {
		edns = fmt.Sprintf("EDNS %d of %d, DO %v, options %v", a.version, a.size, a.do, a.options)
	}
	a.what = fmt.Sprintf("%s %s %s, flags %04x, %s, %s", a.name, dns.Class(a.class), dns.Type(a.typ), a.flags, edns, over)
}

// optionData are EDNS options that are sent: NSID, a client subnet, a cookie, keepalive, padding, chain, a key
// tag, and two that nobody has defined.
var optionData = map[uint16][]byte{
	3: {}, 8: {0, 1, 24, 0, 192, 0, 2}, 10: {1, 2, 3, 4, 5, 6, 7, 8}, 11: {}, 12: make([]byte, 20), 13: {0}, 14: {0x30, 0x39}, 65001: {1, 2, 3}, 4660: {},
}

// questions makes n questions, always the same ones.
func (z *zone) questions(t *testing.T, n int) []*asked {
	t.Helper()
	random := rand.New(rand.NewPCG(2026, 11))
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	var all []*asked
	add := func(a *asked) {
		a.pack(t)
		all = append(all, a)
	}

	// First each name of the zone with each type that it has, once plain and once for DNSSEC.
	for _, name := range z.names() {
		types := make(map[uint16]bool)
		for _, rr := range z.records[name] {
			if typ := rr.Header().Rrtype; !types[typ] {
				types[typ] = true
				name := strings.Replace(name, "*.", "some.", 1)
				do := len(all)%2 == 1
				add(&asked{name: name, typ: typ, class: dns.ClassINET, flags: bitRD, edns: do, do: do, size: 1232})
			}
		}
	}
	for _, what := range sayings {
		for i := range 3 {
			add(&asked{name: "say-" + what + "." + origin, typ: []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT}[i], class: dns.ClassINET, flags: bitRD, edns: i > 0, size: 1232, do: i > 1})
		}
	}
	for _, name := range []string{"version.bind.", "version.server.", "id.server.", "hostname.bind."} {
		add(&asked{name: name, typ: dns.TypeTXT, class: dns.ClassCHAOS, flags: bitRD})
	}
	all = append(all, malformedQuestions(t)...)

	// Then at random, of all that there is.
	names := append(z.names(), special...)
	for _, what := range sayings {
		names = append(names, "say-"+what+"."+origin)
	}
	common := []uint16{
		dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypeSRV, dns.TypePTR,
		dns.TypeDS, dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeDNAME, dns.TypeANY, dns.TypeSVCB, dns.TypeCAA, dns.TypeNAPTR, 65280, 700, 0,
		dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILB, dns.TypeMAILA, dns.TypeTKEY, dns.TypeTSIG, 130, dns.TypeNULL, dns.TypeHINFO,
	}
	sizes := []uint16{0, 1, 511, 512, 600, 1232, 1232, 1232, 1400, 1410, 4096, 65535}
	options := []uint16{3, 8, 10, 11, 12, 13, 14, 65001, 4660}
	one := func(in int) bool { return random.IntN(in) == 0 }
	for len(all) < n {
		a := &asked{name: pick(names), class: dns.ClassINET, typ: common[random.IntN(len(common))], flags: bitRD, tcp: one(5)}
		a.name = strings.Replace(a.name, "*.", fmt.Sprintf("w%d.", random.IntN(5)), 1)
		if rrs := z.records[strings.ToLower(a.name)]; len(rrs) > 0 && !one(3) {
			a.typ = rrs[random.IntN(len(rrs))].Header().Rrtype
		}
		if prefix := pick([]string{"", "", "", "", "nothing.", "a.b.c.", "\\001odd.", "_x."}); len(a.name)+len(prefix) < 250 && a.name != "." {
			a.name = prefix + a.name
		}
		if one(3) {
			a.name = mixCase(random, a.name)
		}
		for _, f := range []struct {
			bit uint16
			in  int
		}{{bitAD, 5}, {bitCD, 6}, {bitZ, 25}, {bitAA, 30}, {bitTC, 30}, {bitRA, 30}} {
			if one(f.in) {
				a.flags |= f.bit
			}
		}
		if one(12) {
			a.flags &^= bitRD
		}
		if one(40) {
			a.flags |= uint16(1+random.IntN(15)) << 11
		}
		if one(40) {
			a.class = []uint16{dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 2, 0, 999}[random.IntN(7)]
		}
		if a.edns = !one(4); a.edns {
			a.size, a.do = sizes[random.IntN(len(sizes))], one(3)
			if one(30) {
				a.version = uint8(1 + random.IntN(255))
			}
			for one(4) {
				a.options = append(a.options, options[random.IntN(len(options))])
			}
		}
		add(a)
	}
	for i, a := range all { // so that no answer is taken for another's
		binary.BigEndian.PutUint16(a.wire, uint16(i+1))
	}
	return all
}

func mixCase(random *rand.Rand, name string) string {
	mixed := []byte(name)
	for i, c := range mixed {
		if c >= 'a' && c <= 'z' && random.IntN(2) == 0 && (i == 0 || mixed[i-1] != '\\') {
			mixed[i] = c - 'a' + 'A'
		}
	}
	return string(mixed)
}

// special are names that are not of the zone: of the standards' lists of special names, and elsewhere.
var special = []string{
	"a.d." + origin, "b.c.d." + origin, "x.y.d." + origin, "x.long-d." + origin, "a.b.wild." + origin, "ent." + origin, "x.alias." + origin, "x.sub." + origin, "q.w.secure." + origin,
	"nothing.secure." + origin, ".", "example.", "com.", "elsewhere.example.", "localhost.", "www.localhost.", "4.3.20.10.in-addr.arpa.", "1.0.0.127.in-addr.arpa.", "20.172.in-addr.arpa.",
	"1.2.0.192.in-addr.arpa.", "8.e.f.ip6.arpa.", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.", "invalid.", "www.invalid.", "test.", "www.test.", "local.",
	"printer.local.", "www.onion.", "home.arpa.", "host.home.arpa.", "resolver.arpa.", "_dns.resolver.arpa.", "service.arpa.", "use-application-dns.net.",
	"mask.icloud.com.", "mask-h2.icloud.com.", "version.bind.", "id.server.", "hostname.bind.", "version.server.", "ipv4only.arpa.", "alt.", "www.alt.",
}

// malformedQuestions are queries that are none, or odd, in ways that the generator does not make.
func malformedQuestions(t *testing.T) (all []*asked) {
	t.Helper()
	plain := func(edns bool) *asked {
		a := &asked{name: "www." + origin, typ: dns.TypeA, class: dns.ClassINET, flags: bitRD, edns: edns, size: 1232}
		a.pack(t)
		return a
	}
	add := func(what string, edns bool, change func(a *asked)) {
		a := plain(edns)
		change(a)
		a.malformed, a.what = what, what+": "+a.what
		all = append(all, a)
	}
	add("no question", false, func(a *asked) { a.wire = a.wire[:12]; a.wire[5] = 0 })
	add("no question, with EDNS", true, func(a *asked) { a.wire = append(a.wire[:12:12], a.wire[len(a.wire)-11:]...); a.wire[5] = 0 })
	add("two questions", false, func(a *asked) { a.wire = append(a.wire, a.wire[12:]...); a.wire[5] = 2 })
	add("octets behind the question", false, func(a *asked) { a.wire = append(a.wire, 0, 0, 0) })
	add("octets behind the OPT record", true, func(a *asked) { a.wire = append(a.wire, 0, 0, 0) })
	add("an answer in the question", false, func(a *asked) {
		a.wire = append(a.wire, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
		a.wire[7] = 1
	})
	add("authority in the question", false, func(a *asked) {
		a.wire = append(a.wire, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
		a.wire[9] = 1
	})
	add("another record in the additional section", false, func(a *asked) {
		a.wire = append(a.wire, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
		a.wire[11] = 1
	})
	add("a response", false, func(a *asked) { a.wire[2] |= 0x80 })
	add("two OPT records", true, func(a *asked) { a.wire = append(a.wire, a.wire[len(a.wire)-11:]...); a.wire[11] = 2 })
	add("an OPT record of another name", true, func(a *asked) {
		opt := a.wire[len(a.wire)-10:]
		a.wire = append(append(a.wire[:len(a.wire)-11:len(a.wire)-11], 1, 'x', 0), opt...)
	})
	add("a name that breaks off", false, func(a *asked) { a.wire = a.wire[:20] })
	add("a question without its class", false, func(a *asked) { a.wire = a.wire[:len(a.wire)-2] })
	add("a compressed name", false, func(a *asked) { a.wire = append(a.wire[:12:12], 0xC0, 12, 0, 1, 0, 1) })
	add("a label of a kind that there is not", false, func(a *asked) { a.wire = append(a.wire[:12:12], 0x41, 'a', 0, 0, 1, 0, 1) })
	add("a name of more than 255 octets", false, func(a *asked) {
		a.wire = append(a.wire[:12:12], []byte(strings.Repeat("\x3f"+strings.Repeat("x", 63), 4)+"\x00\x00\x01\x00\x01")...)
	})
	add("an option that is longer than its record", true, func(a *asked) {
		a.wire = append(a.wire, 0xFD, 0xE9, 0, 9, 1)
		a.wire[len(a.wire)-6] = 5
	})
	add("a cookie of three octets", true, func(a *asked) {
		a.wire = append(a.wire, 0, 10, 0, 3, 1, 2, 3)
		a.wire[len(a.wire)-8] = 7
	})
	add("a client subnet of a family that there is not", true, func(a *asked) {
		a.wire = append(a.wire, 0, 8, 0, 5, 0, 9, 8, 0, 1)
		a.wire[len(a.wire)-10] = 9
	})
	add("eleven octets", false, func(a *asked) { a.wire = a.wire[:11] })
	add("a header alone", false, func(a *asked) { a.wire = a.wire[:12] })
	return all
}
