package breach

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"schoolgate/policy"
)

// only returns the one incident that a filter selects.
func (r *record) only(t testing.TB, f Filter) Incident {
	t.Helper()
	all := r.incidentsOf(t, f)
	if len(all) != 1 {
		t.Fatalf("there are %d incidents", len(all))
	}
	return all[0]
}

func TestWhatIsDoneAboutAnIncidentIsItsState(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	id := r.only(t, Filter{}).ID
	for _, step := range []struct {
		do             func() error
		state, outcome string
	}{
		{func() error { return nil }, StateNew, ""},
		{func() error { return r.SeeIncident(t.Context(), id, "dsl") }, StateSeen, ""},
		{func() error { return r.SeeIncident(t.Context(), id, "deputy") }, StateSeen, ""},
		{func() error { return r.NoteIncident(t.Context(), strings.ToLower(id), "dsl", " spoke to the tutor ") }, StateInHand, ""},
		{func() error { return r.SeeIncident(t.Context(), id, "head") }, StateInHand, ""},
		{func() error { return r.CloseIncident(t.Context(), id, "dsl", "spoken_to", "") }, StateClosed, "spoken_to"},
		{func() error { return r.NoteIncident(t.Context(), id, "dsl", "the parents called") }, StateClosed, "spoken_to"},
		{func() error { return r.CloseIncident(t.Context(), id, "head", "parents_told", "by telephone") }, StateClosed, "parents_told"},
	} {
		must(t, step.do())
		if i := r.only(t, Filter{}); i.State != step.state || i.Outcome != step.outcome {
			t.Fatalf("after %d notes it is %s with the outcome %q, want %s with %q", len(i.Notes), i.State, i.Outcome, step.state, step.outcome)
		}
		verify(t, r.path)
	}
	want := []Note{
		{What: "seen", By: "dsl"},
		{What: "note", By: "dsl", Text: "spoke to the tutor"},
		{What: "closed", By: "dsl", Outcome: "spoken_to"},
		{What: "note", By: "dsl", Text: "the parents called"},
		{What: "closed", By: "head", Text: "by telephone", Outcome: "parents_told"},
	}
	if diff := cmp.Diff(want, r.only(t, Filter{}).Notes, cmpopts.IgnoreFields(Note{}, "Seq", "Time")); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCannotBeDoneAboutAnIncident(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	id := r.only(t, Filter{}).ID
	for want, err := range map[string]error{
		`incident "01JD3V5M8ZAAAAAAAAAAAAAAAA": no such incident`: r.NoteIncident(t.Context(), "01JD3V5M8ZAAAAAAAAAAAAAAAA", "dsl", "x"),
		"who does it? a name is needed":                           r.SeeIncident(t.Context(), id, " "),
		"a note needs a text":                                     r.NoteIncident(t.Context(), id, "dsl", " \n"),
		"the text is longer than 10000 bytes":                     r.NoteIncident(t.Context(), id, "dsl", strings.Repeat("x", 10_001)),
		"the text is not UTF-8":                                   r.NoteIncident(t.Context(), id, "dsl", "\xff"),
		"the name of who does it is longer than 200 bytes":        r.SeeIncident(t.Context(), id, strings.Repeat("x", 201)),
		"the outcome other needs a text that says which":          r.CloseIncident(t.Context(), id, "dsl", "other", " "),
		`"solved" is not an outcome (use one of no_concern, spoken_to, parents_told, social_care, police, ceop, iwf, lado, other)`: r.CloseIncident(t.Context(), id, "dsl", "solved", ""),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := r.CloseIncident(t.Context(), "x", "dsl", "police", ""); !errors.Is(err, ErrNoIncident) {
		t.Error(err)
	}
	if i := r.only(t, Filter{}); i.State != StateNew || len(i.Notes) != 0 {
		t.Errorf("it is %s with %d notes", i.State, len(i.Notes))
	}
}

func TestWhatComesAfterAnIncidentWasClosedOpensAnother(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example", "pornography.example")
	must(t, r.CloseIncident(t.Context(), r.only(t, Filter{}).ID, "dsl", OutcomeNoConcern, ""))
	r.router.take()
	r.ask(t, p, pupil, "pornography.example")
	must(t, r.Tick(t.Context()))
	if told := r.told(); len(told) != 1 || told[0].Kind != IncidentOpened {
		t.Errorf("told was %v", told)
	}
	if closed, open := r.only(t, Filter{State: StateClosed}), r.only(t, Filter{State: StateOpen}); closed.Count != 2 || open.Count != 1 {
		t.Errorf("the closed one counts %d, the other %d", closed.Count, open.Count)
	}
	verify(t, r.path)
}

func TestAnIncidentThatIsTriedAgainAndAgainGrowsGraver(t *testing.T) {
	r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Escalation = Escalation{Count: 5, Within: 10 * time.Minute} }, nil)
	p := school(t, nil)
	at := func(after time.Duration, want string) {
		t.Helper()
		r.tick(t, after)
		r.ask(t, p, pupil, "gaming.example")
		must(t, r.Tick(t.Context()))
		if got := r.only(t, Filter{Category: "gaming"}).Severity; got != want {
			t.Errorf("after %v it is %s, want %s", after, got, want)
		}
		verify(t, r.path)
	}
	for range 8 {
		at(3*time.Minute, "low") // never five within ten minutes
	}
	r.router.take()
	at(0, "medium")
	if told := r.router.take(); len(told) != 1 || told[0].Attribution.Severity != policy.SeverityMedium || told[0].Kind != IncidentContinued {
		t.Errorf("told was %v", told)
	}
	for range 9 {
		at(0, "medium") // one step, once
	}
	notes := r.only(t, Filter{Category: "gaming"}).Notes
	want := []Note{{What: "raised", By: "schoolgate", Severity: "medium", Text: "tried 5 times within 10m0s"}}
	if diff := cmp.Diff(want, notes, cmpopts.IgnoreFields(Note{}, "Seq", "Time")); diff != "" {
		t.Error(diff)
	}

	t.Run("also after a restart", func(t *testing.T) {
		again := again(t, r.copied(t))
		again.Apply(Settings{Escalation: Escalation{Count: 2, Within: time.Minute}})
		again.ask(t, p, pupil, "gaming.example", "gaming.example", "gaming.example")
		must(t, again.Tick(t.Context()))
		if i := again.only(t, Filter{Category: "gaming"}); i.Severity != "medium" || len(i.Notes) != 1 {
			t.Errorf("it is %s, with %v", i.Severity, i.Notes)
		}
		verify(t, again.path)
	})
}

