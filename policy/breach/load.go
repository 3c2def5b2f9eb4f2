package breach

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"schoolgate/policy"
)

// load reads from the database what the writer has to know to write on.
func load(ctx context.Context, s *store, router Router, now time.Time, quiet time.Duration) (*writer, error) {
	known, err := simplelru.NewLRU[breachKey, *knownBreach](maxKnown, nil)
	if err != nil {
		return nil, err
	}
	w := &writer{
		store: s, router: router, known: known, open: map[incidentKey]*incident{}, maxOpen: maxOpen, crowd: map[incidentKey]int{}, next: math.MaxInt64,
	}
	if w.link, err = newest(ctx, s.conn); err != nil {
		return nil, err
	}
	if err := s.conn.QueryRowContext(ctx, "SELECT number FROM turn").Scan(&w.number); err != nil {
		return nil, err
	}
	incidents, err := w.loadIncidents(ctx, quiet)
	if err != nil {
		return nil, err
	}
	if err := w.loadKnown(ctx, incidents); err != nil {
		return nil, err
	}
	return w, w.loadGathered(ctx, incidents, endOfMinute(now.UnixMilli()))
}

// newest returns the link to write on from: the head, unless there is none or there are rows above it.
// Then the file was changed by hand; the newest row is taken so that writing goes on.
func newest(ctx context.Context, q querier) (head link, err error) {
	var seq int64
	var hash []byte
	err = q.QueryRowContext(ctx, "SELECT seq, hash FROM head").Scan(&seq, &hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return link{}, err
	}
	head.seq = seq
	complete := copy(head.hash[:], hash) == len(head.hash)

	err = q.QueryRowContext(ctx, "SELECT seq, hash FROM link ORDER BY seq DESC LIMIT 1").Scan(&seq, &hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return head, nil
	case err != nil:
		return link{}, err
	case seq > head.seq || !complete:
		head.seq = seq
		copy(head.hash[:], hash)
	}
	return head, nil
}

// openQuery begins with those that are watched, which are few: to have them in order, SQLite would go through all incidents.
const openQuery = `SELECT seq, id, first, site, category, title, group_name, action,
	confidential, shared, alert_to, client_ip, client_mac, client_name, client_user, query_name,
	severity, count, last, told, told_at,
	EXISTS (SELECT 1 FROM note WHERE incident = incident.seq AND what = 'raised') FROM watching CROSS JOIN incident ON seq = watching.incident ORDER BY watching.incident`

// loadIncidents reads back the open incidents, by their seq.
func (w *writer) loadIncidents(ctx context.Context, quiet time.Duration) (map[int64]*incident, error) {
	rows, err := w.store.conn.QueryContext(ctx, openQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	incidents := map[int64]*incident{}
	for rows.Next() {
		i := &incident{}
		var r incidentRow
		a := &i.attribution
		err := rows.Scan(&i.seq, &i.id, &i.first, &i.site, &a.Category, &a.Title, &a.Group, &a.Action,
			&a.Confidential, &a.Shared, &r.alertTo, &r.client.IP, &r.client.MAC, &r.client.Name, &r.client.User, &r.name,
			&r.severity, &i.count, &i.last, &i.told, &i.toldAt, &i.raised)
		if err != nil {
			return nil, err
		}
		a.Severity, _ = policy.ParseSeverity(r.severity)
		i.severity = a.Severity
		if r.alertTo != "" {
			a.AlertToSet = true
			if err := json.Unmarshal([]byte(r.alertTo), &a.AlertTo); err != nil {
				return nil, err
			}
		}
		i.client = r.client.policy()
		i.key = incidentKey{client: nameless(i.client), category: a.Category, title: a.Title, name: withoutDot(r.name)}
		if a.Confidential && a.Shared {
			i.key.name = "\x00" + i.id // the name is not known: no breach is of this incident any more
		}
		switch {
		case i.told == 0:
			i.due = i.last
		case i.count > i.told:
			i.due = i.endOfQuiet(i.last, quiet.Milliseconds())
		}
		incidents[i.seq] = i
		w.hold(i)
	}
	return incidents, rows.Err()
}

const knownQuery = `SELECT * FROM (
	SELECT seq, breach.incident, category, severity, client_ip, client_mac, client_name, client_user, query_name
	FROM watching CROSS JOIN breach ON breach.incident = watching.incident
	WHERE query_name <> ? ORDER BY seq DESC LIMIT ?) ORDER BY seq`

// loadKnown reads back the newest breaches of the open incidents.
func (w *writer) loadKnown(ctx context.Context, incidents map[int64]*incident) error {
	rows, err := w.store.conn.QueryContext(ctx, knownQuery, Confidential, maxKnown)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		b := &knownBreach{}
		var incident int64
		var category, severity, name string
		var client Client
		err := rows.Scan(&b.seq, &incident, &category, &severity, &client.IP, &client.MAC, &client.Name, &client.User, &name)
		if err != nil {
			return err
		}
		if b.incident = incidents[incident]; b.incident == nil {
			continue // somebody took its row away
		}
		b.severity, _ = policy.ParseSeverity(severity)
		w.known.Add(breachKey{unique.Make(scope{client.policy(), category, b.incident.key.title}), withoutDot(name)}, b)
	}
	return rows.Err()
}

// loadGathered reads back the repeats that wait to be appended, at a minute's end. What is damaged is
// left out, and the table written anew, so that writing goes on: the verification finds that the
// incident counts more.
func (w *writer) loadGathered(ctx context.Context, incidents map[int64]*incident, minute int64) error {
	found, n, err := readGathered(ctx, w.store.conn, math.MinInt64, math.MaxInt64)
	if w.stored = n; errors.As(err, new(*damagedError)) {
		w.stored = rewrite
	} else if err != nil {
		return err
	}
	if w.stored == 0 {
		return nil
	}
	w.minute = minute
	breaches := map[int64]*knownBreach{}
	for _, b := range w.known.Values() {
		breaches[b.seq] = b
	}
	nobody := &incident{resting: true}
	for _, seq := range slices.Sorted(maps.Keys(found)) {
		s, b := found[seq], breaches[seq]
		if s.count <= 0 {
			continue
		}
		if b == nil {
			b = &knownBreach{incident: nobody}
			var of int64
			err := w.store.conn.QueryRowContext(ctx, "SELECT seq, incident FROM breach WHERE seq = ?", seq).Scan(&b.seq, &of)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			} else if err != nil {
				return err
			}
			if i := incidents[of]; i != nil {
				b.incident = i
			}
		}
		w.put(b, s.count, s.last)
	}
	return nil
}

func (c *Client) policy() policy.Client {
	addr, _ := netip.ParseAddr(c.IP) // "" is no address
	return policy.Client{Addr: addr, MAC: c.MAC, Name: c.Name, User: c.User}
}

// withoutDot undoes withDot.
func withoutDot(name string) string {
	if name == "." {
		return name
	}
	return strings.TrimSuffix(name, ".")
}
