package breach

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"schoolgate/policy"
)

// page is how many rows are read at once: so that a slow consumer doesn't hold a snapshot of the
// database, which would make its log grow. Of incidents it is fewer: each has its names.
const (
	page          = 1000
	incidentsPage = 100
)

// Reader reads the record, with or without a resolver that writes it. Safe for concurrent use.
type Reader struct {
	db     *sql.DB
	gentle bool // leave the processor to others for as long as it was used
}

// OpenReader opens a record to be read. It never changes it, and fails when there is none (the error
// wraps fs.ErrNotExist) or when it is of another version.
func OpenReader(path string) (*Reader, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open record: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open record: %s is not a regular file: %w", path, fs.ErrInvalid)
	}
	r := &Reader{db: openDB(path, "query_only(1)")}
	r.db.SetMaxOpenConns(readers)
	have, err := schemaVersion(context.Background(), r.db)
	files, globErr := fs.Glob(migrations, "migrations/*.sql")
	switch {
	case err != nil || globErr != nil:
		err = errors.Join(err, globErr)
	case have > len(files):
		err = newerError(have, len(files))
	case have < len(files):
		err = fmt.Errorf("schema %d, this schoolgate reads %d: start schoolgate serve once, which brings it up to date", have, len(files))
	default:
		return r, nil
	}
	return nil, errors.Join(fmt.Errorf("open record %s: %w", path, err), r.db.Close())
}

// Close closes the record.
func (r *Reader) Close() error { return r.db.Close() }

const breachesOf = `SELECT b.seq, b.id, b.time, b.site, b.group_name, b.query_type, b.transport, b.category, b.categories,
	b.severity, b.action, b.list, b.via, b.client_ip, b.client_mac, b.client_name, b.client_user, b.query_name, b.entry,
	b.count + coalesce((SELECT sum(count) FROM repeat WHERE breach = b.seq), 0),
	max(b.last, coalesce((SELECT max(last) FROM repeat WHERE breach = b.seq), 0)),
	(SELECT id FROM incident WHERE seq = b.incident)
	FROM breach b`

const breachQuery = breachesOf + " WHERE b.seq >= ? AND b.seq <= ?"

const incidentColumns = `SELECT seq, id, state, severity, category, title, group_name, action, client_ip, client_mac, client_name, client_user,
	count, first, last, outcome, confidential, shared FROM incident`

const incidentQuery = incidentColumns + " WHERE seq >= ? AND seq <= ?"

// Breaches calls yield for each breach that the filter selects, oldest first, its repeats folded in. An
// error of yield ends it and is returned.
func (r *Reader) Breaches(ctx context.Context, f Filter, yield func(Breach) error) error {
	first, last, err := r.span(ctx, "breach", "time", f)
	if err != nil {
		return err
	}
	selected, err := r.selection(ctx, f, first, last)
	if err != nil {
		return err
	}
	if f.Newest > 0 && first <= last {
		err := r.db.QueryRowContext(ctx, selected.newest(), selected.between(first, last, f.Newest-1)...).Scan(&first)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read record: %w", err)
		}
	}
	query := selected.page()
	for first <= last {
		var breaches []foundBreach
		err := r.snapshot(ctx, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, query, selected.between(first, last, page)...)
			if err != nil {
				return err
			}
			if breaches, err = collect(rows, scanBreach); err != nil || len(breaches) == 0 {
				return err
			}
			gathered, _, err := readGathered(ctx, tx, breaches[0].Seq, breaches[len(breaches)-1].Seq)
			for i := range breaches {
				breaches[i].add(gathered[breaches[i].Seq])
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("read breaches: %w", err)
		}
		for _, b := range breaches {
			b.Time, b.Last = f.stamp(b.time), f.stamp(b.last)
			if err := yield(b.Breach); err != nil {
				return err
			}
		}
		if len(breaches) < page {
			return nil
		}
		first = breaches[page-1].Seq + 1
	}
	return nil
}

