package config

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// More of them: go test ./config -run RandomSite -sites 20000.
var sites = flag.Int("sites", 250, "how many sites TestNoRandomSiteIsWeakerThanItsTrust tries")

// writer writes random pieces of configurations.
type writer struct{ *rand.Rand }

func (w writer) chance(percent int) bool { return w.IntN(100) < percent }

func (w writer) some(from []string, most int) []string {
	var out []string
	for range w.IntN(most + 1) {
		if one := from[w.IntN(len(from))]; !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	return out
}

func (w writer) one(from ...string) string { return from[w.IntN(len(from))] }

func flow(items []string) string { return "[" + strings.Join(items, ", ") + "]" }

var (
	randomCategories = []string{"c0", "c1", "c2", "c3", "c4"}
	randomNames      = []string{
		"c0.example", "c1.example", "c2.example", "c3.example", "c4.example", "www.c0.example", "c0c1.example", "c1c3.example", "www.c1c3.example",
		"free.example", "a.free.example", "bing.com", "c2.school.internal", "use-application-dns.net", "_dns.resolver.arpa",
	}
	randomMoments = []time.Time{
		time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC), time.Date(2026, 11, 20, 12, 30, 0, 0, time.UTC), time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC),
		time.Date(2026, 11, 21, 12, 30, 0, 0, time.UTC), time.Date(2027, 8, 3, 12, 30, 0, 0, time.UTC),
	}
)

// namesOf are the names of a category's list: those that have its name in theirs.
func namesOf(t *testing.T, category string) (names []blocklist.Name) {
	t.Helper()
	for _, text := range randomNames {
		if strings.Contains(text, category) && !strings.HasPrefix(text, "www.") {
			n, err := blocklist.ParseName(text)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, n)
		}
	}
	return names
}

func (w writer) mark(percent int) string {
	if w.chance(percent) {
		return ", local: may_loosen"
	}
	return ""
}

// schedule writes some changes, which unblock what is in free.
func (w writer) schedule(periods, free []string) string {
	var changes []string
	for range w.IntN(3) {
		changes = append(changes, fmt.Sprintf("{during: %s, block: %s, unblock: %s}", w.one(periods...), flow(w.some(randomCategories, 2)), flow(w.some(free, 2))))
	}
	return "[" + strings.Join(changes, ", ") + "]"
}

