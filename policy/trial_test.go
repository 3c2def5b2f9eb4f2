package policy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// trialSchool is a school with a list on trial in gambling, which year7 blocks and staff monitor, in
// secret, which is confidential, and in gaming, which year7 blocks.
func trialSchool(t testing.TB) *policy.Policy {
	t.Helper()
	spec := policy.Spec{
		Access: prefixes("10.0.0.0/8"),
		Categories: []policy.Category{
			{Name: "gambling", Title: "Gambling", Severity: policy.SeverityHigh},
			{Name: "gaming", Title: "Gaming", Severity: policy.SeverityMedium},
			{Name: "secret", Title: "Secret", Severity: policy.SeverityHigh, Confidential: true},
			{Name: "iwf", Title: "IWF", Severity: policy.SeverityCritical, Locked: true},
			{Name: "gambling (on trial)", Title: "Gambling: list on trial", Severity: policy.SeverityLow, TrialOf: "gambling"},
			{Name: "secret (on trial)", Title: "Secret: list on trial", Severity: policy.SeverityLow, TrialOf: "secret"},
			{Name: "gaming (on trial)", Title: "Gaming: list on trial", Severity: policy.SeverityNone, TrialOf: "gaming"},
		},
		Groups: []policy.Group{
			{Name: "year7", Clients: prefixes("10.20.0.0/16"), Block: []string{"gambling", "gaming", "secret"}},
			{Name: "staff", Clients: prefixes("10.1.0.0/16"), Monitor: []string{"gambling"}},
			{Name: "open", Clients: prefixes("10.9.0.0/16")},
		},
		DefaultGroup: "year7",
		Rules: []policy.Rule{
			{Allow: true, Names: namesOf(t, "allowed.new.example"), Reason: "maths"},
			{Names: namesOf(t, "reported.new.example"), Reason: "reported", Severity: policy.SeverityMedium},
		},
	}
	var sources []blocklist.Source
	for _, l := range []struct {
		category  blocklist.Category
		id, lines string
	}{
		{0, "gambling.txt", "bet.example\n192.0.2.1\n"},
		{1, "gaming.txt", "games.example\nplay.new.example\n"},
		{3, "iwf.txt", "illegal.example\n"},
		{4, "new.txt", "new.example\nbet.example\nillegal.example\nchildline.org.uk\n192.0.2.1\n192.0.2.9\n"},
		{5, "secret-new.txt", "secret.example\n"},
		{6, "gaming-new.txt", "quiet.example\nwww.bet.example\n"},
	} {
		list, err := blocklist.Parse(strings.NewReader(l.lines), blocklist.Options{Format: blocklist.FormatDomains, Addresses: true})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, blocklist.Source{ID: l.id, Category: l.category, List: list})
	}
	p, err := policy.Compile(spec, blocklist.Build(sources), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var free = netip.MustParseAddr("10.9.0.1") // of the group that neither blocks nor monitors

func TestAListOnTrialBlocksNothingAndIsRecorded(t *testing.T) {
	p := trialSchool(t)
	for what, test := range map[string]struct {
		client   netip.Addr
		name     string
		action   policy.Action
		category string
		title    string
		severity policy.Severity
	}{
		"what only it has is monitored where its category is blocked": {pupil, "www.new.example", policy.Monitor, "gambling", "Gambling: list on trial", policy.SeverityLow},
		"and where its category is monitored":                         {teacher, "new.example", policy.Monitor, "gambling", "Gambling: list on trial", policy.SeverityLow},
		"but not where its category is neither":                       {free, "new.example", policy.Passthru, "", "", 0},
		"another list of the category blocks as ever":                 {pupil, "bet.example", policy.Block, "gambling", "Gambling", policy.SeverityHigh},
		"and is monitored as ever":                                    {teacher, "bet.example", policy.Monitor, "gambling", "Gambling", policy.SeverityHigh},
		"another category blocks as ever":                             {pupil, "play.new.example", policy.Block, "gaming", "Gaming", policy.SeverityMedium},
		"a locked category blocks as ever":                            {free, "illegal.example", policy.Block, "iwf", "IWF", policy.SeverityCritical},
		"a rule blocks as ever":                                       {pupil, "reported.new.example", policy.Block, "rule", "Blocked by a rule of the school", policy.SeverityMedium},
		"an allow frees the name":                                     {pupil, "allowed.new.example", policy.Passthru, "", "", 0},
		"a help line is not recorded":                                 {pupil, "childline.org.uk", policy.Passthru, "", "", 0},
		"severity none is monitored too":                              {pupil, "quiet.example", policy.Monitor, "gaming", "Gaming: list on trial", policy.SeverityNone},
	} {
		t.Run(what, func(t *testing.T) {
			v := decide(t, p, test.client, test.name)
			if v.Action != test.action || p.CategoryName(v.Category) != test.category || p.CategoryTitle(v.Category) != test.title || v.Severity != test.severity {
				t.Errorf("%s for %v: %+v (%s, %s)", test.name, test.client, v, p.CategoryName(v.Category), p.CategoryTitle(v.Category))
			}
			if v.Breach() != (test.severity != policy.SeverityNone) {
				t.Errorf("a breach: %v", v.Breach())
			}
		})
	}
}

func TestAnHeirTriesWhatItsParentBlocks(t *testing.T) {
	p, err := policy.Compile(policy.Spec{
		Categories: []policy.Category{{Name: "c", Severity: policy.SeverityHigh}, {Name: "c (on trial)", Severity: policy.SeverityLow, TrialOf: "c"}},
		Groups:     []policy.Group{{Name: "parent", Block: []string{"c"}}, {Name: "heir", Inherit: "parent"}}, DefaultGroup: "parent",
	}, blocklist.Build([]blocklist.Source{{ID: "l", Category: 1, List: blocklist.ListOf(namesOf(t, "new.example")...)}}), true)
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Decide(1, []byte(name(t, "new.example")), noon); v.Action != policy.Monitor {
		t.Errorf("%+v", v)
	}
}

func TestTheRecordOfATrialNamesTheCategoryAndTheList(t *testing.T) {
	p := trialSchool(t)
	attribution := func(client netip.Addr, text string) policy.Attribution {
		return p.Attribution(policy.Event{Verdict: decide(t, p, client, text), Name: name(t, text)})
	}
	want := policy.Attribution{
		Group: "year7", Category: "gambling", Title: "Gambling: list on trial", Categories: []string{"gambling"},
		Severity: policy.SeverityLow, Action: "monitor", List: "new.txt", Entry: "new.example", Via: policy.ViaName,
	}
	if diff := cmp.Diff(want, attribution(pupil, "www.new.example")); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string][]string{"bet.example": {"gambling"}, "play.new.example": {"gaming"}, "www.bet.example": {"gambling"}} {
		if a := attribution(pupil, text); !slices.Equal(a.Categories, want) || a.Action != "block" {
			t.Errorf("%s: a list on trial shows where others decide: %+v", text, a)
		}
	}
	if a := attribution(pupil, "secret.example"); !a.Confidential || a.Entry != "" || a.Category != "secret" {
		t.Errorf("a list on trial of a confidential category: %+v", a)
	}
}

