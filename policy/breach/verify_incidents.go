package breach

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"schoolgate/policy"
)

// said is what an incident's row says of its breaches, and what follows from them.
type said struct {
	seq           int64
	says, follows state
}

type state struct {
	severity       policy.Severity
	count, last    int64
	state, outcome string // of the register
}

// verifyIncidents checks that the incidents between two seqs say of their breaches what is recorded of
// them. What was gathered and is not yet appended counts: it is stored with the incident. owners keeps
// the incidents of the breaches of which something is gathered, for the next call.
func (r *Reader) verifyIncidents(ctx context.Context, first, last int64, owners map[int64]int64) error {
	var incidents []said
	gathered := map[int64]sum{} // by incident
	err := r.snapshot(ctx, func(tx *sql.Tx) (err error) {
		if incidents, err = readIncidents(ctx, tx, first, last); err != nil {
			return err
		}
		byBreach, _, err := readGathered(ctx, tx, math.MinInt64, math.MaxInt64)
		if err != nil {
			return err
		}
		for breach, s := range byBreach {
			if owners[breach] == 0 {
				var of int64
				err := tx.QueryRowContext(ctx, "SELECT incident FROM breach WHERE seq = ?", breach).Scan(&of)
				if errors.Is(err, sql.ErrNoRows) {
					return &BrokenError{breach, "repeats of it wait to be appended, and it is no breach"}
				} else if err != nil {
					return err
				}
				owners[breach] = of
			}
			if s.count < 0 {
				return &BrokenError{breach, "the repeats of it that wait to be appended are fewer than none"}
			}
			of := owners[breach]
			gathered[of] = sum{gathered[of].count + s.count, max(gathered[of].last, s.last)}
		}
		return nil
	})
	switch damaged := (*damagedError)(nil); {
	case errors.As(err, &damaged):
		return &BrokenError{last + 1, damaged.Error()}
	case errors.As(err, new(*BrokenError)):
		return err
	case err != nil:
		return fmt.Errorf("verify incidents: %w", err)
	}
	for _, i := range incidents {
		i.follows.count += gathered[i.seq].count
		i.follows.last = max(i.follows.last, gathered[i.seq].last)
		if i.says != i.follows {
			return &BrokenError{i.seq, "the incident's severity, count, last, state or outcome is not that of its breaches and notes"}
		}
	}
	return nil
}

// readIncidents returns what the incidents between two seqs say, and what follows from the rows that
// were appended.
func readIncidents(ctx context.Context, tx *sql.Tx, first, last int64) ([]said, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, severity, count, last, state, outcome,
			coalesce(sum(breach_count), 0), coalesce(max(breach_last), 0), coalesce(max(breach_severity), 0),
			(SELECT json_group_array(json_array(what, outcome, severity)) FROM
				(SELECT what, outcome, severity FROM note WHERE incident = i.seq ORDER BY seq))
		FROM (SELECT i.seq, i.severity, i.count, i.last, i.state, i.outcome,
			b.count + coalesce((SELECT sum(count) FROM repeat WHERE breach = b.seq), 0) AS breach_count,
			max(b.last, coalesce((SELECT max(last) FROM repeat WHERE breach = b.seq), 0)) AS breach_last,
			CASE b.severity WHEN 'critical' THEN 4 WHEN 'high' THEN 3 WHEN 'medium' THEN 2 WHEN 'low' THEN 1 END AS breach_severity
			FROM incident i LEFT JOIN breach b ON b.incident = i.seq WHERE i.seq >= ? AND i.seq <= ?) i
		GROUP BY seq ORDER BY seq`, first, last)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(rows *sql.Rows) (s said, err error) {
		var severity, notes string
		err = rows.Scan(&s.seq, &severity, &s.says.count, &s.says.last, &s.says.state, &s.says.outcome,
			&s.follows.count, &s.follows.last, &s.follows.severity, &notes)
		if err != nil {
			return s, err
		}
		var known bool
		if s.says.severity, known = policy.ParseSeverity(severity); !known {
			s.says.severity = policy.SeverityNone // which no breach has
		}
		s.follows.state = StateNew
		var done [][3]string
		if err := json.Unmarshal([]byte(notes), &done); err != nil {
			return s, err
		}
		for _, d := range done {
			n := noteRow{what: d[0], outcome: d[1]}
			s.follows.state = n.follows(s.follows.state)
			switch n.what {
			case noteClosed:
				s.follows.outcome = n.outcome
			case noteRaised:
				raised, _ := policy.ParseSeverity(d[2])
				s.follows.severity = max(s.follows.severity, raised)
			}
		}
		return s, nil
	})
}
