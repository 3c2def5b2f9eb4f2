package breach

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// RecordedAct is an act as it stands in the record: the JSON of `audit list`.
type RecordedAct struct {
	Seq    int64  `json:"seq"`
	Time   string `json:"time"` // RFC 3339 with milliseconds and offset
	Who    string `json:"who"`
	What   string `json:"what"`
	Why    string `json:"why"`
	Detail string `json:"detail"`
	Hash   string `json:"hash"` // SHA-256, lower-case hexadecimal: with Seq an anchor for Holds
}

// ActFilter selects acts. Zero fields select everything.
type ActFilter struct {
	From, To time.Time // From inclusive, To exclusive
	Who      string
	What     string // a kind of act, or what stands before its dot: "exceptions.add", "exceptions"
	// Zone is in which times are written; nil: UTC.
	Zone *time.Location
}

// Acts calls yield for each act that the filter selects, oldest first. An error of yield ends it and is
// returned.
func (r *Reader) Acts(ctx context.Context, f ActFilter, yield func(RecordedAct) error) error {
	span := Filter{From: f.From, To: f.To, Zone: f.Zone}
	first, last, err := r.span(ctx, "audit", "time", span)
	if err != nil {
		return err
	}
	var where conditions
	where.add(!f.From.IsZero(), "time >= ?", f.From.UnixMilli())
	where.add(!f.To.IsZero(), "time < ?", f.To.UnixMilli())
	where.add(f.Who != "", "who = ?", f.Who)
	where.add(f.What != "", "? IN (what, substr(what, 1, instr(what, '.') - 1))", f.What)
	query := where.complete("SELECT seq, time, who, what, why, detail, hash FROM audit WHERE seq >= ? AND seq <= ?", "seq")
	for first <= last {
		rows, err := r.db.QueryContext(ctx, query, where.args(first, last, page)...)
		if err != nil {
			return fmt.Errorf("read audit: %w", err)
		}
		acts, err := collect(rows, func(rows *sql.Rows) (a RecordedAct, err error) {
			var at int64
			var hash []byte
			err = rows.Scan(&a.Seq, &at, &a.Who, &a.What, &a.Why, &a.Detail, &hash)
			a.Time, a.Hash = span.stamp(at), hex.EncodeToString(hash)
			return a, err
		})
		if err != nil {
			return fmt.Errorf("read audit: %w", err)
		}
		for _, a := range acts {
			if err := yield(a); err != nil {
				return err
			}
		}
		if len(acts) < page {
			return nil
		}
		first = acts[page-1].Seq + 1
	}
	return nil
}

// Holds checks that the record still has a row that was its newest one once, as an alert or a person kept it.
// That is what Verify can't see: a record that was written anew from a row on, chained as it should be. The
// error is a *BrokenError where the row is another one or is missing.
func (r *Reader) Holds(ctx context.Context, anchor Head) error {
	want, err := hex.DecodeString(anchor.Hash)
	if err != nil || anchor.Seq < 1 {
		return fmt.Errorf("%d:%s is no link of a chain", anchor.Seq, anchor.Hash)
	}
	var hash []byte
	err = r.db.QueryRowContext(ctx, "SELECT hash FROM link WHERE seq = ?", anchor.Seq).Scan(&hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		stone, err := tombstoneOf(ctx, r.db, anchor.Seq)
		switch {
		case err != nil:
			return fmt.Errorf("verify record: %w", err)
		case stone.covers(anchor.Seq, want):
			return nil // it was deleted since, as an act says which Verify checks
		}
		return &BrokenError{anchor.Seq, "it is missing: the record is older or another one than the anchor's"}
	case err != nil:
		return fmt.Errorf("verify record: %w", err)
	case !bytes.Equal(hash, want):
		return &BrokenError{anchor.Seq, "its hash is not the anchor's: the record was written anew, or is another one"}
	}
	return nil
}
