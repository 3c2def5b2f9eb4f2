//go:build e2e

package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// bypassRows are those about ways round the filter.
func bypassRows() []row {
	return []row{
		{"BYP-01", "Firefox is told that it may not turn DNS over HTTPS on by itself", func(t *testing.T, s *rowSchool) {
			for _, d := range []device{year7, staff, infants, guest} {
				for _, typ := range []string{"A", "AAAA", "HTTPS"} {
					s.expect(t, d, "use-application-dns.net "+typ, noSuch)
				}
				s.breaches(t, d, "use-application-dns.net", "none")
			}
			s.notAsked(t, "use-application-dns.net")
		}},
		{"BYP-02", "Apple's Private Relay is told at once that it does not exist", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"mask.icloud.com", "mask-h2.icloud.com", "MASK.iCloud.com"} {
				for _, typ := range []string{"A", "AAAA", "HTTPS", "TXT"} {
					s.expect(t, year7, name+" "+typ, noSuch)
					s.expect(t, staff, name+" "+typ, noSuch)
				}
				s.notAsked(t, name)
			}
			s.breaches(t, year7, "mask.icloud.com", "none")
		}},
		{"BYP-03", "nothing under resolver.arpa goes upstream, and a resolver without encrypted listeners says nothing of itself", func(t *testing.T, s *rowSchool) {
			branch := filepath.Join(t.TempDir(), "branch")
			write(t, filepath.Join(branch, "schoolgate.yaml"), fmt.Sprintf("version: 1\nlisten: {dns: [\"%s:53\"], console: \"\", metrics: \"\"}\nupstreams: {servers: [\"udp://192.0.2.53\"]}\n"+
				"groups: {pupils: {clients: [10.20.0.0/16]}}\ndefault_group: pupils\n", branchAt))
			s.serve(t, filepath.Join(branch, "schoolgate.yaml"), branchAt, new(syncBuffer))
			for _, server := range []string{schoolAt, branchAt} {
				for _, words := range []string{"resolver.arpa SVCB", "resolver.arpa A", "_dns.resolver.arpa A", "_dns.resolver.arpa HTTPS", "_443._dns.resolver.arpa SVCB", "x.y.resolver.arpa TXT"} {
					s.digAt(t, year7, server, words).check(t, empty)
				}
			}
			s.digAt(t, year7, branchAt, "_dns.resolver.arpa SVCB").check(t, empty)
			s.digAt(t, year7, branchAt, "resolver.arpa TYPE261").check(t, empty)
			s.notAsked(t, "resolver.arpa", "_dns.resolver.arpa", "_443._dns.resolver.arpa", "x.y.resolver.arpa")
		}},
		{"BYP-04", "a device that looks for encrypted DNS is led to this resolver, with its addresses, and can check the certificate", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "_dns.resolver.arpa SVCB", `NOERROR qr aa rd ra | answer: NAME SVCB 1 dns.school.example. alpn="dot" port=853`+
				` | answer: NAME SVCB 2 dns.school.example. alpn="h2" port=443 key7="/dns-query{?dns}" | answer: NAME SVCB 3 dns.school.example. alpn="doq" port=853`+
				` | additional: dns.school.example. A 10.0.0.53 | additional: dns.school.example. AAAA 2001:db8:20::53`)
			s.expect(t, year7, "dns.school.example", "NOERROR qr aa rd ra | answer: NAME A 10.0.0.53")
			s.kdig(t, year7, schoolAt, "+tls museum.example").check(t, open) // the address is in the certificate
			s.kdig(t, year7, certifiedName, "+tls museum.example").check(t, open)
		}},
		{"BYP-05", "neither path nor port changes what a device gets", func(t *testing.T, s *rowSchool) {
			for _, words := range []string{"+tls", "+https", "+quic"} {
				s.kdig(t, year7, certifiedName, words+" www.bets.example").check(t, blocked)
				s.kdig(t, staff, certifiedName, words+" www.bets.example").check(t, open)
			}
			if out := mustRun(t, append(s.in(year7.name), "curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert", s.authority,
				"https://"+schoolAt+"/dns-query/staff?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB")...); out != "404" {
				t.Errorf("another path: status %s", out)
			}
		}},
		{"BYP-06", "the well-known names of encrypted DNS, VPNs, proxies and Tor are blocked for pupils", func(t *testing.T, s *rowSchool) {
			names := strings.Fields(`dns.google cloudflare-dns.com mozilla.cloudflare-dns.com chrome.cloudflare-dns.com dns.quad9.net doh.opendns.com
				dns.nextdns.io one.one.one.one protonvpn.com www.nordvpn.com windscribe.com psiphon.ca tor2web.org www.torproject.org getlantern.org ultrasurf.us hide.me`)
			for _, typ := range []string{" A", " HTTPS"} {
				var questions []string
				for _, name := range names {
					questions = append(questions, name+typ)
				}
				for _, a := range s.digs(t, year7, "", questions...) {
					a.check(t, blocked)
				}
			}
			s.notAsked(t, names...)
		}},
		{"BYP-09", "the keys of Encrypted Client Hello are taken out, with the signatures over them", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "ech.example HTTPS", `NOERROR qr rd ra | answer: NAME HTTPS 1 . alpn="h2" ipv4hint=192.0.2.80`)
			s.expect(t, year7, "ech-mandatory.example HTTPS", `NOERROR qr rd ra | answer: NAME HTTPS 1 . mandatory=alpn alpn="h2"`)
			s.expect(t, year7, "ech.svcb.example SVCB", `NOERROR qr rd ra | answer: NAME SVCB 1 svc-own.example. alpn="h2"`)
			s.expect(t, year7, "ech.example HTTPS +dnssec", `NOERROR qr rd ra | answer: NAME HTTPS 1 . alpn="h2" ipv4hint=192.0.2.80`)
			if a := s.dig(t, year7, "ech-signed.example A +dnssec"); !strings.HasPrefix(a.said, "NOERROR qr rd ra ad | answer: NAME A 192.0.2.80 | answer: NAME RRSIG A ") {
				t.Errorf("what is not changed loses its signature: %s", a.said)
			}
		}},
		{"BYP-11", "each attempt counts in one breach", func(t *testing.T, s *rowSchool) {
			for _, words := range []string{"mullvad.net A", "mullvad.net AAAA", "mullvad.net HTTPS +tcp", "MULLVAD.net A"} {
				s.expect(t, year7, words, blocked)
			}
			s.breaches(t, year7, "mullvad.net", "year7 bypass high block via name")
			if b := s.breach(t, year7, "mullvad.net."); b.Count != 4 || b.Client.IP != year7.addr {
				t.Errorf("%+v", b)
			}
		}},
		{"BYP-12", "a tunnel in DNS is told by its shape, and blocked and recorded by its domain", func(t *testing.T, s *rowSchool) {
			var questions []string
			for i := range 60 {
				questions = append(questions, fmt.Sprintf("%056x.%d.tunnel.example TXT", i*7919, i))
			}
			answers := s.digs(t, year7, "+noidnin", questions...)
			answers[0].check(t, `NOERROR qr rd ra | answer: NAME TXT "an answer"`)
			answers[len(answers)-1].check(t, blocked)
			s.breaches(t, year7, "tunnel.example", "year7 bypass high block via name")
			s.expect(t, staff, "www.tunnel.example", open)
		}},
		{"BYP-13", "dynamic DNS, short links and translation can be a category of the school's choice", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"me.dyndns.example", "short.example", "x.translate-proxy.example"} {
				s.expect(t, year7, name, blocked)
				s.expect(t, staff, name, open)
			}
			s.breaches(t, year7, "me.dyndns.example", "year7 shorteners low block via name")
		}},
	}
}