// Incidents calls yield for each incident that the filter selects, oldest first.
func (r *Reader) Incidents(ctx context.Context, f Filter, yield func(Incident) error) error {
	var where conditions
	if err := where.incidents(f); err != nil {
		return err
	}
	where.add(f.ID != "", "id = ?", strings.ToUpper(f.ID))
	where.add(f.State != "" && f.State != StateOpen, "state = ?", f.State)
	where.add(f.State == StateOpen, "state <> ?", StateClosed)
	where.add(!f.From.IsZero(), "last >= ?", f.From.UnixMilli())
	where.add(!f.To.IsZero(), "last < ?", f.To.UnixMilli())
	first, last, err := r.span(ctx, "incident", "last", f)
	if err != nil {
		return err
	}
	query := where.complete(incidentQuery, "seq")
	for first <= last {
		var incidents []foundIncident
		err := r.snapshot(ctx, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, query, where.args(first, last, incidentsPage)...)
			if err != nil {
				return err
			}
			if incidents, err = collect(rows, f.scanIncident); err != nil {
				return err
			}
			return f.complete(ctx, tx, incidents)
		})
		if err != nil {
			return fmt.Errorf("read incidents: %w", err)
		}
		for _, i := range incidents {
			if err := yield(i.Incident); err != nil {
				return err
			}
		}
		if len(incidents) < incidentsPage {
			return nil
		}
		first = incidents[incidentsPage-1].seq + 1
	}
	return nil
}

// span returns the seqs between which the rows lie whose time the filter selects: found in the index
// of times, so that last week's rows need not be read for today's.
func (r *Reader) span(ctx context.Context, table, column string, f Filter) (first, last int64, err error) {
	var oldest, newest, low, high sql.NullInt64
	if err := r.db.QueryRowContext(ctx, endsOf(table, column)).Scan(&oldest, &newest, &low, &high); err != nil {
		return 0, 0, fmt.Errorf("read record: %w", err)
	}
	// A year of the index takes a while, and need not be read for all of it.
	from, to := !f.From.IsZero() && f.From.UnixMilli() > oldest.Int64, !f.To.IsZero() && f.To.UnixMilli() <= newest.Int64
	if from || to {
		var where conditions
		where.add(from, column+" >= ?", f.From.UnixMilli())
		where.add(to, column+" < ?", f.To.UnixMilli())
		query := "SELECT min(seq), max(seq) FROM " + table + " WHERE " + strings.Join(where.texts, " AND ")
		if err := r.db.QueryRowContext(ctx, query, where.values...).Scan(&low, &high); err != nil {
			return 0, 0, fmt.Errorf("read record: %w", err)
		}
	}
	if !low.Valid {
		return 1, 0, nil
	}
	return low.Int64, high.Int64, nil
}

// endsOf is a query for the first and the last time and seq, each by itself: together they would be looked for among all.
func endsOf(table, column string) string {
	return fmt.Sprintf("SELECT (SELECT min(%[1]s) FROM %[2]s), (SELECT max(%[1]s) FROM %[2]s), (SELECT min(seq) FROM %[2]s), (SELECT max(seq) FROM %[2]s)",
		column, table)
}

// snapshot reads what belongs together, so that no repeat is missed or counted twice because it is
// appended in between.
func (r *Reader) snapshot(ctx context.Context, read func(*sql.Tx) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return read(tx)
}

// foundBreach is a Breach with its times in Unix milliseconds.
type foundBreach struct {
	Breach
	time, last int64
}

func (b *foundBreach) add(repeats sum) {
	b.Count += repeats.count
	b.last = max(b.last, repeats.last)
}

func scanBreach(rows *sql.Rows) (b foundBreach, err error) {
	var categories string
	err = rows.Scan(&b.Seq, &b.ID, &b.time, &b.Site, &b.Group, &b.Query.Type, &b.Query.Transport, &b.Category, &categories,
		&b.Severity, &b.Action, &b.Rule.List, &b.Rule.Via, &b.Client.IP, &b.Client.MAC, &b.Client.Name, &b.Client.User,
		&b.Query.Name, &b.Rule.Entry, &b.Count, &b.last, &b.Incident)
	if err != nil {
		return b, err
	}
	err = json.Unmarshal([]byte(categories), &b.Categories)
	return b, err
}

// foundIncident is an Incident with what is needed to find its names.
type foundIncident struct {
	Incident
	seq int64
}

func (f Filter) scanIncident(rows *sql.Rows) (i foundIncident, err error) {
	var first, last int64
	err = rows.Scan(&i.seq, &i.ID, &i.State, &i.Severity, &i.Category, &i.Title, &i.Group, &i.Action, &i.Client.IP, &i.Client.MAC,
		&i.Client.Name, &i.Client.User, &i.Count, &first, &last, &i.Outcome, &i.Confidential, &i.Shared)
	i.First, i.Last, i.Names, i.Notes = f.stamp(first), f.stamp(last), []NameCount{}, []Note{}
	return i, err
}

