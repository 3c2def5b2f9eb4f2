//go:build !race

package breach

import (
	"fmt"
	"testing"

	"schoolgate/policy"
)

// A flood of blocked names that were asked for before must cost no garbage: neither in the data path
// nor, for each of them, in the writer. The race detector's build allocates where the real one does not.
func TestRepeatsAllocateNothing(t *testing.T) {
	r, p := open(t), school(t, nil)
	var events []policy.Event
	for i := range 3000 {
		events = append(events, ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast))
	}
	turn := func() {
		for _, e := range events {
			r.Record(e)
		}
		must(t, r.Tick(t.Context()))
	}
	for range 3 {
		turn()
	}
	if allocated := testing.AllocsPerRun(20, turn); allocated > float64(len(events))/10 {
		t.Errorf("%v allocations for %d repeats", allocated, len(events))
	}
}
