package breach

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"time"

	"schoolgate/policy"
)

// Summary is what a report says of a period. It names nobody.
type Summary struct {
	Tried []Tried // by group, category and action
	Hours []Hour  // in which something was tried, oldest first
	// Incidents are those that were opened in the period, as they are now.
	Incidents []IncidentCount
}

// Tried is how much a group tried in a category. Breaches counts a device that asks for one name once in an
// incident, Count each time.
type Tried struct {
	Group, Category, Action string
	Breaches, Count         int64
}

// Hour is how much was tried in one.
type Hour struct {
	Start           time.Time // a whole hour since 1970
	Breaches, Count int64
}

// IncidentCount is how many incidents there are of a severity, in a state, with an outcome.
type IncidentCount struct {
	Severity, State, Outcome string
	Count                    int64
}

// Handled is how long an incident waited, from its first breach. A wait that has not ended is -1.
type Handled struct {
	Severity     string
	Seen, Closed time.Duration // until somebody looked at it or wrote of it, and until it was closed first
}

// Summary returns the sums from a moment on to another. They are of whole hours since 1970: one that is not
// whole in the period is of it where it begins in it.
func (r *Reader) Summary(ctx context.Context, from, to time.Time) (s Summary, err error) {
	err = r.snapshot(ctx, func(tx *sql.Tx) error {
		if err := s.tallies(ctx, tx, hourFrom(from), hourFrom(to)); err != nil {
			return err
		}
		s.Incidents, err = incidentCounts(ctx, tx, from.UnixMilli(), to.UnixMilli())
		return err
	})
	if err != nil {
		return Summary{}, fmt.Errorf("sum up the record: %w", err)
	}
	return s, nil
}

// tallies adds up in one pass: sorting them in SQLite takes longer.
func (s *Summary) tallies(ctx context.Context, tx *sql.Tx, from, to int64) error {
	rows, err := tx.QueryContext(ctx, "SELECT hour, group_name, category, action, breaches, count FROM tally WHERE hour >= ? AND hour < ? ORDER BY hour", from, to)
	if err != nil {
		return err
	}
	defer rows.Close()
	type kind struct{ group, category, action string }
	tried := map[kind]*Tried{}
	for rows.Next() {
		var hour, breaches, count int64
		var k kind
		if err := rows.Scan(&hour, &k.group, &k.category, &k.action, &breaches, &count); err != nil {
			return err
		}
		if tried[k] == nil {
			tried[k] = &Tried{Group: k.group, Category: k.category, Action: k.action}
		}
		tried[k].Breaches += breaches
		tried[k].Count += count
		start := time.UnixMilli(hour * hourMillis)
		if n := len(s.Hours); n == 0 || !s.Hours[n-1].Start.Equal(start) {
			s.Hours = append(s.Hours, Hour{Start: start})
		}
		last := &s.Hours[len(s.Hours)-1]
		last.Breaches += breaches
		last.Count += count
	}
	for _, t := range tried {
		s.Tried = append(s.Tried, *t)
	}
	slices.SortFunc(s.Tried, func(a, b Tried) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Category, b.Category), cmp.Compare(a.Action, b.Action))
	})
	return rows.Err()
}

