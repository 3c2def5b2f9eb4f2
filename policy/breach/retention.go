package breach

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	if err := l.retainCopies(now, keep.Breaches); err != nil {
		return done, err
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

// keepBackups is for how long the copy that was made before a migration is kept.
const keepBackups = 30 * 24 * time.Hour

// retainCopies deletes older copies of the database: what is deleted from it must not stay in them.
func (l *Log) retainCopies(now time.Time, breaches time.Duration) error {
	for infix, keep := range map[string]time.Duration{backupInfix: keepBackups, asideInfix: breaches} {
		for _, path := range l.copies(infix) {
			info, err := os.Lstat(path)
			if err != nil || keep <= 0 || now.Sub(info.ModTime()) < keep {
				continue
			}
			if err := os.Remove(path); err != nil {
				return err
			}
			l.logger.Info("an old copy of the breach record was deleted", "file", path)
		}
	}
	return nil
}

// Copies returns the paths of older copies of the database, which may hold what was erased from it since.
func (l *Log) Copies() []string { return append(l.copies(backupInfix), l.copies(asideInfix)...) }

// copies returns the paths of the files whose names begin as the database's with an infix behind it.
func (l *Log) copies(infix string) (paths []string) {
	entries, err := os.ReadDir(filepath.Dir(l.path))
	if err != nil {
		return nil // then nothing can be deleted either
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(l.path)+infix) {
			paths = append(paths, filepath.Join(filepath.Dir(l.path), e.Name()))
		}
	}
	return paths
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
		breaches, incidents, OutcomeNoConcern, maxErased/2)
	if err != nil {
		return nil, nil, err
	}
	acts, err = seqs("SELECT seq FROM audit WHERE time < ? ORDER BY time LIMIT ?", audit, maxErased/2)
	return old, acts, err
}
