//go:build e2e

package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// departmentRows are those of the DfE's filtering and monitoring standard about who is filtered, and how.
func departmentRows() []row {
	return []row{
		{"DFE-05", "pupils and staff get two answers for one name, by address, by device and by name", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "www.bets.example", blocked)
			s.breaches(t, year7, "www.bets.example", "year7 gambling medium block via name")
			s.expect(t, staff, "www.bets.example", open)
			s.expect(t, staff, "www.adult.example", blocked)
			s.expect(t, tablet, "www.bets.example", blocked)
			s.breaches(t, tablet, "www.bets.example", "year7 gambling medium block via name")
			waitFor(t, "the kernel to know the MAC", func() bool { return s.dig(t, borrowed, "www.bets.example").said == blocked })
			if b := s.breach(t, borrowed, "www.bets.example."); b.Group != "year7" || b.Client.MAC != borrowed.mac {
				t.Errorf("the breach of a pupil's device on the staff's network: %+v", b)
			}
		}},
		{"DFE-06", "groups inherit, have hours of their own, and may have nothing but a list", func(t *testing.T, s *rowSchool) {
			s.expect(t, guest, "www.bets.example", blocked)
			s.breaches(t, guest, "www.bets.example", "guests gambling medium block via name")
			s.expect(t, infants, "www.bbc.co.uk", open)
			s.expect(t, infants, "phonicsplay.co.uk AAAA", openAAAA)
			s.expect(t, infants, "bbc.co.uk.example", blocked)
			s.expect(t, infants, "museum.example", blocked)
			s.expect(t, infants, "co.uk", strings.Replace(blocked, "NXDOMAIN", "NOERROR", 1)) // what is allowed is below it
			s.notAsked(t, "museum.example", "bbc.co.uk.example", "co.uk")
			s.breaches(t, infants, "museum.example", "none")
			s.expect(t, sixth, "short.example", blocked) // by a period that is always
			for at, want := range map[string]string{
				"2026-11-20T10:00:00Z": "block", "2026-11-20T12:10:00Z": "allow", "2026-11-20T13:09:59Z": "allow", "2026-11-20T13:10:00Z": "block",
				"2026-11-21T12:30:00Z": "block", // a Saturday
				"2026-10-27T12:30:00Z": "block", // half-term
			} {
				if ex := s.explain(t, year7, "games.example", at); ex.Verdict != want || ex.Group != "year7" || ex.Category != "gaming" && want == "block" {
					t.Errorf("games at %s: %s", at, ex.Verdict)
				}
			}
		}},
		{"DFE-07", "an allow goes before a category and not before a locked one, the longest name decides, and monitored names resolve", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "sexwise.example", open)
			s.expect(t, year7, "www.sub.sexwise.example", blocked)
			s.breaches(t, year7, "www.sub.sexwise.example", "year7 rule low block via rule")
			s.expect(t, staff, "sexwise.example", blocked) // the rule is year 7's
			s.expect(t, year7, "whole-iwf.example", blocked)
			s.breaches(t, year7, "whole-iwf.example", "none") // by its name
			s.breaches(t, year7, "(confidential)", "year7 iwf critical block via name")
			s.expect(t, year7, "www.harm.example", open)
			s.breaches(t, year7, "www.harm.example", "year7 self_harm critical monitor via name")
			ex := s.explain(t, year7, "www.deep.adult.example")
			if ex.Verdict != "block" || ex.Category != "pornography" || ex.Rule.List != "lists/pornography-hosts" || ex.Rule.Entry != "adult.example" || ex.Rule.Via != "name" {
				t.Errorf("explain: %+v", ex)
			}
			for _, a := range s.digs(t, year7, "", inA(schoolSites())...) {
				a.check(t, open)
			}
		}},
		{"DFE-08", "every rule says why and by whom, and one without a reason is refused", func(t *testing.T, s *rowSchool) {
			ex := s.explain(t, year7, "www.example.net")
			if ex.Verdict != "block" || ex.Rule.Reason != "reported by Year 8 tutor" || ex.Rule.By != "it@school.example" {
				t.Errorf("explain: %+v", ex)
			}
			good := s.config
			defer func() { s.config = good }()
			s.config = filepath.Join(s.dir, "without.yaml")
			write(t, s.config, strings.Replace(readFile(t, good), `reason: "reported by Year 8 tutor", `, "", 1))
			if said, _, code := s.try(t, "check"); code != 1 || !strings.Contains(said, "without.yaml:") || !strings.Contains(said, "rules[2].reason") {
				t.Errorf("check of a rule without a reason: exit code %d\n%s", code, said)
			}
		}},
		{"DFE-09", "a change is in force with the next question", func(t *testing.T, s *rowSchool) {
			s.expect(t, staff, "changed.example", open)
			t.Run("while the file says so", func(t *testing.T) {
				s.reload(t, "block: [example.net]", "block: [example.net, changed.example]")
				s.expect(t, staff, "changed.example", blocked)
			})
			s.expect(t, staff, "changed.example", open)
		}},
		{"DFE-10", "names in any script are blocked as they are listed", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "xn--80akng7bwc.example +noidnin +noidnout", open)
			for _, words := range []string{"xn--80aodfsg.example", "казино.example +idnin", "КАЗИНО.example +idnin", "www.XN--80AODFSG.example"} {
				if a := s.dig(t, year7, words+" +noidnout"); !strings.HasPrefix(a.said, "NXDOMAIN qr rd ra | EDE 15") {
					t.Errorf("%s: %s", words, a.said)
				}
			}
		}},
		{"DFE-11", "chatbots and generated pictures are a category: closed for pupils, open for staff", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "chatgpt.com", blocked)
			s.expect(t, year7, "www.character.ai", blocked)
			s.breaches(t, year7, "chatgpt.com", "year7 generative_ai low block via name")
			s.expect(t, staff, "chatgpt.com", open)
		}},
		{"DFE-12", "search is safe and engines without a safe form are closed", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "www.google.co.uk", safe("forcesafesearch.google.com", "A 216.239.38.120"))
			s.expect(t, year7, "www.startpage.com", blocked)
		}},
		{"DFE-13", "browsers and extensions to download can be a category (device management does the rest)", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "www.addons.example", blocked)
			s.breaches(t, year7, "www.addons.example", "year7 downloads low block via name")
			s.expect(t, staff, "www.addons.example", open)
		}},
		{"DFE-14", "a device that nobody knows is in the strictest group", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"www.bets.example", "vpn.example", "adult.example", "dns.google"} {
				s.expect(t, stranger, name, blocked)
			}
			s.breaches(t, stranger, "vpn.example", "year7 bypass high block via name")
			if ex := s.explain(t, stranger, "vpn.example"); ex.Group != "year7" || !strings.Contains(strings.Join(ex.Steps, "\n"), "as an unknown client (default_group)") {
				t.Errorf("explain: %+v", ex)
			}
		}},
		{"DFE-15", "a device that was taken home has its group over DNS over HTTPS and TLS, by the name that it asks", func(t *testing.T, s *rowSchool) {
			for _, transport := range []string{"+https", "+tls", "+quic"} {
				want := blocked
				s.kdig(t, atHome, "y7.dns.school.example", transport+" www.bets.example").check(t, want)
				s.kdig(t, atHome, "y7.dns.school.example", transport+" www.harm.example").check(t, want) // year7_at_home alone blocks it
				s.kdig(t, atHome, "y7.dns.school.example", transport+" www.museum.example").check(t, open)
			}
			s.breaches(t, atHome, "www.bets.example", "year7_at_home gambling medium block via name")
			s.kdig(t, outsider, "y7.dns.school.example", "+https www.museum.example").check(t, refused18) // who may not ask may not ask so either
		}},
		{"DFE-16", "the school's own names do not exist for guests", func(t *testing.T, s *rowSchool) {
			for _, d := range []device{guest, stranger} {
				s.expect(t, d, "files.school.internal", noSuch)
				s.expect(t, d, "9.0.1.10.in-addr.arpa PTR", noSuch)
			}
			s.expect(t, staff, "files.school.internal", "NOERROR qr rd ra | answer: NAME A 10.0.0.20")
			s.expect(t, dc, "files.school.internal", "NOERROR qr rd ra | answer: NAME A 10.0.0.20")
		}},
		{"DFE-17", "the policy is the same over the backup line", func(t *testing.T, s *rowSchool) {
			before := s.second.questions("first-on-backup.example")
			s.internet.fail(t, "first-on-backup.example")
			s.internet.fail(t, "cloaked-backup.adult.example")
			s.expect(t, staff, "first-on-backup.example", open)
			s.expect(t, staff, "cloaked-backup.adult.example", blocked)
			if s.second.questions("first-on-backup.example") != before+1 {
				t.Error("the backup line was not asked")
			}
			s.notAsked(t, "cloaked-backup.adult.example")
			t.Run("with the first line cut", func(t *testing.T) {
				s.ip(t, "internet", "address del 192.0.2.53/24 dev eth0", "address add 192.0.2.54/24 dev eth0")
				t.Cleanup(func() { s.ip(t, "internet", "address add 192.0.2.53/24 dev eth0") })
				s.expect(t, year7, "cut.example", open)
				s.expect(t, year7, "cut.adult.example", blocked)
			})
		}},
		{"DFE-18", "VPNs, proxies, Tor and encrypted DNS elsewhere are blocked for pupils", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"nordvpn.com", "www.croxyproxy.com", "torproject.org", "snowflake.torproject.net", "api.cloudflareclient.com", "dns.google", "vpn.example"} {
				s.expect(t, year7, name, blocked)
				s.notAsked(t, name)
			}
			s.breaches(t, year7, "nordvpn.com", "year7 bypass high block via name")
			s.breaches(t, year7, "dns.google", "none") // devices try it by themselves
		}},
	}
}

