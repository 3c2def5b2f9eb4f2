//go:build e2e

package e2e_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// depthRows are those about how deep a question and its answer are looked into.
func depthRows() []row {
	return []row{
		{"DEP-01", "a CNAME or DNAME to a blocked name is blocked, at every hop", func(t *testing.T, s *rowSchool) {
			for name, via := range map[string]string{"cloaked.example": "cname", "cloaked2.example": "cname", "cloaked-middle.example": "cname", "cloaked-case.example": "cname", "www.dtree.example": "dname"} {
				for _, words := range []string{"", " AAAA", " HTTPS", " TXT +tcp", " A +dnssec +cd"} {
					s.expect(t, year7, name+words, blocked)
				}
				s.breaches(t, year7, name, "year7 pornography high block via "+via)
			}
			if b := s.breach(t, year7, "cloaked2.example."); b.Rule.Entry != "adult.example" || b.Rule.List != "lists/pornography-hosts" {
				t.Errorf("the breach does not say what the alias led to: %+v", b)
			}
			s.expect(t, year7, "cloaked.example CNAME", blocked)
			s.expect(t, year7, "dtree.example DNAME", blocked)
			s.expect(t, year7, "a.dharmless.example", "NOERROR qr rd ra | answer: dharmless.example. DNAME harmless.example. | answer: NAME CNAME a.harmless.example. | answer: a.harmless.example. A 192.0.2.80")
			s.expect(t, year7, "cloaked-iwf.example", blocked)
			s.expect(t, staff, "cloaked-iwf.example", blocked)
			s.expect(t, infants, "cloaked.example", blocked)
		}},
		{"DEP-02", "the target of an HTTPS or SVCB record is looked at too", func(t *testing.T, s *rowSchool) {
			for _, words := range []string{"svc.example HTTPS", "svc-alias.example HTTPS", "_dns.svc.example SVCB", "svc.example HTTPS +dnssec"} {
				s.expect(t, year7, words, blocked)
			}
			s.breaches(t, year7, "svc.example", "year7 pornography high block via svcb")
			s.expect(t, year7, "svc-own.example HTTPS", `NOERROR qr rd ra | answer: NAME HTTPS 1 . alpn="h2,h3"`)
		}},
		{"DEP-03", "a listed address in an answer or a hint blocks it", func(t *testing.T, s *rowSchool) {
			for _, words := range []string{"infected.example A", "infected6.example AAAA", "hint.example HTTPS", "hint6.example HTTPS"} {
				s.expect(t, year7, words, blocked)
			}
			s.breaches(t, year7, "infected.example", "year7 malware low block via address")
			s.expect(t, staff, "infected6.example AAAA", "NOERROR qr rd ra | answer: NAME AAAA 2001:db8:666::5")
		}},
		{"DEP-04", "a public name never leads into the school's own network", func(t *testing.T, s *rowSchool) {
			for words := range strings.SplitSeq("rebind10.attacker.org A,rebind172.attacker.org A,rebind192.attacker.org A,rebind169.attacker.org A,rebind127.attacker.org A,rebind0.attacker.org A,rebind-fc.attacker.org AAAA,"+
				"rebind-fe.attacker.org AAAA,rebind-lo.attacker.org AAAA,rebind-zero.attacker.org AAAA,rebind-mapped.attacker.org AAAA,rebind-hint.attacker.org HTTPS,rebind-mixed.attacker.org A,rebind-cname.attacker.org A", ",") {
				s.expect(t, year7, words, strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1))
				s.expect(t, staff, words, strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1))
			}
			s.breaches(t, year7, "rebind10.attacker.org", "none")
			s.expect(t, year7, "a.printers.org.uk", "NOERROR qr rd ra | answer: NAME A 192.168.0.9")
			s.expect(t, year7, "printer.school.internal", "NOERROR qr aa rd ra | answer: NAME A 10.0.0.9")
		}},
		{"DEP-05", "every type of a blocked name is blocked, and nobody is asked", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"types.adult.example", "types.bets.example", "whole-iwf.example"} {
				for _, a := range s.digs(t, year7, "", everyType(name)...) {
					a.check(t, blocked)
				}
				s.notAsked(t, name)
			}
		}},
		{"DEP-06", "no flag, transport or version of EDNS opens a blocked name", func(t *testing.T, s *rowSchool) {
			flags := []string{"", "+cd", "+norec", "+noedns", "+noedns +cd +aa", "+dnssec", "+bufsize=512", "+bufsize=65535", "+nocookie", "+ednsflags=0x4040", "+nsid", "+subnet=10.1.0.9/32", "+ednsopt=65001:00112233", "+ad", "+aa", "+z", "+padding=128", "+tcflag +raflag", "+ednsopt=65353:0011223344556677", "+cookie=0011223344556677"}
			for _, transport := range []string{"+notcp", "+tcp"} {
				for _, f := range flags {
					for _, more := range []string{"", "+cd +norec"} {
						for _, a := range s.digs(t, year7, strings.TrimSpace(transport+" "+f+" "+more), "flags.adult.example A", "Flags.Adult.example HTTPS") {
							a.check(t, blocked)
						}
					}
				}
			}
			s.expect(t, year7, "-y hmac-sha256:pupil:c2VjcmV0c2VjcmV0 flags.adult.example", blocked)
			s.expect(t, year7, "flags.adult.example +edns=1 +noednsnegotiation", "BADVERS qr rd ra")
			for _, class := range []string{"CH", "HS", "ANY", "NONE", "CLASS5", "CLASS32769"} {
				s.expect(t, year7, "-c "+class+" flags.adult.example A", "REFUSED qr rd ra | EDE 21")
			}
			if out, _ := through(s.in(year7.name), "dig", "@"+schoolAt, "flags.adult.example", "AXFR").CombinedOutput(); !strings.Contains(string(out), "; Transfer failed.") {
				t.Errorf("a zone transfer:\n%s", out)
			}
			for _, opcode := range []string{"iquery", "status", "notify", "update", "6", "15"} {
				s.expect(t, year7, "+opcode="+opcode+" flags.adult.example SOA", "NOTIMP qr rd ra")
			}
			s.expect(t, year7, "+header-only +nocookie", "FORMERR qr rd ra")
			s.expect(t, year7, "flags.adult.example OPT", "FORMERR qr rd ra") // which is no type to ask for
			s.notAsked(t, "flags.adult.example")
		}},
		{"DEP-07", "no spelling opens a blocked name, and the reply keeps the spelling", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{
				"SPELL.adult.example", "sPeLl.AdUlT.eXaMpLe.", "ADULT.EXAMPLE", `\097dult.example`, `ad\u\l\t.example`, `spell\.dot.adult.example`, `\000.adult.example`, `\255\255.adult.example`,
				`sp\032ace.adult.example`, "*.adult.example", "_spell._tcp.adult.example", strings.Repeat("l", 63) + ".adult.example", strings.Repeat("a.", 100) + "adult.example",
			} {
				a := s.expect(t, year7, "+noidnin -q "+name+" -t A", blocked)
				if plain := strings.TrimSuffix(name, "."); !strings.Contains(name, `\`) && a.name != plain+"." {
					t.Errorf("asked for %s, the reply says %s", name, a.name)
				}
			}
			// What only looks like it is another name: a dot inside a label is no border, and a full-width letter is another letter.
			s.expect(t, year7, `+noidnin -q spell\.adult\.example -t A`, open)
			s.expect(t, year7, `+noidnin -q adult\.example.museum.example -t A`, open)
			for _, name := range []string{"Adult.example", "ａｄｕｌｔ.example", "adult。example"} { // a browser folds these to the listed name
				if a := s.dig(t, year7, "+idnin "+name); !strings.HasPrefix(a.said, "NXDOMAIN qr rd ra | EDE 15") {
					t.Errorf("%s: %s", name, a.said)
				}
			}
		}},
		{"DEP-08", "a listed name covers what is below it, on label borders", func(t *testing.T, s *rowSchool) {
			for name, want := range map[string]string{"hatred.example": blocked, "a.hatred.example": blocked, "a.b.c.hatred.example": blocked, "nothatred.example": open, "hatred.example.com": open, "not-hatred.example": open, "example": open, "red.example": open} {
				s.expect(t, staff, name, want)
			}
		}},
		{"DEP-09", "no group gets the answer of another out of the cache, nor a stale one", func(t *testing.T, s *rowSchool) {
			for range 2 {
				s.expect(t, staff, "cached.bets.example", open)
				s.expect(t, year7, "cached.bets.example", blocked)
				s.expect(t, staff, "cloaked-staff.vpn.example", open)
				s.expect(t, year7, "www.google.com", safe("forcesafesearch.google.com", "A 216.239.38.120"))
				s.expect(t, staff, "www.google.com", open)
			}
			if n := s.internet.questions("cached.bets.example"); n != 1 {
				t.Errorf("the upstream was asked %d times: this row is about the cache", n)
			}
			s.expect(t, staff, "stale.bets.example", open)
			s.internet.fail(t, "stale.bets.example")
			s.second.fail(t, "stale.bets.example")
			stale := "NOERROR qr rd ra | EDE 3 | answer: NAME A 192.0.2.80"
			waitFor(t, "the answer to run out", func() bool { return s.dig(t, staff, "stale.bets.example").said == stale })
			s.expect(t, year7, "stale.bets.example", blocked)
		}},
		{"DEP-10", "a name that is listed anew is blocked though it is cached", func(t *testing.T, s *rowSchool) {
			list := filepath.Join(s.dir, "lists", "gambling.txt")
			s.expect(t, year7, "fresh.example", open)
			s.expect(t, year7, "leads-to.dharmless.example", "NOERROR qr rd ra | answer: dharmless.example. DNAME harmless.example. | answer: NAME CNAME leads-to.harmless.example. | answer: leads-to.harmless.example. A 192.0.2.80")
			old := readFile(t, list)
			t.Cleanup(func() { s.takeFile(t, list, old) })
			s.takeFile(t, list, old+"fresh.example\nleads-to.harmless.example\n")
			s.expect(t, year7, "fresh.example", blocked)
			s.expect(t, year7, "leads-to.dharmless.example", blocked)
			s.expect(t, staff, "fresh.example", open)
		}},
		{"DEP-11", "response policy zones: names and addresses with every action, and the rest is said to be skipped", func(t *testing.T, s *rowSchool) {
			exists := strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1) // what is below them is open
			for name, want := range map[string]string{
				"nxdomain.rpz-listed.example": blocked, "a.nxdomain.rpz-listed.example": blocked, "nodata.rpz-listed.example": exists, "drop.rpz-listed.example": exists,
				"tcp.rpz-listed.example": exists, "local.rpz-listed.example": exists, "alone.rpz-listed.example": exists, "a.alone.rpz-listed.example": open,
				"below.rpz-listed.example": open, "a.below.rpz-listed.example": blocked, "open.wide.rpz-listed.example": open, "wide.rpz-listed.example": exists,
				"b.wide.rpz-listed.example": blocked, "rpz-address.example": blocked,
			} {
				s.expect(t, year7, name, want)
			}
			s.breaches(t, year7, "rpz-address.example", "year7 partner low block via address")
			said := s.command(t, "lists", "status")
			if !slices.ContainsFunc(strings.Split(said, "\n"), func(line string) bool {
				return strings.Contains(strings.Join(strings.Fields(line), " "), "partner lists/policy.rpz rpz 11 3 ")
			}) {
				t.Error("status does not say how many triggers of the zone can't be enforced")
			}
		}},
		{"DEP-12", "a passthru takes a name out of its own list and out of no other", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "passthru.rpz-listed.example", strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1)) // second.rpz has it, alone
			if ex := s.explain(t, year7, "passthru.rpz-listed.example"); ex.Rule.List != "lists/second.rpz" {
				t.Errorf("explain: %+v", ex)
			}
		}},
		{"DEP-13", "every format of lists gives the same names, and bad lines are told", func(t *testing.T, s *rowSchool) {
			for _, format := range []string{"hosts", "domains", "wildcard", "adblock", "dnsmasq", "unbound", "urls"} {
				for name, want := range map[string]string{"%s-listed.example": blocked, "www.%s-listed.example": blocked, "%s-other.example": blocked, "not%s-listed.example": open} {
					s.expect(t, year7, fmt.Sprintf(name, format), want)
				}
			}
			s.expect(t, year7, "urls-shared.example", open)
			if said := s.command(t, "lists", "lint"); !strings.Contains(said, "lists/format-domains.txt:3: more than one word") {
				t.Error("lint does not tell the bad line")
			}
		}},
	}
}

// everyType is a question for each type that a device may ask for, and for types that nobody knows.
func everyType(name string) (questions []string) {
	for typ := range strings.FieldsSeq("A AAAA HTTPS SVCB TXT MX CNAME NS SOA SRV PTR CAA NAPTR DNAME DS DNSKEY RRSIG NSEC NSEC3 TLSA SSHFP URI HINFO LOC SPF NULL ANY TYPE65280 TYPE65535 TYPE0 TYPE128 TYPE249 TYPE250 TYPE253 TYPE254 TYPE262") {
		questions = append(questions, name+" "+typ)
	}
	return questions
}
