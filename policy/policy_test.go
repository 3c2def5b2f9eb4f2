package policy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

func name(t testing.TB, text string) blocklist.Name {
	t.Helper()
	n, err := blocklist.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func namesOf(t testing.TB, texts ...string) []blocklist.Name {
	t.Helper()
	var all []blocklist.Name
	for _, text := range texts {
		all = append(all, name(t, text))
	}
	return all
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

var (
	noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

	pupil   = netip.MustParseAddr("10.20.3.4")
	teacher = netip.MustParseAddr("10.1.0.9")
	guest   = netip.MustParseAddr("172.16.5.5")
	infant  = netip.MustParseAddr("10.10.0.1")
	unknown = netip.MustParseAddr("192.168.77.1")
	outside = netip.MustParseAddr("203.0.113.9")
)

// school is the policy of most tests: the lists hold one name each, named after the category.
func school(t testing.TB, change func(*policy.Spec)) *policy.Policy {
	t.Helper()
	spec := policy.Spec{
		Site:   "winchelsea",
		Access: prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"),
		Categories: []policy.Category{
			{Name: "iwf", Title: "IWF", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
			{Name: "pornography", Title: "Pornography", Severity: policy.SeverityHigh},
			{Name: "extremism", Title: "Extremism", Severity: policy.SeverityHigh},
			{Name: "gaming", Title: "Gaming", Severity: policy.SeverityLow},
			{Name: "doh", Title: "DNS over HTTPS", Severity: policy.SeverityNone},
		},
		Groups: []policy.Group{
			{Name: "early_years", Clients: prefixes("10.10.0.0/16"), OnlySet: true, Only: namesOf(t, "bbc.co.uk", "phonics.example")},
			{Name: "year7", Clients: prefixes("10.20.0.0/16", "fd00:20::/32"), Block: []string{"pornography", "extremism", "gaming", "doh"}},
			{Name: "staff", Clients: prefixes("10.1.0.0/16"), Block: []string{"pornography"}, Monitor: []string{"gaming"}, AlertTo: []string{"head"}, AlertToSet: true},
			{Name: "guests", Clients: prefixes("172.16.0.0/16"), Inherit: "year7"},
		},
		DefaultGroup: "year7",
		Rules: []policy.Rule{
			{Allow: true, Names: namesOf(t, "lesson.porn.example"), Groups: []string{"year7"}, Reason: "PSHE", Line: 40},
			{Names: namesOf(t, "reported.example"), Reason: "reported", Severity: policy.SeverityMedium, Line: 41},
			{Allow: true, Names: namesOf(t, "illegal.example"), Reason: "has no effect"},
			{Allow: true, Names: namesOf(t, "reported.example"), Groups: []string{"staff"}, Reason: "to look into it"},
		},
		Records: namesOf(t, "printer.school.internal"),
		Zones:   []policy.Zone{{Names: namesOf(t, "school.internal", "10.in-addr.arpa")}, {Names: namesOf(t, "staff.internal"), Groups: []string{"staff"}}},
	}
	if change != nil {
		change(&spec)
	}
	lists := map[string][]string{
		"iwf":         {"illegal.example"},
		"pornography": {"porn.example", "illegal.example", "childline.org.uk", "games.example", "porn.school.internal"},
		"extremism":   {"both.example"},
		"gaming":      {"games.example", "both.example"},
		"doh":         {"doh.example"},
		"on trial":    {"tried.example"},
	}
	var sources []blocklist.Source
	for i, c := range spec.Categories {
		sources = append(sources, blocklist.Source{
			ID: c.Name + ".txt", Category: blocklist.Category(i), List: blocklist.ListOf(namesOf(t, lists[c.Name]...)...),
		})
	}
	p, err := policy.Compile(spec, blocklist.Build(sources), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func decide(t testing.TB, p *policy.Policy, client netip.Addr, text string) policy.Verdict {
	t.Helper()
	group, _ := p.Identify(client)
	return p.Decide(group, []byte(name(t, text)), noon)
}

func TestDecide(t *testing.T) {
	p := school(t, nil)
	for what, test := range map[string]struct {
		client   netip.Addr
		name     string
		action   policy.Action
		category string
		severity policy.Severity
	}{
		"a listed name is blocked":                               {pupil, "porn.example", policy.Block, "pornography", policy.SeverityHigh},
		"a name below a listed one is blocked":                   {pupil, "a.b.porn.example", policy.Block, "pornography", policy.SeverityHigh},
		"a name that only ends alike is not":                     {pupil, "notporn.example", policy.Passthru, "", 0},
		"a parent of a listed name is not":                       {pupil, "example", policy.Passthru, "", 0},
		"an unlisted name passes":                                {pupil, "museum.example", policy.Passthru, "", 0},
		"severity none blocks too":                               {pupil, "doh.example", policy.Block, "doh", policy.SeverityNone},
		"the most severe category names the breach":              {pupil, "games.example", policy.Block, "pornography", policy.SeverityHigh},
		"a monitored category resolves and is a breach":          {teacher, "both.example", policy.Monitor, "gaming", policy.SeverityLow},
		"block beats monitor":                                    {teacher, "games.example", policy.Block, "pornography", policy.SeverityHigh},
		"an heir blocks what its parent blocks":                  {guest, "both.example", policy.Block, "extremism", policy.SeverityHigh},
		"an unknown client is in the default group":              {unknown, "both.example", policy.Block, "extremism", policy.SeverityHigh},
		"an allow rule beats a category":                         {pupil, "lesson.porn.example", policy.Passthru, "", 0},
		"and what is below it":                                   {pupil, "x.lesson.porn.example", policy.Passthru, "", 0},
		"a rule for the parent holds for the heir":               {guest, "lesson.porn.example", policy.Passthru, "", 0},
		"but for nobody else":                                    {teacher, "lesson.porn.example", policy.Block, "pornography", policy.SeverityHigh},
		"a blocking rule blocks":                                 {pupil, "www.reported.example", policy.Block, "rule", policy.SeverityMedium},
		"a rule for the group beats one for everybody":           {teacher, "reported.example", policy.Passthru, "", 0},
		"a locked category beats an allow rule":                  {teacher, "illegal.example", policy.Block, "iwf", policy.SeverityCritical},
		"a locked category is blocked where the group says none": {infant, "illegal.example", policy.Block, "iwf", policy.SeverityCritical},
		"a help line is never blocked":                           {pupil, "www.childline.org.uk", policy.Passthru, "", 0},
		"not even outside an allow-list":                         {infant, "childline.org.uk", policy.Passthru, "", 0},
		"an allow-list lets its names through":                   {infant, "www.bbc.co.uk", policy.Passthru, "", 0},
		"and nothing else":                                       {infant, "museum.example", policy.Block, "only", policy.SeverityNone},
		"a local record beats the lists":                         {pupil, "printer.school.internal", policy.LocalData, "", 0},
		"a zone is not filtered":                                 {pupil, "porn.school.internal", policy.Forward, "", 0},
		"a reverse zone of ours is forwarded":                    {pupil, "4.3.2.10.in-addr.arpa", policy.Forward, "", 0},
		"one of nobody's is not":                                 {pupil, "1.1.168.192.in-addr.arpa", policy.NXDomain, "", 0},
		"a zone that is closed to the group does not exist":      {pupil, "files.staff.internal", policy.NXDomain, "", 0},
		"a zone that is open to the group is forwarded":          {teacher, "files.staff.internal", policy.Forward, "", 0},
		"resolver.arpa is the resolver's own":                    {pupil, "_dns.resolver.arpa", policy.SelfData, "", 0},
		"the browser's canary does not exist":                    {teacher, "use-application-dns.net", policy.NXDomain, "", 0},
		"nor do the relay's names":                               {infant, "mask-h2.icloud.com", policy.NXDomain, "", 0},
		"localhost is this machine":                              {pupil, "localhost", policy.Localhost, "", 0},
		".test does not exist":                                   {pupil, "a.test", policy.NXDomain, "", 0},
		"31.172 is private, 32.172 is not":                       {pupil, "1.1.32.172.in-addr.arpa", policy.Passthru, "", 0},
	} {
		t.Run(what, func(t *testing.T) {
			v := decide(t, p, test.client, test.name)
			if v.Action != test.action || p.CategoryName(v.Category) != test.category || v.Severity != test.severity {
				t.Errorf("%s for %v: %+v (%s)", test.name, test.client, v, p.CategoryName(v.Category))
			}
		})
	}
}

func TestAnAddressThatMayNotAskIsRefused(t *testing.T) {
	p := school(t, nil)
	if _, mayAsk := p.Identify(outside); mayAsk {
		t.Error("203.0.113.9 may ask")
	}
	if group, mayAsk := p.Identify(netip.MustParseAddr("fd00:20::1%eth0")); !mayAsk || p.Groups()[group] != "year7" {
		t.Errorf("fd00:20::1: group %s, may ask %v", p.Groups()[group], mayAsk)
	}
}

func TestUntilTheRequiredListsAreThereNothingIsLetThrough(t *testing.T) {
	spec := policy.Spec{
		Access: prefixes("0.0.0.0/0"), Groups: []policy.Group{{Name: "all"}}, DefaultGroup: "all",
		Records: namesOf(t, "printer.example"),
		Rules:   []policy.Rule{{Allow: true, Names: namesOf(t, "allowed.example"), Reason: "x"}},
	}
	p, err := policy.Compile(spec, blocklist.Build(nil), false)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]policy.Action{
		"museum.example": policy.NotReady, "allowed.example": policy.NotReady, "childline.org.uk": policy.NotReady,
		"printer.example": policy.LocalData, "use-application-dns.net": policy.NXDomain,
	} {
		if v := decide(t, p, pupil, text); v.Action != want {
			t.Errorf("%s: action %d, want %d", text, v.Action, want)
		}
	}
}

func TestAnAnswersTargetsAreJudged(t *testing.T) {
	p := school(t, nil)
	for what, test := range map[string]struct {
		client           netip.Addr
		question, target string
		action           policy.Action
		category         string
	}{
		"a listed target blocks":                              {pupil, "innocent.example", "cdn.porn.example", policy.Block, "pornography"},
		"for the group that blocks it":                        {teacher, "innocent.example", "both.example", policy.Monitor, "gaming"},
		"a target that a rule allows passes":                  {pupil, "innocent.example", "lesson.porn.example", policy.Passthru, ""},
		"an allowed question passes with a listed target":     {pupil, "lesson.porn.example", "cdn.porn.example", policy.Passthru, ""},
		"but not with a locked one":                           {pupil, "lesson.porn.example", "illegal.example", policy.Block, "iwf"},
		"nor with one that a rule blocks":                     {pupil, "lesson.porn.example", "reported.example", policy.Block, "rule"},
		"a target outside the allow-list passes":              {infant, "www.bbc.co.uk", "cdn.example", policy.Passthru, ""},
		"a monitored question with a blocked target blocks":   {teacher, "both.example", "porn.example", policy.Block, "pornography"},
		"a monitored question stays so with a plain target":   {teacher, "both.example", "museum.example", policy.Monitor, "gaming"},
		"a help line as a target passes, listed as it may be": {pupil, "innocent.example", "childline.org.uk", policy.Passthru, ""},
	} {
		t.Run(what, func(t *testing.T) {
			v := p.Recheck(decide(t, p, test.client, test.question), nil, policy.ViaCNAME, []byte(name(t, test.target)), noon)
			if v.Action != test.action || p.CategoryName(v.Category) != test.category {
				t.Errorf("%+v (%s)", v, p.CategoryName(v.Category))
			}
			group, _ := p.Identify(test.client)
			if was := decide(t, p, test.client, test.question); v != was && !p.Concerns(group, p.TargetFacts([]byte(name(t, test.target))), noon) {
				t.Error("Concerns says that this target does not matter")
			}
		})
	}
}

func TestAListedAddressBlocksAnAnswerAndIsLowAtMost(t *testing.T) {
	list, err := blocklist.Parse(strings.NewReader("listed.example\n192.0.2.7\n2001:db8::/64\n"), blocklist.Options{Addresses: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Spec{
		Categories:   []policy.Category{{Name: "c", Severity: policy.SeverityCritical}},
		Groups:       []policy.Group{{Name: "g", Block: []string{"c"}}, {Name: "free"}},
		DefaultGroup: "g",
		Rules:        []policy.Rule{{Allow: true, Names: namesOf(t, "allowed.example"), Reason: "x"}},
	}, blocklist.Build([]blocklist.Source{{ID: "l", List: list}}), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		group      uint16
		name, addr string
		action     policy.Action
	}{
		{0, "museum.example", "192.0.2.7", policy.Block},
		{0, "museum.example", "2001:db8::1", policy.Block},
		{0, "museum.example", "192.0.2.8", policy.Passthru},
		{0, "allowed.example", "192.0.2.7", policy.Passthru},
		{1, "museum.example", "192.0.2.7", policy.Passthru},
	} {
		addr := netip.MustParseAddr(test.addr)
		v := p.RecheckAddr(p.Decide(test.group, []byte(name(t, test.name)), noon), []byte(name(t, test.name)), addr, noon)
		if v.Action != test.action || v.Action == policy.Block && (v.Severity != policy.SeverityLow || v.Via != policy.ViaAddress) {
			t.Errorf("%+v: %+v", test, v)
		}
		if v.Action == policy.Block {
			a := p.Attribution(policy.Event{Verdict: v, Name: name(t, test.name), Address: addr})
			if a.List != "l" || a.Entry == "" || a.Severity != policy.SeverityLow {
				t.Errorf("%+v: %+v", test, a)
			}
		}
	}
}

func TestABlockedNameWithSomethingAllowedBelowExists(t *testing.T) {
	p := school(t, nil)
	for text, want := range map[string]bool{
		"porn.example": true, "games.example": false, "lesson.porn.example": false, "x.porn.example": false,
	} {
		v := decide(t, p, pupil, text)
		if v.Action == policy.Block && v.NoDataBelow != want {
			t.Errorf("%s: NoDataBelow %v", text, v.NoDataBelow)
		}
	}
	if v := decide(t, p, infant, "co.uk"); v.Action != policy.Block || !v.NoDataBelow {
		t.Errorf("co.uk for early years, who may see bbc.co.uk: %+v", v)
	}
	if v := decide(t, p, teacher, "porn.example"); v.NoDataBelow {
		t.Error("porn.example for staff, to whom nothing below is allowed: must not exist")
	}
}

func TestARuleEndsWhenItSaysSo(t *testing.T) {
	p := school(t, func(s *policy.Spec) { s.Rules[0].Expires = noon.Add(time.Hour) })
	group, _ := p.Identify(pupil)
	key := []byte(name(t, "lesson.porn.example"))
	if v := p.Decide(group, key, noon); v.Action != policy.Passthru {
		t.Errorf("an hour before: %+v", v)
	}
	if next := p.NextChange(noon); !next.Equal(noon.Add(time.Hour)) {
		t.Errorf("next change at %v", next)
	}
	if v := p.Decide(group, key, noon.Add(time.Hour)); v.Action != policy.Block {
		t.Errorf("at the moment itself: %+v", v)
	}
	if next := p.NextChange(noon.Add(time.Hour)); !next.IsZero() {
		t.Errorf("after the last change: %v", next)
	}
}

func TestExplainSaysWhenThisNamesVerdictChanges(t *testing.T) {
	end := noon.Add(time.Hour)
	p := school(t, func(s *policy.Spec) { s.Rules[0].Expires = end })
	for text, want := range map[string]string{
		"lesson.porn.example": end.Format(time.RFC3339), "x.porn.example": "", "museum.example": "", "illegal.example": "",
	} {
		if got := p.Explain(pupil, name(t, text), noon).ChangesAt; got != want {
			t.Errorf("%s changes at %q, want %q", text, got, want)
		}
	}
	after := p.Explain(pupil, name(t, "lesson.porn.example"), end)
	if after.Verdict != "block" || !strings.Contains(strings.Join(after.Steps, "\n"), "(the one in line 40 ended at "+end.Format(time.RFC3339)+")") {
		t.Errorf("after the end: %+v", after)
	}
}

func TestWhatElseTheGroupMonitorsIsRecordedToo(t *testing.T) {
	p := school(t, nil)
	e := policy.Event{Verdict: decide(t, p, teacher, "games.example"), Name: name(t, "games.example")}
	a := p.Attribution(e)
	if a.Category != "pornography" || a.Severity != policy.SeverityHigh || !slices.Equal(a.Categories, []string{"pornography", "gaming"}) {
		t.Errorf("%+v", a)
	}
}

func TestABlockedNameInAnRPZZoneThatLeavesNamesBelowOpenExists(t *testing.T) {
	zone := "$TTL 60\n@ SOA a. b. 1 2 3 4 5\nonly.example CNAME .\nboth.example CNAME .\n*.both.example CNAME .\n" +
		"hole.example CNAME .\n*.hole.example CNAME .\nok.hole.example CNAME rpz-passthru.\n"
	list, err := blocklist.Parse(strings.NewReader(zone), blocklist.Options{Format: blocklist.FormatRPZ})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Spec{
		Categories: []policy.Category{{Name: "c"}}, Groups: []policy.Group{{Name: "g", Block: []string{"c"}}}, DefaultGroup: "g",
	}, blocklist.Build([]blocklist.Source{{List: list}}), true)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"only.example": true, "both.example": false, "x.both.example": false, "hole.example": true} {
		if v := p.Decide(0, []byte(name(t, text)), noon); v.Action != policy.Block || v.NoDataBelow != want {
			t.Errorf("%s: %+v, want NoDataBelow %v", text, v, want)
		}
	}
}

func TestTheHeirsOwnRuleForANameReplacesTheParents(t *testing.T) {
	p := school(t, func(s *policy.Spec) {
		s.Rules = append(s.Rules, policy.Rule{Names: namesOf(t, "lesson.porn.example"), Groups: []string{"guests"}, Reason: "not for guests"})
	})
	if v := decide(t, p, guest, "lesson.porn.example"); v.Action != policy.Block {
		t.Errorf("guest: %+v", v)
	}
	if v := decide(t, p, pupil, "lesson.porn.example"); v.Action != policy.Passthru {
		t.Errorf("pupil: %+v", v)
	}
}

func TestAttributionNamesListAndEntry(t *testing.T) {
	p := school(t, nil)
	attribution := func(client netip.Addr, text string) policy.Attribution {
		return p.Attribution(policy.Event{Verdict: decide(t, p, client, text), Name: name(t, text)})
	}
	want := policy.Attribution{
		Group: "year7", Category: "pornography", Title: "Pornography", Categories: []string{"pornography", "gaming"},
		Severity: policy.SeverityHigh, Action: "block", List: "pornography.txt", Entry: "games.example", Via: policy.ViaName,
	}
	if diff := cmp.Diff(want, attribution(pupil, "www.games.example")); diff != "" {
		t.Error(diff)
	}
	if a := attribution(pupil, "illegal.example"); !a.Confidential || a.Entry != "" || a.Category != "iwf" {
		t.Errorf("a confidential hit: %+v", a)
	}
	if a := attribution(teacher, "both.example"); a.Action != "monitor" || !a.AlertToSet || !slices.Equal(a.AlertTo, []string{"head"}) {
		t.Errorf("a monitored hit: %+v", a)
	}
	if a := attribution(pupil, "www.reported.example"); a.Category != "rule" || a.Entry != "reported.example" || a.Via != policy.ViaRule {
		t.Errorf("a rule: %+v", a)
	}
}

func TestANameOnAConfidentialListIsConfidentialWhateverDecides(t *testing.T) {
	p := school(t, func(s *policy.Spec) {
		s.Categories[3].Confidential = true // gaming, which is not locked, and which staff only monitor
		s.Rules = append(s.Rules, policy.Rule{Names: namesOf(t, "both.example"), Reason: "x"})
	})
	for text, client := range map[string]netip.Addr{"www.games.example": teacher, "both.example": infant} {
		a := p.Attribution(policy.Event{Verdict: decide(t, p, client, text), Name: name(t, text)})
		if !a.Confidential || a.Entry != "" {
			t.Errorf("%s: %+v", text, a)
		}
		ex := p.Explain(client, name(t, text), noon)
		if ex.Rule.Entry != "" {
			t.Errorf("%s: explained with its entry: %+v", text, ex)
		}
	}
	viaCNAME := policy.Event{Verdict: decide(t, p, infant, "museum.example"), Name: name(t, "museum.example"), Target: name(t, "games.example")}
	if a := p.Attribution(viaCNAME); !a.Confidential {
		t.Errorf("a target on the list: %+v", a)
	}
}

func TestAHitOfASelfTestNameSaysSo(t *testing.T) {
	selfTest := blocklist.ListOf(namesOf(t, "iwf.testfiltering.com")...)
	p, err := policy.Compile(policy.Spec{
		Categories: []policy.Category{{Name: "iwf", Title: "IWF", Severity: policy.SeverityCritical, Locked: true, Confidential: true}},
		Groups:     []policy.Group{{Name: "g"}}, DefaultGroup: "g",
	}, blocklist.Build([]blocklist.Source{{ID: "builtin:iwf", List: selfTest}, {ID: "iwf.txt", List: blocklist.ListOf(namesOf(t, "illegal.example")...)}}), true)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"iwf.testfiltering.com": "IWF: self-test name", "illegal.example": "IWF"} {
		a := p.Attribution(policy.Event{Verdict: p.Decide(0, []byte(name(t, text)), noon), Name: name(t, text)})
		if a.Title != want || !a.Confidential {
			t.Errorf("%s: %+v", text, a)
		}
	}
}

func TestExplainSaysEveryStepAndNoConfidentialEntry(t *testing.T) {
	p := school(t, nil)
	ex := p.Explain(pupil, name(t, "www.games.example"), noon)
	if ex.Verdict != "block" || ex.Group != "year7" || ex.Category != "pornography" || ex.Rule.Entry != "games.example" {
		t.Errorf("%+v", ex)
	}
	for i, prefix := range []string{"1. access", "2. locked", "3. records", "4. special", "5. rules", "6. only", "7. categories"} {
		if i >= len(ex.Steps) || !strings.HasPrefix(ex.Steps[i], prefix) {
			t.Errorf("step %d of %q does not begin with %q", i, ex.Steps, prefix)
		}
	}
	secret := p.Explain(pupil, name(t, "www.illegal.example"), noon)
	if secret.Verdict != "block" || secret.Category != "iwf" || secret.Rule.Entry != "" {
		t.Errorf("%+v", secret)
	}
	for _, s := range secret.Steps {
		if strings.Contains(s, "illegal.example") {
			t.Errorf("a confidential entry in %q", s)
		}
	}
	if ex := p.Explain(outside, name(t, "museum.example"), noon); ex.Verdict != "refuse" || len(ex.Steps) != 1 {
		t.Errorf("an outsider: %+v", ex)
	}
	if ex := p.Explain(pupil, name(t, "lesson.porn.example"), noon); ex.Verdict != "allow" || ex.Rule.Reason != "PSHE" || ex.Rule.Line != 40 {
		t.Errorf("a rule: %+v", ex)
	}
}

func TestASpecThatContradictsItselfIsRefused(t *testing.T) {
	for want, spec := range map[string]policy.Spec{
		`unknown group "x"`:           {DefaultGroup: "x"},
		`inherits from itself`:        {DefaultGroup: "a", Groups: []policy.Group{{Name: "a", Inherit: "b"}, {Name: "b", Inherit: "a"}}},
		`unknown category "c"`:        {DefaultGroup: "a", Groups: []policy.Group{{Name: "a", Block: []string{"c"}}}},
		`both have the clients 10.0.`: {DefaultGroup: "a", Groups: []policy.Group{{Name: "a", Clients: prefixes("10.0.0.0/8")}, {Name: "b", Clients: prefixes("10.0.0.0/8")}}},
		`65 categories`:               {Categories: make([]policy.Category, 65)},
	} {
		if _, err := policy.Compile(spec, blocklist.Build(nil), true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// literal judges as the package comment reads, with plain lists and suffixes of text, and none of the
// structures of the policy.
func literal(listed map[string][]string, allow, block, only []string, locked, blocked, monitored, onTrial []string, ask string) string {
	under := func(names []string) string {
		best := ""
		for _, n := range names {
			if (ask == n || strings.HasSuffix(ask, "."+n)) && len(n) >= len(best) {
				best = n
			}
		}
		return best
	}
	in := func(categories []string) bool {
		return slices.ContainsFunc(categories, func(c string) bool { return under(listed[c]) != "" })
	}
	a, b := under(allow), under(block)
	switch {
	case in(locked):
		return "block"
	case b != "" && len(b) >= len(a):
		return "block"
	case a != "":
		return "pass"
	case only != nil && under(only) == "":
		return "block"
	case in(blocked):
		return "block"
	case in(monitored):
		return "monitor"
	case in(onTrial):
		return "try"
	}
	return "pass"
}

func TestDecideReadsAsThePackageCommentDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		label := rapid.SampledFrom([]string{"a", "b", "c"})
		text := rapid.Custom(func(rt *rapid.T) string {
			return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(rt, "labels"), ".") + ".zz"
		})
		set := rapid.SliceOfN(text, 0, 4)
		categories := []string{"locked", "blocked", "monitored", "other", "blocked trial", "monitored trial", "other trial"}
		listed := map[string][]string{}
		var sources []blocklist.Source
		for i, c := range categories {
			listed[c] = set.Draw(rt, c)
			sources = append(sources, blocklist.Source{ID: c, Category: blocklist.Category(i), List: blocklist.ListOf(namesOf(t, listed[c]...)...)})
		}
		allow, block := set.Draw(rt, "allow"), set.Draw(rt, "block")
		var only []string
		if rapid.Bool().Draw(rt, "has only") {
			only = append([]string{}, set.Draw(rt, "only")...)
		}
		p, err := policy.Compile(policy.Spec{
			Categories: []policy.Category{
				{Name: "locked", Locked: true},
				{Name: "blocked"},
				{Name: "monitored"},
				{Name: "other"},
				{Name: "blocked trial", TrialOf: "blocked"},
				{Name: "monitored trial", TrialOf: "monitored"},
				{Name: "other trial", TrialOf: "other"},
			},
			Groups:       []policy.Group{{Name: "g", Block: []string{"blocked"}, Monitor: []string{"monitored"}, Only: namesOf(t, only...), OnlySet: only != nil}},
			DefaultGroup: "g",
			Rules:        []policy.Rule{{Allow: true, Names: namesOf(t, allow...)}, {Names: namesOf(t, block...)}},
		}, blocklist.Build(sources), true)
		if err != nil {
			rt.Fatal(err)
		}
		ask := text.Draw(rt, "ask")
		want := literal(listed, allow, block, only, []string{"locked"}, []string{"blocked"}, []string{"monitored"},
			[]string{"blocked trial", "monitored trial"}, ask)
		v := p.Decide(0, []byte(name(t, ask)), noon)
		got := map[policy.Action]string{policy.Passthru: "pass", policy.Block: "block", policy.Monitor: "monitor"}[v.Action]
		if v.Category > 3 {
			got = map[policy.Action]string{policy.Monitor: "try"}[v.Action]
		}
		if got != want {
			rt.Fatalf("%s: %s, want %s (listed %v, allow %v, block %v, only %v)", ask, got, want, listed, allow, block, only)
		}
	})
}

func TestDecideAllocatesNothing(t *testing.T) {
	p := school(t, func(s *policy.Spec) {
		s.Categories = append(s.Categories, policy.Category{Name: "on trial", TrialOf: "gaming"})
	})
	group, _ := p.Identify(pupil)
	for _, text := range []string{"porn.example", "www.museum.example", "lesson.porn.example", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.example", "tried.example"} {
		key := []byte(name(t, text))
		if n := testing.AllocsPerRun(100, func() {
			g, _ := p.Identify(pupil)
			_ = p.Decide(g, key, noon)
		}); n != 0 {
			t.Errorf("%s in group %d: %v allocations", text, group, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p := school(b, nil)
	for _, text := range []string{"www.museum.example", "www.porn.example", "lesson.porn.example"} {
		key := []byte(name(b, text))
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g, _ := p.Identify(pupil)
				_ = p.Decide(g, key, noon)
			}
		})
	}
}

func TestAnExceptionGoesBeforeARuleAndTheNarrowerScopeBeforeTheWider(t *testing.T) {
	t.Parallel()
	client := func(text string) *policy.ClientPattern {
		c, err := policy.ParseClientPattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	rule := func(id string, allow bool, text string, change func(*policy.Rule)) policy.Rule {
		r := policy.Rule{ID: id, Allow: allow, Names: []blocklist.Name{name(t, text)}, Reason: "because", By: "it"}
		if change != nil {
			change(&r)
		}
		return r
	}
	for what, test := range map[string]struct {
		rules []policy.Rule
		want  int32 // the index of the one that decides
	}{
		"an exception before a rule": {[]policy.Rule{rule("", false, "www.x.org", nil), rule("e", true, "x.org", nil)}, 1},
		"the client before the group": {[]policy.Rule{
			rule("e", false, "www.x.org", func(r *policy.Rule) { r.Groups = []string{"g"} }), rule("f", true, "x.org", func(r *policy.Rule) { r.Client = client("10.0.0.7") }),
		}, 1},
		"the group before everybody":      {[]policy.Rule{rule("e", false, "www.x.org", nil), rule("f", true, "x.org", func(r *policy.Rule) { r.Groups = []string{"g"} })}, 1},
		"within a scope the longest name": {[]policy.Rule{rule("e", false, "x.org", nil), rule("f", true, "www.x.org", nil)}, 1},
		"of one name the block":           {[]policy.Rule{rule("e", true, "www.x.org", nil), rule("f", false, "www.x.org", nil)}, 1},
		"not one that has ended":          {[]policy.Rule{rule("", true, "x.org", nil), rule("e", false, "x.org", func(r *policy.Rule) { r.Expires = noon })}, 0},
		"not that of another client":      {[]policy.Rule{rule("", true, "x.org", nil), rule("e", false, "x.org", func(r *policy.Rule) { r.Client = client("10.0.0.8") })}, 0},
		"by MAC":                          {[]policy.Rule{rule("e", false, "x.org", func(r *policy.Rule) { r.Client = client("mac:00:11:22:33:44:55") })}, 0},
		"by name":                         {[]policy.Rule{rule("e", false, "x.org", func(r *policy.Rule) { r.Client = client("name:Y7-iPad-3") })}, 0},
		"by user":                         {[]policy.Rule{rule("e", false, "x.org", func(r *policy.Rule) { r.Client = client("user:a.pupil") })}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			p, err := policy.Compile(policy.Spec{Groups: []policy.Group{{Name: "g"}}, DefaultGroup: "g", Rules: test.rules}, blocklist.Build(nil), true)
			if err != nil {
				t.Fatal(err)
			}
			key := []byte(name(t, "www.x.org"))
			who := &policy.Who{Client: policy.Client{Addr: netip.MustParseAddr("10.0.0.7"), MAC: "00:11:22:33:44:55", Name: "y7-ipad-3", User: "a.pupil"}}
			if v := p.DecideKnown(who, key, p.Facts(key), noon); v.Rule != test.want {
				t.Errorf("rule %d decides, want %d", v.Rule, test.want)
			}
		})
	}
	for _, text := range []string{"", "mac:zz", "name:", "user:", "10.0.0", "pupil"} {
		if c, err := policy.ParseClientPattern(text); err == nil {
			t.Errorf("%q is read as %v", text, c)
		}
	}
}
