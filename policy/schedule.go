package policy

import (
	"fmt"
	"math"
	"slices"
	"time"

	"schoolgate/blocklist"
)

// Calendar says when the periods of schedules are, by the clock on the wall: an hour that happens twice, when
// clocks go back, counts twice, and one that does not happen never.
type Calendar struct {
	Zone    *time.Location // nil: UTC
	Terms   []Days         // school days; none: every day is one
	Closed  []Days         // days without school inside a term
	Periods []Period
}

// Days is a run of days, both ends included, each the midnight in UTC of the day with this date.
type Days struct{ From, To time.Time }

// Period is a name for times of the day.
type Period struct {
	Name  string
	Times []Span
}

// Span is a time of the day on some days.
type Span struct {
	Days uint8 // bit i stands for time.Weekday i
	// From and To are minutes since midnight, 0 to 1440, not equal. Where To is before From the span ends on
	// the next day; it belongs to the day on which it starts.
	From, To int
	Always   bool // on days without school too
}

// Change is what a period changes for a group.
type Change struct {
	During string // name of a Period
	// Block and Unblock are names of categories. Where one change blocks what another unblocks at the same
	// time, it is blocked. What is locked nothing unblocks.
	Block, Unblock []string
}

// change is a Change with its names resolved.
type change struct {
	period         *Period
	block, unblock blocklist.Categories
}

// hours are the masks of all groups from one boundary to the next: between them nothing changes, so that a
// query costs a look at the clock and no more.
type hours struct {
	from, until int64 // Unix nanoseconds; until is no longer of them
	groups      []mask
}

// mask is what a group does with the categories during some hours.
type mask struct {
	block   blocklist.Categories
	monitor blocklist.Categories // with the lists on trial of all that are blocked or monitored
}

// asking is a group at a moment.
type asking struct {
	*group
	mask
}

// asking returns a group as it is at a moment.
func (p *Policy) asking(groupIndex uint16, moment time.Time) asking {
	return asking{&p.groups[groupIndex], p.at(moment).groups[groupIndex]}
}

// horizon is how far ahead the end of hours is looked for: they may end there with nothing changing.
const horizon = 48 * time.Hour

// at returns the hours of a moment.
func (p *Policy) at(moment time.Time) *hours {
	t := moment.UnixNano()
	if h := p.current.Load(); h.from <= t && t < h.until {
		return h
	}
	// Another may do the same at this boundary: both find the same.
	h := p.hoursAt(moment)
	p.current.Store(h)
	return h
}

// hoursAt finds the hours of a moment.
func (p *Policy) hoursAt(moment time.Time) *hours {
	h := &hours{from: math.MinInt64, until: math.MaxInt64, groups: p.masksAt(moment)}
	switch built := p.spec.Built; {
	case p.clockIsWrong(moment):
		h.until = built.UnixNano()
		return h
	case !built.IsZero():
		h.from = built.UnixNano()
	}
	if !slices.ContainsFunc(p.groups, func(g group) bool { return len(g.changes) > 0 }) {
		return h
	}
	h.from = moment.UnixNano()
	end := moment.Add(horizon)
	next := p.boundary(moment)
	for next.Before(end) && slices.Equal(p.masksAt(next), h.groups) {
		next = p.boundary(next)
	}
	h.until = next.UnixNano()
	return h
}

// masksAt returns the masks of all groups at a moment.
func (p *Policy) masksAt(moment time.Time) []mask {
	masks := make([]mask, len(p.groups))
	wrong := p.clockIsWrong(moment)
	var active map[*Period]bool
	if !wrong {
		active = p.spec.Calendar.active(moment)
	}
	for i := range p.groups {
		g := &p.groups[i]
		var block, unblock blocklist.Categories
		for _, c := range g.changes {
			if wrong {
				block |= c.block // nothing is unblocked at a time that nobody knows
			} else if active[c.period] {
				block |= c.block
				unblock |= c.unblock
			}
		}
		m := mask{block: g.usual.block&^unblock | block}
		m.monitor = g.usual.monitor | p.trialsOf(m.block|g.usual.monitor)
		masks[i] = m
	}
	return masks
}

// clockIsWrong reports whether a moment is before this program was built: no clock that is right says so.
func (p *Policy) clockIsWrong(moment time.Time) bool { return moment.Before(p.spec.Built) }

// inForce reports whether a rule has not ended.
func (p *Policy) inForce(r *Rule, moment time.Time) bool {
	switch {
	case r.Expires.IsZero():
		return true
	case p.clockIsWrong(moment):
		return !r.Allow
	}
	return moment.Before(r.Expires)
}

// NextChange returns the next moment after this one up to which no verdict changes by itself, or the zero time
// where none ever does. No answer may live longer.
func (p *Policy) NextChange(moment time.Time) time.Time { return p.nextChange(p.at(moment), moment) }