// Handled returns how long each incident waited that was opened from a moment on and before another, and about which
// somebody did something, in no order. It reads the notes in their own order, which is faster than a look at each
// incident's.
func (r *Reader) Handled(ctx context.Context, from, to time.Time) (all []Handled, err error) {
	err = r.snapshot(ctx, func(tx *sql.Tx) error {
		waits := map[int64]*wait{}
		oldest := int64(math.MaxInt64)
		for s := policy.SeverityCritical; s > policy.SeverityNone; s-- {
			found, err := query(ctx, tx, scanWait, `SELECT seq, first FROM incident WHERE severity = ? AND state IN ('seen', 'in_hand', 'closed')
				AND first >= ? AND first < ?`, s.String(), from.UnixMilli(), to.UnixMilli())
			if err != nil {
				return err
			}
			for i := range found {
				found[i].severity = s.String()
				waits[found[i].incident] = &found[i]
				oldest = min(oldest, found[i].incident)
			}
		}
		rows, err := tx.QueryContext(ctx, "SELECT incident, time, what = 'closed' FROM note WHERE seq > ? AND what <> 'raised' ORDER BY seq", oldest)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var incident, at int64
			var closed bool
			if err := rows.Scan(&incident, &at, &closed); err != nil {
				return err
			}
			if w := waits[incident]; w != nil {
				w.done(at, closed)
			}
		}
		for _, w := range waits {
			all = append(all, Handled{w.severity, w.seen, w.closed})
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read what was done: %w", err)
	}
	return all, nil
}

// wait is how long an incident waited; -1 for what has not come yet.
type wait struct {
	incident, first int64
	severity        string
	seen, closed    time.Duration
}

func scanWait(rows *sql.Rows) (w wait, err error) {
	w.seen, w.closed = -1, -1
	err = rows.Scan(&w.incident, &w.first)
	return w, err
}

// done takes what was done at a time. The clock may have gone back.
func (w *wait) done(at int64, closed bool) {
	after := time.Duration(max(0, at-w.first)) * time.Millisecond
	if w.seen < 0 {
		w.seen = after
	}
	if closed && w.closed < 0 {
		w.closed = after
	}
}

// Unclosed returns how many incidents that were opened from a moment on and before another are not closed, by
// severity and state.
func (r *Reader) Unclosed(ctx context.Context, from, to time.Time) (open []IncidentCount, err error) {
	all, err := incidentCounts(ctx, r.db, from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("count open incidents: %w", err)
	}
	for _, c := range all {
		if c.State != StateClosed {
			open = append(open, c)
		}
	}
	return open, nil
}

// incidentCounts counts each kind by itself: that reads the index in order, and need not sort a year of them.
func incidentCounts(ctx context.Context, q multiQuerier, from, to int64) (counts []IncidentCount, err error) {
	kinds := []IncidentCount{{State: StateNew}, {State: StateSeen}, {State: StateInHand}}
	for _, o := range Outcomes() {
		kinds = append(kinds, IncidentCount{State: StateClosed, Outcome: o})
	}
	for s := policy.SeverityCritical; s > policy.SeverityNone; s-- {
		for _, c := range kinds {
			c.Severity = s.String()
			found, err := query(ctx, q, scanCount, `SELECT count(*) FROM incident WHERE severity = ? AND state = ? AND outcome = ? AND first >= ? AND first < ?`,
				c.Severity, c.State, c.Outcome, from, to)
			if err != nil {
				return nil, err
			}
			if c.Count = found[0]; c.Count > 0 {
				counts = append(counts, c)
			}
		}
	}
	return counts, nil
}

// FewDevices reports whether fewer than so many devices tried anything in a category, or, where that is "", of a
// group, or, where that is "" too, at all: in incidents that began from a moment on and before another. A device is told
// by its MAC address where that is known, else by its IP address. Of a time whose incidents are no longer kept there are
// none.
func (r *Reader) FewDevices(ctx context.Context, category, group string, from, to time.Time, least int) (bool, error) {
	// DISTINCT ends at the limit, which is soon reached where there are many.
	text := "SELECT count(*) FROM (SELECT DISTINCT iif(client_mac <> '', client_mac, client_ip) FROM incident WHERE "
	args := []any{from.UnixMilli(), to.UnixMilli(), least}
	switch {
	case category != "":
		text, args = text+"first >= ? AND first < ? AND category = ?", slices.Insert(args, 2, any(category))
	case group != "":
		text, args = text+"first >= ? AND first < ? AND group_name = ?", slices.Insert(args, 2, any(group))
	default:
		text += "last >= ? AND last < ?" // which there is an index for
	}
	found, err := query(ctx, r.db, scanCount, text+" LIMIT ?)", args...)
	if err != nil {
		return false, fmt.Errorf("count devices: %w", err)
	}
	return found[0] < int64(least), nil
}

// hourFrom returns the first whole hour since 1970 that does not begin before a moment.
func hourFrom(t time.Time) int64 {
	ms := t.UnixMilli() + hourMillis - 1
	if ms < 0 {
		ms -= hourMillis - 1
	}
	return ms / hourMillis
}

// query runs a query and reads all of its rows.
func query[T any](ctx context.Context, q multiQuerier, scan func(*sql.Rows) (T, error), text string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows, scan)
}

func scanCount(rows *sql.Rows) (n int64, err error) {
	err = rows.Scan(&n)
	return n, err
}
