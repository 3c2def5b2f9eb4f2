package breach

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"schoolgate/policy"
)

// kind is what breaches have in common, and the index that knows them by it. In it they are in the order of their seq, or
// are those of one client, which are few.
type kind struct {
	index string
	text  string // the condition, with %[1]s for the breach
	args  []any
}

// kinds are those that a filter selects by. That of a client is the first.
func (f Filter) kinds() (all []kind, err error) {
	if f.Client != "" {
		k, err := clientKind(f.Client)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	for _, by := range []struct{ value, column, index string }{
		{f.Group, "group_name", "breach_group"}, {f.Category, "category", "breach_category"}, {f.Severity, "severity", "breach_severity"},
	} {
		if by.value != "" {
			all = append(all, kind{by.index, "%[1]s." + by.column + " = ?", []any{by.value}})
		}
	}
	return all, nil
}

// clientKind is that of a client. All breaches of an incident have its address, MAC address and user; the device's name may
// be found out later, so it has an index of breaches.
func clientKind(client string) (kind, error) {
	p, err := policy.ParseClientPattern(client)
	if err != nil {
		return kind{}, err
	}
	if p.Name != "" {
		// Between a name and the name with a slash is all that begins with it and a dot: '.' is just before '/'.
		var its conditions
		its.name("%[1]s.", p.Name)
		text := "%[1]s.client_name <> '' AND %[1]s.client_name >= ? AND %[1]s.client_name < ? AND " + its.texts[0]
		return kind{"breach_name", text, append([]any{p.Name, p.Name + "/"}, its.values...)}, nil
	}
	var its conditions
	if err := its.client("", client); err != nil {
		return kind{}, err
	}
	return kind{"breach_incident", "%[1]s.incident IN (SELECT seq FROM incident WHERE " + its.texts[0] + ")", its.values}, nil
}

// selection finds the seqs of breaches.
type selection struct {
	text string // a SELECT of b.seq, up to the order
	args []any  // behind the first and the last seq
}

// selection returns what finds the breaches between two seqs that a filter selects. It reads what the rarest of the kinds
// has, and of the others only whether they have it too, so that neither a kind that is rare nor two that never meet cost
// a look at all.
func (r *Reader) selection(ctx context.Context, f Filter, first, last int64) (s selection, err error) {
	kinds, err := f.kinds()
	if err != nil {
		return s, err
	}
	s.text = "SELECT b.seq FROM breach b"
	var where conditions
	if len(kinds) > 0 {
		rarest := 0
		if f.Client == "" && len(kinds) > 1 {
			if rarest, err = r.rarest(ctx, kinds, first, last); err != nil {
				return s, err
			}
		}
		s.text += " INDEXED BY " + kinds[rarest].index
		for i, k := range kinds {
			text := fmt.Sprintf(k.text, "b")
			if i != rarest {
				text = "EXISTS (SELECT 1 FROM breach o INDEXED BY " + k.index + " WHERE " + fmt.Sprintf(k.text, "o") + " AND o.seq = b.seq)"
			}
			where.texts, where.values = append(where.texts, text), append(where.values, k.args...)
		}
	}
	where.add(!f.From.IsZero(), "b.time >= ?", f.From.UnixMilli())
	where.add(!f.To.IsZero(), "b.time < ?", f.To.UnixMilli())
	s.text += " WHERE " + strings.Join(append([]string{"b.seq >= ? AND b.seq <= ?"}, where.texts...), " AND ")
	s.args = where.values
	return s, nil
}

// rarest returns which of kinds has the fewest breaches between two seqs. None is counted beyond ten times those, nor beyond
// a million.
func (r *Reader) rarest(ctx context.Context, kinds []kind, first, last int64) (int, error) {
	for most := int64(10_000); most <= 1_000_000; most *= 10 {
		best, fewest := -1, most
		for i, k := range kinds {
			var n int64
			args := append(slices.Clone(k.args), first, last, fewest)
			if err := r.db.QueryRowContext(ctx, k.counted(), args...).Scan(&n); err != nil {
				return 0, fmt.Errorf("read record: %w", err)
			}
			if n < fewest {
				best, fewest = i, n
			}
		}
		if best >= 0 {
			return best, nil
		}
	}
	return 0, nil
}

// counted is a query for how many there are between two seqs, at most so many.
func (k kind) counted() string {
	return "SELECT count(*) FROM (SELECT 1 FROM breach b INDEXED BY " + k.index + " WHERE " + fmt.Sprintf(k.text, "b") +
		" AND b.seq >= ? AND b.seq <= ? LIMIT ?)"
}

// newest is a query for the oldest of so many of the newest.
func (s selection) newest() string { return s.text + " ORDER BY b.seq DESC LIMIT 1 OFFSET ?" }

// page is a query for the breaches themselves, oldest first, at most so many.
func (s selection) page() string {
	return breachesOf + " WHERE b.seq IN (" + s.text + " ORDER BY b.seq LIMIT ?) ORDER BY b.seq"
}

// between returns the arguments of these, for the breaches between two seqs.
func (s selection) between(first, last int64, limit int) []any {
	return append(append([]any{first, last}, s.args...), limit)
}
