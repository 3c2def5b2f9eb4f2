package policy

import (
	"slices"
	"time"
)

// During reports whether a moment is in a period; one that the calendar does not have is never.
func (c *Calendar) During(period string, moment time.Time) bool {
	for p, active := range c.active(moment) {
		if active && p.Name == period {
			return true
		}
	}
	return false
}

// Moments returns moments at which, between them, every set of periods is active that ever is: enough to
// find out what holds at each time. They are the first ones found, from the calendar's terms on, or from
// now on where it has none.
func (c *Calendar) Moments(now time.Time) []time.Time {
	first := now.In(c.zone())
	last := first.AddDate(0, 0, 7)
	for i, t := range c.Terms {
		if i == 0 || t.From.Before(first) {
			first = t.From
		}
		if i == 0 || t.To.After(last) {
			last = t.To
		}
	}
	first, last = first.AddDate(0, 0, -8), last.AddDate(0, 0, 8)
	if limit := first.AddDate(10, 0, 0); last.After(limit) {
		last = limit
	}
	minutes := []int{0}
	for _, p := range c.Periods {
		for _, s := range p.Times {
			minutes = append(minutes, s.From%(24*60), s.To%(24*60))
		}
	}
	slices.Sort(minutes)
	minutes = slices.Compact(minutes)

	var moments []time.Time
	seen := map[string]bool{}
	for day := first; !day.After(last); day = day.AddDate(0, 0, 1) {
		for _, minute := range minutes {
			moment := time.Date(day.Year(), day.Month(), day.Day(), 0, minute, 0, 0, c.zone())
			active := c.active(moment)
			key := make([]byte, len(c.Periods))
			for i := range c.Periods {
				if active[&c.Periods[i]] {
					key[i] = 1
				}
			}
			if !seen[string(key)] {
				seen[string(key)] = true
				moments = append(moments, moment)
			}
		}
	}
	return moments
}
