package breach

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

// whole reads the only incident that a filter selects.
func (r *record) whole(t testing.TB, f Filter, o WholeOptions) *Whole {
	t.Helper()
	w, err := reader(t, r.path).Incident(t.Context(), strings.ToLower(r.only(t, f).ID), o)
	must(t, err)
	return w
}

func namesOf(breaches []Breach) []string {
	names := []string{}
	for _, b := range breaches {
		names = append(names, b.Query.Name)
	}
	return names
}

func TestAnIncidentWholeHasEachBreachWithItsRepeats(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example", "pornography.example")
	r.clock.add(time.Minute)
	r.ask(t, p, pupil, "www.pornography.example", "pornography.example", "pornography.example")
	r.tick(t, time.Minute)
	r.clock.add(5 * time.Second)
	r.ask(t, p, pupil, "pornography.example") // not yet appended

	w := r.whole(t, Filter{}, WholeOptions{})
	if diff := cmp.Diff(r.only(t, Filter{}), w.Incident); diff != "" {
		t.Error("it differs from the one of the list:", diff)
	}
	breaches := r.breaches(t, Filter{})
	if len(w.Timeline) != 2 || w.DistinctNames != 2 || w.TimelineLeftOut != 0 {
		t.Fatalf("%d breaches of %d names", len(w.Timeline), w.DistinctNames)
	}
	for n, e := range w.Timeline {
		if diff := cmp.Diff(breaches[n], e.Breach); diff != "" {
			t.Error(diff)
		}
		e.Repeats = slices.Clone(e.Repeats)
		for i := range e.Repeats {
			e.Repeats[i].last = 0
		}
		want := [][]Repeat{
			{{Count: 2, Last: "2026-11-20T10:11:00.000+00:00"}, {Count: 1, Last: "2026-11-20T10:12:05.000+00:00"}}, {},
		}[n]
		if n == 0 && len(e.Repeats) == 3 { // the second question may be a repeat of its own
			want = append([]Repeat{{Count: 1, Last: "2026-11-20T10:10:00.000+00:00"}}, want...)
		}
		if diff := cmp.Diff(want, e.Repeats, cmp.AllowUnexported(Repeat{})); diff != "" {
			t.Error(diff)
		}
	}
	if w.LooksLike.Kind == "" || len(w.LooksLike.Why) == 0 {
		t.Error("it says not what it looks like")
	}
	if w = r.whole(t, Filter{}, WholeOptions{MaxTimeline: 1}); len(w.Timeline) != 1 || w.TimelineLeftOut != 1 || w.LooksLike.Kind != LooksUnclear {
		t.Errorf("cut off after one it has %d, left out %d, and looks %v", len(w.Timeline), w.TimelineLeftOut, w.LooksLike)
	}
	if _, err := reader(t, r.path).Incident(t.Context(), "01JD3V5M8ZAAAAAAAAAAAAAAAA", WholeOptions{}); !errors.Is(err, ErrNoIncident) {
		t.Error(err)
	}
}

func TestWhatLedUpToAnIncidentIsTheClientsOwn(t *testing.T) {
	r, p := open(t), school(t, nil)
	at := func(after time.Duration, c policy.Client, names ...string) {
		t.Helper()
		r.clock.add(after)
		for _, n := range names {
			e := ask(t, p, pupil, n, r.clock.Now())
			e.Client = c
			r.Record(e)
		}
		must(t, r.Tick(t.Context()))
	}
	c := policy.Client{Addr: pupil, MAC: "00:11:22:33:44:55", User: "kim"}
	at(0, c, "early.gaming.example")
	at(90*time.Minute, c, "before.gaming.example")
	at(0, policy.Client{Addr: pupil, MAC: "00:11:22:33:44:66"}, "another-device.gaming.example")
	at(0, policy.Client{Addr: pupil, MAC: c.MAC, User: "lee"}, "another-person.gaming.example")
	at(0, policy.Client{Addr: netip.MustParseAddr("10.20.9.9"), MAC: c.MAC, User: "kim"}, "moved.gaming.example")
	at(0, policy.Client{Addr: netip.MustParseAddr("10.20.9.9")}, "elsewhere.gaming.example")
	at(0, policy.Client{Addr: pupil}, "unknown.gaming.example")
	at(30*time.Minute, c, "www.pornography.example", "secret.iwf.example")
	at(59*time.Minute, c, "after.gambling.example")
	at(2*time.Hour, c, "late.gaming.example")

	want := []string{"before.gaming.example.", "moved.gaming.example.", "unknown.gaming.example.", Confidential, "after.gambling.example."}
	w := r.whole(t, Filter{Category: "pornography"}, WholeOptions{})
	if diff := cmp.Diff(want, namesOf(w.Around)); diff != "" || w.AroundLeftOut {
		t.Error(diff)
	}
}

