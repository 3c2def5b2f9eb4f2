package breach

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// State is what has become of an alert.
type State string

// The states of an alert. Those that are gone or failed are kept until Retry or Revive. While one is gone its
// receiver is disabled: nothing is due for it.
const (
	Pending   State = "pending"   // to be tried, at Alert.Next
	Delivered State = "delivered" // the receiver took it; its body is not kept
	Gone      State = "gone"      // given up, and the receiver with it: it answered 410, or takes nothing
	Failed    State = "failed"    // given up after the last try, while the receiver takes others
)

// Outcome is how a try to deliver an alert ended.
type Outcome struct {
	State  State
	Next   time.Time // of the next try, where State is Pending
	Status string    // for people: "HTTP 500", "connection refused"
}

// QueueState is what waits for one receiver.
type QueueState struct {
	Receiver    string
	Length      int       // alerts pending
	Oldest      time.Time // when the oldest of them was made; zero when there is none
	Attempts    int       // the most tries that one of them has had
	Undelivered int       // alerts gone or failed
	Disabled    bool      // one of them is gone
	Example     string    // the ID of one of those, or ""
}

const dueQuery = `SELECT id, type, incident, body, created, attempts, next FROM outbox
	WHERE receiver = ?1 AND state = 'pending' AND (next <= ?2 OR next > ?3) AND NOT EXISTS (
		SELECT 1 FROM outbox WHERE receiver = ?1 AND state IN ('gone', 'failed') AND state = 'gone')
	ORDER BY next, rowid LIMIT ?4`

const queueQuery = `SELECT receiver, sum(pending), min(oldest), max(attempts), sum(undelivered), max(disabled), max(example) FROM (
	SELECT receiver, count(*) AS pending, min(created) AS oldest, max(attempts) AS attempts, 0 AS undelivered, 0 AS disabled, '' AS example
	FROM outbox WHERE state = 'pending' GROUP BY receiver UNION ALL
	SELECT receiver, 0, NULL, 0, count(*), max(state = 'gone'), min(id)
	FROM outbox WHERE state IN ('gone', 'failed') GROUP BY receiver) GROUP BY receiver ORDER BY receiver`

// maxAhead is more than the longest time until a next try. One that lies further ahead was stored
// under a clock that was wrong, and is due.
const maxAhead = 48 * time.Hour

// ErrNoAlert says that there is no alert of that ID to be tried again.
var ErrNoAlert = errors.New("no such alert")

// Wake holds an element after something was put into the outbox.
func (l *Log) Wake() <-chan struct{} { return l.outbox }

func (l *Log) ring() {
	select {
	case l.outbox <- struct{}{}:
	default: // it rang and nobody has come yet
	}
}

// Due returns the alerts for a receiver whose next try is at now or before, by that time, at most
// limit of them; none while the receiver is disabled. One that a wrong clock put off for days is among them,
// with no Next.
func (l *Log) Due(ctx context.Context, receiver string, now time.Time, limit int) ([]Alert, error) {
	db, err := l.reading()
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, dueQuery, receiver, now.UnixMilli(), now.Add(maxAhead).UnixMilli(), limit)
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	defer rows.Close()
	var due []Alert
	for rows.Next() {
		a := Alert{Receiver: receiver}
		var created, next int64
		if err := rows.Scan(&a.ID, &a.Type, &a.Incident, &a.Body, &created, &a.Attempts, &next); err != nil {
			return nil, fmt.Errorf("read outbox: %w", err)
		}
		a.Created = time.UnixMilli(created)
		if next <= now.UnixMilli() {
			a.Next = time.UnixMilli(next)
		}
		due = append(due, a)
	}
	return due, rows.Err()
}

// Queue returns what waits, for each receiver that has something in the outbox that is not delivered.
func (l *Log) Queue(ctx context.Context) ([]QueueState, error) {
	db, err := l.reading()
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, queueQuery)
	if err != nil {
		return nil, fmt.Errorf("read outbox: %w", err)
	}
	defer rows.Close()
	var queues []QueueState
	for rows.Next() {
		var q QueueState
		var oldest sql.NullInt64
		if err := rows.Scan(&q.Receiver, &q.Length, &oldest, &q.Attempts, &q.Undelivered, &q.Disabled, &q.Example); err != nil {
			return nil, fmt.Errorf("read outbox: %w", err)
		}
		if oldest.Valid {
			q.Oldest = time.UnixMilli(oldest.Int64)
		}
		queues = append(queues, q)
	}
	return queues, rows.Err()
}