func TestAnAnswerThatLeadsToAListOnTrialIsRecorded(t *testing.T) {
	p := trialSchool(t)
	for what, test := range map[string]struct {
		client           netip.Addr
		question, target string
		action           policy.Action
		title            string
		via              policy.Via
	}{
		"a target":                                     {pupil, "museum.example", "new.example", policy.Monitor, "Gambling: list on trial", policy.ViaCNAME},
		"an address":                                   {pupil, "museum.example", "192.0.2.9", policy.Monitor, "Gambling: list on trial", policy.ViaAddress},
		"not for the group without the category":       {free, "museum.example", "new.example", policy.Passthru, "", 0},
		"not of an allowed question":                   {pupil, "allowed.new.example", "new.example", policy.Passthru, "", 0},
		"not a target that a rule allows":              {pupil, "museum.example", "allowed.new.example", policy.Passthru, "", 0},
		"a target that is blocked anyway is blocked":   {pupil, "museum.example", "bet.example", policy.Block, "Gambling", policy.ViaCNAME},
		"and an address":                               {pupil, "museum.example", "192.0.2.1", policy.Block, "Gambling", policy.ViaAddress},
		"a question on trial does not hide a block":    {pupil, "new.example", "games.example", policy.Block, "Gaming", policy.ViaCNAME},
		"nor what is monitored":                        {teacher, "new.example", "bet.example", policy.Monitor, "Gambling", policy.ViaCNAME},
		"nor an address that is":                       {teacher, "new.example", "192.0.2.1", policy.Monitor, "Gambling", policy.ViaAddress},
		"a monitored question stays as it is":          {teacher, "bet.example", "new.example", policy.Monitor, "Gambling", policy.ViaName},
		"a question on trial stays with a like target": {pupil, "new.example", "quiet.example", policy.Monitor, "Gambling: list on trial", policy.ViaName},
	} {
		t.Run(what, func(t *testing.T) {
			v := decide(t, p, test.client, test.question)
			if addr, err := netip.ParseAddr(test.target); err == nil {
				v = p.RecheckAddr(v, []byte(name(t, test.question)), addr, noon)
				if test.via == policy.ViaAddress && v.Severity != policy.SeverityLow {
					t.Errorf("severity %v", v.Severity)
				}
			} else {
				v = p.Recheck(v, nil, policy.ViaCNAME, []byte(name(t, test.target)), noon)
			}
			if v.Action != test.action || p.CategoryTitle(v.Category) != test.title || v.Via != test.via {
				t.Errorf("%+v (%s)", v, p.CategoryTitle(v.Category))
			}
		})
	}
}

