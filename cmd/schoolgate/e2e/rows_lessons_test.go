//go:build e2e

package e2e_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lessonRows are what the users of other filters suffered from (the numbers are those of the list of lessons).
func lessonRows() []row {
	return []row{
		{"L-2", "each group has its own categories", func(t *testing.T, s *rowSchool) {
			names := map[string]string{"pornography": "pair.adult.example", "extremism": "pair.hatred.example", "gambling": "pair.bets.example", "bypass": "pair.vpn.example", "shorteners": "pair.short.example", "downloads": "pair.addons.example", "self_harm": "pair.harm.example"}
			for d, blocks := range map[device]string{
				year7: "pornography extremism gambling bypass shorteners downloads", guest: "pornography extremism gambling bypass shorteners downloads",
				sixth: "pornography extremism bypass shorteners", staff: "pornography extremism", dc: "pornography extremism gambling bypass shorteners downloads",
			} {
				for category, name := range names {
					want := open
					if strings.Contains(blocks, category) {
						want = blocked
					}
					s.expect(t, d, name, want)
				}
			}
		}},
		{"L-3", "schedules have several spans a day, go over midnight and know terms and half-term", func(t *testing.T, s *rowSchool) {
			for _, c := range []struct {
				d                device
				name, at, answer string
			}{
				{year7, "games.example", "2026-11-23T12:09:59Z", "block"},
				{year7, "games.example", "2026-11-23T12:10:00Z", "allow"},
				{year7, "games.example", "2026-12-21T12:30:00Z", "block"}, // after the term
				{sixth, "games.example", "2026-11-22T21:59:59Z", "allow"},
				{sixth, "games.example", "2026-11-22T22:00:00Z", "block"},
				{sixth, "games.example", "2026-11-23T03:00:00Z", "block"}, // the night goes on
				{sixth, "games.example", "2026-11-23T06:29:59Z", "block"},
				{sixth, "games.example", "2026-11-23T06:30:00Z", "allow"},
				{sixth, "adult.example", "2026-11-23T06:30:00Z", "block"}, // a schedule is of its categories
			} {
				if ex := s.explain(t, c.d, c.name, c.at); ex.Verdict != c.answer {
					t.Errorf("%s for %s at %s: %s", c.name, c.d.name, c.at, ex.Verdict)
				}
			}
			s.expect(t, sixth, "tiny.short.example", blocked)
			if ex := s.explain(t, year7, "games.example", "2026-11-23T12:00:00Z"); ex.ChangesAt != "2026-11-23T12:10:00Z" {
				t.Errorf("the next change: %s", ex.ChangesAt)
			}
		}},
		{"L-4", "bells ring by the clock on the wall on both days when clocks change", func(t *testing.T, s *rowSchool) {
			for at, want := range map[string]string{
				"2026-10-25T05:29:59Z": "block", "2026-10-25T06:29:59Z": "block", "2026-10-25T06:30:00Z": "allow", // back to GMT in this night
				"2027-03-28T00:59:59Z": "block", "2027-03-28T05:29:59Z": "block", "2027-03-28T05:30:00Z": "allow", // on to BST in this one
				"2027-03-29T11:09:59Z": "block", "2027-03-29T11:10:00Z": "allow",
			} {
				d := sixth
				if strings.HasPrefix(at, "2027-03-29") {
					d = year7 // lunch, by British Summer Time
				}
				if ex := s.explain(t, d, "games.example", at); ex.Verdict != want {
					t.Errorf("games for %s at %s: %s, want %s", d.name, at, ex.Verdict, want)
				}
			}
		}},
		{"L-5", "explain prints each step of the one order of decisions", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "steps.adult.example", blocked)
			ex := s.explain(t, year7, "steps.adult.example")
			if len(ex.Steps) != 7 {
				t.Errorf("%d steps to a block by category, the seventh of nine", len(ex.Steps))
			}
			for i, step := range ex.Steps {
				if !strings.HasPrefix(step, fmt.Sprintf("%d. ", i+1)) {
					t.Errorf("step %d: %s", i+1, step)
				}
			}
		}},
		{"L-6", "a device that is not known has the strictest group, and is found as soon as a lease names it", func(t *testing.T, s *rowSchool) {
			s.expect(t, stranger, "who.bets.example", blocked)
			leases := filepath.Join(s.dir, "dhcp.leases")
			s.expect(t, staff, "lease.bets.example", open)
			write(t, leases, fmt.Sprintf("%d %s %s y7-ipad-12 *\n", time.Now().Add(time.Hour).Unix(), staff.mac, staff.addr))
			waitFor(t, "the lease", func() bool { return s.dig(t, staff, "lease.bets.example").said == blocked })
			s.breaches(t, staff, "lease.bets.example", "year7 gambling medium block via name")
			if b := s.breach(t, staff, "lease.bets.example."); b.Client.Name != "y7-ipad-12" {
				t.Errorf("%+v", b)
			}
			write(t, leases, "")
			waitFor(t, "the end of the lease", func() bool { return s.dig(t, staff, "lease.bets.example").said == open })
		}},
		{"L-7", "who asks for others is believed where it is trusted, and nowhere else, and nobody upstream is told", func(t *testing.T, s *rowSchool) {
			s.expect(t, router, "forged.bets.example", blocked)
			s.expect(t, router, "forged.bets.example +subnet=10.1.0.9/32", open)
			s.expect(t, router, "forged.adult.example +subnet=10.20.3.9/32", blocked)
			s.breaches(t, device{addr: "10.20.3.9"}, "forged.adult.example", "year7 pornography high block via name")
			for _, option := range []string{"+subnet=10.1.0.9/32", "+subnet=0/0", "+ednsopt=65001:020000000005", "+ednsopt=65073:30323a30303a30303a30303a30303a3035"} {
				s.expect(t, year7, "forged.bets.example "+option, blocked)
				s.expect(t, year7, "forged.museum.example "+option, open)
			}
			if told := append(s.internet.whatWasTold(), s.second.whatWasTold()...); len(told) != 0 {
				t.Errorf("upstream was told %v", told)
			}
		}},
		{"L-20", "search and YouTube have a strictness for each group, the same for each type", func(t *testing.T, s *rowSchool) {
			for _, typ := range []string{"A", "AAAA", "HTTPS"} {
				for d, host := range map[device]string{year7: "restrict.youtube.com", sixth: "restrictmoderate.youtube.com"} {
					if a := s.dig(t, d, "m.youtube.com "+typ); !strings.HasPrefix(a.said, "NOERROR qr rd ra | EDE 29 | answer: NAME CNAME "+host+".") {
						t.Errorf("%s %s: %s", d.name, typ, a.said)
					}
				}
			}
			s.expect(t, staff, "m.youtube.com", open)
			s.expect(t, staff, "m.youtube.com AAAA", openAAAA)
		}},
		{"L-21", "hints and targets in HTTPS records are looked at, ECH is taken out, and types 64, 65 and 255 are blocked", func(t *testing.T, s *rowSchool) {
			for _, words := range []string{"types21.adult.example TYPE64", "types21.adult.example TYPE65", "types21.adult.example TYPE255", "hint.example TYPE65", "hint6.example TYPE65", "svc.example TYPE65"} {
				s.expect(t, year7, words, blocked)
			}
			if a := s.dig(t, year7, "ech.example TYPE65"); strings.Contains(a.printed, "ech=") {
				t.Error(a.said)
			}
		}},
		{"L-22", "the names by which phones and browsers ask are NXDOMAIN for a short time, and no breach", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"mask.icloud.com", "mask-h2.icloud.com", "use-application-dns.net"} {
				if a := s.expect(t, year7, name, noSuch); a.most > 30 {
					t.Errorf("%s lives %d s", name, a.most)
				}
				s.breaches(t, year7, name, "none")
			}
		}},
		{"L-23", "by default there is no page and no warning: the name does not exist, and the reason is the extended error", func(t *testing.T, s *rowSchool) {
			for _, typ := range []string{"A", "AAAA", "HTTPS"} {
				s.expect(t, year7, "page.adult.example "+typ, blocked)
			}
		}},
		{"L-24", "the school's names go to its own servers and nowhere else, private reverse zones and single labels neither", func(t *testing.T, s *rowSchool) {
			s.expect(t, sixth, "_ldap._tcp.dc._msdcs.school.internal SRV", "NOERROR qr rd ra | answer: NAME SRV 0 100 389 dc.school.internal.")
			s.expect(t, staff, "9.0.1.10.in-addr.arpa PTR", "NOERROR qr rd ra | answer: NAME PTR staff-laptop.school.internal.")
			s.expect(t, sixth, "games.school.internal", "NOERROR qr rd ra | answer: NAME CNAME adult.example.") // a zone's answers are not filtered
			for words, want := range map[string]string{
				"9.0.1.10.in-addr.arpa PTR +tcp": "NOERROR qr rd ra | answer: NAME PTR staff-laptop.school.internal.",
				"1.0.168.192.in-addr.arpa PTR":   noSuch, "1.0.31.172.in-addr.arpa PTR": noSuch, "1.0.254.169.in-addr.arpa PTR": noSuch,
				"host.test": noSuch, "host.invalid": noSuch, "x.localhost": "NOERROR qr rd ra | answer: NAME A 127.0.0.1",
			} {
				s.expect(t, sixth, words, want)
			}
			s.notAsked(t, "_ldap._tcp.dc._msdcs.school.internal", "9.0.1.10.in-addr.arpa", "1.0.168.192.in-addr.arpa", "1.0.31.172.in-addr.arpa", "1.0.254.169.in-addr.arpa", "host.test", "x.localhost", "games.school.internal")
			s.dig(t, sixth, ". NS")
			s.dig(t, sixth, "fileserver A")
			if n := s.inside.questions("") + s.inside.questions("fileserver"); n != 0 {
				t.Errorf("the school's server was asked %d times for what is not its own", n)
			}
		}},
		{"L-25", "the limit is each address's own, is told, and not the domain controller's", func(t *testing.T, s *rowSchool) {
			s.reload(t, "queries_per_second: 500, burst: 1000", "queries_per_second: 1, burst: 5")
			var many []string
			for range 50 {
				many = append(many, "limit.adult.example A")
			}
			truncated := 0
			for _, a := range s.digs(t, classmate, "+ignore +nocookie", many...) {
				if strings.HasPrefix(a.said, "NOERROR qr tc rd ra") {
					truncated++
				} else {
					a.check(t, blocked)
				}
			}
			if truncated == 0 {
				t.Error("50 questions at once were all answered")
			}
			s.expect(t, year7, "limit.museum.example", open) // a neighbour in the same /24
			for _, a := range s.digs(t, dc, "+ignore +nocookie", many...) {
				a.check(t, blocked)
			}
			if b := s.breach(t, classmate, "limit.adult.example."); b.Count != 50 {
				t.Errorf("%d of 50 attempts are recorded", b.Count)
			}
		}},
		{"L-26", "an exception is for a time and for whom it says, and not for what is locked", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "chess.bets.example", blocked)
			s.command(t, "exceptions", "add", "--allow", "--name", "chess.bets.example", "--client", year7.addr, "--until", "4m", "--by", "it@school.example", "--reason", "chess club")
			if a := s.expect(t, year7, "chess.bets.example", open); a.most > 240 {
				t.Errorf("the device may keep it for %d s, and the exception ends in 240", a.most)
			}
			s.expect(t, classmate, "chess.bets.example", blocked)
			s.command(t, "exceptions", "add", "--block", "--name", "museum.example", "--group", "staff", "--until", "30m", "--by", "it@school.example", "--reason", "a test")
			s.expect(t, staff, "www.museum.example", blocked)
			s.expect(t, year7, "www.museum.example", open)
			said, warned, _ := s.try(t, "exceptions", "add", "--allow", "--name", "iwf.testfiltering.com", "--until", "30m", "--by", "it@school.example", "--reason", "a test of the lock")
			t.Log(said, warned)
			s.expect(t, year7, "iwf.testfiltering.com", blocked)
			for line := range strings.Lines(s.command(t, "exceptions", "list")) {
				if id := strings.Fields(line)[0]; strings.Contains(line, "it@school.example") {
					s.command(t, "exceptions", "remove", id, "--by", "it@school.example")
				}
			}
			s.expect(t, year7, "chess.bets.example", blocked)
			if said := s.command(t, "audit", "list"); !strings.Contains(said, "chess club") {
				t.Error("the audit does not say why")
			}
		}},
		{"L-27", "what is no breach leaves no name behind", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "www.ordinary-browsing.example", open)
			s.expect(t, year7, "left.adult.example", blocked)
			s.breaches(t, year7, "left.adult.example", "year7 pornography high block via name")
			data, found := filepath.Join(s.dir, "data"), false
			err := fs.WalkDir(os.DirFS(data), ".", func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				text := readFile(t, filepath.Join(data, path))
				found = found || strings.Contains(text, "left.adult.example")
				if strings.Contains(text, "ordinary-browsing") {
					t.Errorf("%s has the name", path)
				}
				return nil
			})
			if err != nil || !found {
				t.Errorf("the breach is not in the record either: %v", err)
			}
			if strings.Contains(s.said.String(), "ordinary-browsing") || strings.Contains(s.said.String(), year7.addr) {
				t.Errorf("the log names whom it should not:\n%s", s.said.String())
			}
		}},
		{"L-28", "IT sees at once which list and line blocked, and the pupil does not", func(t *testing.T, s *rowSchool) {
			a := s.expect(t, year7, "why.torproject.org", blocked)
			for _, inner := range []string{"bypass", "builtin", "year7", "list"} {
				if strings.Contains(a.printed, inner) {
					t.Errorf("the answer tells %q", inner)
				}
			}
			if ex := s.explain(t, year7, "why.torproject.org"); ex.Rule.List != "builtin:bypass" || ex.Rule.Entry != "torproject.org" || ex.Category != "bypass" || ex.Group != "year7" {
				t.Errorf("explain: %+v", ex)
			}
		}},
		{"L-29", "case neither opens a name nor loses its record", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "EvIl.AdUlT.eXaMpLe", blocked)
			s.expect(t, year7, "evil.adult.example", blocked)
			if b := s.breach(t, year7, "evil.adult.example."); b.Count != 2 {
				t.Errorf("%+v", b)
			}
			s.expect(t, year7, "cloaked-case.example", blocked)
			s.expect(t, year7, "SexWise.EXAMPLE", open)
		}},
		{"L-30", "names are matched whole: ntent.example does not block userco-ntent.example", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "ntent.example", blocked)
			s.expect(t, year7, "raw.githubuserco-ntent.example", open)
			s.expect(t, year7, "githubusercontent.example", open)
			s.expect(t, year7, "ntent.example.museum.example", open)
		}},
		{"L-31", "every hop of an alias is looked at; where the question is allowed, only for what is locked", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "cloaked2.example", blocked)
			s.expect(t, year7, "cloaked-middle.example", blocked)
			s.expect(t, year7, "cloak-allowed.example", "NOERROR qr rd ra | answer: NAME CNAME adult.example. | answer: adult.example. A 192.0.2.80")
			s.expect(t, year7, "iwf.cloak-allowed.example", blocked)
			s.expect(t, year7, "to-allowed.example", "NOERROR qr rd ra | answer: NAME CNAME edu.big.example. | answer: edu.big.example. A 192.0.2.80")
		}},
		{"L-32", "tools that go round the filter are breaches of high severity (the firewall does the rest)", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"engage.cloudflareclient.com", "croxyproxy.com", "holyubofficial.net", "titaniumnetwork.org"} {
				s.expect(t, year7, name, blocked)
				s.breaches(t, year7, name, "year7 bypass high block via name")
			}
		}},
	}
}
