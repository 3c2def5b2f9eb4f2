package policy_test

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

// world is a policy written down as contract.md speaks of it, and judged as part 3 reads: slowly, with
// texts, one step after the other, and nothing worked out before.
type world struct {
	spec   policy.Spec
	listed map[string][]string // by category: the entries of its lists
	safe   map[string]string   // by engine's name, the host of its safe form
	base   *world              // what it extends, nil for nothing
}

func covers(entry, name string) bool { return name == entry || strings.HasSuffix(name, "."+entry) }

func (w *world) group(name string) *policy.Group {
	i := slices.IndexFunc(w.spec.Groups, func(g policy.Group) bool { return g.Name == name })
	return &w.spec.Groups[i]
}

// line is the group with those that it inherits from, itself first.
func (w *world) line(name string) (line []*policy.Group) {
	for name != "" {
		g := w.group(name)
		line = append(line, g)
		name = g.Inherit
	}
	return line
}

func (w *world) in(category, name string) bool {
	return slices.ContainsFunc(w.listed[category], func(entry string) bool { return covers(entry, name) })
}

// blocks reports whether a category is blocked for the group at this moment.
func (w *world) blocks(group, category string, at time.Time) bool {
	blocked, unblocked, not := false, false, false
	for _, g := range w.line(group) {
		not = not || slices.Contains(g.Unblock, category) // by this one, or by one that is nearer
		blocked = blocked || slices.Contains(g.Block, category) && !not
		for _, c := range g.Schedule {
			if !onTheWall(w.spec.Calendar, c.During, at) {
				continue
			}
			if slices.Contains(c.Block, category) {
				return true // where a schedule both blocks and unblocks, block wins
			}
			unblocked = unblocked || slices.Contains(c.Unblock, category)
		}
	}
	return blocked && !unblocked
}

func (w *world) monitors(group, category string) bool {
	return slices.ContainsFunc(w.line(group), func(g *policy.Group) bool { return slices.Contains(g.Monitor, category) })
}

// worst is the most severe of the categories; of equal ones the first of the file.
func (w *world) worst(names []string) string {
	best := -1
	for i, c := range w.spec.Categories {
		if slices.Contains(names, c.Name) && (best < 0 || c.Severity > w.spec.Categories[best].Severity) {
			best = i
		}
	}
	return w.spec.Categories[best].Name
}

// ruling is step 5: the rule that holds, nil for none.
func (w *world) ruling(client, group, name string, at time.Time) *policy.Rule {
	for _, exceptions := range []bool{true, false} {
		for _, scope := range []string{"client", "group", "everybody"} {
			for candidate := name; candidate != ""; _, candidate, _ = strings.Cut(candidate, ".") { // the longest name first
				ancestry := []string{""}
				if scope == "group" {
					ancestry = nil
					for _, g := range w.line(group) {
						ancestry = append(ancestry, g.Name) // the heir's before the parent's
					}
				}
				for _, of := range ancestry {
					var found *policy.Rule
					for i := range w.spec.Rules {
						r := &w.spec.Rules[i]
						var holds bool
						switch scope {
						case "client":
							holds = r.Client != nil && r.Client.Addr.String() == client
						case "group":
							holds = r.Client == nil && slices.Contains(r.Groups, of)
						case "everybody":
							holds = r.Client == nil && len(r.Groups) == 0
						}
						if !holds || (r.ID != "") != exceptions || !r.Expires.IsZero() && !at.Before(r.Expires) || r.Names[0].String() != candidate {
							continue
						}
						if found == nil || !r.Allow {
							found = r
						}
					}
					if found != nil {
						return found
					}
				}
			}
		}
	}
	return nil
}

// judge returns "action category" and the host of the safe form. Where a rule or an allow-list of the site's own had the
// say, or the name is blocked, what the base alone says of it stands if it is graver; what the base monitors as
// something worse is blocked as that.
func (w *world) judge(client, group, name string, at time.Time) (verdict, safe string) {
	verdict, safe = w.alone(client, group, name, at)
	if w.base == nil {
		return verdict, safe
	}
	decider := (*policy.Rule)(nil)
	if !strings.HasPrefix(verdict, "block") || verdict == "block rule" {
		decider = w.ruling(client, group, name, at)
	}
	if !strings.HasPrefix(verdict, "block") && (decider == nil || slices.IndexFunc(w.base.spec.Rules, func(r policy.Rule) bool { return r.Reason == decider.Reason }) >= 0) {
		return verdict, safe
	}
	inBase := "nobody"
	for _, g := range w.line(group) {
		if slices.ContainsFunc(w.base.spec.Groups, func(b policy.Group) bool { return b.Name == g.Name }) {
			inBase = g.Name
			break
		}
	}
	for _, g := range w.base.line(inBase) {
		if g.MayLoosen {
			return verdict, safe
		}
	}
	held, heldSafe := w.base.judge(client, inBase, name, at)
	if monitored, ok := strings.CutPrefix(held, "monitor "); ok && strings.HasPrefix(verdict, "block") && w.weight(held)-10 > w.weight(verdict)-20 {
		return "block " + monitored, ""
	}
	if w.weight(held) <= w.weight(verdict) {
		return verdict, safe
	}
	if strings.HasPrefix(held, "block") {
		return held, ""
	}
	if safe == "" {
		safe = heldSafe
	}
	return held, safe
}

