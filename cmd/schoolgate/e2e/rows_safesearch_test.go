//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
)

// engineRow is the row of one search engine: its names lead to its safe form for year 7, and nobody asks for them.
func engineRow(id, engine, host, address string, names ...string) row {
	return row{id, engine + " is answered with its safe form", func(t *testing.T, s *rowSchool) {
		for _, name := range names {
			s.expect(t, year7, name+" A", safe(host, "A "+address))
			s.expect(t, year7, name+" HTTPS", safe(host))
			s.notAsked(t, name)
			s.expect(t, staff, name+" A", open)
		}
	}}
}

func youTubeNames() []string {
	return []string{"www.youtube.com", "m.youtube.com", "youtubei.googleapis.com", "youtube.googleapis.com", "www.youtube-nocookie.com"}
}

// safeSearchRows are those about safe search by DNS.
func safeSearchRows() []row {
	const google = "forcesafesearch.google.com"
	return []row{
		{"SS-01", "Google is answered with its safe form under every country", func(t *testing.T, s *rowSchool) {
			var names []string
			for end := range strings.FieldsSeq("com co.uk ie de fr es it pl pt nl be ch at com.au ca co.in co.jp com.br com.tr com.hk ro lt lv ru com.ua gg je im cat") {
				names = append(names, "www.google."+end, "google."+end)
			}
			for _, a := range s.digs(t, year7, "", inA(names)...) {
				a.check(t, safe(google, "A 216.239.38.120"))
			}
			s.notAsked(t, names...)
			s.expect(t, year7, "classroom.google.com", open) // another service
		}},
		engineRow("SS-02", "Bing", "strict.bing.com", "204.79.197.220", "www.bing.com", "edgeservices.bing.com"),
		engineRow("SS-03", "YouTube in its strict mode", "restrict.youtube.com", "216.239.38.119", youTubeNames()...),
		{"SS-04", "YouTube is answered with its moderate mode where the group has that", func(t *testing.T, s *rowSchool) {
			for _, name := range youTubeNames() {
				s.expect(t, sixth, name, safe("restrictmoderate.youtube.com", "A 216.239.38.121"))
			}
		}},
		engineRow("SS-05", "DuckDuckGo", "safe.duckduckgo.com", "192.0.2.101", "duckduckgo.com", "www.duckduckgo.com", "start.duckduckgo.com"),
		engineRow("SS-06", "Ecosia", "strict-safe-search.ecosia.org", "192.0.2.102", "www.ecosia.org"),
		engineRow("SS-07", "Pixabay", "safesearch.pixabay.com", "192.0.2.103", "pixabay.com"),
		engineRow("SS-08", "Yandex", "familysearch.yandex.ru", "213.180.193.56", "ya.ru", "yandex.ru", "www.yandex.com", "www.yandex.com.tr"),
		engineRow("SS-09", "Brave", "forcesafe.search.brave.com", "192.0.2.104", "search.brave.com"),
		{"SS-10", "safe search is the group's, and no rule, flag or spelling lifts it", func(t *testing.T, s *rowSchool) {
			pupils := safe(google, "A 216.239.38.120")
			s.expect(t, guest, "www.google.co.uk", pupils)
			s.expect(t, tablet, "www.google.co.uk", pupils)
			s.expect(t, stranger, "www.google.co.uk", pupils)
			s.expect(t, staff, "www.google.co.uk", open)
			s.expect(t, year7, "www.google.de", pupils) // though a rule allows it
			for _, words := range []string{"WWW.GooGLe.cO.uK", "+tcp www.google.co.uk", "+cd +dnssec www.google.co.uk", "+norec www.google.co.uk", "+noedns www.google.co.uk", "www.google.co.uk.", `\119ww.goo\gle.co.uk`} {
				s.expect(t, year7, words, pupils)
			}
			s.expect(t, infants, "www.google.co.uk", blocked)
		}},
		{"SS-11", "no type tells the addresses of the open site", func(t *testing.T, s *rowSchool) {
			for _, typ := range []string{"HTTPS", "SVCB", "TXT", "MX", "NS", "TYPE65280"} {
				s.expect(t, year7, "www.google.com "+typ, safe(google))
			}
			s.expect(t, year7, "www.google.com CNAME", strings.TrimSuffix(safe(google), " | authority: "+google+". SOA schoolgate.invalid."))
			s.expect(t, year7, "www.google.com ANY", `NOERROR qr rd ra | answer: NAME HINFO "RFC8482" ""`)
			s.notAsked(t, "www.google.com")
		}},
		{"SS-12", "a safe form without IPv6 is an empty answer, not the open site's", func(t *testing.T, s *rowSchool) {
			s.expect(t, year7, "www.google.com AAAA", safe(google, "AAAA 2001:4860:4802:32::78"))
			s.expect(t, year7, "www.bing.com AAAA", safe("strict.bing.com"))
			s.expect(t, sixth, "www.youtube.com AAAA", safe("restrictmoderate.youtube.com"))
			s.notAsked(t, "www.bing.com")
		}},
		{"SS-13", "search engines without a safe form are a category, closed for pupils", func(t *testing.T, s *rowSchool) {
			for _, name := range []string{"search.yahoo.com", "uk.search.yahoo.com", "www.startpage.com", "yacy.net"} {
				s.expect(t, year7, name, blocked)
			}
			s.breaches(t, year7, "www.startpage.com", "year7 no_safe_search low block via name")
			s.expect(t, staff, "www.startpage.com", open)
		}},
		{"SS-14", "where the safe form can't be had, or is blocked, the open site is not given either", func(t *testing.T, s *rowSchool) {
			s.internet.fail(t, "forcesafe.search.brave.com")
			s.second.fail(t, "forcesafe.search.brave.com")
			s.reload(t, "block: [example.net]", "block: [example.net, safesearch.pixabay.com]")
			s.expect(t, sixth, "pixabay.com", blocked)
			s.expect(t, sixth, "pixabay.com HTTPS", blocked)
			s.expect(t, sixth, "search.brave.com AAAA", failed)
			s.notAsked(t, "pixabay.com", "search.brave.com")
		}},
		{"SS-15", "the answer says that it was made (extended error 29)", func(t *testing.T, s *rowSchool) {
			a := s.expect(t, year7, "www.bing.com", safe("strict.bing.com", "A 204.79.197.220"))
			if !strings.Contains(a.said, "EDE 29") || strings.Contains(a.said, "EDE 4") {
				t.Error(a.said)
			}
		}},
	}
}