func TestNobodyIsToldOfACriticalIncidentTwiceBecauseItCannotRise(t *testing.T) {
	r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Escalation = Escalation{Count: 2, Within: time.Minute} }, nil)
	r.ask(t, school(t, nil), pupil, "iwf.example", "iwf.example", "iwf.example")
	must(t, r.Tick(t.Context()))
	if i := r.only(t, Filter{}); i.Severity != "critical" || len(i.Notes) != 0 {
		t.Errorf("it is %s, with %v", i.Severity, i.Notes)
	}
	verify(t, r.path)
}

func TestWhoIsToldFirstWhenItHasGrownGraverIsToldThatItWasOpened(t *testing.T) {
	grave := &router{}
	r := start(t, t.TempDir(), newClock(), func(o *Options) {
		o.Escalation = Escalation{Count: 3, Within: time.Minute}
		o.Router = RouterFunc(func(n Notice) []Alert {
			if n.Attribution.Severity < policy.SeverityMedium {
				return nil
			}
			return grave.Route(n)
		})
	}, nil)
	r.ask(t, school(t, nil), pupil, "gaming.example", "gaming.example")
	must(t, r.Tick(t.Context()))
	if told := grave.take(); len(told) != 0 {
		t.Fatalf("told was %v", told)
	}
	r.ask(t, school(t, nil), pupil, "gaming.example")
	must(t, r.Tick(t.Context()))
	if told := grave.take(); len(told) != 1 || told[0].Kind != IncidentOpened || told[0].Count != 3 {
		t.Errorf("told was %v", told)
	}
}

func TestTalliesAreTheSumsOfWhatWasRecorded(t *testing.T) {
	r, p := open(t), school(t, nil)
	for range 5 {
		r.ask(t, p, pupil, "pornography.example", "www.pornography.example", "gaming.example", "gaming.example")
		r.ask(t, p, teacher, "gambling.example")
		r.tick(t, 25*time.Minute)
	}
	must(t, r.Flush(t.Context()))
	sums := `SELECT hour, group_name, category, action, sum(breaches), sum(count) FROM (
		SELECT time / 3600000 AS hour, group_name, category, action, 1 AS breaches, count FROM breach UNION ALL
		SELECT r.last / 3600000, group_name, category, action, 0, r.count FROM repeat r JOIN breach b ON b.seq = r.breach)
		GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4`
	db := raw(t, r.path)
	all := func(query string) (rows [][6]any) {
		found, err := db.QueryContext(t.Context(), query)
		must(t, err)
		defer found.Close()
		for found.Next() {
			var row [6]any
			must(t, found.Scan(&row[0], &row[1], &row[2], &row[3], &row[4], &row[5]))
			rows = append(rows, row)
		}
		must(t, found.Err())
		return rows
	}
	want := all(sums)
	if len(want) < 4 {
		t.Fatalf("only %d sums", len(want))
	}
	if diff := cmp.Diff(want, all("SELECT * FROM tally ORDER BY 1, 2, 3, 4")); diff != "" {
		t.Error(diff)
	}
}
