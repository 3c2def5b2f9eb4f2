package breach

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"schoolgate/policy"
)

func TestAnIncidentIsToldAsItGoes(t *testing.T) {
	r, p := open(t), school(t, nil)
	steps := []struct {
		what  string
		after time.Duration
		names []string
		want  []told
	}{
		{"it opens with the count so far", 0, []string{"pornography.example", "pornography.example"}, []told{{IncidentOpened, 2}}},
		{"more is not told within the quiet time", 4 * time.Minute, []string{"pornography.example", "www.pornography.example"}, nil},
		{"nothing at its very last moment", 6*time.Minute - time.Millisecond, nil, nil},
		{"the whole count at its end", time.Millisecond, nil, []told{{IncidentContinued, 4}}},
		{"nothing at an end without more", 10 * time.Minute, nil, nil},
		{"quiet times follow each other", 5 * time.Minute, []string{"pornography.example"}, nil},
		{"so this one ends five minutes on", 5 * time.Minute, nil, []told{{IncidentContinued, 5}}},
		{"after an hour without a breach it rests, without a word", 55 * time.Minute, nil, nil},
		{"a later breach opens another", 0, []string{"pornography.example"}, []told{{IncidentOpened, 1}}},
		{"which a breach in another category does not join", time.Second, []string{"gaming.example"}, []told{{IncidentOpened, 1}}},
	}
	for _, step := range steps {
		r.tick(t, step.after)
		r.ask(t, p, pupil, step.names...)
		if diff := cmp.Diff(step.want, r.told()); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
	}
	verify(t, r.path)
}

func TestANoticeSaysAllOfTheIncident(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, teacher, "www.pornography.example")
	r.router.take()
	first := r.clock.Now()
	last := r.clock.add(time.Minute)
	r.ask(t, p, teacher, "pornography.example", "pornography.example", ".www.pornography.example"[1:], "x.pornography.example", "pornography.example")
	r.tick(t, 9*time.Minute)

	got := r.router.take()
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	want := Notice{
		Kind: IncidentContinued, Time: first.Add(10 * time.Minute), Incident: r.incidentsOf(t, Filter{})[0].ID, Site: "winchelsea",
		Attribution: policy.Attribution{
			Group: "staff", Category: "pornography", Title: "Pornography", Categories: []string{"pornography"},
			Severity: policy.SeverityHigh, Action: "block", List: "lists/pornography", Entry: "pornography.example",
			Via: policy.ViaName, AlertTo: []string{"headteacher"}, AlertToSet: true,
		},
		Client: policy.Client{Addr: teacher}, Count: 6, First: first, Last: last,
		Names: []NameCount{{"pornography.example", 3}, {"www.pornography.example", 2}, {"x.pornography.example", 1}},
		Chain: r.Head(),
	}
	if diff := cmp.Diff(want, got[0], cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(verify(t, r.path), got[0].Chain); diff != "" {
		t.Error("the chain in the notice does not cover all that it counts:", diff)
	}
}

