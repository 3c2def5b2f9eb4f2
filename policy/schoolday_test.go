package policy_test

import (
	"slices"
	"testing"
	"time"

	"schoolgate/policy"
)

func TestSchoolDays(t *testing.T) {
	t.Parallel()
	whole := wholeCalendar(t)
	saturdays := whole
	saturdays.Periods = append(slices.Clip(saturdays.Periods), policy.Period{Name: "sports", Times: []policy.Span{{Days: 0x40, From: 9 * 60, To: 12 * 60}}})
	for _, c := range []struct {
		what     string
		calendar policy.Calendar
		at       string
		want     bool
	}{
		{"a Monday of a term", whole, "2026-11-23T10:00:00Z", true},
		{"at night too", whole, "2026-11-23T03:00:00Z", true},
		{"a closed day", whole, "2026-11-20T10:00:00Z", false},
		{"half-term", whole, "2026-10-28T10:00:00Z", false},
		{"a holiday", whole, "2026-12-28T10:00:00Z", false},
		{"a Saturday", whole, "2026-11-21T10:00:00Z", false},
		{"a Saturday with a period", saturdays, "2026-11-21T10:00:00Z", true},
		{"by the clock on the wall: it is Monday in London", whole, "2026-09-06T23:30:00Z", true},
		{"without a calendar a Tuesday", policy.Calendar{}, "2026-12-29T10:00:00Z", true},
		{"without a calendar a Sunday", policy.Calendar{}, "2026-11-22T10:00:00Z", false},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.calendar.SchoolDay(at); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}