// weight says how grave a verdict is: a block over what is monitored over what passes, then by severity.
func (w *world) weight(verdict string) int {
	action, category, _ := strings.Cut(verdict, " ")
	severity := 0
	for _, c := range w.spec.Categories {
		if c.Name == category {
			severity = int(c.Severity)
		}
	}
	return map[string]int{"pass": 0, "monitor": 10, "block": 20}[action] + severity
}

// alone is judge without regard to a base.
func (w *world) alone(client, group, name string, at time.Time) (verdict, safe string) {
	categories := func(wanted func(c policy.Category) bool) (names []string) {
		for _, c := range w.spec.Categories {
			if w.in(c.Name, name) && wanted(c) {
				names = append(names, c.Name)
			}
		}
		return names
	}
	// 2. Locked categories; what the group blocks besides may name it.
	if locked := categories(func(c policy.Category) bool { return c.Locked }); locked != nil {
		return "block " + w.worst(categories(func(c policy.Category) bool { return c.Locked || w.blocks(group, c.Name, at) })), ""
	}
	// 8, said first: it happens to all that passes below.
	line := w.line(group)
	for _, g := range line {
		if g.SafeSearchSet {
			if g.SafeSearch.Search {
				safe = w.safe[name]
			}
			break
		}
	}
	// 5. Exceptions, then rules.
	if r := w.ruling(client, group, name, at); r != nil {
		if r.Allow {
			return "pass ", safe
		}
		return "block rule", ""
	}
	// 6. Only.
	for _, g := range line {
		if g.OnlySet {
			if !slices.ContainsFunc(g.Only, func(n blocklist.Name) bool { return covers(n.String(), name) }) {
				return "block only", ""
			}
			break
		}
	}
	// 7. Categories.
	if blocked := categories(func(c policy.Category) bool { return w.blocks(group, c.Name, at) }); blocked != nil {
		return "block " + w.worst(blocked), ""
	}
	if monitored := categories(func(c policy.Category) bool { return w.monitors(group, c.Name) }); monitored != nil {
		return "monitor " + w.worst(monitored), safe
	}
	return "pass ", safe
}

// randomWorld makes a world, and often one that it extends, and sometimes one that this extends.
func randomWorld(t *testing.T, random *rand.Rand, names []string) *world {
	t.Helper()
	w := lonelyWorld(t, random, names)
	for below := w; random.IntN(2) == 0; below = below.base {
		below.base = lonelyWorld(t, random, names)
		below.base.listed, below.base.spec.Categories = w.listed, w.spec.Categories
		below.base.spec.Groups = append(below.base.spec.Groups[:3], policy.Group{Name: "nobody"})
		for i := range below.base.spec.Rules {
			below.base.spec.Rules[i].Groups = slices.DeleteFunc(below.base.spec.Rules[i].Groups, func(g string) bool { return g == "g3" })
		}
		for i := range 3 {
			below.base.spec.Groups[i].MayLoosen = random.IntN(8) == 0
		}
	}
	w.stack()
	return w
}

// stack puts the rules of each base first in what extends it.
func (w *world) stack() {
	if w.base == nil {
		return
	}
	w.base.stack()
	for i := range w.base.spec.Rules {
		w.base.spec.Rules[i].ID = ""
	}
	w.spec.Rules = append(slices.Clone(w.base.spec.Rules), w.spec.Rules...)
	w.spec.Base = &w.base.spec
}