func TestASharedAddressHasIncidentsByName(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, controller, "a.pornography.example", "b.pornography.example", "a.pornography.example")
	if diff := cmp.Diff([]told{{IncidentOpened, 2}, {IncidentOpened, 1}}, r.told()); diff != "" {
		t.Error(diff)
	}
	t.Run("but not without bound", func(t *testing.T) {
		for i := range 2 * maxCrowd {
			r.Record(ask(t, p, controller, fmt.Sprintf("t%d.pornography.example", i), r.clock.Now()))
		}
		r.tick(t, 0)
		notices := r.told()
		if want := maxCrowd - 2 + 1; len(notices) != want {
			t.Errorf("%d incidents for %d names, want %d", len(notices), 2*maxCrowd, want)
		}
		if last, want := notices[len(notices)-1], (told{IncidentOpened, maxCrowd + 2}); last != want {
			t.Errorf("the names above the bound are told as %v, want %v", last, want)
		}
	})
	t.Run("and when these rest there is room again", func(t *testing.T) {
		r.tick(t, time.Hour)
		r.told()
		r.ask(t, p, controller, "c.pornography.example", "d.pornography.example")
		if diff := cmp.Diff([]told{{IncidentOpened, 1}, {IncidentOpened, 1}}, r.told()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("also after a restart", func(t *testing.T) {
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		again := start(t, t.TempDir(), r.clock, func(o *Options) { o.Path = r.path }, nil)
		again.path = r.path
		again.ask(t, p, controller, "c.pornography.example", "e.pornography.example")
		again.tick(t, 10*time.Minute)
		if diff := cmp.Diff([]told{{IncidentOpened, 1}, {IncidentContinued, 2}}, again.told()); diff != "" {
			t.Error(diff)
		}
		verify(t, r.path)
	})
}

func TestAFloodIsOneIncident(t *testing.T) {
	r, p := open(t), school(t, nil)
	for i := range 500 {
		r.Record(ask(t, p, pupil, "pornography.example", tenPast.Add(time.Duration(i)*120*time.Millisecond)))
		if i%100 == 0 {
			r.tick(t, 0)
		}
	}
	r.tick(t, time.Minute)
	if diff := cmp.Diff([]told{{IncidentOpened, 1}}, r.told()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]asked{{"10.20.3.4", "pornography.example.", 500}}, inShort(r.breaches(t, Filter{}))); diff != "" {
		t.Error(diff)
	}
	r.tick(t, 9*time.Minute)
	if diff := cmp.Diff([]told{{IncidentContinued, 500}}, r.told()); diff != "" {
		t.Error(diff)
	}
}

func TestManyNamesInOneIncident(t *testing.T) {
	const names = 12_000
	p := school(t, nil)
	r := start(t, t.TempDir(), newClock(), nil, func(l *Log) {
		e := ask(t, p, pupil, "pornography.example", tenPast)
		for i := range names {
			e.Name = name(t, fmt.Sprintf("n%05d.pornography.example", i))
			l.Record(e)
		}
		l.Record(e) // beyond the breaches that names are taken from
	})
	r.tick(t, 0)
	notices := r.router.take()
	if len(notices) != 1 || notices[0].Count != names+1 || len(notices[0].Names) != maxNames {
		t.Fatalf("got %d notices, first %+v", len(notices), notices[0])
	}
	if got := count(t, r.path, "breach"); got != names {
		t.Errorf("%d breaches", got)
	}
	verify(t, r.path)
}

func TestForgottenBreachesAreAppendedAgainToTheSameIncident(t *testing.T) {
	r := start(t, t.TempDir(), newClock(), nil, func(l *Log) {
		l.writer.known.Resize(1)
		l.queue.forget()
	})
	p := school(t, nil)
	r.ask(t, p, pupil, "a.pornography.example", "b.pornography.example")
	r.ask(t, p, pupil, "a.pornography.example")
	r.ask(t, p, pupil, "a.pornography.example")
	want := []asked{
		{"10.20.3.4", "a.pornography.example.", 1},
		{"10.20.3.4", "b.pornography.example.", 1},
		{"10.20.3.4", "a.pornography.example.", 2},
	}
	if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
		t.Error(diff)
	}
	if i := r.incidentsOf(t, Filter{}); len(i) != 1 || i[0].Count != 4 {
		t.Errorf("got %+v", i)
	}
	verify(t, r.path)
}

func TestTooManyIncidentsRestEarly(t *testing.T) {
	const maxOpen = 1000
	r := start(t, t.TempDir(), newClock(), nil, func(l *Log) { l.writer.maxOpen = maxOpen })
	p := school(t, nil)
	e := ask(t, p, pupil, "pornography.example", tenPast)
	record := func(from, to int) {
		for i := from; i < to; i++ {
			e.Client.Addr = netip.AddrFrom4([4]byte{10, byte(100 + i>>16), byte(i >> 8), byte(i)})
			r.Record(e)
		}
		r.tick(t, 0)
	}
	record(0, maxOpen/2)
	e.Time = e.Time.Add(time.Second)
	record(maxOpen/2, maxOpen)
	record(0, 1) // a word that has not been told
	r.router.take()
	e.Time = e.Time.Add(time.Second)
	record(maxOpen, maxOpen+1)
	if got, want := len(r.writer.open), maxOpen-maxOpen/10+1; got != want {
		t.Errorf("%d are open, want %d", got, want)
	}
	for _, n := range r.router.take() {
		if n.Kind != IncidentOpened {
			t.Errorf("the first was asked again last, but was made to rest: %+v", n)
		}
	}
	if got := count(t, r.path, "watching"); got != len(r.writer.open) {
		t.Errorf("%d are open in memory, %d on disk", len(r.writer.open), got)
	}
}

func TestAReloadReachesOpenIncidents(t *testing.T) {
	r, before := open(t), school(t, nil)
	r.ask(t, before, pupil, "pornography.example")
	r.router.take()
	after := school(t, func(s *policy.Spec) { s.Groups[0].AlertTo, s.Groups[0].AlertToSet = []string{"head"}, true })
	r.ask(t, after, pupil, "pornography.example")
	r.tick(t, 10*time.Minute)
	notices := r.router.take()
	if len(notices) != 1 || !cmp.Equal(notices[0].Attribution.AlertTo, []string{"head"}) || notices[0].Count != 2 {
		t.Errorf("got %+v", notices)
	}
	if n := count(t, r.path, "breach"); n != 1 {
		t.Errorf("%d breaches: a reload is no reason for a new row", n)
	}
}

