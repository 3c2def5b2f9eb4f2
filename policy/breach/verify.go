package breach

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// BrokenError says where the record is not what was written.
type BrokenError struct {
	Seq    int64 // of the first row that does not hold
	Reason string
}

// Error says where the record is broken, and why.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the chain is broken at row %d: %s", e.Seq, e.Reason)
}

// Verify recomputes the chain from the first row to the newest at the moment of the call, and what the
// incidents say of their breaches. It returns the newest link. The error is a *BrokenError where the
// record is not what was written, and another one where it can't be read.
func (r *Reader) Verify(ctx context.Context) (Head, error) {
	var seq sql.NullInt64
	var hash []byte
	var newest int64
	err := r.db.QueryRowContext(ctx, `SELECT seq, hash, coalesce((SELECT seq FROM link ORDER BY seq DESC LIMIT 1), 0)
		FROM (SELECT 1) LEFT JOIN head`).Scan(&seq, &hash, &newest)
	if err != nil {
		return Head{}, fmt.Errorf("verify record: %w", err)
	}
	var at link
	for at.seq < newest {
		began := time.Now()
		if at, err = r.verifyPage(ctx, at, min(at.seq+page, newest)); err != nil {
			return Head{}, err
		}
		r.ease(ctx, time.Since(began))
	}
	switch {
	case !seq.Valid:
		return Head{}, &BrokenError{newest, "the head of the chain is missing"}
	case seq.Int64 < newest:
		return Head{}, &BrokenError{seq.Int64 + 1, "it stands above the head of the chain"}
	case seq.Int64 > newest:
		return Head{}, &BrokenError{newest + 1, "it is missing, and all after it"}
	case !bytes.Equal(hash, at.hash[:]):
		return Head{}, &BrokenError{newest, "its hash is not that of the head of the chain"}
	}
	if err := r.verifyTombstones(ctx); err != nil {
		return Head{}, err
	}
	owners := map[int64]int64{}
	for from := int64(0); from < newest; from += page {
		began := time.Now()
		if err := r.verifyIncidents(ctx, from+1, min(from+page, newest), owners); err != nil {
			return Head{}, err
		}
		r.ease(ctx, time.Since(began))
	}
	return at.head(), nil
}

