//go:build e2e

package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// answerRows are those about the form of the blocked answer.
func answerRows() []row {
	return []row{
		{"DNS-20", "a block says extended error 15, whatever the list, and who may not ask is told 18", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"adult.example", "whole-iwf.example", "iwf.testfiltering.com", "ctiru.testfiltering.com", "www.example.net", "cloaked.example", "infected.example"} {
				s.expect(t, year7, name, blocked)
			}
			s.expect(t, infants, "museum.example", blocked)
			s.expect(t, outsider, "museum.example", refused18)
			s.expect(t, outsider, "adult.example +tcp", refused18)
			s.expect(t, outsider, "printer.school.internal", refused18)
			s.expect(t, outsider, "_dns.resolver.arpa SVCB", refused18)
			if ex := s.explain(t, outsider, "museum.example"); ex.Verdict != "refuse" {
				t.Errorf("explain: %+v", ex)
			}
		}},
		{"DNS-21", "without EDNS there is no extended error, and an answer that is too big goes without it first", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "adult.example +noedns", blocked)
			long := strings.Repeat(strings.Repeat("l", 60)+".", 3) + strings.Repeat("m", 40) + ".adult.example"
			s.expect(t, year7, "+bufsize=512 "+long, blocked)
			s.expect(t, year7, "+noedns "+long, blocked)
		}},
		{"DNS-22", "the answer for a confidential list tells nothing that another does not", func(t *testing.T, s *rowSchool) {
			for _, words := range []string{"A", "AAAA", "HTTPS", "TXT", "ANY", "A +dnssec", "A +noedns", "A +tcp"} {
				secret, other := s.dig(t, year7, "www.whole-iwf.example "+words), s.dig(t, year7, "www.adult.example "+words)
				if secret.said != other.said || secret.most > 30 || other.most > 30 {
					t.Errorf("%s\n%s\n%s", words, secret.said, other.said)
				}
			}
			if said := s.command(t, "breaches", "list", "--client", year7.addr); strings.Contains(said, "whole-iwf") || !strings.Contains(said, "(confidential)") {
				t.Error("the record does not hide the name")
			}
		}},
		{"DNS-26", "what is made up is never called a forged answer (4), and unknown options change nothing", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"adult.example", "www.google.com", "use-application-dns.net"} {
				if a := s.dig(t, year7, name+" +ednsopt=65400"); strings.Contains(a.said, "EDE 4") || strings.Contains(a.printed, "OPT=65400") {
					t.Errorf("%s: %s", name, a.said)
				}
			}
		}},
		{"DNS-27", "a block lives 30 seconds, or what the configuration says", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "adult.example", blocked)
			s.reload(t, "ttl: 30s", "ttl: 7s")
			if a := s.dig(t, year7, "adult.example"); a.said != blocked || a.most > 7 || a.least < 1 {
				t.Errorf("TTL %d", a.most)
			}
		}},
		{"DNS-28", "every empty answer has an SOA record, whose TTL is its MINIMUM", func(t *testing.T, s *rowSchool) {
			for words, want := range map[string]string{
				"adult.example": blocked, "www.bing.com AAAA": safe("strict.bing.com"), "use-application-dns.net": noSuch, "resolver.arpa": empty, "printer.school.internal AAAA": strings.Replace(empty, " rd", " aa rd", 1),
				"x.invalid": noSuch, "8.8.168.192.in-addr.arpa PTR": noSuch, "nothing-here.example": "NXDOMAIN qr rd ra | authority: example. SOA ns.example.",
			} {
				s.expect(t, year7, words, want)
			}
		}},
		{"DNS-29", "a blocked name with an allowed one below it exists, so that a cache in front lets the allowed one through", func(t *testing.T, s *rowSchool) {
			exists := strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1)
			s.expect(t, year7, "big.example", exists)
			s.expect(t, year7, "edu.big.example", open)
			s.expect(t, year7, "other.big.example", blocked)
			front := s.unboundIn(t, classmate)
			for range 2 {
				if a := s.digAt(t, classmate, front, "big.example"); !strings.HasPrefix(a.said, "NOERROR qr rd ra | ") || strings.Contains(a.said, "answer:") {
					t.Errorf("big.example by way of a cache: %s", a.said)
				}
				if a := s.digAt(t, classmate, front, "edu.big.example"); a.said != open {
					t.Errorf("edu.big.example by way of a cache: %s", a.said)
				}
			}
		}},
		{"DNS-30", "the block page is plain HTTP alone: nothing pretends to be the site on HTTPS", func(t *testing.T, s *rowSchool) {
			s.reload(t, "answer: nxdomain", "answer: page")
			s.expect(t, year7, "www.adult.example", "NOERROR qr rd ra | EDE 15 | answer: NAME A 10.0.0.53")
			s.expect(t, year7, "www.adult.example AAAA", strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1))
			s.expect(t, year7, "www.adult.example HTTPS", strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1))
			page := mustRun(t, append(s.in(year7.name), "curl", "--silent", "--include", "--resolve", "www.adult.example:80:10.0.0.53", "http://www.adult.example/x?y")...)
			if !strings.HasPrefix(page, "HTTP/1.1 403") || !strings.Contains(page, "it@winchelsea.example") {
				t.Errorf("the page:\n%s", page)
			}
			if out, err := through(s.in(year7.name), "curl", "--silent", "--cacert", s.authority, "--resolve", "www.adult.example:443:10.0.0.53", "https://www.adult.example/").CombinedOutput(); err == nil {
				t.Errorf("something answers as the site:\n%s", out)
			}
		}},
		{"DNS-32", "each form of the blocked answer has its extended error, and an SOA record where it is empty", func(t *testing.T, s *rowSchool) {
			nodata := strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1)
			for answer, want := range map[string]struct{ a, aaaa, other string }{
				"nxdomain": {blocked, blocked, blocked},
				"nodata":   {nodata, nodata, nodata},
				"zero":     {"NOERROR qr rd ra | EDE 15 | answer: NAME A 0.0.0.0", "NOERROR qr rd ra | EDE 15 | answer: NAME AAAA ::", nodata},
				"page":     {"NOERROR qr rd ra | EDE 15 | answer: NAME A 10.0.0.53", nodata, nodata},
				"refused":  {"REFUSED qr rd ra | EDE 15", "REFUSED qr rd ra | EDE 15", "REFUSED qr rd ra | EDE 15"},
			} {
				t.Run(answer, func(t *testing.T) {
					s.reload(t, "answer: nxdomain", "answer: "+answer)
					for _, name := range []string{"form.adult.example", "cloaked.example"} {
						s.expect(t, year7, name, want.a)
						s.expect(t, year7, name+" AAAA", want.aaaa)
						s.expect(t, year7, name+" HTTPS +dnssec", want.other)
						s.expect(t, year7, name+" TXT +noedns", want.other)
					}
					// Browsers and phones want this one answer, whatever the others are.
					s.expect(t, year7, "use-application-dns.net", noSuch)
					s.expect(t, year7, "mask.icloud.com HTTPS", noSuch)
				})
			}
		}},
	}
}

// unboundIn runs an Unbound on a device that forwards to the school's resolver; it returns where.
func (s *rowSchool) unboundIn(t *testing.T, d device) (addr string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "unbound.conf")
	write(t, path, fmt.Sprintf(`server:
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1
  module-config: "iterator"
  harden-below-nxdomain: yes
  num-threads: 1
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: %s
`, dir, d.server))
	cmd := through(s.in(d.name), "unbound", "-d", "-c", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, "unbound", func() bool {
		out, _ := through(s.in(d.name), "dig", "@127.0.0.1", "+tries=1", "+time=1", "ready.example").Output()
		return strings.Contains(string(out), "NOERROR")
	})
	return "127.0.0.1"
}
