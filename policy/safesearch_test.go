package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// The table of standards.md, part 6.1, a line each.
func TestSafeSearchLeadsEachEngineToItsSafeForm(t *testing.T) {
	t.Parallel()
	group := func(name string, s policy.SafeSearch) policy.Group {
		return policy.Group{Name: name, SafeSearch: s, SafeSearchSet: true}
	}
	p, err := policy.Compile(policy.Spec{
		Access:     []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		Categories: []policy.Category{{Name: "listed", Severity: policy.SeverityHigh}},
		Groups: []policy.Group{
			group("strict", policy.SafeSearch{Search: true, YouTube: policy.YouTubeStrict}),
			group("moderate", policy.SafeSearch{YouTube: policy.YouTubeModerate}),
			{Name: "heir", Inherit: "strict"},
			{Name: "staff"},
			{Name: "blocked", Inherit: "strict", Block: []string{"listed"}},
			{Name: "watched", Inherit: "strict", Monitor: []string{"listed"}},
		},
		Rules:        []policy.Rule{{Allow: true, Names: []blocklist.Name{name(t, "bing.com")}}},
		DefaultGroup: "strict",
	}, blocklist.Build([]blocklist.Source{{List: blocklist.ListOf(name(t, "google.com"))}}), true)
	if err != nil {
		t.Fatal(err)
	}
	const strict, moderate, heir, staff, blocked, watched = 0, 1, 2, 3, 4, 5
	for _, test := range []struct {
		group  uint16
		names  string
		safe   string
		action policy.Action
	}{
		{strict, "www.google.com www.google.co.uk www.google.de google.com", "forcesafesearch.google.com", policy.Passthru},
		{heir, "www.google.com", "forcesafesearch.google.com", policy.Passthru},
		{strict, "mail.google.com www.google.example notgoogle.com x.www.google.com", "", policy.Passthru},
		{moderate, "www.google.com www.bing.com", "", policy.Passthru},
		{staff, "www.google.com www.youtube.com", "", policy.Passthru},
		{strict, "www.bing.com edgeservices.bing.com", "strict.bing.com", policy.Passthru}, // whatever a rule allows
		{strict, "www.youtube.com m.youtube.com youtubei.googleapis.com youtube.googleapis.com www.youtube-nocookie.com", "restrict.youtube.com", policy.Passthru},
		{moderate, "www.youtube.com m.youtube.com", "restrictmoderate.youtube.com", policy.Passthru},
		{strict, "duckduckgo.com www.duckduckgo.com start.duckduckgo.com", "safe.duckduckgo.com", policy.Passthru},
		{strict, "www.ecosia.org", "strict-safe-search.ecosia.org", policy.Passthru},
		{strict, "pixabay.com", "safesearch.pixabay.com", policy.Passthru},
		{strict, "ya.ru yandex.com www.yandex.ru yandex.com.tr", "familysearch.yandex.ru", policy.Passthru},
		{strict, "search.brave.com", "forcesafe.search.brave.com", policy.Passthru},
		{blocked, "www.google.com", "", policy.Block},
		{watched, "www.google.com", "forcesafesearch.google.com", policy.Monitor},
	} {
		for question := range strings.FieldsSeq(test.names) {
			v := p.Decide(test.group, []byte(name(t, question)), noon)
			if got := p.SafeHost(v).String(); got != test.safe && (test.safe != "" || p.SafeHost(v) != "") || v.Action != test.action {
				t.Errorf("%s for group %d: %q, action %d", question, test.group, got, v.Action)
			}
		}
	}
	ex := p.Explain(netip.MustParseAddr("10.0.0.1"), name(t, "www.bing.com"), noon)
	if ex.Verdict != "rewrite" || !strings.Contains(strings.Join(ex.Steps, "\n"), "gets Bing in its safe form, by the addresses of strict.bing.com") {
		t.Errorf("%+v", ex)
	}
}