// complete adds to incidents their names and notes.
func (f Filter) complete(ctx context.Context, tx *sql.Tx, incidents []foundIncident) error {
	if len(incidents) == 0 {
		return nil
	}
	oldest := slices.MinFunc(incidents, func(a, b foundIncident) int { return cmp.Compare(a.seq, b.seq) }).seq
	gathered, _, err := readGathered(ctx, tx, oldest, math.MaxInt64)
	for n := range incidents {
		i := &incidents[n]
		if err == nil && !i.Confidential {
			i.Names, err = incidentNames(ctx, tx, i.seq, gathered)
		}
		if err == nil {
			i.Notes, err = f.notes(ctx, tx, i.seq)
		}
	}
	return err
}

// notes returns what was done about an incident, oldest first.
func (f Filter) notes(ctx context.Context, q multiQuerier, incident int64) ([]Note, error) {
	rows, err := q.QueryContext(ctx, "SELECT seq, time, what, who, text, outcome, severity FROM note WHERE incident = ? ORDER BY seq", incident)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(rows *sql.Rows) (n Note, err error) {
		var at int64
		err = rows.Scan(&n.Seq, &at, &n.What, &n.By, &n.Text, &n.Outcome, &n.Severity)
		n.Time = f.stamp(at)
		return n, err
	})
}

// stamp writes a time as RFC 3339 with milliseconds and offset, also where the offset is zero.
func (f Filter) stamp(millis int64) string {
	zone := f.Zone
	if zone == nil {
		zone = time.UTC
	}
	return time.UnixMilli(millis).In(zone).Format("2006-01-02T15:04:05.000-07:00")
}

type multiQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

const namesQuery = `SELECT seq, query_name, count + coalesce((SELECT sum(count) FROM repeat WHERE breach = b.seq), 0)
	FROM breach b WHERE incident = ? ORDER BY seq LIMIT ?`

// incidentNames returns the names that an incident is about, as Notice.Names has them, with what is
// gathered of its breaches.
func incidentNames(ctx context.Context, q multiQuerier, incident int64, gathered sums) ([]NameCount, error) {
	rows, err := q.QueryContext(ctx, namesQuery, incident, maxCounted)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int64{}
	for rows.Next() {
		var seq, count int64
		var name string
		if err := rows.Scan(&seq, &name, &count); err != nil {
			return nil, err
		}
		counts[name] += count + gathered[seq].count
	}
	names := make([]NameCount, 0, len(counts))
	for name, count := range counts {
		names = append(names, NameCount{name, count})
	}
	slices.SortFunc(names, func(a, b NameCount) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	names = slices.Clip(names[:min(len(names), maxNames)])
	for i := range names {
		names[i].Name = withoutDot(names[i].Name)
	}
	return names, rows.Err()
}

// collect reads rows to their end and closes them. It returns an empty slice, not nil, for none.
func collect[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) ([]T, error) {
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// conditions are those of a WHERE clause that are wanted.
type conditions struct {
	texts  []string
	values []any
}

func (c *conditions) add(wanted bool, text string, value any) {
	if wanted {
		c.texts, c.values = append(c.texts, text), append(c.values, value)
	}
}

// incidents are those that hold for the table incident, but for its state and times.
func (c *conditions) incidents(f Filter) error {
	c.add(f.Group != "", "group_name = ?", f.Group)
	c.add(f.Category != "", "category = ?", f.Category)
	c.add(f.Severity != "", "severity = ?", f.Severity)
	return c.client("", f.Client)
}

// client adds that it is of a client, as policy.ClientPattern.Matches says. prefix is that of the columns.
func (c *conditions) client(prefix, client string) error {
	if client == "" {
		return nil
	}
	p, err := policy.ParseClientPattern(client)
	switch {
	case err != nil:
		return err
	case p.MAC != "":
		c.add(true, prefix+"client_mac <> '' AND "+prefix+"client_mac = ?", p.MAC) // as the index says

	case p.User != "":
		c.add(true, prefix+"client_user <> '' AND "+prefix+"client_user = ?", p.User)
	case p.Name != "":
		c.name(prefix, p.Name)
	default:
		c.add(true, prefix+"client_ip = ?", p.Addr.String())
	}
	return nil
}

// name adds that a device has a name. Its first label alone names it too, as it does for a rule.
func (c *conditions) name(prefix, name string) {
	c.add(true, "? IN ("+prefix+"client_name, substr("+prefix+"client_name, 1, instr("+prefix+"client_name || '.', '.') - 1))", name)
}

// complete returns a query that ends in conditions with these behind them, ordered, and limited.
func (c *conditions) complete(query, order string) string {
	return strings.Join(append([]string{query}, c.texts...), " AND ") + " ORDER BY " + order + " LIMIT ?"
}

// args returns the values with those of the first two placeholders and of the last.
func (c *conditions) args(first, last int64, limit int) []any {
	return append(append([]any{first, last}, c.values...), limit)
}