func lonelyWorld(t *testing.T, random *rand.Rand, names []string) *world {
	t.Helper()
	pick := func(from []string, most int) (some []string) {
		for range random.IntN(most + 1) {
			if one := from[random.IntN(len(from))]; !slices.Contains(some, one) {
				some = append(some, one)
			}
		}
		return some
	}
	w := &world{listed: map[string][]string{}, safe: map[string]string{"bing.com": "strict.bing.com", "www.bing.com": "strict.bing.com", "duckduckgo.com": "safe.duckduckgo.com"}}
	w.spec = policy.Spec{Access: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Calendar: wholeCalendar(t), DefaultGroup: "g0"}
	categories := []string{"c0", "c1", "c2", "c3"}
	for i, c := range categories {
		w.spec.Categories = append(w.spec.Categories, policy.Category{Name: c, Severity: policy.Severity(random.IntN(5)), Locked: i == 3 && random.IntN(2) == 0})
		w.listed[c] = pick(names, 3)
	}
	var periods []string
	for _, p := range w.spec.Calendar.Periods {
		periods = append(periods, p.Name)
	}
	for i := range 4 {
		g := policy.Group{
			Name: fmt.Sprint("g", i), Clients: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)},
			Block: pick(categories, 2), Monitor: pick(categories, 2), Unblock: pick(categories, random.IntN(2)),
		}
		if i > 0 && random.IntN(2) == 0 {
			g.Inherit = fmt.Sprint("g", random.IntN(i))
		}
		for range random.IntN(3) {
			g.Schedule = append(g.Schedule, policy.Change{During: periods[random.IntN(len(periods))], Block: pick(categories, 1), Unblock: pick(categories, 2)})
		}
		if random.IntN(5) == 0 {
			g.OnlySet = true
			for _, n := range pick(names, 3) {
				g.Only = append(g.Only, name(t, n))
			}
		}
		if random.IntN(3) == 0 {
			g.SafeSearch, g.SafeSearchSet = policy.SafeSearch{Search: random.IntN(3) > 0}, true
		}
		w.spec.Groups = append(w.spec.Groups, g)
	}
	for i := range random.IntN(8) {
		r := policy.Rule{Allow: random.IntN(2) == 0, Reason: fmt.Sprint(random.Uint64()), Names: []blocklist.Name{name(t, names[random.IntN(len(names))])}}
		switch random.IntN(3) {
		case 0:
			r.Groups = pick([]string{"g0", "g1", "g2", "g3"}, 2)
		case 1:
			c, err := policy.ParseClientPattern(fmt.Sprintf("10.%d.0.%d", random.IntN(4), random.IntN(2)))
			if err != nil {
				t.Fatal(err)
			}
			r.Client, r.ID = &c, fmt.Sprint("e", i)
		}
		if random.IntN(2) == 0 {
			r.ID = fmt.Sprint("e", i)
		}
		if random.IntN(2) == 0 {
			r.Expires = time.Date(2026, 10, 20+random.IntN(12), random.IntN(24), 0, 0, 0, time.UTC)
		}
		w.spec.Rules = append(w.spec.Rules, r)
	}
	return w
}

// A million takes some 40 s: go test ./policy -run RandomDecisions -cases 1000000.
var cases = flag.Int("cases", 100_000, "how many decisions TestRandomDecisionsAreThoseOfTheContract compares")

// Questions of random groups, categories, times and places in lists get the verdict that a slow,
// literal reading of contract part 3 gives.
func TestRandomDecisionsAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	const questions = 1000
	worlds := max(1, *cases/questions)
	names := []string{
		"a.test.org", "b.a.test.org", "c.b.a.test.org", "test.org", "other.net", "www.other.net", "www.bing.com", "bing.com", "duckduckgo.com", "x.duckduckgo.com",
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	begin := time.Date(2026, 10, 19, 0, 0, 0, 0, time.UTC)
	seen := map[string]int{}
	for range worlds {
		w := randomWorld(t, random, names)
		var sources []blocklist.Source
		for i, c := range w.spec.Categories {
			var entries []blocklist.Name
			for _, n := range w.listed[c.Name] {
				entries = append(entries, name(t, n))
			}
			sources = append(sources, blocklist.Source{Category: blocklist.Category(i), List: blocklist.ListOf(entries...)})
		}
		p, err := policy.Compile(w.spec, blocklist.Build(sources), true)
		if err != nil {
			t.Fatal(err)
		}
		at := begin
		for i := range questions {
			if i%20 == 0 {
				at = begin.Add(time.Duration(random.Int64N(int64(14 * 24 * time.Hour))))
			}
			client := netip.AddrFrom4([4]byte{10, byte(random.IntN(5)), 0, byte(random.IntN(2))})
			question := names[random.IntN(len(names))]
			group, _ := p.Identify(client)
			who := &policy.Who{Group: group, Client: policy.Client{Addr: client}}
			key := []byte(name(t, question))
			v := p.DecideKnown(who, key, p.Facts(key), at)
			got := map[policy.Action]string{policy.Passthru: "pass ", policy.Monitor: "monitor ", policy.Block: "block "}[v.Action] + p.CategoryName(v.Category)
			host := ""
			if v.Safe != 0 {
				host = p.SafeHost(v).String()
			}
			want, safe := w.judge(client.String(), p.Groups()[group], question, at)
			if got != want || host != safe {
				t.Fatalf("seed %d: %s of group %s asks for %s at %v: %q and %q, want %q and %q\n%+v\n%v",
					seed, client, p.Groups()[group], question, at, got, host, want, safe, w.spec, w.listed)
			}
			if i == 0 { // explain is slower, and the same
				ex := p.Explain(client, name(t, question), at)
				explained := map[string]string{"allow": "pass ", "rewrite": "pass ", "monitor": "monitor ", "block": "block "}[ex.Verdict] + ex.Category
				if explained != want || (ex.Verdict == "rewrite") != (safe != "" && v.Action == policy.Passthru) {
					t.Fatalf("seed %d: explained as %+v, want %q", seed, ex, want)
				}
			}
			seen[strings.Fields(want)[0]]++
			if own, _ := w.alone(client.String(), p.Groups()[group], question, at); own != want {
				seen["held"]++
			}
		}
	}
	for _, kind := range []string{"pass", "monitor", "block", "held"} {
		if seen[kind] < worlds*questions/100 {
			t.Errorf("only %d questions of %d were judged %s: the worlds are too poor", seen[kind], worlds*questions, kind)
		}
	}
}
