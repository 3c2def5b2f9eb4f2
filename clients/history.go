package clients

import (
	"maps"
	"slices"
	"time"
)

// history is how much each group asked in each hour of the last weeks.
type history struct {
	// Hour is the newest, in hours since 1970. What is of hour h is at h%historyHours. Minutes is in how many of its
	// minutes something was merged: an hour of which a part was not seen compares with nothing.
	Hour    int64                           `json:"hour"`
	Minutes [historyHours]uint8             `json:"minutes"`
	Groups  map[string]*[historyHours]int64 `json:"groups"`

	minute int64 // the last that counts in Minutes
	falls  []Fall
}

// Fall is a group that asks far less than it usually does.
type Fall struct {
	Group string    `json:"group"`
	From  time.Time `json:"from"` // the hour in which that was found first today
	Asked int64     `json:"asked"`
	Least int64     `json:"least"` // that it asked in this hour of the week in the Weeks before
	Weeks int       `json:"weeks"`
}

const (
	historyWeeks = 5 // one is this one
	historyHours = historyWeeks * 7 * 24

	// A group has fallen that asked less than a fallShare of the least that it asked in the same hour of the week in the
	// weeks before, of which fallWeeks are known and were school days: by the least, not the middle, so that what once
	// was normal is no alarm, and an exam leave is none in its second week. fallLeast is a number of questions above which
	// chance is none.
	fallShare   = 4
	fallWeeks   = 2
	fallLeast   = 500
	fullMinutes = 55
)

func newHistory() history { return history{Groups: map[string]*[historyHours]int64{}} }

// merge adds what the groups asked just now, and judges the hour before where it has ended.
func (h *history) merge(now time.Time, asked map[string]uint64, s School) {
	h.falls = slices.DeleteFunc(h.falls, func(f Fall) bool { return dayOf(f.From, s.Zone) != dayOf(now, s.Zone) })
	if hour := hourOf(now); hour > h.Hour {
		if hour == h.Hour+1 {
			h.judge(s)
		}
		for missed := max(h.Hour+1, hour-historyHours+1); missed <= hour; missed++ {
			h.Minutes[missed%historyHours] = 0
			for _, g := range h.Groups {
				g[missed%historyHours] = 0
			}
		}
		h.Hour = hour
		maps.DeleteFunc(h.Groups, func(_ string, g *[historyHours]int64) bool { return *g == [historyHours]int64{} })
	}
	place := h.Hour % historyHours
	if minute := now.Unix() / 60; minute > h.minute && h.Minutes[place] < 60 {
		h.minute = minute
		h.Minutes[place]++
	}
	for group, n := range asked {
		if h.Groups[group] == nil {
			h.Groups[group] = new([historyHours]int64)
		}
		h.Groups[group][place] += int64(n)
	}
}

// judge compares the hour that has ended, the newest, with the same of the weeks before. Only with terms is it known
// which days are like each other: else every holiday would be a fall.
func (h *history) judge(s School) {
	at := time.Unix(h.Hour*3600, 0).In(s.Zone)
	if !s.Terms || !s.SchoolDay(at) || h.Minutes[h.Hour%historyHours] < fullMinutes {
		return
	}
	var before []int64
	for week := 1; week < historyWeeks; week++ {
		then := at.AddDate(0, 0, -7*week) // by the clock on the wall
		if place := hourOf(then) % historyHours; s.SchoolDay(then) && h.Minutes[place] >= fullMinutes {
			before = append(before, place)
		}
	}
	if len(before) < fallWeeks {
		return
	}
	for _, group := range s.Groups {
		g := h.Groups[group]
		if g == nil || slices.ContainsFunc(h.falls, func(f Fall) bool { return f.Group == group }) {
			continue
		}
		least := g[before[0]]
		for _, place := range before {
			least = min(least, g[place])
		}
		if asked := g[h.Hour%historyHours]; least >= fallLeast && asked < least/fallShare {
			h.falls = append(h.falls, Fall{Group: group, From: at, Asked: asked, Least: least, Weeks: len(before)})
		}
	}
}

// Falls are the groups that were found today to ask far less than usual.
func (r *Register) Falls() []Fall {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Fall{}, r.history.falls...)
}