func TestRestart(t *testing.T) {
	p := school(t, nil)
	t.Run("an incident goes on, with its timer and receivers", func(t *testing.T) {
		dir, c := t.TempDir(), newClock()
		r := start(t, dir, c, nil, nil)
		r.ask(t, p, teacher, "pornography.example")
		c.add(3 * time.Minute)
		r.ask(t, p, teacher, "pornography.example")
		before := r.router.take()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}

		c.add(2 * time.Minute)
		r = start(t, dir, c, nil, nil)
		expectMetricValue(t, r, "high", 1)
		r.tick(t, 5*time.Minute-time.Millisecond)
		if got := r.told(); got != nil {
			t.Errorf("told before the end of the quiet time: %v", got)
		}
		r.tick(t, time.Millisecond)
		notices := r.router.take()
		want := before[0]
		want.Kind, want.Count, want.Time, want.Last = IncidentContinued, 2, tenPast.Add(10*time.Minute), tenPast.Add(3*time.Minute)
		want.Names = []NameCount{{"pornography.example", 2}}
		// What only a breach has is not kept with the incident.
		want.Attribution.List, want.Attribution.Entry, want.Attribution.Via, want.Attribution.Categories = "", "", 0, nil
		want.Chain = r.Head()
		if diff := cmp.Diff([]Notice{want}, notices, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what became due in between is told at once", func(t *testing.T) {
		dir, c := t.TempDir(), newClock()
		r := start(t, dir, c, nil, nil)
		r.ask(t, p, pupil, "pornography.example")
		r.ask(t, p, pupil, "pornography.example")
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		c.add(30 * time.Minute)
		r = start(t, dir, c, nil, nil)
		r.tick(t, 0)
		if diff := cmp.Diff([]told{{IncidentContinued, 2}}, r.told()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("repeats that were not appended when the machine died are, at the end of the minute", func(t *testing.T) {
		path := filled(t)
		before := breaches(t, path, Filter{})
		r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Path = path }, nil)
		r.path = path
		r.tick(t, time.Minute)
		if n := count(t, path, "gathered"); n != 0 {
			t.Errorf("%d still wait", n)
		}
		if diff := cmp.Diff(before, r.breaches(t, Filter{})); diff != "" {
			t.Error(diff)
		}
		verify(t, path)
	})
	t.Run("a tool without a router leaves what is due to the resolver", func(t *testing.T) {
		dir, c := t.TempDir(), newClock()
		r := start(t, dir, c, nil, nil)
		r.ask(t, p, pupil, "pornography.example")
		r.ask(t, p, pupil, "pornography.example")
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		c.add(3 * time.Hour)
		tool := start(t, dir, c, func(o *Options) { o.Router = nil }, nil)
		if err := tool.Audit(t.Context(), Act{What: "test"}); err != nil {
			t.Fatal(err)
		}
		if err := tool.stop(); err != nil {
			t.Fatal(err)
		}
		r = start(t, dir, c, nil, nil)
		r.tick(t, 0)
		if diff := cmp.Diff([]told{{IncidentContinued, 2}}, r.told()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("what came to rest in between is told of, and rests", func(t *testing.T) {
		dir, c := t.TempDir(), newClock()
		r := start(t, dir, c, nil, nil)
		r.ask(t, p, pupil, "pornography.example")
		r.ask(t, p, pupil, "pornography.example")
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		c.add(3 * time.Hour)
		r = start(t, dir, c, nil, nil)
		r.ask(t, p, pupil, "pornography.example")
		if diff := cmp.Diff([]told{{IncidentOpened, 1}, {IncidentContinued, 2}}, sorted(r.told(), func(a, b told) int { return int(a.Count - b.Count) })); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheClockMayJump(t *testing.T) {
	p := school(t, nil)
	t.Run("an hour back: order is kept, and nothing waits for the old time", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "pornography.example", "pornography.example")
		r.ask(t, p, pupil, "pornography.example")
		r.told()
		r.clock.add(-59 * time.Minute)
		r.ask(t, p, pupil, "www.pornography.example")
		r.tick(t, 10*time.Minute)
		if diff := cmp.Diff([]told{{IncidentContinued, 4}}, r.told()); diff != "" {
			t.Error(diff)
		}
		if n := count(t, r.path, "gathered"); n != 0 {
			t.Errorf("%d repeats wait", n)
		}
		ids := []string{}
		for _, b := range r.breaches(t, Filter{}) {
			ids = append(ids, b.ID)
		}
		if len(ids) != 2 || ids[0] >= ids[1] {
			t.Errorf("ids are %v", ids)
		}
		verify(t, r.path)
	})
	t.Run("back from years ahead: the incident of then rests", func(t *testing.T) {
		r := open(t)
		r.clock.add(5 * 365 * 24 * time.Hour)
		r.ask(t, p, pupil, "pornography.example")
		r.clock.add(-5 * 365 * 24 * time.Hour)
		r.ask(t, p, pupil, "pornography.example")
		if diff := cmp.Diff([]told{{IncidentOpened, 1}, {IncidentOpened, 1}}, r.told()); diff != "" {
			t.Error(diff)
		}
		verify(t, r.path)
	})
	t.Run("1970", func(t *testing.T) {
		r := open(t)
		r.clock.add(-time.Duration(tenPast.UnixNano()) + time.Second)
		r.ask(t, p, pupil, "pornography.example")
		r.ask(t, p, pupil, "pornography.example")
		r.tick(t, 10*time.Minute)
		if diff := cmp.Diff([]told{{IncidentOpened, 1}, {IncidentContinued, 2}}, r.told()); diff != "" {
			t.Error(diff)
		}
	})
}
