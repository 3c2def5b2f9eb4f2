package breach

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// ulidLength is how many letters an ID has, minShort how few of them name one.
	ulidLength, minShort = 26, 4
	// maxCompared is among how many of the newest incidents the nearest to a mistyped ID is looked for.
	maxCompared = 10_000
)

// FindIncident returns the ID that a text stands for: the whole of it, or a beginning or an end of at least four letters that
// no other has; letters that ULIDs don't have because they look like digits stand for those. The error wraps
// ErrNoIncident where there is none, and says what is near.
func (r *Reader) FindIncident(ctx context.Context, text string) (string, error) {
	short := strings.NewReplacer("I", "1", "L", "1", "O", "0").Replace(strings.ToUpper(strings.TrimSpace(text)))
	if len(short) < minShort {
		return "", fmt.Errorf("incident %q: write at least %d letters of its ID, from its beginning or its end", text, minShort)
	}
	rows, err := r.db.QueryContext(ctx, `SELECT id FROM incident WHERE id >= ? AND id < ? || '~' UNION
		SELECT id FROM incident WHERE substr(id, ?) = ? ORDER BY id DESC LIMIT 6`, short, short, -len(short), short)
	if err != nil {
		return "", fmt.Errorf("find incident: %w", err)
	}
	found, err := collect(rows, scanText)
	switch {
	case err != nil:
		return "", fmt.Errorf("find incident: %w", err)
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		more := ""
		if len(found) > 5 {
			found, more = found[:5], " …"
		}
		return "", fmt.Errorf("incident %q: that is several, write more of it: %s%s", text, strings.Join(found, ", "), more)
	}
	nearest, err := r.nearestIncident(ctx, short)
	if err != nil {
		return "", err
	}
	return "", fmt.Errorf("incident %q: %w%s", text, ErrNoIncident, nearest)
}

// nearestIncident says which of the newest incidents has an ID most like a text.
func (r *Reader) nearestIncident(ctx context.Context, short string) (string, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT id FROM incident ORDER BY seq DESC LIMIT ?", maxCompared)
	if err != nil {
		return "", fmt.Errorf("find incident: %w", err)
	}
	ids, err := collect(rows, scanText)
	if err != nil {
		return "", fmt.Errorf("find incident: %w", err)
	}
	if len(ids) == 0 {
		return " (there is none yet)", nil
	}
	n := min(len(short), ulidLength)
	nearest := slices.MinFunc(ids, func(a, b string) int { return cmp.Compare(unlike(a, short, n), unlike(b, short, n)) })
	return fmt.Sprintf(" (the nearest is %s)", nearest), nil
}

// unlike counts in how many letters a text differs from the beginning or the end of an ID, whichever is more like it.
func unlike(id, short string, n int) int {
	if len(id) < n {
		return n
	}
	begin, end := 0, 0
	for i := range n {
		if id[i] != short[i] {
			begin++
		}
		if id[len(id)-n+i] != short[len(short)-n+i] {
			end++
		}
	}
	return min(begin, end)
}

func scanText(rows *sql.Rows) (s string, err error) {
	err = rows.Scan(&s)
	return s, err
}

// Register is what a filter selects of the incidents.
type Register struct {
	Incidents []Incident // newest first
	Total     int64      // how many there are, those too that are not in Incidents
	Closed    int64      // how many closed ones the filter would select if it did not go by the state; 0 where it selects those
}

// Register reads the incidents that a filter selects, those first whose last breach is newest, and at most limit of
// them; 0: all.
func (r *Reader) Register(ctx context.Context, f Filter, limit int) (*Register, error) {
	var where conditions
	if err := where.incidents(f); err != nil {
		return nil, err
	}
	where.add(!f.From.IsZero(), "last >= ?", f.From.UnixMilli())
	where.add(!f.To.IsZero(), "last < ?", f.To.UnixMilli())
	all := strings.Join(append([]string{"TRUE"}, where.texts...), " AND ")
	state, open := "TRUE", f.State != "" && f.State != StateClosed
	var its []any
	switch f.State {
	case "":
	case StateOpen:
		state = "state <> 'closed'"
	default:
		state = "state = ?"
		its = append(its, f.State)
	}
	args := append(slices.Clone(where.values), its...)
	if limit == 0 {
		limit = -1
	}
	found := &Register{}
	err := r.snapshot(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "SELECT count(*) FILTER (WHERE "+state+"), count(*) FILTER (WHERE ? AND state = 'closed') FROM incident WHERE "+all,
			append(append(its, open), where.values...)...).Scan(&found.Total, &found.Closed)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, incidentColumns+" WHERE "+all+" AND "+state+" ORDER BY last DESC, seq DESC LIMIT ?", append(args, limit)...)
		if err != nil {
			return err
		}
		incidents, err := collect(rows, f.scanIncident)
		if err != nil {
			return err
		}
		if err := f.complete(ctx, tx, incidents); err != nil {
			return err
		}
		found.Incidents = make([]Incident, 0, len(incidents))
		for _, i := range incidents {
			found.Incidents = append(found.Incidents, i.Incident)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read incidents: %w", err)
	}
	return found, nil
}

// LookAt appends to the record that somebody looks at an incident, or takes it out: the act, and with seen that a person
// has seen it. It returns once that is on disk; what is not recorded must not be shown. The error wraps ErrNoIncident
// where there is none of that ID.
func (l *Log) LookAt(ctx context.Context, id string, act Act, seen bool) error {
	id = strings.ToUpper(id)
	n := noteRow{what: noteSeen, who: act.Who}
	if err := n.check(); err != nil {
		return err
	}
	act.Who = n.who
	act.Detail = strings.TrimSuffix("incident "+id+"; "+act.Detail, "; ")
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error {
		var err error
		if seen {
			err = t.register(ctx, id, n)
		} else {
			_, _, err = t.registered(ctx, id)
		}
		if err != nil {
			return err
		}
		return t.audit(ctx, act)
	}})
}

// registered returns the seq and the state of an incident.
func (t *turn) registered(ctx context.Context, id string) (seq int64, state string, err error) {
	err = t.store.conn.QueryRowContext(ctx, "SELECT seq, state FROM incident WHERE id = ?", strings.ToUpper(id)).Scan(&seq, &state)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = &refusal{fmt.Errorf("incident %q: %w", id, ErrNoIncident)}
	case err != nil:
		err = fmt.Errorf("find incident: %w", err)
	}
	return seq, state, err
}
