package feed

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"schoolgate/blocklist"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	lines := func(n int, more ...string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "n%d.example\n", i)
		}
		return b.String() + strings.Join(more, "\n")
	}
	tests := []struct {
		name   string
		text   string
		before int // entries of the last version; 0: there is none
		rules  guardRules
		want   string
	}{
		{"a first version is taken", lines(3), 0, guardRules{Fetched: true}, ""},
		{"one as long as the last is taken", lines(100), 100, guardRules{Fetched: true}, ""},
		{"one of exactly the share is taken", lines(70), 100, guardRules{Fetched: true}, ""},
		{
			"one below the share is refused", lines(69), 100,
			guardRules{Fetched: true},
			"refused: it has 69 entries, less than 70 % of the 100 before (if the publisher did cut it down, lower min_share)",
		},
		{"what DNS cannot act on counts in the share", lines(69, "192.0.2.1"), 100, guardRules{Fetched: true}, ""},
		{
			"the share can be set", lines(94), 100,
			guardRules{Fetched: true, MinShare: 95},
			"refused: it has 94 entries, less than 95 % of the 100 before (if the publisher did cut it down, lower min_share)",
		},
		{"the share can be switched off", lines(1), 100, guardRules{Fetched: true, MinShare: -1}, ""},
		{"one per cent of over-broad entries is taken", lines(99, "co.uk"), 0, guardRules{Fetched: true}, ""},
		{
			"more is refused", lines(98, "co.uk", "com"), 0,
			guardRules{Fetched: true},
			"refused: 2 of its 100 entries cover a public suffix, a top-level domain or the site's own zones, more than 1 %",
		},
		{"other skipped lines are not", lines(3, "three words here", "a*b.example"), 0, guardRules{Fetched: true}, ""},
		{
			"the site's own zones are", lines(3, "school.example"), 0,
			guardRules{Fetched: true},
			"refused: 1 of its 4 entries cover a public suffix, a top-level domain or the site's own zones, more than 1 %",
		},
		{
			"a name that must never be blocked", lines(3, "www.vital.example"), 0,
			guardRules{Fetched: true, Never: names(t, "www.vital.example")},
			"refused: it blocks a name that must never be blocked: www.vital.example",
		},
		{
			"an entry above one", lines(3, "vital.example"), 0,
			guardRules{Fetched: true, Never: names(t, "a.vital.example", "b.vital.example", "other.example")},
			"refused: it blocks 2 names that must never be blocked: a.vital.example, b.vital.example",
		},
		{
			"more than five of them are not all shown", lines(3, "vital.example"), 0,
			guardRules{Fetched: true, Never: names(t, "a.vital.example", "b.vital.example", "c.vital.example", "d.vital.example", "e.vital.example", "f.vital.example")},
			"refused: it blocks 6 names that must never be blocked: a.vital.example, b.vital.example, c.vital.example, d.vital.example, e.vital.example, …",
		},
		{"an entry below one is taken", lines(3, "ads.www.vital.example"), 0, guardRules{Fetched: true, Never: names(t, "www.vital.example")}, ""},
		{"one that ends alike is taken", lines(3, "notvital.example"), 0, guardRules{Fetched: true, Never: names(t, "vital.example")}, ""},
		{"canaries that are there", lines(3), 0, guardRules{Canaries: names(t, "n1.example", "below.n2.example")}, ""},
		{
			"canaries that are not", lines(3), 0,
			guardRules{Canaries: names(t, "n1.example", "n3.example", "example")},
			"refused: it lacks 2 names written under canaries: n3.example, example",
		},
		{
			"a file is held to its canaries alone", lines(1, "co.uk", "vital.example"), 100,
			guardRules{Never: names(t, "vital.example"), Canaries: names(t, "n9.example")},
			"refused: it lacks a name written under canaries: n9.example",
		},
		{
			"all reasons are said at once", lines(1, "co.uk", "vital.example"), 100,
			guardRules{Fetched: true, Never: names(t, "vital.example"), Canaries: names(t, "n9.example")},
			"refused: it has 2 entries, less than 70 % of the 100 before (if the publisher did cut it down, lower min_share); " +
				"1 of its 3 entries cover a public suffix, a top-level domain or the site's own zones, more than 1 %; " +
				"it blocks a name that must never be blocked: vital.example; it lacks a name written under canaries: n9.example",
		},
		{
			"of a confidential list no name is said", lines(1, "vital.example"), 0,
			guardRules{Fetched: true, Never: names(t, "vital.example", "www.vital.example"), Canaries: names(t, "n9.example"), Confidential: true},
			"refused: it blocks 2 names that must never be blocked; it lacks a name written under canaries",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list, err := blocklist.Parse(strings.NewReader(tt.text), blocklist.Options{Format: blocklist.FormatDomains, Own: names(t, "www.school.example")})
			if err != nil {
				t.Fatal(err)
			}
			var before *blocklist.List
			if tt.before > 0 {
				before = &blocklist.List{Enforceable: tt.before - 1, Unenforceable: 1}
			}
			got := ""
			if err := guard(list, before, tt.rules); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestOnlyWhatAnRPZZoneBlocksCountsForTheGuard(t *testing.T) {
	t.Parallel()
	const zone = "@ SOA . . 1 1 1 1 1\nself.example CNAME .\n*.below.example CNAME .\npass.example CNAME rpz-passthru.\n"
	list, err := blocklist.Parse(strings.NewReader(zone), blocklist.Options{Format: blocklist.FormatRPZ})
	if err != nil {
		t.Fatal(err)
	}
	all := names(t, "self.example", "www.self.example", "below.example", "www.below.example", "pass.example")
	if got, want := covered(list, all), names(t, "self.example", "www.below.example"); !slices.Equal(got, want) {
		t.Errorf("%v are covered, not %v", got, want)
	}
}

func TestNeverBlockedHasWhatNoSchoolBlocks(t *testing.T) {
	t.Parallel()
	never := NeverBlocked()
	lines := 0
	for line := range strings.Lines(neverBlocked) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines++
		}
	}
	if len(never) != lines || lines < 40 || lines > 100 {
		t.Errorf("%d names of %d lines", len(never), lines)
	}
	slices.Sort(never)
	if len(slices.Compact(never)) != lines {
		t.Error("a name is there twice")
	}
	for _, builtin := range blocklist.Builtins() {
		list, err := blocklist.Builtin(builtin)
		if err != nil {
			t.Fatal(err)
		}
		if hit := covered(list, never); len(hit) > 0 && builtin != "helplines" {
			t.Errorf("builtin:%s blocks %v", builtin, hit)
		}
	}
}

func names(t *testing.T, texts ...string) []blocklist.Name {
	t.Helper()
	var all []blocklist.Name
	for _, text := range texts {
		n, err := blocklist.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}