func TestNothingIsSaidAboutWhatOthersDidBehindASharedAddress(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, controller, "www.pornography.example", "gaming.example")
	asked := false
	questions := func(context.Context, Client, time.Time, time.Time, func(Question) error) error {
		asked = true
		return nil
	}
	if w := r.whole(t, Filter{Category: "pornography"}, WholeOptions{Questions: questions}); len(w.Around) != 0 || w.Questions != nil || asked {
		t.Errorf("around it: %v, %v", w.Around, w.Questions)
	}
}

func TestWhatElseWasAskedForIsThatOfTheHourBeforeAndAfter(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "www.pornography.example")
	r.clock.add(10 * time.Minute)
	r.ask(t, p, pupil, "www.pornography.example")
	if w := r.whole(t, Filter{}, WholeOptions{}); w.Questions != nil {
		t.Errorf("where it is not kept it is %v", w.Questions)
	}
	w := r.whole(t, Filter{}, WholeOptions{Questions: func(_ context.Context, c Client, from, to time.Time, yield func(Question) error) error {
		if c.IP != pupil.String() || !from.Equal(tenPast.Add(-time.Hour)) || !to.Equal(tenPast.Add(70*time.Minute)) {
			t.Errorf("asked for %v from %v to %v", c, from, to)
		}
		for i := range 2 * maxAround {
			if err := yield(Question{Name: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	}})
	if len(w.Questions) != maxAround || !w.QuestionsLeftOut {
		t.Errorf("%d questions, left out: %v", len(w.Questions), w.QuestionsLeftOut)
	}
}

func TestAnIncidentIsFoundByABeginningOrAnEndOfItsID(t *testing.T) {
	r, p := open(t), school(t, nil)
	find := func(text string) (string, error) { return reader(t, r.path).FindIncident(t.Context(), text) }
	if _, err := find("01JD"); err == nil || err.Error() != `incident "01JD": no such incident (there is none yet)` {
		t.Error(err)
	}
	r.ask(t, p, pupil, "pornography.example")
	r.clock.add(400 * 24 * time.Hour)
	r.ask(t, p, pupil, "pornography.example")
	all := r.incidentsOf(t, Filter{})
	first, second := all[0].ID, all[1].ID
	for _, text := range []string{first, strings.ToLower(first), first[:10], first[20:], " " + first[16:] + "\n", strings.NewReplacer("1", "l", "0", "o").Replace(first)} {
		if got, err := find(text); got != first || err != nil {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	mistyped := second[:24] + "UU" // ULIDs have no U
	for text, want := range map[string]string{
		"01K":     `incident "01K": write at least 4 letters of its ID, from its beginning or its end`,
		"'; --":   `incident "'; --": no such incident (the nearest is `,
		first[:4]: "",
		mistyped:  `incident "` + mistyped + `": no such incident (the nearest is ` + second + `)`,
	} {
		if text == first[:4] && first[:4] == second[:4] {
			want = `incident "` + text + `": that is several, write more of it: ` + second + ", " + first
		}
		if _, err := find(text); want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTheRegisterIsNewestFirstAndSaysWhatItLeavesOut(t *testing.T) {
	r, p := open(t), school(t, nil)
	for range 5 {
		r.ask(t, p, pupil, "pornography.example")
		r.clock.add(2 * time.Hour)
	}
	r.ask(t, p, teacher, "gambling.example")
	all := r.incidentsOf(t, Filter{})
	must(t, r.CloseIncident(t.Context(), all[4].ID, "dsl", OutcomeNoConcern, ""))
	must(t, r.NoteIncident(t.Context(), all[0].ID, "dsl", "x"))
	for title, c := range map[string]struct {
		f             Filter
		limit         int
		want          []int
		total, closed int64
	}{
		"all":                        {Filter{}, 0, []int{5, 4, 3, 2, 1, 0}, 6, 0},
		"those that are open":        {Filter{State: StateOpen}, 0, []int{5, 3, 2, 1, 0}, 5, 1},
		"the newest two":             {Filter{State: StateOpen}, 2, []int{5, 3}, 5, 1},
		"of one state":               {Filter{State: StateInHand}, 0, []int{0}, 1, 1},
		"closed ones":                {Filter{State: StateClosed}, 0, []int{4}, 1, 0},
		"of one category":            {Filter{State: StateOpen, Category: "gambling"}, 0, []int{5}, 1, 0},
		"of one client":              {Filter{State: StateOpen, Client: pupil.String()}, 1, []int{3}, 4, 1},
		"from a time until another":  {Filter{From: tenPast.Add(2 * time.Hour), To: tenPast.Add(6 * time.Hour)}, 0, []int{2, 1}, 2, 0},
		"of a severity there is not": {Filter{Severity: "critical"}, 0, []int{}, 0, 0},
	} {
		t.Run(title, func(t *testing.T) {
			got, err := reader(t, r.path).Register(t.Context(), c.f, c.limit)
			must(t, err)
			want := &Register{Incidents: []Incident{}, Total: c.total, Closed: c.closed}
			for _, n := range c.want {
				want.Incidents = append(want.Incidents, r.only(t, Filter{ID: all[n].ID}))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEachLookIsOnRecord(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	id := r.only(t, Filter{}).ID
	must(t, r.LookAt(t.Context(), strings.ToLower(id), Act{Who: "root", What: "incidents.show"}, false))
	if got := r.only(t, Filter{}).State; got != StateNew {
		t.Errorf("somebody without a name has looked at it, and it is %s", got)
	}
	must(t, r.LookAt(t.Context(), id, Act{Who: " dsl ", What: "incidents.show", Why: "w", Detail: "d"}, true))
	if got := r.only(t, Filter{}).State; got != StateSeen {
		t.Errorf("the DSL has looked at it, and it is %s", got)
	}
	if err := r.LookAt(t.Context(), "01JD3V5M8ZAAAAAAAAAAAAAAAA", Act{Who: "dsl", What: "incidents.show"}, true); !errors.Is(err, ErrNoIncident) {
		t.Error(err)
	}
	if err := r.LookAt(t.Context(), id, Act{What: "incidents.show"}, false); err == nil {
		t.Error("nobody has looked at it")
	}
	var got []string
	must(t, reader(t, r.path).Acts(t.Context(), ActFilter{What: "incidents"}, func(a RecordedAct) error {
		got = append(got, strings.Join([]string{a.Who, a.What, a.Why, a.Detail}, "|"))
		return nil
	}))
	want := []string{"root|incidents.show||incident " + id, "dsl|incidents.show|w|incident " + id + "; d"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	verify(t, r.path)
}

func TestTheLinksOfACaseCanBeComputedAgain(t *testing.T) {
	seal, _ := headteacher(t)
	r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Seal = seal }, nil)
	p := school(t, nil)
	r.ask(t, p, teacher, "gambling.example")
	r.ask(t, p, pupil, "secret.iwf.example", "other.iwf.example", "gaming.example")
	r.ask(t, p, pupil, "secret.iwf.example")
	id := r.only(t, Filter{Category: "iwf"}).ID
	must(t, r.NoteIncident(t.Context(), id, "dsl", "x"))
	must(t, r.LookAt(t.Context(), id, Act{Who: "dsl", What: "incidents.export", Why: "police"}, false))
	must(t, r.Flush(t.Context()))
	r.ask(t, p, pupil, "more.gaming.example")

	c, err := reader(t, r.path).Case(t.Context(), id, WholeOptions{})
	must(t, err)
	kinds := map[string]int{}
	read := reader(t, r.path)
	for _, l := range c.Links {
		kinds[l.Kind]++
		var before link
		before.seq = l.Seq - 1
		decode(t, before.hash[:], l.Previous)
		after, err := read.verifyPage(t.Context(), before, l.Seq)
		must(t, err)
		if hex.EncodeToString(after.hash[:]) != l.Hash {
			t.Errorf("the hash of row %d is another one", l.Seq)
		}
		must(t, read.Holds(t.Context(), Head{l.Seq, l.Hash}))
	}
	want := map[string]int{"incident": 1, "breach": 2, "repeat": 1, "note": 1, "sealed": len(c.Sealed), "audit": 1}
	if diff := cmp.Diff(want, kinds); diff != "" || len(c.Sealed) == 0 {
		t.Error(diff)
	}
	if c.Head != verify(t, r.path) || c.Head.Seq <= c.Links[len(c.Links)-1].Seq {
		t.Errorf("the newest link is %v", c.Head)
	}
	if len(c.Acts) != 1 || c.Acts[0].Why != "police" {
		t.Errorf("the acts are %v", c.Acts)
	}

	// Who is erased is erased whole.
	e := erasure(t, pupil.String())
	e.Incidents = true
	_, err = r.Erase(t.Context(), e)
	must(t, err)
	if n := count(t, r.path, "sealed"); n != 0 {
		t.Errorf("%d seals are left", n)
	}
	verify(t, r.path)
}

func decode(t testing.TB, to []byte, hash string) {
	t.Helper()
	b, err := hex.DecodeString(hash)
	must(t, err)
	copy(to, b)
}
