package breach

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"weak"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"schoolgate/policy"
)

// maxKnown is how many breaches the writer knows again without looking into the database.
const maxKnown = 100_000

// maxFlush is how many repeats one transaction appends, so that a breach need not wait for many.
const maxFlush = 2000

// writer is the open database with what has to be known of it to write on. A transaction that fails
// may leave it ahead of the database: it is then thrown away and loaded again. Times are Unix
// milliseconds.
type writer struct {
	store  *store
	router Router // may be nil
	ids    ulids
	link   link  // the newest
	number int64 // of the newest transaction

	open       map[incidentKey]*incident
	maxOpen    int                 // of open
	crowd      map[incidentKey]int // how many of open are by name, by their key without the name
	bySeverity [policy.SeverityCritical + 1]int
	known      *simplelru.LRU[breachKey, knownBreach]

	minute int64 // when the gathered repeats are to be appended; 0: there are none
	next   int64 // no incident has anything due before
	looked int64 // when the clock was last read
}

// breachKey is what makes a query a repeat of a breach.
type breachKey struct {
	client   policy.Client
	name     string // as text without a final dot; the real one
	category string
	title    string // the category's: a hit of a list on trial is no repeat of another
}

type knownBreach struct {
	seq      int64
	incident *incident
	severity policy.Severity
}

// settings are those of the Log at the beginning of a turn.
type settings struct {
	site  string
	quiet time.Duration
}

// turn is one transaction.
type turn struct {
	*writer
	settings
	now      int64
	touched  []*incident // whose row is to be updated
	answers  []error     // to the requests
	enqueued bool
}

// commit stores events, does what the requests ask and what is due, in one transaction. After an error
// the writer is of no more use.
func (w *writer) commit(ctx context.Context, now time.Time, s settings, events []*event, requests []request) (*turn, error) {
	t := &turn{writer: w, settings: s, now: now.UnixMilli()}
	if w.store.replaced() {
		return nil, fmt.Errorf("%s is no longer the file that was opened", w.store.path)
	}
	defer func() { w.looked = t.now }()
	if len(events) == 0 && len(requests) == 0 && !t.due() {
		return t, nil
	}
	if err := t.transact(ctx, func() error { return t.run(ctx, events, requests) }); err != nil {
		return nil, err
	}
	return t, nil
}

// note stores an act in a transaction of its own, in which nothing else is done.
func (w *writer) note(ctx context.Context, now time.Time, act Act) error {
	t := &turn{writer: w, now: now.UnixMilli()}
	return t.transact(ctx, func() error { return t.audit(ctx, act) })
}