func TestExplainSaysThatAListIsOnTrialAndWhatItWouldDo(t *testing.T) {
	p := trialSchool(t)
	for _, test := range []struct {
		client             netip.Addr
		name, verdict      string
		category, seventh  string
		list, entry, about string
	}{
		{
			pupil, "www.new.example", "monitor", "gambling",
			"7. categories: only a list on trial has the name, for gambling (entry new.example of new.txt): " +
				"would be blocked for group year7; until the trial ends it resolves, and is recorded", "new.txt", "new.example", "blocked",
		},
		{
			teacher, "new.example", "monitor", "gambling",
			"7. categories: only a list on trial has the name, for gambling (entry new.example of new.txt): " +
				"would be monitored for group staff; until the trial ends it resolves, and is recorded", "new.txt", "new.example", "monitored",
		},
		{
			pupil, "secret.example", "monitor", "secret",
			"7. categories: only a list on trial has the name, for secret: " +
				"would be blocked for group year7; until the trial ends it resolves, and is recorded", "secret-new.txt", "", "confidential",
		},
		{
			free, "new.example", "allow", "",
			"7. categories: group open neither blocks nor monitors gambling (list on trial new.txt)", "", "", "neither",
		},
	} {
		ex := p.Explain(test.client, name(t, test.name), noon)
		if ex.Verdict != test.verdict || ex.Category != test.category || ex.Rule.List != test.list || ex.Rule.Entry != test.entry {
			t.Errorf("%s: %+v", test.about, ex)
		}
		if !slices.Contains(ex.Steps, test.seventh) {
			t.Errorf("%s: steps %q, want among them %q", test.about, ex.Steps, test.seventh)
		}
	}
}

