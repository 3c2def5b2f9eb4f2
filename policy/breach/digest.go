package breach

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"schoolgate/policy"
)

// Told is what a route with a digest has told.
type Told struct {
	Until time.Time // what was before it has been told
	Nonce string    // of this record and route alone, for alert ids
}

// Digestible is an incident as digests need it.
type Digestible struct {
	Seq                                        int64
	ID, Site, Severity, Category, Title, Group string
	Action, State                              string
	Confidential, Shared                       bool
	AlertTo                                    []string // as policy.Attribution
	AlertToSet                                 bool
	Client                                     policy.Client
	Count                                      int64 // of Happened: in the span; of Unclosed: in all
	First, Last                                time.Time
}

const digestibleColumns = `i.seq, i.id, i.site, i.severity, i.category, i.title, i.group_name, i.action, i.state,
	i.confidential, i.shared, i.alert_to, i.client_ip, i.client_mac, i.client_name, i.client_user, i.first, i.last`

// Told returns what a route has told. One that is not known yet has told what was before now.
func (l *Log) Told(ctx context.Context, route string) (t Told, err error) {
	err = l.request(ctx, request{do: func(ctx context.Context, turn *turn) error {
		_, err := turn.store.exec(ctx, "INSERT INTO digest VALUES (?, ?, ?) ON CONFLICT DO NOTHING", route, turn.now, rand.Text())
		if err != nil {
			return fmt.Errorf("begin digest: %w", err)
		}
		var until int64
		if err := turn.store.conn.QueryRowContext(ctx, "SELECT until, nonce FROM digest WHERE route = ?", route).Scan(&until, &t.Nonce); err != nil {
			return fmt.Errorf("read digest: %w", err)
		}
		t.Until = time.UnixMilli(until)
		return nil
	}})
	return t, err
}

// Digest stores the alerts of a digest, and what its route has told then: both or neither.
func (l *Log) Digest(ctx context.Context, route string, told Told, alerts ...Alert) error {
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error {
		for _, a := range alerts {
			if err := t.enqueue(ctx, a); err != nil {
				return err
			}
		}
		// It is there, unless the record was replaced since.
		if _, err := t.store.exec(ctx, "INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", route, told.Until.UnixMilli(), told.Nonce); err != nil {
			return fmt.Errorf("store digest: %w", err)
		}
		return nil
	}})
}

// Happened calls yield for each incident of which there were breaches from a moment on to another, with their count
// in that span, oldest first. Call Flush before: repeats of this minute are not counted.
func (l *Log) Happened(ctx context.Context, from, to time.Time, yield func(Digestible) error) error {
	return l.digestible(ctx, yield, `SELECT * FROM (SELECT `+digestibleColumns+`, (
		SELECT sum(iif(b.time >= ?1 AND b.time < ?2, b.count, 0) +
			coalesce((SELECT sum(count) FROM repeat WHERE breach = b.seq AND last >= ?1 AND last < ?2), 0))
		FROM breach b WHERE b.incident = i.seq) AS tried
		FROM incident i WHERE i.last >= ?1 AND i.first < ?2) WHERE tried > 0 ORDER BY seq`, from.UnixMilli(), to.UnixMilli())
}

// Unclosed calls yield for each incident that was opened before a moment and is not closed, oldest first.
func (l *Log) Unclosed(ctx context.Context, before time.Time, yield func(Digestible) error) error {
	return l.digestible(ctx, yield, `SELECT `+digestibleColumns+`, i.count FROM incident i WHERE i.state <> 'closed' AND i.first < ? ORDER BY i.seq`,
		before.UnixMilli())
}

func (l *Log) digestible(ctx context.Context, yield func(Digestible) error, query string, args ...any) error {
	db, err := l.reading()
	if err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("read incidents: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		d, err := scanDigestible(rows)
		if err != nil {
			return fmt.Errorf("read incidents: %w", err)
		}
		if err := yield(d); err != nil {
			return err
		}
	}
	return rows.Err()
}

func scanDigestible(rows *sql.Rows) (d Digestible, err error) {
	var alertTo string
	var client Client
	var first, last int64
	err = rows.Scan(&d.Seq, &d.ID, &d.Site, &d.Severity, &d.Category, &d.Title, &d.Group, &d.Action, &d.State,
		&d.Confidential, &d.Shared, &alertTo, &client.IP, &client.MAC, &client.Name, &client.User, &first, &last, &d.Count)
	if err == nil && alertTo != "" {
		d.AlertToSet = true
		err = json.Unmarshal([]byte(alertTo), &d.AlertTo)
	}
	d.Client, d.First, d.Last = client.policy(), time.UnixMilli(first), time.UnixMilli(last)
	return d, err
}

// NamesOf returns the names that an incident is about, as Notice.Names has them; none of a confidential one.
func (l *Log) NamesOf(ctx context.Context, d *Digestible) ([]NameCount, error) {
	if d.Confidential {
		return nil, nil
	}
	db, err := l.reading()
	if err != nil {
		return nil, err
	}
	names, err := incidentNames(ctx, db, d.Seq, nil)
	if err != nil {
		return nil, errors.Join(errors.New("read names"), err)
	}
	return names, nil
}
