package breach

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

// tried adds a list on trial to gaming, which year7 blocks. It has the name tried.example.
func tried(s *policy.Spec) {
	s.Categories = append(s.Categories, policy.Category{
		Name: "tried", Title: "Gaming: list on trial", Severity: policy.SeverityLow, TrialOf: "gaming",
	})
}

// counted returns the incidents in short.
func (r *record) counted(t testing.TB) (all []string) {
	t.Helper()
	for _, i := range r.incidentsOf(t, Filter{Category: "gaming"}) {
		all = append(all, fmt.Sprintf("%s %d", i.Severity, i.Count))
	}
	return all
}

func TestHitsOfAListOnTrialAreAnIncidentOfTheirOwn(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	p := school(t, func(s *policy.Spec) {
		tried(s)
		s.Categories[gaming].Severity = policy.SeverityHigh
	})
	r := start(t, dir, c, nil, nil)
	r.ask(t, p, pupil, "tried.example", "www.tried.example", "gaming.example", "tried.example")

	var titles []string
	for _, n := range r.router.take() {
		titles = append(titles, n.Attribution.Title+" "+n.Attribution.Action+" "+n.Attribution.Severity.String())
	}
	if diff := cmp.Diff([]string{"Gaming: list on trial monitor low", "Gaming block high"}, titles); diff != "" {
		t.Error(diff)
	}
	gamingOnly := Filter{Category: "gaming"}
	if diff := cmp.Diff([]string{"low 3", "high 1"}, r.counted(t)); diff != "" {
		t.Error(diff)
	}
	var lists []string
	for _, b := range r.breaches(t, gamingOnly) {
		lists = append(lists, b.Rule.List+" "+b.Action)
	}
	if diff := cmp.Diff([]string{"lists/tried monitor", "lists/tried monitor", "lists/gaming block"}, lists); diff != "" {
		t.Error(diff)
	}

	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, c, nil, nil)
	r.ask(t, p, pupil, "gaming.example", "tried.example")
	if diff := cmp.Diff([]string{"low 4", "high 2"}, r.counted(t)); diff != "" {
		t.Error("after a restart:", diff)
	}
	if got := len(r.breaches(t, gamingOnly)); got != 3 {
		t.Errorf("after a restart: %d breaches, want the 3 with their repeats", got)
	}
	verify(t, r.path)
}

// One name may be both: its IPv4 answer leads to a blocked name, and its IPv6 answer doesn't.
func TestAHitOfAListOnTrialIsNoRepeatOfABlock(t *testing.T) {
	r, p := open(t), school(t, tried)
	trial := ask(t, p, pupil, "tried.example", tenPast)
	block := trial
	block.Target = name(t, "gaming.example")
	block.Verdict = p.Recheck(trial.Verdict, nil, policy.ViaCNAME, []byte(block.Target), tenPast)
	for range 2 {
		r.Record(block)
		r.tick(t, 0)
		r.Record(trial)
		r.tick(t, 0)
	}
	if diff := cmp.Diff([]string{"low 2", "low 2"}, r.counted(t)); diff != "" {
		t.Error(diff)
	}
	var actions []string
	for _, b := range r.breaches(t, Filter{}) {
		actions = append(actions, b.Action)
	}
	if diff := cmp.Diff([]string{"block", "monitor"}, actions); diff != "" {
		t.Error(diff)
	}
	verify(t, r.path)
}

func TestWhenATrialEndsTheNextBreachIsRecordedAnew(t *testing.T) {
	r, before := open(t), school(t, tried)
	r.ask(t, before, pupil, "tried.example")
	after := school(t, func(s *policy.Spec) {
		tried(s)
		s.Categories[len(s.Categories)-1].TrialOf = ""
		s.Groups[0].Block = append(s.Groups[0].Block, "tried")
	})
	r.clock.add(time.Minute)
	r.ask(t, after, pupil, "tried.example")
	var actions []string
	for _, b := range r.breaches(t, Filter{}) {
		actions = append(actions, b.Action)
	}
	if diff := cmp.Diff([]string{"monitor", "block"}, actions); diff != "" {
		t.Error(diff)
	}
	if got := r.incidentsOf(t, Filter{}); len(got) != 2 {
		t.Errorf("got %+v", got)
	}
}
