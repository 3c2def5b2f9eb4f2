package breach

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"schoolgate/policy"
)

// Summary is what a report says of a period. It names nobody.
type Summary struct {
	Tried []Tried // by group, category and action
	Hours []Hour  // in which something was tried, oldest first
	// Incidents are those that were opened in the period, as they are now.
	Incidents []IncidentCount
	// Handled are those of them about which somebody did something, oldest first.
	Handled []Handled
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
		low, high := hourFrom(from), hourFrom(to)
		if s.Tried, err = query(ctx, tx, scanTried, `SELECT group_name, category, action, sum(breaches), sum(count) FROM tally
			WHERE hour >= ? AND hour < ? GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`, low, high); err != nil {
			return err
		}
		if s.Hours, err = query(ctx, tx, scanHour, `SELECT hour, sum(breaches), sum(count) FROM tally
			WHERE hour >= ? AND hour < ? GROUP BY hour ORDER BY hour`, low, high); err != nil {
			return err
		}
		if s.Incidents, err = incidentCounts(ctx, tx, from.UnixMilli(), to.UnixMilli()); err != nil {
			return err
		}
		s.Handled, err = query(ctx, tx, scanHandled, `SELECT i.severity, i.first, min(n.time), min(n.time) FILTER (WHERE n.what = 'closed')
			FROM note n JOIN incident i ON i.seq = n.incident
			WHERE n.what <> 'raised' AND i.first >= ? AND i.first < ? GROUP BY n.incident ORDER BY n.incident`,
			from.UnixMilli(), to.UnixMilli())
		return err
	})
	if err != nil {
		return Summary{}, fmt.Errorf("sum up the record: %w", err)
	}
	return s, nil
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
// group, from a moment on to another. A device is told by its MAC address where that is known, else by its IP
// address.
func (r *Reader) FewDevices(ctx context.Context, category, group string, from, to time.Time, least int) (bool, error) {
	column, value := "category", category
	if category == "" {
		column, value = "group_name", group
	}
	// DISTINCT ends at the limit, which is soon reached where there are many.
	found, err := query(ctx, r.db, scanCount, fmt.Sprintf(`SELECT count(*) FROM (SELECT DISTINCT iif(client_mac <> '', client_mac, client_ip)
		FROM incident WHERE %s = ? AND last >= ? AND first < ? LIMIT ?)`, column), value, from.UnixMilli(), to.UnixMilli(), least)
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

func scanTried(rows *sql.Rows) (t Tried, err error) {
	err = rows.Scan(&t.Group, &t.Category, &t.Action, &t.Breaches, &t.Count)
	return t, err
}

func scanHour(rows *sql.Rows) (h Hour, err error) {
	var hour int64
	err = rows.Scan(&hour, &h.Breaches, &h.Count)
	h.Start = time.UnixMilli(hour * hourMillis)
	return h, err
}

func scanHandled(rows *sql.Rows) (h Handled, err error) {
	var first, seen int64
	var closed sql.NullInt64
	err = rows.Scan(&h.Severity, &first, &seen, &closed)
	wait := func(until int64) time.Duration { return time.Duration(max(0, until-first)) * time.Millisecond }
	h.Seen, h.Closed = wait(seen), -1
	if closed.Valid {
		h.Closed = wait(closed.Int64)
	}
	return h, err
}

func scanCount(rows *sql.Rows) (n int64, err error) {
	err = rows.Scan(&n)
	return n, err
}
