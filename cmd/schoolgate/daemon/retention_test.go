package daemon

import (
	"testing"
	"time"
)

func TestNothingIsDeletedByAClockThatMayBeWrong(t *testing.T) {
	for what, test := range map[string]struct {
		set     time.Duration // the clock, after ten hours
		trusted []int         // the first hours at which it is trusted, and is so no more, and so on
	}{
		"an hour after the start":              {0, []int{1}},
		"a day after it was set forward":       {400 * 24 * time.Hour, []int{1, 10, 34}},
		"set forward by less than an hour":     {50 * time.Minute, []int{1}},
		"set back: what is old is so for long": {-400 * 24 * time.Hour, []int{1}},
	} {
		t.Run(what, func(t *testing.T) {
			var clock watchedClock
			var changes []int
			was := false
			for hour := range 50 {
				wall := time.Date(2026, 11, 20, 8+hour, 0, 0, 0, time.UTC)
				if hour >= 10 {
					wall = wall.Add(test.set)
				}
				if is := clock.trusted(wall, time.Duration(hour)*time.Hour); is != was {
					was, changes = is, append(changes, hour)
				}
			}
			if len(changes) != len(test.trusted) {
				t.Fatalf("it changed at the hours %v, want %v", changes, test.trusted)
			}
			for i := range changes {
				if changes[i] != test.trusted[i] {
					t.Errorf("it changed at the hours %v, want %v", changes, test.trusted)
				}
			}
		})
	}
}
