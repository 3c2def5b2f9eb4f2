//go:build e2e

package e2e_test

import (
	"regexp"
	"strings"
	"testing"
)

// dig keeps the cookie that it gets, and says whether what came back is its own with a server's behind it.
func TestDigTakesOurCookieAndLearnsTheSite(t *testing.T) {
	s := newSite(t, `site: winchelsea
groups: {pupils: {}}
default_group: pupils
`)
	s.start(t)
	cookie := regexp.MustCompile(`; COOKIE: ([0-9a-f]{48}) \(good\)`)
	for _, transport := range []string{"+notcp", "+tcp"} {
		first := s.dig(t, pupil, "www.example.org", "A", transport, "+cookie=0102030405060708", "+nsid")
		got := cookie.FindStringSubmatch(string(first))
		if got == nil || !strings.Contains(string(first), `("winchelsea")`) {
			t.Fatalf("%s: %s", transport, first)
		}
		again := s.dig(t, pupil, "www.example.org", "A", transport, "+cookie="+got[1])
		if !strings.Contains(string(again), got[1]+" (good)") || strings.Contains(string(again), "NSID") {
			t.Errorf("%s, the cookie shown again: %s", transport, again)
		}
		if none := s.dig(t, pupil, "www.example.org", "A", transport, "+nocookie"); strings.Contains(string(none), "COOKIE") {
			t.Errorf("%s, without a cookie: %s", transport, none)
		}
	}
	if r := s.dig(t, pupil, "www.example.org", "A", "+edns=1", "+noednsnegotiation"); r.status() != "BADVERS" || !strings.Contains(string(r), "EDNS: version: 0") {
		t.Errorf("EDNS of version 1: %s", r)
	}
	if r := s.dig(t, pupil, "www.example.org", "A", "+header-only", "+cookie=0102030405060708"); r.status() != "NOERROR" || !cookie.MatchString(string(r)) {
		t.Errorf("nothing but a cookie: %s", r)
	}
}
