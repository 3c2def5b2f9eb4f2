package breach

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Whole is an incident with all that is known of it.
type Whole struct {
	Incident
	// DistinctNames is how many names were asked for, also where Names does not list them all; 0 where the category is
	// confidential, because nobody can tell.
	DistinctNames int64     `json:"distinct_names"`
	LooksLike     LooksLike `json:"looks_like"`
	// Timeline has its breaches, oldest first.
	Timeline        []Entry `json:"timeline"`
	TimelineLeftOut int64   `json:"timeline_left_out"` // how many breaches came after those
	// Around are the other breaches of the client, of all categories, from an hour before the first of the incident
	// to an hour after its last, oldest first. Empty for a shared client: those may be anybody's.
	Around        []Breach `json:"around"`
	AroundLeftOut bool     `json:"around_left_out"` // there were more
	// Questions are what else the client asked for in that time; null where that is not kept.
	Questions        []Question `json:"questions"`
	QuestionsLeftOut bool       `json:"questions_left_out"`
}

// Entry is a breach with the repeats that its count and last have in them.
type Entry struct {
	Breach
	Repeats []Repeat `json:"repeats"` // oldest first
}

// Repeat is how often a breach came again, gathered for a minute at most.
type Repeat struct {
	Count int64  `json:"count"`
	Last  string `json:"last"` // RFC 3339 with milliseconds and offset
	last  int64
}

// Question is one that was no breach.
type Question struct {
	Time    string `json:"time"` // RFC 3339 with milliseconds and offset
	Name    string `json:"name"` // as Query.Name
	Type    string `json:"type"`
	Outcome string `json:"outcome"`
}

// Questions calls yield with what a client asked for from a time until before another, oldest first. An error of
// yield ends it and is returned.
type Questions func(ctx context.Context, client Client, from, to time.Time, yield func(Question) error) error

// WholeOptions is what an incident is read with.
type WholeOptions struct {
	// Zone is in which times are written; nil: UTC.
	Zone *time.Location
	// NobodyIn says whether there is no school at a moment; nil: nobody knows.
	NobodyIn func(time.Time) bool
	// Questions says what else was asked for; nil: that is not kept.
	Questions Questions
	// MaxTimeline is how many breaches its timeline may have; 0: 10,000.
	MaxTimeline int
}

const (
	// aroundTime is how long before and after an incident is looked for what led up to it and came of it.
	aroundTime = time.Hour
	// maxAround is how many breaches, and how many questions, of that time are read.
	maxAround = 2000
)

var errEnough = errors.New("enough")

// Incident reads an incident with all that is known of it. The error wraps ErrNoIncident where there is none of that ID.
func (r *Reader) Incident(ctx context.Context, id string, o WholeOptions) (*Whole, error) {
	var w *Whole
	err := r.snapshot(ctx, func(tx *sql.Tx) (err error) {
		w, _, err = readWhole(ctx, tx, id, o)
		return err
	})
	if err == nil {
		err = w.ask(ctx, o)
	}
	if err != nil {
		return nil, fmt.Errorf("incident %q: %w", id, err)
	}
	return w, nil
}

// readWhole reads what the record has of an incident, and returns its seq too.
func readWhole(ctx context.Context, tx *sql.Tx, id string, o WholeOptions) (*Whole, int64, error) {
	f := Filter{Zone: o.Zone}
	rows, err := tx.QueryContext(ctx, incidentQuery+" AND id = ?", 0, int64(math.MaxInt64), strings.ToUpper(id))
	if err != nil {
		return nil, 0, err
	}
	found, err := collect(rows, f.scanIncident)
	switch {
	case err != nil:
		return nil, 0, err
	case len(found) == 0:
		return nil, 0, ErrNoIncident
	}
	i := found[0]
	w := &Whole{Incident: i.Incident}
	gathered, _, err := readGathered(ctx, tx, i.seq, math.MaxInt64)
	if err != nil {
		return nil, 0, err
	}
	if w.Notes, err = f.notes(ctx, tx, i.seq); err != nil {
		return nil, 0, err
	}
	if !w.Confidential {
		if w.Names, err = incidentNames(ctx, tx, i.seq, gathered); err != nil {
			return nil, 0, err
		}
	}
	if err := w.readTimeline(ctx, tx, f, i.seq, o.MaxTimeline, gathered); err != nil {
		return nil, 0, err
	}
	if w.Around = []Breach{}; !w.Shared {
		if err := w.readAround(ctx, tx, f, i.seq, gathered); err != nil {
			return nil, 0, err
		}
	}
	w.LooksLike = looksLike(w.pattern(o.NobodyIn))
	return w, i.seq, nil
}

const timelineQuery = breachQuery + " AND b.incident = ? ORDER BY b.seq LIMIT ?"