func (w writer) rules(groups []string, most int) string {
	var b strings.Builder
	seen := map[string]bool{}
	for range w.IntN(most + 1) {
		name, whom := w.one(randomNames...), w.some(groups, 1)
		if key := name + flow(whom); !seen[key] {
			seen[key] = true
			fmt.Fprintf(&b, "  - {%s: [%s], groups: %s, reason: r}\n", w.one("allow", "block"), name, flow(whom))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "rules:\n" + b.String()
}

func (w writer) trust() string {
	var b strings.Builder
	b.WriteString("version: 1\nupstreams: {servers: [\"udp://192.0.2.1\"]}\ncategories:\n")
	for i, c := range randomCategories {
		fmt.Fprintf(&b, "  %s: {severity: %s, locked: %t, lists: []%s}\n", c, w.one("critical", "high", "medium", "low", "none"), i == 4, w.mark(30))
	}
	fmt.Fprintf(&b, "calendar: {terms: [{from: 2026-09-02, to: 2027-07-20}], periods: {lunch: [{days: mon-fri, from: \"12:10\", to: \"13:10\"}], night: [{from: \"22:00\", to: \"06:00\", always: true}]}%s}\n", w.mark(10))
	b.WriteString("groups:\n")
	groups := []string{"g0", "g1", "g2"}
	for i, g := range groups {
		fmt.Fprintf(&b, "  %s: {block: %s, monitor: %s, schedule: %s%s", g, flow(w.some(randomCategories, 3)), flow(w.some(randomCategories, 2)), w.schedule([]string{"lunch", "night"}, randomCategories), w.mark(15))
		if i > 0 && w.chance(50) {
			fmt.Fprintf(&b, ", inherit: g%d", w.IntN(i))
		}
		if w.chance(20) {
			fmt.Fprintf(&b, ", only: %s", flow(w.some(randomNames, 4)))
		}
		if w.chance(50) {
			fmt.Fprintf(&b, ", safe_search: {search: %s}", w.one("on", "off"))
		}
		b.WriteString("}\n")
	}
	b.WriteString("default_group: g0\n" + w.rules(groups, 4))
	if w.chance(30) {
		fmt.Fprintf(&b, "zones: [{names: [school.internal], servers: [\"udp://10.0.0.1\"], groups: %s}]\n", flow(w.some(groups, 1)))
	}
	return b.String()
}

// site writes what adds, and sometimes what loosens.
func (w writer) site() string {
	var b strings.Builder
	b.WriteString("version: 1\nextends: trust.yaml\n")
	if w.chance(40) {
		fmt.Fprintf(&b, "categories: {own: {lists: []}, %s: {%s}}\n", w.one(randomCategories...),
			w.one("severity: critical", "severity: low", "locked: true", "lists: []", "locked: false"))
	}
	if w.chance(15) {
		b.WriteString(w.one("timezone: Asia/Tokyo\n", "calendar: {closed: [2026-11-20]}\n", "calendar: {periods: {lunch: [{from: \"08:00\", to: \"18:00\"}]}}\n",
			"calendar: {periods: {club: [{from: \"08:00\", to: \"18:00\"}]}}\n"))
	}
	b.WriteString("groups:\n  mine: {inherit: " + w.one("g0", "g1", "g2") + ", clients: [10.9.0.0/16]" + w.ownKeys() + "}\n")
	for _, g := range []string{"g0", "g1", "g2"} {
		if w.chance(50) {
			fmt.Fprintf(&b, "  %s: {clients: [10.%s.0.0/16]%s}\n", g, g[1:], w.ownKeys())
		}
	}
	if w.chance(20) {
		fmt.Fprintf(&b, "default_group: %s\n", w.one("g1", "g2", "mine"))
	}
	b.WriteString(w.rules([]string{"g0", "g1", "g2", "mine"}, 4))
	if w.chance(30) {
		fmt.Fprintf(&b, "zones: [{names: [%s], servers: [\"udp://10.0.0.2\"]}]\n", w.one("example", "c1.example", "net", "arpa", "c2.school.internal"))
	}
	if w.chance(30) {
		fmt.Fprintf(&b, "records: [{name: %s, type: A, value: 192.0.2.9}]\n", w.one(randomNames...))
	}
	return b.String()
}

func (w writer) ownKeys() string {
	var b strings.Builder
	if w.chance(40) {
		fmt.Fprintf(&b, ", block: %s", flow(w.some(randomCategories, 2)))
	}
	if w.chance(20) {
		fmt.Fprintf(&b, ", unblock: [%s]", w.one(randomCategories...))
	}
	if w.chance(25) {
		fmt.Fprintf(&b, ", schedule: %s", w.schedule([]string{"lunch", "night"}, randomCategories))
	}
	if w.chance(10) {
		fmt.Fprintf(&b, ", only: %s", flow(w.some(randomNames, 4)))
	}
	if w.chance(15) {
		fmt.Fprintf(&b, ", safe_search: {search: %s}", w.one("on", "on", "off"))
	}
	if w.chance(5) {
		fmt.Fprintf(&b, ", local: may_loosen")
	}
	return b.String()
}

func compiled(t *testing.T, cfg *Config) *policy.Policy {
	t.Helper()
	var sources []blocklist.Source
	for i, c := range cfg.Policy.Categories {
		sources = append(sources, blocklist.Source{Category: blocklist.Category(i), List: blocklist.ListOf(namesOf(t, c.Name)...)})
	}
	p, err := policy.Compile(cfg.Policy, blocklist.Build(sources), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// strength grades a verdict, as a person would who compares two: what is not let through, then what is recorded.
func strength(v policy.Verdict) int {
	switch v.Action {
	case policy.Block, policy.NXDomain, policy.SelfData:
		return 20 + int(v.Severity)
	case policy.Monitor:
		return 10 + int(v.Severity)
	case policy.Passthru, policy.LocalData, policy.Forward, policy.Localhost, policy.Refuse, policy.NotReady:
	}
	return 0
}

// Whatever a site writes that loads, nobody in a group of the trust, or in one that inherits from it, nor an unknown
// device, gets more than by the trust's file alone, but for the categories and groups that it marks.
func TestNoRandomSiteIsWeakerThanItsTrust(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	w := writer{rand.New(rand.NewPCG(seed, 2))}
	loaded, compared, strong := 0, 0, 0
	for range *sites {
		trustFile, siteFile := w.trust(), w.site()
		trust, err := loadText(t, trustFile)
		if err != nil {
			continue // an allow and a block of one scope, above all
		}
		site, err := extend(t, siteFile, trustFile)
		if err != nil {
			continue
		}
		loaded++
		if strings.Contains(trustFile, "}}, local: may_loosen}\n") || strings.Contains(trustFile, "}, local: may_loosen}\ngroups") {
			trust.Policy.Calendar = site.Policy.Calendar // the site's to say
		}
		alone, both := compiled(t, trust), compiled(t, site)
		weaker := func(is, was uint16, name string, at time.Time) {
			t.Helper()
			key, err := blocklist.ParseName(name)
			if err != nil {
				t.Fatal(err)
			}
			compared++
			before, now := alone.Decide(was, []byte(key), at), both.Decide(is, []byte(key), at)
			if strength(before) > 0 {
				strong++
			}
			if before.Action == policy.NXDomain && before.Index < 0 && name != "use-application-dns.net" {
				return // of nobody: a site may have such a zone
			}
			if strength(now) < strength(before) || now.Severity < before.Severity || before.Safe != 0 && now.Safe == 0 && strength(now) < 20 && now.Action != policy.LocalData && now.Action != policy.Forward {
				t.Fatalf("seed %d: %s for %s at %v: trust %+v, site %+v\n%s\n%s", seed, name, both.Groups()[is], at, before, now, trustFile, siteFile)
			}
		}
		unknown := netip.MustParseAddr("10.200.0.1")
		for i, g := range both.Groups() {
			was := heldBy(trust, site, g)
			if was < 0 {
				continue
			}
			for _, name := range randomNames {
				if isMarked(trustFile, name) {
					continue
				}
				for _, at := range randomMoments {
					weaker(uint16(i), uint16(was), name, at)
				}
			}
		}
		is, _ := both.Identify(unknown)
		was, _ := alone.Identify(unknown)
		if both.Groups()[is] != alone.Groups()[was] && heldBy(trust, site, alone.Groups()[was]) >= 0 && !both.BlocksAtLeast(both.Groups()[is], alone.Groups()[was]) {
			t.Fatalf("seed %d: unknown devices are in %s, by the trust in %s\n%s\n%s", seed, both.Groups()[is], alone.Groups()[was], trustFile, siteFile)
		}
	}
	if loaded < *sites/20 || strong < compared/20 {
		t.Errorf("%d of %d loaded, %d verdicts compared, %d of them not open: the files are too poor", loaded, *sites, compared, strong)
	}
}

// heldBy is the group of the trust that a group must be no weaker than, or -1.
func heldBy(trust, site *Config, name string) int {
	find := func(cfg *Config, name string) int {
		return slices.IndexFunc(cfg.Policy.Groups, func(g policy.Group) bool { return g.Name == name })
	}
	held := -1
	for ; name != ""; name = site.Policy.Groups[find(site, name)].Inherit {
		i := find(trust, name)
		if i < 0 {
			continue
		}
		if trust.Policy.Groups[i].MayLoosen {
			return -1
		}
		if held < 0 {
			held = i
		}
	}
	return held
}

// isMarked reports whether a name is in a category that a trust's file marks, with a line for each.
func isMarked(trust, name string) bool {
	for line := range strings.Lines(trust) {
		category, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if slices.Contains(randomCategories, category) && strings.Contains(line, "may_loosen") && strings.Contains(name, category) {
			return true
		}
	}
	return false
}
