package breach

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
