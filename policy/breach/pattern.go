package breach

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// LooksLike says what an incident's times and names look like. It is a guess, for whoever has fifty incidents and one
// hour, and hides nothing: people are judged by people.
type LooksLike struct {
	// Kind is "person", "background" or "unclear". It never says that a person did it.
	Kind string   `json:"kind"`
	Why  []string `json:"why"` // in plain words; never empty
}

// The kinds of LooksLike. The default is unclear: background is said only where nothing speaks against it, because a
// child whose attempts are taken for a machine's is a child that nobody asks after.
const (
	LooksPerson     = "person"
	LooksBackground = "background"
	LooksUnclear    = "unclear"
)

// pattern is what looksLike goes by.
type pattern struct {
	critical, confidential, shared bool
	partial                        bool     // there is more than goes
	elsewhere                      bool     // meanwhile the client tried something in another incident
	goes                           []turnOf // in order
	nobodyIn                       func(time.Time) bool
}

// turnOf is a name that was asked for, so many times up to a moment, within a minute. A browser asks two or three times for
// one: for each kind of address.
type turnOf struct {
	name  string
	at    time.Time
	count int64
}

const (
	// together is within how long questions come of one cause: the kinds of address, and what a page pulls in.
	together = 2 * time.Second
	// minIntervals and minRegular are how many equal intervals, and over how long, make a clock of it.
	minIntervals = 12
	minRegular   = time.Hour
	// oncePair is how many questions one ask may be: A, AAAA and HTTPS, and one asked twice.
	oncePair = 4
)

// looksLike says whether an incident looks like a person or like background traffic.
func looksLike(p pattern) LooksLike {
	unclear := func(why ...string) LooksLike { return LooksLike{LooksUnclear, why} }
	switch {
	case p.confidential:
		return unclear("the names are not written down, and nothing here is put down to background traffic: look at it as if it were a person")
	case p.critical:
		return unclear("in what is critical nothing is put down to background traffic: look at it as if it were a person")
	case p.shared:
		return unclear("many people are behind this address: what one did can't be told from what another did")
	case p.partial:
		return unclear("there is too much of it to be judged by its pattern")
	case len(p.goes) == 0:
		return unclear("nothing of its times is left")
	}
	why, machine := p.machine()
	tries := p.tries()
	switch {
	case machine && p.elsewhere:
		return unclear(append(why, "but at the same time the device asked for something in another incident")...)
	case machine:
		if p.closed() {
			why = append(why, "it was on a day without school")
		}
		return LooksLike{LooksBackground, why}
	case why != nil: // some of it, and some not
		return unclear(append(why, "but not all that was asked for is like that")...)
	}
	if pulled := pulledIn(tries); pulled != "" {
		return unclear(pulled)
	}
	person := humanPace(tries)
	switch {
	case person == "":
		return unclear(p.few(tries))
	case p.closed():
		return unclear(person, "but it was on a day without school")
	}
	return LooksLike{LooksPerson, []string{person}}
}

// machine says what of it looks like a machine's work, and whether all of it does.
func (p *pattern) machine() (why []string, all bool) {
	byName := map[string][]turnOf{}
	var names []string
	for _, g := range p.goes {
		if byName[g.name] == nil {
			names = append(names, g.name)
		}
		byName[g.name] = append(byName[g.name], g)
	}
	all = true
	known := map[string]bool{} // what is said of known names is said once
	for _, name := range names {
		reason := regular(name, byName[name])
		if reason == "" {
			reason = steady(name, byName[name])
		}
		if k := knownBackground(name); reason == "" && k != nil {
			if reason = fmt.Sprintf("%s is known: %s", shown(name), k.what); known[k.suffix] {
				continue
			}
			known[k.suffix] = true
		}
		if reason == "" {
			all = false
			continue
		}
		if len(why) < 5 {
			why = append(why, reason)
		}
	}
	return why, all
}