func (w *Whole) readTimeline(ctx context.Context, tx *sql.Tx, f Filter, incident int64, most int, gathered sums) error {
	if most == 0 {
		most = maxCounted
	}
	var breaches int64
	err := tx.QueryRowContext(ctx, "SELECT count(*), count(DISTINCT query_name) FROM breach WHERE incident = ?", incident).
		Scan(&breaches, &w.DistinctNames)
	if err != nil {
		return err
	}
	if w.Confidential {
		w.DistinctNames = 0
	}
	rows, err := tx.QueryContext(ctx, timelineQuery, incident, int64(math.MaxInt64), incident, most)
	if err != nil {
		return err
	}
	found, err := collect(rows, scanBreach)
	if err != nil {
		return err
	}
	repeats, err := readRepeats(ctx, tx, incident)
	if err != nil {
		return err
	}
	w.Timeline = make([]Entry, 0, len(found))
	for _, b := range found {
		e := Entry{Repeats: repeats[b.Seq]}
		if s := gathered[b.Seq]; s.count > 0 {
			b.add(s)
			e.Repeats = append(e.Repeats, Repeat{Count: s.count, last: s.last})
		}
		e.Breach = b.stamped(f)
		for n := range e.Repeats {
			e.Repeats[n].Last = f.stamp(e.Repeats[n].last)
		}
		if e.Repeats == nil {
			e.Repeats = []Repeat{}
		}
		w.Timeline = append(w.Timeline, e)
	}
	w.TimelineLeftOut = breaches - int64(len(w.Timeline))
	return nil
}

// readRepeats returns the repeats of an incident's breaches, by the breach, oldest first.
func readRepeats(ctx context.Context, tx *sql.Tx, incident int64) (map[int64][]Repeat, error) {
	rows, err := tx.QueryContext(ctx, `SELECT r.breach, r.count, r.last FROM breach b CROSS JOIN repeat r ON r.breach = b.seq
		WHERE b.incident = ? ORDER BY r.seq`, incident)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	repeats := map[int64][]Repeat{}
	for rows.Next() {
		var breach int64
		var r Repeat
		if err := rows.Scan(&breach, &r.Count, &r.last); err != nil {
			return nil, err
		}
		repeats[breach] = append(repeats[breach], r)
	}
	return repeats, rows.Err()
}

// readAround reads what else the client tried. Another device that has its address then is another client, and so is
// somebody else who has signed in: another child's breaches have no place here.
func (w *Whole) readAround(ctx context.Context, tx *sql.Tx, f Filter, incident int64, gathered sums) error {
	from, to := w.span()
	c := w.Client
	var first, last sql.NullInt64 // found in the index of times, so that not all rows are read
	err := tx.QueryRowContext(ctx, "SELECT min(seq), max(seq) FROM breach WHERE time >= ? AND time <= ?", from.UnixMilli(), to.UnixMilli()).Scan(&first, &last)
	if err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, breachQuery+` AND b.time >= ? AND b.time <= ? AND b.incident <> ?
		AND (b.client_ip = ? AND ? IN ('', b.client_mac) OR b.client_ip = ? AND b.client_mac = '' OR b.client_mac <> '' AND b.client_mac = ?)
		AND (b.client_user = '' OR ? IN ('', b.client_user))
		AND NOT (SELECT shared FROM incident WHERE seq = b.incident)
		ORDER BY b.seq LIMIT ?`,
		first.Int64, last.Int64, from.UnixMilli(), to.UnixMilli(), incident, c.IP, c.MAC, c.IP, c.MAC, c.User, maxAround+1)
	if err != nil {
		return err
	}
	found, err := collect(rows, scanBreach)
	if err != nil {
		return err
	}
	if w.AroundLeftOut = len(found) > maxAround; w.AroundLeftOut {
		found = found[:maxAround]
	}
	for _, b := range found {
		b.add(gathered[b.Seq])
		w.Around = append(w.Around, b.stamped(f))
	}
	return nil
}

// stamped returns the breach with its times written out.
func (b *foundBreach) stamped(f Filter) Breach {
	b.Time, b.Last = f.stamp(b.time), f.stamp(b.last)
	return b.Breach
}

// span is from when to when is looked for what belongs to the incident.
func (w *Whole) span() (from, to time.Time) {
	return instant(w.First).Add(-aroundTime), instant(w.Last).Add(aroundTime)
}

// instant undoes Filter.stamp.
func instant(stamp string) time.Time {
	at, _ := time.Parse(time.RFC3339, stamp) // it was written by us
	return at
}

// ask adds what else the client asked for, where that is kept.
func (w *Whole) ask(ctx context.Context, o WholeOptions) error {
	if o.Questions == nil || w.Shared {
		return nil
	}
	from, to := w.span()
	w.Questions = []Question{}
	err := o.Questions(ctx, w.Client, from, to, func(q Question) error {
		if len(w.Questions) == maxAround {
			w.QuestionsLeftOut = true
			return errEnough
		}
		w.Questions = append(w.Questions, q)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// pattern is what looksLike goes by.
func (w *Whole) pattern(nobodyIn func(time.Time) bool) pattern {
	p := pattern{critical: w.Severity == "critical", confidential: w.Confidential, shared: w.Shared, nobodyIn: nobodyIn}
	p.partial = w.TimelineLeftOut > 0
	for _, e := range w.Timeline {
		counted := e.Count
		for _, r := range e.Repeats {
			counted -= r.Count
			p.goes = append(p.goes, turnOf{e.Query.Name, time.UnixMilli(r.last), r.Count})
		}
		p.goes = append(p.goes, turnOf{e.Query.Name, instant(e.Time), counted})
	}
	slices.SortStableFunc(p.goes, func(a, b turnOf) int { return a.at.Compare(b.at) })
	first, last := instant(w.First), instant(w.Last)
	p.elsewhere = slices.ContainsFunc(w.Around, func(b Breach) bool {
		at := instant(b.Time)
		return !at.Before(first.Add(-5*time.Minute)) && !at.After(last.Add(5*time.Minute))
	})
	return p
}
