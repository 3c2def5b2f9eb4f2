package policy_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// A calendar that has everything: terms and closed days, several spans a day, over midnight, over the hours
// that clocks change, always and not.
func wholeCalendar(t testing.TB) policy.Calendar {
	t.Helper()
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	const everyDay, weekdays, sunday, saturday = 0x7f, 0x3e, 0x01, 0x40
	day := func(text string) time.Time {
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return policy.Calendar{
		Zone:   london,
		Terms:  []policy.Days{{From: day("2026-09-02"), To: day("2026-12-18")}, {From: day("2027-01-05"), To: day("2027-03-26")}},
		Closed: []policy.Days{{From: day("2026-10-26"), To: day("2026-10-30")}, {From: day("2026-11-20"), To: day("2026-11-20")}},
		Periods: []policy.Period{
			{Name: "lessons", Times: []policy.Span{{Days: weekdays, From: 8*60 + 50, To: 12*60 + 10}, {Days: weekdays, From: 13*60 + 10, To: 15*60 + 20}}},
			{Name: "lunch", Times: []policy.Span{{Days: weekdays, From: 12*60 + 10, To: 13*60 + 10}}},
			{Name: "night", Times: []policy.Span{{Days: everyDay, From: 22 * 60, To: 6*60 + 30, Always: true}}},
			{Name: "small hours", Times: []policy.Span{{Days: sunday, From: 60 + 15, To: 60 + 45, Always: true}, {Days: saturday, From: 23*60 + 30, To: 90, Always: true}}},
			{Name: "evening", Times: []policy.Span{{Days: weekdays, From: 18 * 60, To: 24 * 60}}},
		},
	}
}

// onTheWall is a literal reading of contract part 2: it looks at the clock on the wall and at nothing else.
func onTheWall(c policy.Calendar, period string, moment time.Time) bool {
	wall := moment.In(c.Zone)
	minute := wall.Hour()*60 + wall.Minute()
	startsOn := func(s policy.Span, daysAgo int) bool {
		day := time.Date(wall.Year(), wall.Month(), wall.Day()-daysAgo, 0, 0, 0, 0, time.UTC)
		if s.Days&(1<<day.Weekday()) == 0 {
			return false
		}
		if s.Always {
			return true
		}
		inTerm := len(c.Terms) == 0
		for _, d := range c.Terms {
			inTerm = inTerm || !day.Before(d.From) && !day.After(d.To)
		}
		for _, d := range c.Closed {
			inTerm = inTerm && (day.Before(d.From) || day.After(d.To))
		}
		return inTerm
	}
	for _, p := range c.Periods {
		for _, s := range p.Times {
			overMidnight := s.To < s.From
			switch {
			case p.Name != period:
			case !overMidnight && s.From <= minute && minute < s.To && startsOn(s, 0):
				return true
			case overMidnight && minute >= s.From && startsOn(s, 0):
				return true
			case overMidnight && minute < s.To && startsOn(s, 1):
				return true
			}
		}
	}
	return false
}

// scheduled compiles groups of which each is blocked something in one period, or not.
func scheduled(t testing.TB, c policy.Calendar, built time.Time) *policy.Policy {
	t.Helper()
	spec := policy.Spec{
		Categories: []policy.Category{{Name: "c", Severity: policy.SeverityLow}, {Name: "locked", Severity: policy.SeverityHigh, Locked: true}},
		Access:     []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Calendar: c, Built: built,
		Groups: []policy.Group{{Name: "nobody"}}, DefaultGroup: "nobody",
	}
	for _, p := range c.Periods {
		spec.Groups = append(spec.Groups,
			policy.Group{Name: "blocked in " + p.Name, Schedule: []policy.Change{{During: p.Name, Block: []string{"c"}}}},
			policy.Group{Name: "open in " + p.Name, Block: []string{"c"}, Schedule: []policy.Change{{During: p.Name, Unblock: []string{"c", "locked"}}}})
	}
	compiled, err := policy.Compile(spec, blocklist.Build([]blocklist.Source{
		{Category: 0, List: blocklist.ListOf(name(t, "timed.example"))}, {Category: 1, List: blocklist.ListOf(name(t, "locked.example"))},
	}), true)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func follows(t *testing.T, p *policy.Policy, c policy.Calendar, moment time.Time) {
	t.Helper()
	for i, period := range c.Periods {
		in := onTheWall(c, period.Name, moment)
		for group, want := range map[uint16]bool{uint16(1 + 2*i): in, uint16(2 + 2*i): !in} {
			if got := p.Decide(group, []byte(name(t, "www.timed.example")), moment).Action == policy.Block; got != want {
				t.Fatalf("%v: group %q: blocked %v, want %v", moment.In(c.Zone), p.Groups()[group], got, want)
			}
		}
	}
	if p.Decide(0, []byte(name(t, "timed.example")), moment).Action != policy.Passthru {
		t.Fatalf("%v: a group without a schedule is blocked", moment)
	}
}

func TestBothClockChangesMinuteByMinute(t *testing.T) {
	t.Parallel()
	c := wholeCalendar(t)
	p := scheduled(t, c, time.Time{})
	for _, change := range []string{"2026-10-25", "2027-03-28"} { // 02:00 comes twice, 01:30 never
		day, err := time.Parse(time.DateOnly, change)
		if err != nil {
			t.Fatal(err)
		}
		for moment := day.Add(-24 * time.Hour); moment.Before(day.Add(72 * time.Hour)); moment = moment.Add(time.Minute) {
			follows(t, p, c, moment)
			follows(t, p, c, moment.Add(time.Minute-time.Nanosecond))
		}
	}
}

func TestAScheduleFollowsTheClockOnTheWallAtAnyMoment(t *testing.T) {
	t.Parallel()
	c := wholeCalendar(t)
	p := scheduled(t, c, time.Time{})
	random := rand.New(rand.NewPCG(1, 2))
	begin := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	for range 50_000 {
		follows(t, p, c, begin.Add(time.Duration(random.Int64N(int64(400*24*time.Hour)))))
	}
}

// What NextChange promises is what answers live by: up to there no verdict changes.
func TestNothingChangesBeforeTheNextChange(t *testing.T) {
	t.Parallel()
	c := wholeCalendar(t)
	p := scheduled(t, c, time.Time{})
	moment, found := time.Date(2026, 10, 22, 0, 0, 0, 0, time.UTC), 0
	for end := moment.Add(21 * 24 * time.Hour); moment.Before(end); found++ {
		next := p.NextChange(moment)
		if !next.After(moment) {
			t.Fatalf("the next change after %v is %v", moment, next)
		}
		for group := range uint16(len(p.Groups())) {
			want := p.Decide(group, []byte(name(t, "timed.example")), moment)
			for at := moment; at.Before(next); at = at.Add(time.Minute) {
				if got := p.Decide(group, []byte(name(t, "timed.example")), at); got != want {
					t.Fatalf("group %d changes at %v, before %v", group, at, next)
				}
			}
		}
		moment = next
	}
	if found < 21 || found > 21*14 {
		t.Errorf("%d changes in 21 days", found)
	}
}

func TestExplainSaysWhatAPeriodChangesAndUntilWhen(t *testing.T) {
	t.Parallel()
	c := wholeCalendar(t)
	spec := policy.Spec{
		Categories: []policy.Category{{Name: "games", Severity: policy.SeverityLow}},
		Access:     []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Calendar: c, DefaultGroup: "year7",
		Groups: []policy.Group{{Name: "year7", Block: []string{"games"}, Schedule: []policy.Change{{During: "lunch", Unblock: []string{"games"}}}}},
	}
	p, err := policy.Compile(spec, blocklist.Build([]blocklist.Source{{List: blocklist.ListOf(name(t, "games.example"))}}), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ at, verdict, changes, says string }{
		{"2026-10-23T12:30:00+01:00", "allow", "2026-10-23T13:10:00+01:00", "period lunch unblocks games"},
		{"2026-10-23T14:00:00+01:00", "block", "2026-11-02T12:10:00Z", ""}, // over half-term, and clocks change
		{"2026-12-18T14:00:00Z", "block", "2027-01-05T12:10:00Z", ""},      // over the holidays
		{"2027-03-26T14:00:00Z", "block", "", ""},                          // no term is known
	} {
		at, err := time.Parse(time.RFC3339, test.at)
		if err != nil {
			t.Fatal(err)
		}
		ex := p.Explain(netip.MustParseAddr("10.0.0.1"), name(t, "games.example"), at)
		if ex.Verdict != test.verdict || ex.ChangesAt != test.changes || test.says != "" && !strings.Contains(strings.Join(ex.Steps, "\n"), test.says) {
			t.Errorf("%s: %s, changes at %q: %q", test.at, ex.Verdict, ex.ChangesAt, ex.Steps)
		}
	}
}

// Where a period blocks what another unblocks at the same time, it is blocked; an heir has its parent's
// schedule beside its own; what is locked nothing unblocks.
func TestASchedulesBlockWins(t *testing.T) {
	t.Parallel()
	c := wholeCalendar(t)
	c.Periods = append(c.Periods, policy.Period{Name: "day", Times: []policy.Span{{Days: 0x7f, From: 0, To: 1440, Always: true}}})
	spec := policy.Spec{
		Categories: []policy.Category{{Name: "games", Severity: policy.SeverityLow}, {Name: "locked", Locked: true, Severity: policy.SeverityHigh}},
		Access:     []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Calendar: c, DefaultGroup: "parent",
		Groups: []policy.Group{
			{Name: "parent", Block: []string{"games"}, Schedule: []policy.Change{{During: "day", Unblock: []string{"games", "locked"}}}},
			{Name: "heir", Inherit: "parent"},
			{Name: "strict heir", Inherit: "parent", Schedule: []policy.Change{{During: "lunch", Block: []string{"games"}}}},
		},
	}
	p, err := policy.Compile(spec, blocklist.Build([]blocklist.Source{
		{List: blocklist.ListOf(name(t, "games.example"))}, {Category: 1, List: blocklist.ListOf(name(t, "locked.example"))},
	}), true)
	if err != nil {
		t.Fatal(err)
	}
	lunch := time.Date(2026, 9, 4, 11, 30, 0, 0, time.UTC) // 12:30 in London
	for _, test := range []struct {
		group  uint16
		name   string
		action policy.Action
	}{
		{0, "games.example", policy.Passthru},
		{1, "games.example", policy.Passthru},
		{2, "games.example", policy.Block},
		{0, "locked.example", policy.Block},
	} {
		if v := p.Decide(test.group, []byte(name(t, test.name)), lunch); v.Action != test.action {
			t.Errorf("%+v: action %d", test, v.Action)
		}
	}
}

// Before this program was made it can't be: such a clock opens nothing.
func TestAClockThatIsPlainlyWrongOpensNothing(t *testing.T) {
	t.Parallel()
	c := wholeCalendar(t)
	built := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	p := scheduled(t, c, built)
	for _, wrong := range []time.Time{time.Unix(0, 0), time.Date(2026, 7, 1, 11, 30, 0, 0, time.UTC), built.Add(-1)} {
		for group := range uint16(len(p.Groups())) {
			if got := p.Decide(group, []byte(name(t, "timed.example")), wrong).Action; group > 0 && got != policy.Block {
				t.Errorf("%v: group %q: action %d", wrong, p.Groups()[group], got)
			}
		}
	}
	for moment := built; moment.Before(built.Add(48 * time.Hour)); moment = moment.Add(time.Minute) {
		follows(t, p, c, moment)
	}
	ended := built.Add(24 * time.Hour)
	rules := func(allow bool) policy.Action {
		p, err := policy.Compile(policy.Spec{
			Categories: []policy.Category{{Name: "c"}}, Groups: []policy.Group{{Name: "g", Block: []string{"c"}}}, DefaultGroup: "g", Built: built,
			Rules: []policy.Rule{{Allow: allow, Names: []blocklist.Name{name(t, map[bool]string{true: "listed.example", false: "open.example"}[allow])}, Expires: ended}},
		}, blocklist.Build([]blocklist.Source{{List: blocklist.ListOf(name(t, "listed.example"))}}), true)
		if err != nil {
			t.Fatal(err)
		}
		return p.Decide(0, []byte(name(t, map[bool]string{true: "listed.example", false: "open.example"}[allow])), time.Unix(0, 0)).Action
	}
	for _, allow := range []bool{true, false} {
		if got := rules(allow); got != policy.Block {
			t.Errorf("a rule with an end, allow %v: action %d", allow, got)
		}
	}
}

func BenchmarkDecideUnderASchedule(b *testing.B) {
	p := scheduled(b, wholeCalendar(b), time.Time{})
	key, now := []byte(name(b, "www.timed.example")), time.Date(2026, 10, 22, 12, 0, 0, 0, time.UTC)
	facts := p.Facts(key)
	b.ReportAllocs()
	for b.Loop() {
		p.DecideKnown(&policy.Who{Group: 4}, key, facts, now)
	}
}
