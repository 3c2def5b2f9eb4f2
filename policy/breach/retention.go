package breach

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Retention is how long the record is kept; 0 is for ever.
type Retention struct {
	// Breaches is for incidents that turned out to be none, or that nobody took in hand.
	Breaches time.Duration
	// Incidents is for those that are in hand or were closed with another outcome than OutcomeNoConcern, and for
	// the tallies.
	Incidents time.Duration
	Audit     time.Duration
}

// schoolgate is who does what nobody asked for.
const schoolgate = "schoolgate"

// Retain deletes what is older than Retention says: incidents with all that belongs to them, by their last breach,
// acts, tallies, and alerts that were delivered or given up. An act says how much; nothing is recorded where
// nothing was old enough. What it deleted before an error stays deleted, and recorded.
func (l *Log) Retain(ctx context.Context, keep Retention) (done Erased, err error) {
	now := l.now()
	before := func(d time.Duration) int64 {
		if d <= 0 {
			return 0
		}
		return now.Add(-d).UnixMilli()
	}
	breaches, incidents, audit := before(keep.Breaches), before(keep.Incidents), before(keep.Audit)
	act := Act{Who: schoolgate, What: actRetain, Why: "older than retention says", Detail: fmt.Sprintf(
		"kept: breaches %v, incidents of concern %v, audit %v", keep.Breaches, keep.Incidents, keep.Audit)}
	for {
		var batch Erased
		more := false
		err := l.request(ctx, request{do: func(ctx context.Context, t *turn) error {
			old, acts, err := t.old(ctx, breaches, incidents, audit)
			if err != nil || len(old)+len(acts) == 0 {
				return err
			}
			more = true
			batch, _, err = t.erase(ctx, old, acts, act)
			return err
		}})
		if err != nil {
			return done, fmt.Errorf("delete what is old: %w", err)
		}
		if !more {
			break
		}
		done.add(batch)
		pause(ctx, erasePause)
	}
	err = l.request(ctx, request{do: func(ctx context.Context, t *turn) error {
		if _, err := t.store.exec(ctx, "DELETE FROM tally WHERE hour < ?", incidents/hourMillis); err != nil {
			return err
		}
		_, err := t.store.exec(ctx, "DELETE FROM outbox WHERE state <> 'pending' AND created < ?", breaches)
		return err
	}})
	if err == nil && done.Rows > 0 {
		err = l.scrub(ctx)
	}
	return done, err
}

// old returns incidents and acts that are to be deleted, a bounded number of them, oldest first.
func (t *turn) old(ctx context.Context, breaches, incidents, audit int64) (old, acts []int64, err error) {
	seqs := func(query string, args ...any) ([]int64, error) {
		rows, err := t.store.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		return collect(rows, func(rows *sql.Rows) (seq int64, err error) {
			err = rows.Scan(&seq)
			return seq, err
		})
	}
	old, err = seqs(`SELECT seq FROM incident WHERE last < max(?1, ?2)
		AND last < iif(state = 'in_hand' OR outcome NOT IN ('', ?3), ?2, ?1) ORDER BY last LIMIT ?4`,
		breaches, incidents, OutcomeNoConcern, maxErased/10)
	if err != nil {
		return nil, nil, err
	}
	acts, err = seqs("SELECT seq FROM audit WHERE time < ? ORDER BY time LIMIT ?", audit, maxErased/10)
	return old, acts, err
}
