package policy_test

import (
	"strings"
	"testing"
	"time"

	"schoolgate/policy"
)

// activeAt are the periods that the clock on the wall is in.
func activeAt(c policy.Calendar, moment time.Time) string {
	var active []string
	for _, p := range c.Periods {
		if onTheWall(c, p.Name, moment) {
			active = append(active, p.Name)
		}
	}
	return strings.Join(active, ", ")
}

func TestMomentsShowEverySetOfPeriodsThatEverIs(t *testing.T) {
	whole := wholeCalendar(t)
	daily := whole
	daily.Terms, daily.Closed = nil, nil
	for what, c := range map[string]policy.Calendar{"with terms": whole, "without": daily, "without periods": {Zone: whole.Zone}} {
		now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		shown := map[string]bool{}
		for _, m := range c.Moments(now) {
			active := activeAt(c, m)
			if shown[active] {
				t.Errorf("%s: %q is shown twice", what, active)
			}
			shown[active] = true
		}
		if len(shown) > 20 {
			t.Errorf("%s: there are %d moments", what, len(shown))
		}
		for m := now.AddDate(0, -3, 0); m.Before(now.AddDate(0, 5, 0)); m = m.Add(5 * time.Minute) {
			if active := activeAt(c, m); !shown[active] {
				t.Fatalf("%s: %q, at %v, is not shown", what, active, m)
			}
		}
	}
}

func TestDuringIsThePeriodOnTheWall(t *testing.T) {
	c := wholeCalendar(t)
	names := []string{"none such"}
	for _, p := range c.Periods {
		names = append(names, p.Name)
	}
	for m := time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC); m.Month() < 12; m = m.Add(15 * time.Minute) {
		for _, name := range names {
			if got, want := c.During(name, m), onTheWall(c, name, m); got != want {
				t.Errorf("%s at %v: %v, want %v", name, m, got, want)
			}
		}
	}
}