// transact does something in a transaction. After an error, closing the store rolls back.
func (t *turn) transact(ctx context.Context, do func() error) error {
	if _, err := t.store.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := do(); err != nil {
		return err
	}
	if err := t.end(ctx); err != nil {
		return err
	}
	if _, err := t.store.exec(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// end stores how far the chain and the transactions have come.
func (t *turn) end(ctx context.Context) error {
	t.number++
	if _, err := t.store.exec(ctx, "UPDATE turn SET number = ?", t.number); err != nil {
		return err
	}
	_, err := t.store.exec(ctx, "INSERT OR REPLACE INTO head VALUES (1, ?, ?)", t.link.seq, t.link.hash[:])
	return err
}

func (t *turn) run(ctx context.Context, events []*event, requests []request) error {
	for _, e := range events {
		if err := t.event(ctx, e); err != nil {
			return fmt.Errorf("store breach: %w", err)
		}
	}
	if err := t.repeats(ctx, requests); err != nil {
		return fmt.Errorf("store repeats: %w", err)
	}
	if err := t.incidents(ctx); err != nil {
		return fmt.Errorf("store incidents: %w", err)
	}
	for _, r := range requests {
		err := r.do(ctx, t)
		if err != nil && !errors.As(err, new(*refusal)) {
			return err
		}
		t.answers = append(t.answers, err)
	}
	return nil
}

// event stores one event with the times that it was seen again before now.
func (t *turn) event(ctx context.Context, e *event) error {
	category := e.Verdict.Category
	key := breachKey{e.Client, e.Name.String(), e.Policy.CategoryName(category), e.Policy.CategoryTitle(category)}
	at := e.Time.UnixMilli()
	known, _ := t.known.Get(key)
	// A new policy may have given the group other receivers, so each incident is attributed again.
	if i := known.incident; i == nil || i.rested(at) || i.judged != weak.Make(e.Policy) || e.Verdict.Severity > known.severity {
		a := e.Policy.Attribution(e.Event)
		incident, err := t.incident(ctx, e, a, key.name)
		if err != nil {
			return err
		}
		if incident != i || e.Verdict.Severity > known.severity {
			return t.breach(ctx, e, a, key, incident)
		}
	}
	_, err := t.store.exec(ctx, `INSERT INTO gathering VALUES (?, ?, ?) ON CONFLICT (breach)
		DO UPDATE SET count = count + excluded.count, last = max(last, excluded.last)`,
		known.seq, e.count, e.last.UnixMilli())
	if t.minute == 0 {
		t.minute = endOfMinute(t.now)
	}
	t.add(known.incident, e)
	return err
}

// breach appends an event as a breach of the incident.
func (t *turn) breach(ctx context.Context, e *event, a policy.Attribution, key breachKey, incident *incident) error {
	categories, err := json.Marshal(a.Categories)
	if err != nil {
		return err
	}
	r := breachRow{
		id: t.ids.next(time.UnixMilli(t.now)), time: e.Time.UnixMilli(),
		site: t.site, group: a.Group, qtype: queryType(e.Type), transport: e.Transport,
		category: a.Category, categories: string(categories),
		severity: a.Severity.String(), action: a.Action, list: a.List, via: a.Via.String(),
		count: e.count, last: e.last.UnixMilli(), incident: incident.seq,
		client: clientOf(e.Client), name: withDot(key.name), entry: a.Entry,
	}
	if a.Confidential {
		r.name, r.entry = Confidential, Confidential
	}
	salt := newSalt()
	next := t.link.next(&r, salt)
	_, err = t.store.exec(ctx, "INSERT INTO breach VALUES ("+placeholders(24)+")", next.seq, r.id, r.time, r.site, r.group,
		r.qtype, r.transport, r.category, r.categories, r.severity, r.action, r.list, r.via, r.count, r.last, r.incident,
		r.client.IP, r.client.MAC, r.client.Name, r.client.User, r.name, r.entry, salt, next.hash[:])
	if err != nil {
		return err
	}
	t.link = next
	t.known.Add(key, knownBreach{next.seq, incident, a.Severity})
	t.add(incident, e)
	return nil
}

// repeats appends what was gathered, when the minute is over or a request says so.
func (t *turn) repeats(ctx context.Context, requests []request) error {
	limit := 0
	if t.minuteOver() {
		limit = maxFlush
	}
	for _, r := range requests {
		if r.flush {
			limit = -1 // all
		}
	}
	if limit == 0 {
		return nil
	}
	n, err := t.appendRepeats(ctx, "SELECT breach, count, last FROM gathering ORDER BY breach LIMIT ?", limit)
	if n != maxFlush {
		t.minute = 0
	}
	return err
}

// appendRepeats appends the gathered repeats that a query selects, and returns how many.
func (t *turn) appendRepeats(ctx context.Context, query string, arg any) (int, error) {
	rows, err := t.store.QueryContext(ctx, query, arg)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var repeats []repeatRow
	for rows.Next() {
		var r repeatRow
		if err := rows.Scan(&r.breach, &r.count, &r.last); err != nil {
			return 0, err
		}
		repeats = append(repeats, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	for _, r := range repeats {
		next := t.link.next(&r, nil)
		_, err := t.store.exec(ctx, "INSERT INTO repeat VALUES (?, ?, ?, ?, ?)", next.seq, r.breach, r.count, r.last, next.hash[:])
		if err != nil {
			return 0, err
		}
		if _, err := t.store.exec(ctx, "DELETE FROM gathering WHERE breach = ?", r.breach); err != nil {
			return 0, err
		}
		t.link = next
	}
	return len(repeats), nil
}

// audit appends an act.
func (t *turn) audit(ctx context.Context, act Act) error {
	r := auditRow{t.now, act}
	salt := newSalt()
	next := t.link.next(&r, salt)
	_, err := t.store.exec(ctx, "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		next.seq, r.time, act.What, act.Who, act.Why, act.Detail, salt, next.hash[:])
	if err != nil {
		return fmt.Errorf("store audit: %w", err)
	}
	t.link = next
	return nil
}

// due reports whether time alone gives the writer something to do.
func (t *turn) due() bool {
	return t.minuteOver() || t.watches() && (t.now >= t.next || t.now < t.looked)
}

// watches reports whether there are incidents to tell of or to rest as time goes by.
func (w *writer) watches() bool { return w.router != nil && len(w.open) > 0 }

// minuteOver reports whether the gathered repeats are to be appended. A clock that went back does not
// put it off.
func (t *turn) minuteOver() bool {
	return t.minute != 0 && (t.now >= t.minute || t.minute > endOfMinute(t.now))
}

// idle returns how long nothing is due.
func (w *writer) idle(now time.Time) time.Duration {
	wait := time.Minute // then it is seen whether the file is still there
	if w.watches() {
		wait = min(lookAgain, time.Duration(w.next-now.UnixMilli())*time.Millisecond)
	}
	if w.minute != 0 {
		wait = min(wait, lookAgain, time.Duration(w.minute-now.UnixMilli())*time.Millisecond)
	}
	return max(0, wait)
}

func endOfMinute(now int64) int64 { return now - now%60_000 + 60_000 }

// newSalt returns the salt of one row. crypto/rand never fails: it ends the program instead.
func newSalt() []byte {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return salt
}

func clientOf(c policy.Client) Client {
	text := Client{MAC: c.MAC, Name: c.Name, User: c.User}
	if c.Addr.IsValid() {
		text.IP = c.Addr.String()
	}
	return text
}

// withDot returns a name with its final dot; the root has no other.
func withDot(name string) string {
	if name == "." {
		return name
	}
	return name + "."
}

// placeholders returns n question marks for a statement.
func placeholders(n int) string { return strings.Repeat("?, ", n-1) + "?" }