// Enqueue stores alerts and returns when they are on disk. One whose ID is already known is left as
// it is.
func (l *Log) Enqueue(ctx context.Context, alerts ...Alert) error {
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error {
		for _, a := range alerts {
			if err := t.enqueue(ctx, a); err != nil {
				return err
			}
		}
		return nil
	}})
}

// Settle records how tries ended, by the alert's ID: all in one transaction. For an alert that is no longer pending it
// does nothing.
func (l *Log) Settle(ctx context.Context, tries map[string]Outcome) error {
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error {
		for id, o := range tries {
			next := int64(0)
			if o.State == Pending {
				next = o.Next.UnixMilli()
			}
			// A delivered alert is not kept as a second copy of who asked for what.
			_, err := t.store.exec(ctx, `UPDATE outbox SET state = ?1, attempts = attempts + 1, next = ?2, status = ?3, settled = ?4,
				body = CASE ?1 WHEN 'delivered' THEN zeroblob(0) ELSE body END WHERE id = ?5 AND state = 'pending'`,
				string(o.State), next, o.Status, t.now, id)
			if err != nil {
				return fmt.Errorf("settle alerts: %w", err)
			}
		}
		return nil
	}})
}

// Revive makes all alerts for a receiver that are gone or failed pending again, as if they had never been
// tried, which enables it.
func (l *Log) Revive(ctx context.Context, receiver string) error {
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error { return t.revive(ctx, receiver) }})
}

func (t *turn) revive(ctx context.Context, receiver string) error {
	_, err := t.store.exec(ctx, `UPDATE outbox SET state = 'pending', attempts = 0, next = ?, status = ''
		WHERE receiver = ? AND state IN ('gone', 'failed')`, t.now, receiver)
	if err != nil {
		return fmt.Errorf("revive alerts: %w", err)
	}
	t.enqueued = true
	return nil
}

// Retry makes an alert that is gone or failed pending again, as if it had never been tried, and one
// that is pending due at once. With one that is gone it does as Revive does: the receiver is to be tried
// again. The error wraps ErrNoAlert where there is none to be tried.
func (l *Log) Retry(ctx context.Context, id string) error {
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error {
		_, err := t.store.exec(ctx, `UPDATE outbox SET state = 'pending', attempts = 0, next = ?1, status = ''
			WHERE state IN ('gone', 'failed') AND id <> ?2 AND receiver = (SELECT receiver FROM outbox WHERE id = ?2 AND state = 'gone')`, t.now, id)
		if err != nil {
			return fmt.Errorf("retry alert: %w", err)
		}
		result, err := t.store.exec(ctx, `UPDATE outbox SET state = 'pending', attempts = 0, next = ?, status = ''
			WHERE id = ? AND state <> 'delivered'`, t.now, id)
		if err != nil {
			return fmt.Errorf("retry alert: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return &refusal{fmt.Errorf("retry alert %q: %w, or it was delivered", id, ErrNoAlert)}
		}
		t.enqueued = true
		return nil
	}})
}

// enqueue puts an alert into the outbox.
func (t *turn) enqueue(ctx context.Context, a Alert) error {
	if a.ID == "" {
		a.ID = "msg_" + t.ids.next(time.UnixMilli(t.now))
	}
	next := t.now
	if !a.Next.IsZero() {
		next = a.Next.UnixMilli()
	}
	_, err := t.store.exec(ctx, "INSERT INTO outbox VALUES ("+placeholders(11)+") ON CONFLICT (id) DO NOTHING",
		a.ID, a.Receiver, a.Type, a.Incident, append([]byte{}, a.Body...), t.now, string(Pending), 0, next, "", 0)
	if err != nil {
		return fmt.Errorf("store alert: %w", err)
	}
	t.enqueued = true
	return nil
}