// ease leaves the processor to others for a while, where the Reader is to be gentle.
func (r *Reader) ease(ctx context.Context, d time.Duration) {
	if !r.gentle {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// storedRow is a row as it is found.
type storedRow struct {
	seq        int64
	row        row
	salt, hash []byte
}

// verifyPage checks the rows after a link up to last, or beyond where a tombstone leads there, and returns the
// newest link.
func (r *Reader) verifyPage(ctx context.Context, at link, last int64) (link, error) {
	// In one snapshot: else what is deleted meanwhile would be missing, or stand above its tombstone.
	err := r.snapshot(ctx, func(tx *sql.Tx) error {
		found, err := readPage(ctx, tx, at.seq, last)
		if err != nil {
			return err
		}
		for _, s := range found {
			if s.seq <= at.seq {
				continue // a tombstone stands for it
			}
			if s.row == nil {
				if at, err = overTombstone(ctx, tx, s.seq); err != nil {
					return err
				}
				continue
			}
			next := at.next(s.row, s.salt)
			if !bytes.Equal(next.hash[:], s.hash) {
				return &BrokenError{next.seq, "it does not match its hash"}
			}
			at = next
		}
		return nil
	})
	if err != nil && !errors.As(err, new(*BrokenError)) {
		err = fmt.Errorf("verify record: %w", err)
	}
	return at, err
}

// readPage returns the rows after one up to last, each at its place; of one that is missing only the seq.
func readPage(ctx context.Context, tx *sql.Tx, after, last int64) ([]storedRow, error) {
	found := make([]storedRow, last-after)
	for i := range found {
		found[i].seq = after + 1 + int64(i)
	}
	first := after + 1
	if after == 0 {
		first = math.MinInt64 // rows below 1 are not ours
	}
	for _, kind := range storedKinds {
		rows, err := tx.QueryContext(ctx, kind.query+" WHERE seq >= ? AND seq <= ?", first, last)
		if err != nil {
			return nil, err
		}
		stored, err := collect(rows, kind.scan)
		if err != nil {
			return nil, err
		}
		for _, s := range stored {
			if s.seq <= 0 {
				return nil, &BrokenError{s.seq, "it was not written by schoolgate"}
			}
			place := &found[s.seq-after-1]
			if place.row != nil {
				return nil, &BrokenError{s.seq, "it is there twice"}
			}
			*place = s
		}
	}
	return found, nil
}

// overTombstone returns the link of the last row for which the tombstone stands that stands for a row.
func overTombstone(ctx context.Context, q querier, seq int64) (link, error) {
	s, err := tombstoneOf(ctx, q, seq)
	if err != nil {
		return link{}, err
	}
	l := link{seq: s.last}
	if s.last < seq || copy(l.hash[:], s.hash) != len(l.hash) {
		return link{}, &BrokenError{seq, "it is missing"}
	}
	return l, nil
}

// storedKinds is how the rows of each table are read.
var storedKinds = [...]struct {
	query string
	scan  func(*sql.Rows) (storedRow, error)
}{
	{
		`SELECT seq, id, first, site, category, title, group_name, action, confidential, shared, alert_to,
		client_ip, client_mac, client_name, client_user, query_name, salt, hash FROM incident`,
		func(rows *sql.Rows) (s storedRow, err error) {
			r := &incidentRow{}
			s.row = r
			err = rows.Scan(&s.seq, &r.id, &r.first, &r.site, &r.category, &r.title, &r.group, &r.action, &r.confidential,
				&r.shared, &r.alertTo, &r.client.IP, &r.client.MAC, &r.client.Name, &r.client.User, &r.name, &s.salt, &s.hash)
			return s, err
		},
	},
	{
		`SELECT seq, id, time, site, group_name, query_type, transport, category, categories, severity, action, list, via,
		count, last, incident, client_ip, client_mac, client_name, client_user, query_name, entry, salt, hash FROM breach`,
		func(rows *sql.Rows) (s storedRow, err error) {
			r := &breachRow{}
			s.row = r
			err = rows.Scan(&s.seq, &r.id, &r.time, &r.site, &r.group, &r.qtype, &r.transport, &r.category, &r.categories,
				&r.severity, &r.action, &r.list, &r.via, &r.count, &r.last, &r.incident, &r.client.IP, &r.client.MAC,
				&r.client.Name, &r.client.User, &r.name, &r.entry, &s.salt, &s.hash)
			return s, err
		},
	},
	{
		"SELECT seq, breach, count, last, hash FROM repeat",
		func(rows *sql.Rows) (s storedRow, err error) {
			r := &repeatRow{}
			s.row = r
			err = rows.Scan(&s.seq, &r.breach, &r.count, &r.last, &s.hash)
			return s, err
		},
	},
	{
		"SELECT seq, time, incident, what, outcome, severity, who, text, salt, hash FROM note",
		func(rows *sql.Rows) (s storedRow, err error) {
			r := &noteRow{}
			s.row = r
			err = rows.Scan(&s.seq, &r.time, &r.incident, &r.what, &r.outcome, &r.severity, &r.who, &r.text, &s.salt, &s.hash)
			return s, err
		},
	},
	{
		"SELECT seq, time, what, who, why, detail, salt, hash FROM audit",
		func(rows *sql.Rows) (s storedRow, err error) {
			r := &auditRow{}
			s.row = r
			err = rows.Scan(&s.seq, &r.time, &r.act.What, &r.act.Who, &r.act.Why, &r.act.Detail, &s.salt, &s.hash)
			return s, err
		},
	},
}
