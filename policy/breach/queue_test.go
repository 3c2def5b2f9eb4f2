package breach

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

func TestTheQueueIsBounded(t *testing.T) {
	p := school(t, nil)
	r := start(t, t.TempDir(), newClock(), nil, func(l *Log) {
		l.queue.max = 3
		for i := range 5 {
			l.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast))
			l.Record(ask(t, p, pupil, "n0.pornography.example", tenPast)) // merges, also when it is full
		}
	})
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []asked{
		{"10.20.3.4", "n0.pornography.example.", 6},
		{"10.20.3.4", "n1.pornography.example.", 1},
		{"10.20.3.4", "n2.pornography.example.", 1},
	}
	if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
		t.Error(diff)
	}
	t.Run("a loss is counted", func(t *testing.T) {
		expectMetric(t, r, "schoolgate_records_dropped_total", `
			# HELP schoolgate_records_dropped_total Records that were lost because they could not be stored.
			# TYPE schoolgate_records_dropped_total counter
			schoolgate_records_dropped_total{kind="breach"} 2
			schoolgate_records_dropped_total{kind="query"} 0
		`)
	})
	t.Run("a loss is said", func(t *testing.T) {
		want := []string{"breach record: 2 breaches were lost since the start, because they could not be stored"}
		if diff := cmp.Diff(want, r.Problems()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a loss is alerted", func(t *testing.T) {
		select {
		case m := <-r.system:
			if !strings.HasPrefix(m, "Breaches were lost") {
				t.Errorf("said %q", m)
			}
		default:
			t.Error("nobody was told")
		}
	})
}

// counts returns how often each event of a batch was seen.
func (b batch) counts() (counts []int64) {
	for _, c := range b {
		for _, p := range c {
			counts = append(counts, p.count)
		}
	}
	return counts
}

func TestTheQueueMerges(t *testing.T) {
	p := school(t, nil)
	for what, c := range map[string]struct {
		ask  func() []policy.Event
		want []int64
	}{
		"the same client, name and category": {func() []policy.Event {
			return []policy.Event{ask(t, p, pupil, "gaming.example", tenPast), ask(t, p, pupil, "gaming.example", tenPast)}
		}, []int64{2}},
		"not another client": {func() []policy.Event {
			return []policy.Event{ask(t, p, pupil, "gaming.example", tenPast), ask(t, p, pupil2, "gaming.example", tenPast)}
		}, []int64{1, 1}},
		"not one that is more severe": {func() []policy.Event {
			severe := ask(t, p, pupil, "gaming.example", tenPast)
			severe.Verdict.Severity = policy.SeverityHigh
			return []policy.Event{ask(t, p, pupil, "gaming.example", tenPast), severe, severe}
		}, []int64{1, 2}},
		"before and after a reload, each by itself": {func() []policy.Event {
			a, b := ask(t, p, pupil, "gaming.example", tenPast), ask(t, school(t, nil), pupil, "gaming.example", tenPast)
			return []policy.Event{a, b, a, b, b}
		}, []int64{2, 3}},
		"more than a chunk": {func() (all []policy.Event) {
			for i := range 2*chunk + 2 {
				e := ask(t, p, pupil, "gaming.example", tenPast)
				e.Client.Addr = netip.AddrFrom4([4]byte{10, 20, byte(i / 2 >> 8), byte(i / 2)})
				all = append(all, e)
			}
			return all
		}, slices.Repeat([]int64{2}, chunk+1)},
	} {
		t.Run(what, func(t *testing.T) {
			q := newQueue()
			for turn := range 3 { // what is remembered of the turn before changes nothing
				for _, e := range c.ask() {
					e.Time = e.Time.Add(time.Duration(turn) * time.Minute)
					if !q.add(&e) {
						t.Fatal("an event was refused")
					}
				}
				if n := q.waiting(); n != len(c.want) {
					t.Errorf("in turn %d there wait %d", turn, n)
				}
				taken := q.take()
				if diff := cmp.Diff(c.want, taken.counts()); diff != "" {
					t.Errorf("in turn %d: %s", turn, diff)
				}
				if n := q.waiting(); n != len(c.want) {
					t.Errorf("%d are held", n)
				}
				q.release(taken)
			}
		})
	}
}

func TestWhatTheQueueRemembersIsBounded(t *testing.T) {
	q, most := newQueue(), 0
	e := ask(t, school(t, nil), pupil, "gaming.example", tenPast)
	for i := range 2*maxRemembered + 1 {
		e.Client.Addr = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if !q.add(&e) {
			t.Fatal("an event was refused")
		}
		most = max(most, len(q.remembered))
		if i%1000 == 0 {
			q.release(q.take())
		}
	}
	if most < maxRemembered || most > maxRemembered+1000 {
		t.Errorf("it remembered up to %d", most)
	}
	t.Run("and the memory of a great turn is given back", func(t *testing.T) {
		for i := range maxQueued - q.waiting() {
			e.Client.Addr = netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
			if !q.add(&e) {
				t.Fatal("an event was refused")
			}
		}
		if q.add(&policy.Event{}) {
			t.Error("one too many was taken")
		}
		q.release(q.take())
		if len(q.spare) != maxSpare {
			t.Errorf("%d chunks are kept", len(q.spare))
		}
	})
}

func TestAnOldPolicyIsNotHeldByTheQueue(t *testing.T) {
	for what, next := range map[string]func(t *testing.T, q *queue){
		"once a new one has judged a breach": func(t *testing.T, q *queue) {
			e := ask(t, school(t, nil), pupil, "pornography.example", tenPast)
			q.add(&e)
			q.release(q.take())
		},
		"once a turn has found nothing": func(_ *testing.T, q *queue) { q.release(q.take()) },
	} {
		t.Run(what, func(t *testing.T) {
			q, freed := newQueue(), make(chan struct{})
			func() {
				p := school(t, nil)
				runtime.AddCleanup(p, func(struct{}) { close(freed) }, struct{}{})
				for range 3 {
					e := ask(t, p, pupil, "pornography.example", tenPast)
					q.add(&e)
					q.release(q.take())
				}
			}()
			next(t, q)
			deadline := time.After(10 * time.Second)
			for {
				runtime.GC()
				select {
				case <-freed:
					runtime.KeepAlive(q)
					return
				case <-deadline:
					t.Fatal("the policy is still held")
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
}
