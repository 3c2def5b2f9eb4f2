package breach

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"schoolgate/policy"
)

// The acts by which rows are deleted. Their Detail ends in the digest of the tombstones.
const (
	actErase  = "privacy.erase"
	actRetain = "retention.record"
)

const (
	// maxErased is how many rows one transaction deletes, as far as whole incidents go: some 80 ms, so that a breach need
	// not wait for longer than it is promised to.
	maxErased = 500
	// erasePause is how long those who write down breaches have for themselves after each such transaction.
	erasePause = 50 * time.Millisecond
)

// Erasure says what is to be erased: the incidents of one client of which any breach may lie in a span, whole, and
// what was done about them.
type Erasure struct {
	Client   policy.ClientPattern
	From, To time.Time // From inclusive, To exclusive
	// Incidents erases those too that are of concern: all but those that were closed with OutcomeNoConcern.
	Incidents  bool
	By, Reason string
}

// Erased says what was.
type Erased struct {
	Incidents int64 `json:"incidents"`
	Breaches  int64 `json:"breaches"`
	Rows      int64 `json:"rows"` // with repeats, notes and acts
	Kept      int64 `json:"kept"` // incidents of the client that are of concern
}

func (e *Erased) add(more Erased) {
	e.Incidents += more.Incidents
	e.Breaches += more.Breaches
	e.Rows += more.Rows
}

// Erase deletes what an Erasure says, and records that it did as an act that names neither the client nor a name.
// Alerts about it that have not been delivered are deleted too. What it deleted before an error stays deleted, and
// recorded.
func (l *Log) Erase(ctx context.Context, e Erasure) (done Erased, err error) {
	db, err := l.reading()
	if err != nil {
		return done, err
	}
	// What waits and is not yet stored is the client's too.
	if err := l.Flush(ctx); err != nil {
		return done, err
	}
	incidents, kept, err := incidentsOf(ctx, db, e)
	if err != nil {
		return done, fmt.Errorf("find incidents: %w", err)
	}
	done.Kept = kept
	detail := "one client's, of the time from " + e.From.UTC().Format(time.RFC3339) + " to " + e.To.UTC().Format(time.RFC3339)
	if e.Incidents {
		detail += ", those of concern too"
	}
	for first := true; first || len(incidents) > 0; first = false { // once also for none: that it was asked for is recorded
		var batch Erased
		err := l.request(ctx, request{do: func(ctx context.Context, t *turn) (err error) {
			batch, incidents, err = t.erase(ctx, incidents, nil, Act{Who: e.By, What: actErase, Why: e.Reason, Detail: detail})
			return err
		}})
		if err != nil {
			return done, fmt.Errorf("erase: %w", err)
		}
		done.add(batch)
		pause(ctx, erasePause)
	}
	return done, l.scrub(ctx)
}

// scrub leaves nothing of deleted rows in the database's log. Those who read hold it up: it is tried again for
// some seconds.
func (l *Log) scrub(ctx context.Context) (err error) {
	for range 20 {
		err = l.request(ctx, request{do: func(context.Context, *turn) error { return nil }, scrub: true})
		if !errors.Is(err, errInUse) {
			return err
		}
		pause(ctx, 250*time.Millisecond)
	}
	return err
}

// errInUse says that somebody reads what is to be overwritten.
var errInUse = errors.New("what was deleted may still be in " +
	"the record's log, which another program reads: it is overwritten when more is written")

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// incidentsOf returns the seqs of the incidents that are to be erased, and how many are kept.
func incidentsOf(ctx context.Context, db *sql.DB, e Erasure) (all []int64, kept int64, err error) {
	rows, err := db.QueryContext(ctx, `SELECT DISTINCT i.seq, i.outcome, b.client_ip, b.client_mac, b.client_name, b.client_user
		FROM incident i JOIN breach b ON b.incident = i.seq WHERE i.last >= ? AND i.first < ? ORDER BY i.seq`,
		e.From.UnixMilli(), e.To.UnixMilli())
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	last := int64(0)
	for rows.Next() {
		var seq int64
		var outcome string
		var c Client
		if err := rows.Scan(&seq, &outcome, &c.IP, &c.MAC, &c.Name, &c.User); err != nil {
			return nil, 0, err
		}
		client := c.policy()
		if seq == last || !e.Client.Matches(&client) {
			continue
		}
		last = seq
		if outcome == OutcomeNoConcern || e.Incidents {
			all = append(all, seq)
		} else {
			kept++
		}
	}
	return all, kept, rows.Err()
}