// regular says that a name was asked for as by a clock, or "". All of its intervals must be alike, up to the few that
// are a multiple because the device slept.
func regular(name string, goes []turnOf) string {
	var at []time.Time
	for _, g := range goes {
		if g.count > oncePair {
			return "" // it was not once each time
		}
		if len(at) == 0 || g.at.Sub(at[len(at)-1]) > together {
			at = append(at, g.at)
		}
	}
	if len(at) <= minIntervals || at[len(at)-1].Sub(at[0]) < minRegular {
		return ""
	}
	intervals := make([]time.Duration, len(at)-1)
	for i := range intervals {
		intervals[i] = at[i+1].Sub(at[i])
	}
	base := slices.Sorted(slices.Values(intervals))[len(intervals)/2]
	if base < 90*time.Second { // those within a minute are gathered: their times are not known
		return ""
	}
	tolerance := min(max(2*time.Second, base/100), 10*time.Second)
	missed, widest := 0, time.Duration(0)
	for _, d := range intervals {
		times := max(1, math.Round(float64(d)/float64(base)))
		off := (d - time.Duration(times)*base).Abs()
		if off > tolerance || times > 4 {
			return ""
		}
		if widest = max(widest, off); times > 1 {
			missed++
		}
	}
	if missed > len(intervals)/5 {
		return ""
	}
	return fmt.Sprintf("%s was asked for every %s, give or take %s, for %s", shown(name), inWords(base), inWords(max(widest, time.Second)),
		inWords(at[len(at)-1].Sub(at[0])))
}

// steady says that a name was asked for as often in each minute of an hour and more, or "". What comes more often than
// once a minute is known by the minute only.
func steady(name string, goes []turnOf) string {
	var minutes []int64 // the counts of minutes that follow each other
	var minute int64
	for _, g := range goes {
		switch m := g.at.Unix() / 60; {
		case len(minutes) > 0 && m == minute:
			minutes[len(minutes)-1] += g.count
			continue
		case len(minutes) > 0 && m != minute+1:
			return ""
		default:
			minute = m
		}
		minutes = append(minutes, g.count)
	}
	if len(minutes) < int(minRegular/time.Minute)+2 {
		return ""
	}
	minutes = minutes[1 : len(minutes)-1] // the first and the last are not whole
	least, most := slices.Min(minutes), slices.Max(minutes)
	if least < 2 || most-least > max(2, least/10) {
		return ""
	}
	return fmt.Sprintf("%s was asked for %d to %d times in each minute of %s", shown(name), least, most, inWords(time.Duration(len(minutes))*time.Minute))
}

// try is what was asked for at once: the names of it, the first one first.
type try struct {
	at    time.Time
	names []string
}

// tries gathers the names that were asked for together.
func (p *pattern) tries() []try {
	var all []try
	var last time.Time
	for _, g := range p.goes {
		if len(all) == 0 || g.at.Sub(last) > together {
			all = append(all, try{at: g.at})
		}
		last = g.at
		t := &all[len(all)-1]
		if !slices.Contains(t.names, g.name) {
			t.names = append(t.names, g.name)
		}
	}
	return all
}

// pulledIn says that names came together each time, as those of one page do, or "". Somebody opened that page; what was
// on it they may not have known.
func pulledIn(tries []try) string {
	if slices.ContainsFunc(tries, func(t try) bool { return len(t.names) < 3 }) {
		return ""
	}
	return fmt.Sprintf("%d names were asked for within %s of each other, %s first: as when one page or app pulls them in",
		len(tries[0].names), inWords(together), shown(tries[0].names[0]))
}

// humanPace says that somebody seems to have tried one thing after the other, or "". A program that tries again
// waits longer each time, and one that goes through its list does not stop at ten.
func humanPace(tries []try) string {
	const quickest, slowest = 3 * time.Second, 20 * time.Minute
	var names []string
	var gaps []time.Duration
	for i, t := range tries {
		if !slices.Contains(names, t.names[0]) { // those after it may be what it pulled in
			names = append(names, t.names[0])
		}
		if i > 0 {
			gap := t.at.Sub(tries[i-1].at)
			if gap < quickest || gap > slowest {
				return ""
			}
			gaps = append(gaps, gap)
		}
	}
	if len(names) < 3 || len(names) > 40 || len(gaps) < 3 {
		return ""
	}
	least, most := slices.Min(gaps), slices.Max(gaps)
	growing := true
	for i := 1; i < len(gaps); i++ {
		growing = growing && gaps[i] >= gaps[i-1]*5/4
	}
	if growing || most < 2*least {
		return ""
	}
	return fmt.Sprintf("%d different names in %d goes, %s to %s apart, as somebody does who tries one thing after the other",
		len(names), len(tries), inWords(least), inWords(most))
}

// few says why nothing is said of an incident.
func (p *pattern) few(tries []try) string {
	if len(tries) < 4 {
		return "too little of it to tell"
	}
	return "its times and names look neither like somebody's nor like a machine's"
}

// closed reports whether there was no school all the time.
func (p *pattern) closed() bool {
	return p.nobodyIn != nil && !slices.ContainsFunc(p.goes, func(g turnOf) bool { return !p.nobodyIn(g.at) })
}

func shown(name string) string { return withoutDot(name) }

// inWords writes a length of time as people do.
func inWords(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour && d%time.Minute == 0:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 10*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Hours()), ".0") + " h"
}