func TestATrialThatContradictsItselfIsRefused(t *testing.T) {
	c, trial := policy.Category{Name: "c"}, policy.Category{Name: "c (on trial)", TrialOf: "c"}
	for want, spec := range map[string]policy.Spec{
		`category "c (on trial)": lists on trial of: unknown category "c"`: {Categories: []policy.Category{trial}},
		`category "x": lists on trial of: unknown category "c (on trial)"`: {Categories: []policy.Category{c, trial, {Name: "x", TrialOf: "c (on trial)"}}},
		`category "x": what is locked can't be on trial`:                   {Categories: []policy.Category{c, {Name: "x", TrialOf: "c", Locked: true}}},
		`category "y": what is locked can't be on trial`:                   {Categories: []policy.Category{{Name: "l", Locked: true}, {Name: "y", TrialOf: "l"}}},
		`group "g": block: unknown category "c (on trial)"`: {
			Categories: []policy.Category{c, trial}, Groups: []policy.Group{{Name: "g", Block: []string{"c (on trial)"}}}, DefaultGroup: "g",
		},
	} {
		if _, err := policy.Compile(spec, blocklist.Build(nil), true); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// Whatever the lists on trial hold, what is decided without them is decided with them.
func TestAListOnTrialChangesNoOtherVerdict(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		severity := func(what string, most policy.Severity) policy.Severity {
			return policy.Severity(rapid.IntRange(0, int(most)).Draw(rt, what))
		}
		without := policy.Spec{
			Categories: []policy.Category{
				{Name: "a", Severity: severity("a", policy.SeverityCritical)},
				{Name: "b", Severity: severity("b", policy.SeverityCritical)},
				{Name: "locked", Severity: policy.SeverityCritical, Locked: true},
			},
			Groups: []policy.Group{
				{Name: "blocks", Block: []string{"a", "b"}},
				{Name: "mixed", Block: []string{"a"}, Monitor: []string{"b"}},
				{Name: "monitors", Monitor: []string{"a", "b"}},
				{Name: "open"},
			},
			DefaultGroup: "open",
			Rules:        []policy.Rule{{Allow: true, Names: namesOf(t, "a.c.zz")}, {Names: namesOf(t, "b.c.zz"), Severity: policy.SeverityLow}},
		}
		with := without
		for _, c := range without.Categories[:2] {
			with.Categories = append(slices.Clip(with.Categories), policy.Category{Name: c.Name + " (on trial)", TrialOf: c.Name, Severity: severity("trial", policy.SeverityLow)})
		}
		text := rapid.Custom(func(rt *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(rt, "labels"), ".") + ".zz"
		})
		addr := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"})
		var sources []blocklist.Source
		for i := range with.Categories {
			lines := append(rapid.SliceOfN(text, 0, 3).Draw(rt, "list"), rapid.SliceOfN(addr, 0, 1).Draw(rt, "addresses")...)
			list := blocklist.ListOf()
			if len(lines) > 0 {
				var err error
				list, err = blocklist.Parse(strings.NewReader(strings.Join(lines, "\n")), blocklist.Options{Format: blocklist.FormatDomains, Addresses: true})
				if err != nil {
					rt.Fatal(err)
				}
			}
			sources = append(sources, blocklist.Source{ID: with.Categories[i].Name, Category: blocklist.Category(i), List: list})
		}
		plain, err := policy.Compile(without, blocklist.Build(sources[:3]), true)
		if err != nil {
			rt.Fatal(err)
		}
		tried, err := policy.Compile(with, blocklist.Build(sources), true)
		if err != nil {
			rt.Fatal(err)
		}
		group := rapid.Uint16Range(0, 3).Draw(rt, "group")
		question, targets := text.Draw(rt, "question"), rapid.SliceOfN(text, 0, 2).Draw(rt, "targets")
		address := netip.MustParseAddr(addr.Draw(rt, "address"))
		judge := func(p *policy.Policy) policy.Verdict {
			v := p.Decide(group, []byte(name(t, question)), noon)
			facts, before := p.AddrFacts(address), v
			for _, target := range targets {
				facts = facts.And(p.TargetFacts([]byte(name(t, target))))
			}
			defer func() {
				if v != before && !p.Concerns(group, facts, noon) {
					rt.Fatalf("the targets %v and %v concern nobody by their facts, and make %+v of %+v", targets, address, v, before)
				}
			}()
			for _, target := range targets {
				if v.Action != policy.Block {
					v = p.Recheck(v, nil, policy.ViaCNAME, []byte(name(t, target)), noon)
				}
			}
			if v.Action != policy.Block {
				v = p.RecheckAddr(v, []byte(name(t, question)), address, noon)
			}
			return v
		}
		want, got := judge(plain), judge(tried)
		onTrial := got.Action == policy.Monitor && got.Category >= 3 && got.Severity <= policy.SeverityLow
		if got != want && (want.Action != policy.Passthru || want.Allowed || !onTrial) {
			rt.Fatalf("%s, %v, %v in group %d: %+v, and without the lists on trial %+v", question, targets, address, group, got, want)
		}
	})
}