// erase deletes incidents with all that belongs to them, and acts, as many as fit into one transaction, and
// records the act with the tombstones' digest. It returns the incidents that are left.
func (t *turn) erase(ctx context.Context, incidents, acts []int64, act Act) (done Erased, left []int64, err error) {
	if err := t.storeBreaches(ctx); err != nil {
		return done, nil, err
	}
	var gone []link
	for len(incidents) > 0 && (len(gone) == 0 || len(gone)+len(acts) < maxErased) {
		if err := t.let(ctx, incidents[0]); err != nil {
			return done, nil, err
		}
		before := len(gone)
		if gone, err = t.eraseIncident(ctx, incidents[0], gone, &done); err != nil {
			return done, nil, fmt.Errorf("delete incident: %w", err)
		}
		if len(gone) > before {
			done.Incidents++
		}
		incidents = incidents[1:]
	}
	for _, seq := range acts {
		if gone, err = t.take(ctx, gone, "DELETE FROM audit WHERE seq = ? RETURNING seq, hash", seq); err != nil {
			return done, nil, fmt.Errorf("delete act: %w", err)
		}
	}
	done.Rows = int64(len(gone))
	stones := tombstones(gone)
	act.Detail = fmt.Sprintf("%s: %d incidents, %d rows in all; tombstones %d, digest %s",
		act.Detail, done.Incidents, done.Rows, len(stones), digest(stones))
	if err := t.audit(ctx, act); err != nil {
		return done, nil, err
	}
	for _, s := range stones {
		if _, err := t.store.exec(ctx, "INSERT INTO tombstone VALUES (?, ?, ?, ?)", s.first, s.last, s.hash, t.link.seq); err != nil {
			return done, nil, fmt.Errorf("store tombstone: %w", err)
		}
	}
	return done, incidents, nil
}

// let has the writer forget an incident that is open. Nobody is told of it any more.
func (t *turn) let(ctx context.Context, seq int64) error {
	i := t.bySeq(seq)
	if i == nil {
		return nil
	}
	if err := t.repeatsOf(ctx, i); err != nil {
		return err
	}
	i.told = i.count
	t.stored = rewrite // what was gathered of it is no longer of a breach
	return t.rest(ctx, i)
}

// eraseIncident deletes an incident and what belongs to it, and appends the links of the rows.
func (t *turn) eraseIncident(ctx context.Context, seq int64, gone []link, done *Erased) ([]link, error) {
	if _, err := t.store.exec(ctx, "DELETE FROM outbox WHERE incident = (SELECT id FROM incident WHERE seq = ?)", seq); err != nil {
		return nil, err
	}
	for _, query := range []string{
		"DELETE FROM repeat WHERE breach IN (SELECT seq FROM breach WHERE incident = ?) RETURNING seq, hash",
		"DELETE FROM note WHERE incident = ? RETURNING seq, hash",
		"DELETE FROM sealed WHERE incident = ? RETURNING seq, hash",
	} {
		var err error
		if gone, err = t.take(ctx, gone, query, seq); err != nil {
			return nil, err
		}
	}
	before := len(gone)
	gone, err := t.take(ctx, gone, "DELETE FROM breach WHERE incident = ? RETURNING seq, hash", seq)
	if err != nil {
		return nil, err
	}
	done.Breaches += int64(len(gone) - before)
	return t.take(ctx, gone, "DELETE FROM incident WHERE seq = ? RETURNING seq, hash", seq)
}

// take runs a statement that returns links of rows, and appends them.
func (t *turn) take(ctx context.Context, gone []link, query string, of int64) ([]link, error) {
	rows, err := t.store.QueryContext(ctx, query, of)
	if err != nil {
		return nil, err
	}
	taken, err := collect(rows, func(rows *sql.Rows) (l link, err error) {
		var hash []byte
		err = rows.Scan(&l.seq, &hash)
		copy(l.hash[:], hash)
		return l, err
	})
	return append(gone, taken...), err
}