// schoolSites are what lessons need, and look to a clumsy filter like what it blocks.
func schoolSites() []string {
	return strings.Fields(`www.bbc.co.uk www.gov.uk www.nhs.uk www.childline.org.uk www.brook.org.uk www.talktofrank.com www.samaritans.org
		www.sussex.ac.uk www.essex.gov.uk www.middlesexhospital.example www.thinkuknow.co.uk www.ceop.police.uk teams.microsoft.com outlook.office.com
		classroom.google.com www.khanacademy.org www.wikipedia.org en.wikipedia.org scratch.mit.edu www.bbcgoodfood.com www.scunthorpe.example
		www.cambridge.org www.tate.org.uk www.nationalgallery.org.uk www.britishmuseum.org www.nasa.gov zoom.us www.mathsgenie.co.uk`)
}

// inA makes questions for A of names.
func inA(names []string) (questions []string) {
	for _, name := range names {
		questions = append(questions, name+" A")
	}
	return questions
}

// safe is the answer that leads to a safe form, with the records of that.
func safe(host string, records ...string) string {
	said := "NOERROR qr rd ra | EDE 29 | answer: NAME CNAME " + host + "."
	for _, r := range records {
		said += " | answer: " + host + ". " + r
	}
	if len(records) == 0 {
		said += " | authority: " + host + ". SOA schoolgate.invalid."
	}
	return said
}
