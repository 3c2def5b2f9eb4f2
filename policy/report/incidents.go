package report

import (
	"slices"
	"time"

	"schoolgate/policy/breach"
)

var severities = []string{"critical", "high", "medium", "low"}

const day = 24 * time.Hour

// ages are the spans by which open incidents are counted; to 0 is any age.
var ages = []struct {
	title    string
	from, to time.Duration
}{{"up to a day", 0, day}, {"up to a week", day, 7 * day}, {"up to 30 days", 7 * day, 30 * day}, {"longer", 30 * day, 0}}

// outcomeTitles are the outcomes as people say them.
var outcomeTitles = map[string]string{
	"no_concern": "No concern", "spoken_to": "Spoken to", "parents_told": "Parents told", "social_care": "Referred to social care",
	"police": "Police", "ceop": "CEOP", "iwf": "Internet Watch Foundation", "lado": "LADO (about an adult)", "other": "Other",
}

// figure is a number of incidents as this form of the report tells it.
func (r *Report) figure(n int64) Figure {
	if r.in.Governors {
		return about(n)
	}
	return Figure{N: n}
}

// incidents fills what became of the incidents that were opened in the period.
func (r *Report) incidents(now, before *breach.Summary, handled []breach.Handled) {
	count := func(s *breach.Summary, is func(breach.IncidentCount) bool) (n int64) {
		for _, c := range s.Incidents {
			if is(c) {
				n += c.Count
			}
		}
		return n
	}
	every := func(breach.IncidentCount) bool { return true }
	r.Opened, r.OpenedBefore = r.figure(count(now, every)), r.figure(count(before, every))
	for _, s := range severities {
		of := func(c breach.IncidentCount) bool { return c.Severity == s }
		row := SeverityRow{
			Severity: s, Opened: r.figure(count(now, of)), Before: r.figure(count(before, of)),
			Closed: r.figure(count(now, func(c breach.IncidentCount) bool { return of(c) && c.State == breach.StateClosed })),
		}
		var seen, closed []time.Duration
		for _, h := range handled {
			if h.Severity != s {
				continue
			}
			if h.Seen >= 0 {
				seen = append(seen, h.Seen)
			}
			if h.Closed >= 0 {
				closed = append(closed, h.Closed)
			}
		}
		row.Seen, row.SeenWorst = r.waits(seen)
		row.Until, row.UntilWorst = r.waits(closed)
		r.Severities = append(r.Severities, row)
	}
	for _, o := range breach.Outcomes() {
		n := count(now, func(c breach.IncidentCount) bool { return c.State == breach.StateClosed && c.Outcome == o })
		if n > 0 {
			r.Outcomes = append(r.Outcomes, OutcomeRow{o, outcomeTitles[o], r.figure(n)})
		}
	}
}

// waits returns the median, of an even number the greater of the two in the middle, and the longest.
func (r *Report) waits(all []time.Duration) (median, worst Wait) {
	if len(all) == 0 || r.in.Governors && len(all) < Few {
		return -1, -1
	}
	slices.Sort(all)
	return Wait(all[len(all)/2]), Wait(all[len(all)-1])
}

func (w Wait) String() string {
	if w < 0 {
		return "–"
	}
	return inWords(time.Duration(w))
}

// inWords is a length of time in the largest unit that says something.
func inWords(d time.Duration) string {
	switch {
	case d >= 2*day:
		return plural(int64(d/day), "day", "days")
	case d >= 2*time.Hour:
		return plural(int64(d/time.Hour), "hour", "hours")
	case d >= time.Minute:
		return plural(int64(d/time.Minute), "minute", "minutes")
	}
	return "under a minute"
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// openByAge fills how many incidents are not closed, of whichever period.
func (r *Report) openByAge(open [][]breach.IncidentCount) {
	var total int64
	for i, counts := range open {
		by := map[string]int64{}
		for _, c := range counts {
			by[c.Severity] += c.Count
			total += c.Count
		}
		r.Open = append(r.Open, AgeRow{ages[i].title, r.figure(by["critical"]), r.figure(by["high"]), r.figure(by["medium"]), r.figure(by["low"])})
	}
	r.OpenTotal = r.figure(total)
}