func (p *Policy) nextChange(h *hours, moment time.Time) (next time.Time) {
	if h.until != math.MaxInt64 {
		next = time.Unix(0, h.until)
	}
	if t := p.nextExpiry(moment); !t.IsZero() && (next.IsZero() || t.Before(next)) {
		next = t
	}
	if p.base != nil {
		if t := p.base.NextChange(moment); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// nextExpiry returns when the next rule ends, the zero time for none.
func (p *Policy) nextExpiry(moment time.Time) time.Time {
	for _, t := range p.expiries {
		if t.After(moment) {
			return t
		}
	}
	return time.Time{}
}

// boundary returns the next moment after this one at which a period may begin or end.
func (p *Policy) boundary(moment time.Time) time.Time {
	c := &p.spec.Calendar
	local := moment.In(c.zone())
	next := moment.Add(horizon)
	consider := func(t time.Time) {
		if t.After(moment) && t.Before(next) {
			next = t
		}
	}
	if _, end := local.ZoneBounds(); !end.IsZero() {
		consider(end) // clocks change
	}
	for day := range 3 { // yesterday's may be to come: clocks go back
		for _, p := range c.Periods {
			for _, s := range p.Times {
				c.onWall(local, day-1, s.From, consider)
				c.onWall(local, day-1, s.To, consider)
			}
		}
		c.onWall(local, day-1, 0, consider)
	}
	return next
}

func (c *Calendar) zone() *time.Location {
	if c.Zone == nil {
		return time.UTC
	}
	return c.Zone
}

// onWall calls found with each moment at which the clock on the wall shows a minute of a day: one, none or two.
// The day is that of local and so many days later.
func (c *Calendar) onWall(local time.Time, days, minute int, found func(time.Time)) {
	wall := time.Date(local.Year(), local.Month(), local.Day()+days, 0, minute, 0, 0, time.UTC)
	before := -1 << 31
	for _, around := range []time.Duration{-26 * time.Hour, 26 * time.Hour} {
		_, offset := wall.Add(around).In(c.zone()).Zone()
		if offset == before {
			continue
		}
		before = offset
		t := wall.Add(-time.Duration(offset) * time.Second)
		if _, is := t.In(c.zone()).Zone(); is == offset {
			found(t)
		}
	}
}

// active returns the periods that a moment is in.
func (c *Calendar) active(moment time.Time) map[*Period]bool {
	local := moment.In(c.zone())
	today := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	yesterday := today.AddDate(0, 0, -1)
	minute := 60*local.Hour() + local.Minute()
	active := map[*Period]bool{}
	for i := range c.Periods {
		p := &c.Periods[i]
		active[p] = slices.ContainsFunc(p.Times, func(s Span) bool {
			if s.From < s.To {
				return s.From <= minute && minute < s.To && c.on(s, today)
			}
			return s.From <= minute && c.on(s, today) || minute < s.To && c.on(s, yesterday)
		})
	}
	return active
}

// on reports whether a span is on a day, or starts on it.
func (c *Calendar) on(s Span, day time.Time) bool {
	within := func(d Days) bool { return !day.Before(d.From) && !day.After(d.To) }
	if s.Days>>day.Weekday()&1 == 0 {
		return false
	}
	return s.Always || (len(c.Terms) == 0 || slices.ContainsFunc(c.Terms, within)) && !slices.ContainsFunc(c.Closed, within)
}

// SchoolDay reports whether a moment is on a day with school: one on which a period is that is not on days without
// school too, or, where there is none, a Monday to Friday of a term.
func (c *Calendar) SchoolDay(moment time.Time) bool {
	const mondayToFriday = 0b0111110
	local := moment.In(c.zone())
	day := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	school := Span{}
	for _, p := range c.Periods {
		for _, s := range p.Times {
			if !s.Always {
				school.Days |= s.Days
			}
		}
	}
	if school.Days == 0 {
		school.Days = mondayToFriday
	}
	return c.on(school, day)
}

// Occurs reports whether a span is on any day at all. The calendar's periods need not be set.
func (c *Calendar) Occurs(s Span) bool {
	if s.Always || len(c.Terms) == 0 {
		return s.Days != 0 // closed days end some time
	}
	for _, t := range c.Terms {
		for day := t.From; !day.After(t.To) && day.Before(t.From.AddDate(10, 0, 0)); day = day.AddDate(0, 0, 1) {
			if c.on(s, day) {
				return true
			}
		}
	}
	return false
}

// compileChanges resolves a group's own schedule.
func (p *Policy) compileChanges(g *Group) ([]change, error) {
	var changes []change
	for _, c := range g.Schedule {
		i := slices.IndexFunc(p.spec.Calendar.Periods, func(period Period) bool { return period.Name == c.During })
		if i < 0 {
			return nil, fmt.Errorf("unknown period %q", c.During)
		}
		block, err := p.mask(c.Block)
		if err != nil {
			return nil, fmt.Errorf("block: %w", err)
		}
		unblock, err := p.mask(c.Unblock)
		if err != nil {
			return nil, fmt.Errorf("unblock: %w", err)
		}
		changes = append(changes, change{&p.spec.Calendar.Periods[i], block, unblock})
	}
	return changes, nil
}
