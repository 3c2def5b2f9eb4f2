package policy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// siteOfTrust is a policy that extends one which blocks porn.example and monitors chat.example for pupils, and lets
// sites do as they like with staff.
func siteOfTrust(t *testing.T) *policy.Policy {
	t.Helper()
	names := func(texts ...string) (all []blocklist.Name) {
		for _, text := range texts {
			all = append(all, name(t, text))
		}
		return all
	}
	categories := []policy.Category{
		{Name: "porn", Severity: policy.SeverityHigh}, {Name: "chat", Severity: policy.SeverityMedium}, {Name: "bypass", Severity: policy.SeverityHigh},
	}
	groups := []policy.Group{
		{Name: "pupils", Block: []string{"porn", "bypass"}, Monitor: []string{"chat"}},
		{Name: "staff", Block: []string{"porn", "bypass"}, MayLoosen: true},
	}
	base := policy.Spec{
		File: "trust.yaml", Categories: categories, Groups: groups, Rebinding: true,
		Rules: []policy.Rule{{Names: names("banned.example"), Reason: "trust", Line: 9, File: "trust.yaml"}},
		Zones: []policy.Zone{{Names: names("trust.internal"), Groups: []string{"staff"}}},
	}
	site := base
	site.Base, site.File, site.DefaultGroup, site.Access = &base, "", "pupils", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	site.Groups = append(append([]policy.Group{}, groups...), policy.Group{Name: "choir", Inherit: "pupils"})
	site.Groups[1].Clients = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	site.Rules = append(append([]policy.Rule{}, base.Rules...),
		policy.Rule{Allow: true, Groups: []string{"pupils", "staff"}, Names: names("porn.example", "chat.example", "banned.example", "free.co.uk"), Line: 3, Reason: "site"},
		policy.Rule{Groups: []string{"choir"}, Names: names("worse.porn.example"), Severity: policy.SeverityNone, Line: 4, Reason: "quiet"},
		policy.Rule{Names: names("hush.talk.example"), Severity: policy.SeverityNone, Line: 5, Reason: "hush"},
		policy.Rule{Names: names("loud.talk.example"), Severity: policy.SeverityCritical, Line: 6, Reason: "loud"})
	site.Categories = append(append([]policy.Category{}, categories...), policy.Category{Name: "noise", Severity: policy.SeverityLow})
	site.Groups[0].Block = append([]string{"noise"}, site.Groups[0].Block...)
	site.Records = names("record.porn.example", "printer.example")
	site.Zones = append(append([]policy.Zone{}, base.Zones...), policy.Zone{Names: names("zone.porn.example", "school.example", "net", "arpa", "sub.trust.internal")})
	set := blocklist.Build([]blocklist.Source{
		{Category: 0, List: blocklist.ListOf(names("porn.example")...)},
		{Category: 1, List: blocklist.ListOf(names("chat.example", "talk.example")...)},
		{Category: 2, List: blocklist.ListOf(names("vpn.example")...)},
		{Category: 3, List: blocklist.ListOf(names("noise.talk.example", "noise.example")...)},
	})
	p, err := policy.Compile(site, set, true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var actionWords = map[policy.Action]string{
	policy.Passthru: "pass", policy.Monitor: "monitor", policy.Block: "block", policy.LocalData: "local", policy.Forward: "forward",
	policy.NXDomain: "none", policy.SelfData: "self",
}

func word(p *policy.Policy, v policy.Verdict) string {
	return strings.TrimSpace(actionWords[v.Action] + " " + p.CategoryName(v.Category))
}

func TestWhatLetsThroughAtASiteLiftsNothingOfTheBase(t *testing.T) {
	t.Parallel()
	p := siteOfTrust(t)
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	for question, want := range map[string][3]string{ // of pupils, staff, choir
		"free.co.uk":              {"pass", "pass", "pass"},
		"porn.example":            {"block porn", "pass", "block porn"},
		"chat.example":            {"monitor chat", "pass", "monitor chat"},
		"banned.example":          {"block rule", "pass", "block rule"},
		"worse.porn.example":      {"block porn", "pass", "block porn"},
		"record.porn.example":     {"block porn", "local", "block porn"},
		"printer.example":         {"local", "local", "local"},
		"a.zone.porn.example":     {"block porn", "forward", "block porn"},
		"a.school.example":        {"forward", "forward", "forward"},
		"sub.trust.internal":      {"none", "forward", "none"},
		"use-application-dns.net": {"none", "forward", "none"},
		"_dns.resolver.arpa":      {"self", "forward", "self"},
		"1.0.0.10.in-addr.arpa":   {"forward", "forward", "forward"},
	} {
		var got [3]string
		for i := range got {
			got[i] = word(p, p.Decide(uint16(i), []byte(name(t, question)), at))
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", question, got, want)
		}
	}
}

// What a trust monitors a site may block, but not so that it is told as something milder, or not at all.
func TestABlockOfTheSiteHushesUpNothingThatTheBaseMonitors(t *testing.T) {
	t.Parallel()
	p := siteOfTrust(t)
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	told := func(v policy.Verdict) string { return word(p, v) + " " + v.Severity.String() }
	for question, want := range map[string]string{
		"hush.talk.example": "block chat medium", "noise.talk.example": "block chat medium",
		"loud.talk.example": "block rule critical", "noise.example": "block noise low", "x.talk.example": "monitor chat medium",
	} {
		key := []byte(name(t, question))
		v := p.Decide(0, key, at)
		if got := told(v); got != want || v.Group != 0 {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
		asked := p.Decide(0, []byte(name(t, "cdn.example")), at)
		if got := told(p.Recheck(asked, nil, policy.ViaCNAME, key, at)); got != want {
			t.Errorf("%s as a target: %s, want %s", question, got, want)
		}
	}
	// The question is monitored, and its answer leads to what the site blocks.
	monitored := p.Decide(0, []byte(name(t, "x.talk.example")), at)
	if got := told(p.Recheck(monitored, nil, policy.ViaCNAME, []byte(name(t, "noise.example")), at)); got != "block chat medium" {
		t.Errorf("monitored, with a target that is blocked: %s", got)
	}
	ex := p.Explain(netip.MustParseAddr("10.2.0.1"), name(t, "hush.talk.example"), at)
	for _, want := range []string{
		"5. rules: blocked by the rule in line 5: hush; trust.yaml tells of it as something graver", "7. categories: blocked for group pupils as chat",
	} {
		if !strings.Contains(strings.Join(ex.Steps, "\n"), want) {
			t.Errorf("no %q in\n%s", want, strings.Join(ex.Steps, "\n"))
		}
	}
	if ex.Verdict != "block" || ex.Category != "chat" {
		t.Errorf("explained as %s %s", ex.Verdict, ex.Category)
	}
}

func TestTheAnswerToWhatASiteAllowsIsHeldToo(t *testing.T) {
	t.Parallel()
	p := siteOfTrust(t)
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	free := name(t, "free.co.uk")
	for i, want := range []map[string]string{
		{"vpn.example": "block bypass", "chat.example": "monitor chat", "banned.example": "block rule", "other.example": "pass", "inside": "block rebinding", "tunnel": "block bypass"},
		{"vpn.example": "pass", "chat.example": "pass", "banned.example": "pass", "other.example": "pass", "inside": "pass", "tunnel": "pass"},
	} {
		v := p.Decide(uint16(i), []byte(free), at)
		got := map[string]string{
			"inside": word(p, p.RecheckAddr(v, []byte(free), netip.MustParseAddr("10.0.0.1"), at)),
			"tunnel": word(p, p.Bypassed(v, at)),
		}
		for target := range want {
			if strings.Contains(target, ".") {
				got[target] = word(p, p.Recheck(v, nil, policy.ViaCNAME, []byte(name(t, target)), at))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("group %s (-want +got):\n%s", p.Groups()[i], diff)
		}
	}
	// A target that the site allows, of a question that nobody does.
	v := p.Decide(0, []byte(name(t, "cdn.example")), at)
	if got := word(p, p.Recheck(v, nil, policy.ViaCNAME, []byte(name(t, "porn.example")), at)); got != "block porn" {
		t.Errorf("a target that the site allows: %s", got)
	}
}

func TestExplainSaysWhatHasNoEffect(t *testing.T) {
	t.Parallel()
	p := siteOfTrust(t)
	const why = "; it has no effect: trust.yaml does not let group pupils have that name, and does not say local: may_loosen"
	for question, want := range map[string]string{
		"porn.example":            "5. rules: allowed by the rule in line 3: site" + why,
		"banned.example":          "5. rules: blocked by the rule in line 9 of trust.yaml: trust",
		"record.porn.example":     "3. records: one has the name" + why,
		"zone.porn.example":       "3. zones: zone zone.porn.example has the name" + why,
		"use-application-dns.net": "3. zones: zone zone.porn.example has the name" + why,
		"free.co.uk":              "9. answer: looked up; what it leads to is checked against locked categories and blocking rules, and against all that trust.yaml blocks",
	} {
		ex := p.Explain(netip.MustParseAddr("10.2.0.1"), name(t, question), time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC))
		if !strings.Contains(strings.Join(ex.Steps, "\n")+"\n", want+"\n") {
			t.Errorf("%s: no %q in\n%s", question, want, strings.Join(ex.Steps, "\n"))
		}
	}
	if diff := cmp.Diff([]string{"choir", "pupils"}, slices.Sorted(slices.Values(p.HeldBack(nil, name(t, "porn.example"), time.Now())))); diff != "" {
		t.Errorf("held back (-want +got):\n%s", diff)
	}
}

func TestAVerdictIsKeptNoLongerThanItsBaseHolds(t *testing.T) {
	t.Parallel()
	categories := []policy.Category{{Name: "gaming", Severity: policy.SeverityLow}}
	base := policy.Spec{
		File: "trust.yaml", Categories: categories, Calendar: wholeCalendar(t),
		Groups: []policy.Group{{Name: "pupils", Schedule: []policy.Change{{During: "lessons", Block: []string{"gaming"}}}}},
	}
	site := base
	site.Base, site.DefaultGroup, site.Access = &base, "pupils", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	site.Groups = []policy.Group{{Name: "pupils", Block: []string{"gaming"}, Schedule: base.Groups[0].Schedule}} // at any time
	site.Rules = []policy.Rule{{Allow: true, Names: []blocklist.Name{name(t, "chess.example")}}}
	p, err := policy.Compile(site, blocklist.Build([]blocklist.Source{{Category: 0, List: blocklist.ListOf(name(t, "chess.example"))}}), true)
	if err != nil {
		t.Fatal(err)
	}
	lesson, lunch := time.Date(2026, 11, 19, 12, 0, 0, 0, time.UTC), time.Date(2026, 11, 19, 12, 10, 0, 0, time.UTC)
	key := []byte(name(t, "chess.example"))
	if got := [2]string{word(p, p.Decide(0, key, lesson)), word(p, p.Decide(0, key, lunch))}; got != [2]string{"block gaming", "pass"} {
		t.Errorf("in the lesson and after it: %q", got)
	}
	if next := p.NextChange(lesson); !next.Equal(lunch) {
		t.Errorf("next change at %v", next)
	}
	if ex := p.Explain(netip.MustParseAddr("10.2.0.1"), name(t, "chess.example"), lesson); ex.ChangesAt != "2026-11-19T12:10:00Z" {
		t.Errorf("explained to change at %q", ex.ChangesAt)
	}
}