// tombstone stands for rows that were deleted.
type tombstone struct {
	first, last int64
	hash        []byte // of the last
}

// covers reports whether the tombstone may stand for a row with a hash: of all but the last none is known.
func (s *tombstone) covers(seq int64, hash []byte) bool {
	return seq < s.last || seq == s.last && bytes.Equal(hash, s.hash)
}

// tombstones returns those for rows: one for each run of rows that follow each other.
func tombstones(gone []link) (stones []tombstone) {
	slices.SortFunc(gone, func(a, b link) int { return int(a.seq - b.seq) })
	for _, l := range gone {
		if n := len(stones); n > 0 && stones[n-1].last == l.seq-1 {
			stones[n-1].last, stones[n-1].hash = l.seq, l.hash[:]
			continue
		}
		stones = append(stones, tombstone{l.seq, l.seq, l.hash[:]})
	}
	return stones
}

// digest returns the SHA-256 of tombstones, in their order, as the act has it: first and last in 8 bytes each,
// big-endian, and the hash.
func digest(stones []tombstone) string {
	sum := sha256.New()
	for _, s := range stones {
		sum.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(s.first)), uint64(s.last)))
		sum.Write(s.hash)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// verifyTombstones checks that the tombstones are those that the acts say which deleted rows. An act that was
// itself deleted says nothing any more.
func (r *Reader) verifyTombstones(ctx context.Context) error {
	rows, err := r.db.QueryContext(ctx, `SELECT seq, detail FROM audit WHERE what IN (?, ?)
		UNION SELECT audit, '' FROM tombstone WHERE audit NOT IN (SELECT seq FROM audit)`, actErase, actRetain)
	if err != nil {
		return fmt.Errorf("verify tombstones: %w", err)
	}
	type said struct {
		seq    int64
		detail string
	}
	acts, err := collect(rows, func(rows *sql.Rows) (s said, err error) {
		err = rows.Scan(&s.seq, &s.detail)
		return s, err
	})
	if err != nil {
		return fmt.Errorf("verify tombstones: %w", err)
	}
	var seq int64
	err = r.db.QueryRowContext(ctx, "SELECT l.seq FROM tombstone t JOIN link l ON l.seq BETWEEN t.first AND t.last LIMIT 1").Scan(&seq)
	switch {
	case err == nil:
		return &BrokenError{seq, "it is there, and was deleted"}
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("verify tombstones: %w", err)
	}
	for _, act := range acts {
		if act.detail == "" {
			stone, err := tombstoneOf(ctx, r.db, act.seq)
			if err == nil && stone.last < act.seq {
				err = &BrokenError{act.seq, "it was to say which rows were deleted, and does not"}
			}
			if err != nil {
				return err
			}
			continue
		}
		rows, err := r.db.QueryContext(ctx, "SELECT first, last, hash FROM tombstone WHERE audit = ? ORDER BY first", act.seq)
		if err != nil {
			return fmt.Errorf("verify tombstones: %w", err)
		}
		stones, err := collect(rows, func(rows *sql.Rows) (s tombstone, err error) {
			err = rows.Scan(&s.first, &s.last, &s.hash)
			return s, err
		})
		if err != nil {
			return fmt.Errorf("verify tombstones: %w", err)
		}
		if !strings.HasSuffix(act.detail, " digest "+digest(stones)) {
			return &BrokenError{act.seq, "the tombstones are not those of the rows that it says were deleted"}
		}
	}
	return nil
}

// tombstoneOf returns the one that may stand for a row: that with the highest first which is not above it. Its
// last tells whether it does; without any it is 0.
func tombstoneOf(ctx context.Context, q querier, seq int64) (s tombstone, err error) {
	err = q.QueryRowContext(ctx, "SELECT first, last, hash FROM tombstone WHERE first <= ? ORDER BY first DESC LIMIT 1", seq).
		Scan(&s.first, &s.last, &s.hash)
	if errors.Is(err, sql.ErrNoRows) {
		return tombstone{}, nil
	}
	return s, err
}
