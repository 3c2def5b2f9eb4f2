package blocklist

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheFourFormatsOfOneListAreTheSameNames(t *testing.T) {
	files := readRealLists(t)
	read := func(path string, want Format) []Name {
		l, err := Parse(bytes.NewReader(files[path]), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Format != want {
			t.Fatalf("%s is read as %s", path, l.Format)
		}
		return slices.Sorted(l.Names())
	}
	want := read("blocklistproject/drugs.domains.txt", FormatDomains)
	if len(want) != 26029 { // what its header says
		t.Errorf("%d names", len(want))
	}
	for path, format := range map[string]Format{
		"blocklistproject/drugs.hosts.txt":   FormatHosts,
		"blocklistproject/drugs.adguard.txt": FormatAdblock,
		"blocklistproject/drugs.dnsmasq.txt": FormatDnsmasq,
	} {
		if diff := cmp.Diff(want, read(path, format)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

// TestEveryRealListIsReadAsItIs pins what each list gives: a reader that begins to lose lines shows
// here. Skipped lines are public suffixes (bet.br, game.tw, gouv.fr, x.se), and a word that is no
// domain. Warnings are hosters' suffixes: the list of dynamic DNS consists of them.
func TestEveryRealListIsReadAsItIs(t *testing.T) {
	type pin struct {
		Format                                                    Format
		Enforceable, Unenforceable, Exceptions, Skipped, Warnings int
	}
	want := map[string]pin{
		"blocklistproject/drugs.adguard.txt": {"adblock", 26029, 0, 0, 0, 0},
		"blocklistproject/drugs.dnsmasq.txt": {"dnsmasq", 26029, 0, 0, 0, 0},
		"blocklistproject/drugs.domains.txt": {"domains", 26029, 0, 0, 0, 0},
		"blocklistproject/drugs.hosts.txt":   {"hosts", 26029, 0, 0, 0, 0},
		"blocklistproject/scam.hosts.txt":    {"hosts", 8527, 0, 0, 0, 0},
		"blocklistproject/tiktok.hosts.txt":  {"hosts", 3725, 0, 0, 0, 0},
		"popular/domains":                    {"domains", 99844, 0, 0, 156, 126},
		"sinfonietta/gambling-hosts":         {"hosts", 2642, 0, 0, 0, 0},
		"sinfonietta/pornography-hosts":      {"hosts", 61181, 5, 0, 1, 0},
		"sinfonietta/snuff-hosts":            {"hosts", 23, 0, 0, 0, 0},
		"sinfonietta/social-hosts":           {"hosts", 3244, 0, 0, 1, 0},
		"ut1/agressif/domains":               {"domains", 267, 93, 0, 0, 0},
		"ut1/agressif/urls":                  {"urls", 0, 36, 0, 0, 0},
		"ut1/ai/domains":                     {"domains", 77, 0, 0, 0, 0},
		"ut1/celebrity/domains":              {"domains", 634, 1, 0, 0, 0},
		"ut1/chat/domains":                   {"domains", 195, 73, 0, 0, 0},
		"ut1/child/domains":                  {"domains", 75, 0, 0, 0, 0},
		"ut1/cryptojacking/domains":          {"domains", 11491, 0, 0, 0, 0},
		"ut1/dangerous_material/domains":     {"domains", 35, 0, 0, 0, 0},
		"ut1/dating/domains":                 {"domains", 6503, 1, 0, 0, 0},
		"ut1/ddos/domains":                   {"domains", 421, 0, 0, 0, 0},
		"ut1/doh/domains":                    {"domains", 2996, 19, 0, 0, 0},
		"ut1/drogue/domains":                 {"domains", 436, 167, 0, 0, 0},
		"ut1/dynamic-dns/domains":            {"domains", 2077, 0, 0, 0, 394},
		"ut1/educational_games/domains":      {"domains", 8, 0, 0, 0, 0},
		"ut1/fakenews/domains":               {"domains", 1118, 0, 0, 0, 0},
		"ut1/filehosting/domains":            {"domains", 940, 1, 0, 0, 1},
		"ut1/forums/domains":                 {"domains", 197, 8, 0, 0, 0},
		"ut1/gambling/domains":               {"domains", 32232, 14, 0, 1, 0},
		"ut1/games/domains":                  {"domains", 33714, 26, 0, 1, 6},
		"ut1/games/urls":                     {"urls", 1, 1654, 0, 0, 0},
		"ut1/hacking/domains":                {"domains", 197, 77, 0, 0, 0},
		"ut1/jobsearch/domains":              {"domains", 60740, 0, 0, 0, 1},
		"ut1/lingerie/domains":               {"domains", 193, 0, 0, 0, 0},
		"ut1/liste_blanche/domains":          {"domains", 267, 0, 0, 1, 0},
		"ut1/malware/domains":                {"domains", 31623, 0, 0, 0, 1},
		"ut1/mixed_adult/domains":            {"domains", 149, 0, 0, 0, 0},
		"ut1/phishing/domains":               {"domains", 31473, 0, 0, 0, 1},
		"ut1/redirector/domains":             {"domains", 109793, 22530, 0, 0, 5},
		"ut1/remote-control/domains":         {"domains", 170, 0, 0, 0, 0},
		"ut1/residential-proxies/domains":    {"domains", 120, 18, 0, 0, 0},
		"ut1/sect/domains":                   {"domains", 143, 1, 0, 0, 0},
		"ut1/sexual_education/domains":       {"domains", 15, 0, 0, 0, 0},
		"ut1/shopping/domains":               {"domains", 36964, 4, 0, 0, 1},
		"ut1/shortener/domains":              {"domains", 4557, 0, 0, 1, 4},
		"ut1/social_networks/domains":        {"domains", 715, 0, 0, 0, 0},
		"ut1/stalkerware/domains":            {"domains", 525, 0, 0, 0, 0},
		"ut1/translation/domains":            {"domains", 175, 0, 0, 0, 0},
		"ut1/tricheur/domains":               {"domains", 53, 0, 0, 0, 0},
		"ut1/vpn/domains":                    {"domains", 6039, 0, 0, 0, 2},
		"ut1/warez/domains":                  {"domains", 1524, 22, 0, 0, 0},
		"ut1/warez/urls":                     {"urls", 0, 15, 0, 0, 0},
		"ut1/webmail/domains":                {"domains", 404, 0, 0, 0, 0},
	}
	got := map[string]pin{}
	for path, data := range readRealLists(t) {
		l, err := Parse(bytes.NewReader(data), Options{})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got[path] = pin{l.Format, l.Enforceable, l.Unenforceable, l.Exceptions, l.Skipped, len(l.Warnings)}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRealListsMatchWhatTheyList checks the trie of all real lists against the lists themselves.
func TestRealListsMatchWhatTheyList(t *testing.T) {
	sources := realSources(t)
	s := Build(sources)
	listed := map[Name]Categories{}
	for _, src := range sources {
		for n := range src.List.Names() {
			listed[n] = listed[n].With(src.Category)
		}
	}
	covering := func(n Name) (cs Categories) {
		for ; n != ""; n = n.Parent() {
			cs |= listed[n]
		}
		return cs
	}
	wrong := 0
	for _, n := range slices.Collect(maps.Keys(listed)) {
		label, parent := n.split()
		for _, probe := range []Name{n, parent, "\x03www" + n, "\x03not" + parent, Name([]byte{byte(len(label) + 3)}) + "not" + label + parent} {
			if len(probe) > maxName || probe[0] > maxLabel {
				continue
			}
			if got, want := s.Match([]byte(probe)), covering(probe); got != want && wrong < 10 {
				wrong++
				t.Errorf("%s: %b, want %b", probe, got, want)
			}
		}
	}
}

func TestBuiltinListsAreSound(t *testing.T) {
	want := []string{
		"bypass", "ctiru", "dating", "encrypted_dns", "extremism", "gambling", "gaming", "generative_ai", "helplines", "iwf",
		"no_safe_search", "pornography", "social_networks",
	}
	if diff := cmp.Diff(want, Builtins()); diff != "" {
		t.Fatal(diff)
	}
	for _, name := range want {
		l, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		if l.Unenforceable+l.Exceptions+l.Skipped+len(l.Warnings) > 0 {
			t.Errorf("%s: %+v", name, written(l))
		}
		names := slices.Collect(l.Names())
		for i, n := range names {
			if i > 0 && names[i-1].String() >= n.String() {
				t.Errorf("%s: %s is not sorted in", name, n)
			}
			for _, other := range names {
				if other != n && other.Covers(n) {
					t.Errorf("%s: %s is covered by %s", name, n, other)
				}
			}
		}
	}
	if _, err := Builtin("../name"); err == nil || !strings.Contains(err.Error(), `no built-in list "../name" (there are bypass, ctiru,`) {
		t.Errorf("a list that is not there: %v", err)
	}
}

func TestTheSelfTestListsHoldTheSelfTestNamesOnly(t *testing.T) {
	for _, name := range []string{"iwf", "ctiru"} {
		l, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{name + ".testfiltering.com"}, written(l).Entries); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBuiltinListsCoverTheWellKnown(t *testing.T) {
	for list, names := range map[string][]string{
		"pornography":     {"www.pornhub.com", "xvideos.com"},
		"extremism":       {"www.stormfront.org"},
		"gaming":          {"www.roblox.com", "launcher.fortnite.com", "store.steampowered.com", "poki.com", "coolmathgames.com"},
		"gambling":        {"www.bet365.com", "www.williamhill.com"},
		"bypass":          {"www.torproject.org", "nordvpn.com", "www.croxyproxy.com", "engage.cloudflareclient.com"},
		"encrypted_dns":   {"dns.google", "mozilla.cloudflare-dns.com", "dns.quad9.net", "doh.opendns.com", "dns.adguard-dns.com", "x.dns.nextdns.io"},
		"social_networks": {"www.tiktok.com", "www.instagram.com"},
		"generative_ai":   {"chatgpt.com", "character.ai"},
		"no_safe_search":  {"www.startpage.com", "searx.be"},
		"dating":          {"www.tinder.com"},
		"helplines":       {"www.childline.org.uk", "www.samaritans.org", "www.nspcc.org.uk", "www.ceop.police.uk", "report.iwf.org.uk", "www.kooth.com"},
	} {
		l, err := Builtin(list)
		if err != nil {
			t.Fatal(err)
		}
		s := Build([]Source{{List: l}})
		for _, n := range names {
			if s.Match([]byte(mustName(t, n))) == 0 {
				t.Errorf("%s does not cover %s", list, n)
			}
		}
	}
}

// blockedBuiltins returns a set of every built-in list that a category may block, and their names.
func blockedBuiltins(t *testing.T) (*Set, []string) {
	t.Helper()
	names := slices.DeleteFunc(Builtins(), func(n string) bool { return n == "helplines" })
	var sources []Source
	for i, name := range names {
		l, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, Source{ID: name, Category: Category(i), List: l})
	}
	return Build(sources), names
}

func TestNoBuiltinListCoversAHelpline(t *testing.T) {
	blocked, _ := blockedBuiltins(t)
	help, err := Builtin("helplines")
	if err != nil {
		t.Fatal(err)
	}
	helpSet := Build([]Source{{List: help}})
	for n := range help.Names() {
		for c := range blocked.Match([]byte(n)).All() {
			list, entry, _ := blocked.Attribute(n, c)
			t.Errorf("%s covers the helpline %s with %s", list, n, entry)
		}
	}
	// Nor does a helpline let through what is blocked.
	for _, name := range Builtins() {
		if name == "helplines" {
			continue
		}
		l, err := Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		for n := range l.Names() {
			if helpSet.Match([]byte(n)) != 0 {
				t.Errorf("a helpline covers %s of %s", n, name)
			}
		}
	}
}

func TestBuiltinListsLetThroughWhatSchoolsShould(t *testing.T) {
	type hit struct{ List, Name, Of string }
	// What a list of sites for children holds, and a starter list rightly does too.
	want := []hit{
		{"gaming", "diep.io", "ut1/child/domains"}, // a shooting game, suited to children or not
	}
	files := readRealLists(t)
	blocked, names := blockedBuiltins(t)
	var got []hit
	for _, path := range []string{"ut1/child/domains", "ut1/educational_games/domains", "ut1/liste_blanche/domains", "ut1/sexual_education/domains"} {
		l, err := Parse(bytes.NewReader(files[path]), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for n := range l.Names() {
			for c := range blocked.Match([]byte(n)).All() {
				got = append(got, hit{names[c], n.String(), path})
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
