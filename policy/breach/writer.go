package breach

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
	"unique"
	"weak"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"schoolgate/policy"
)

// maxKnown is how many breaches the writer knows again without looking into the database.
const maxKnown = 200_000

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
	known      *simplelru.LRU[breachKey, *knownBreach]
	// generation is another one for each writer: what an entry of the queue says of its breach holds for
	// the writer that said it.
	generation int
	gathering
	tallies
	rows []any // the columns of breaches that are to be stored

	next   int64 // no incident has anything due before
	looked int64 // when the clock was last read
}

// breachKey is what makes a query a repeat of a breach. What the breaches of a client have in common is
// kept once.
type breachKey struct {
	scope unique.Handle[scope]
	name  string // as text without a final dot; the real one
}

type scope struct {
	client   policy.Client
	category string
	title    string // the category's: a hit of a list on trial is no repeat of another
}

// knownBreach is what the writer knows of a breach.
type knownBreach struct {
	seq        int64
	incident   *incident // never nil
	severity   policy.Severity
	superseded bool // by a newer breach of the same key
	generation int  // of the writer

	listed      bool  // whether it is in gathering.repeated
	count, last int64 // of its repeats that are not yet appended
}

const (
	breachColumns = 24
	// breachesAtOnce is how many breaches one statement stores: a fifth less work than one each.
	breachesAtOnce = 16
)

// turn is one transaction.
type turn struct {
	*writer
	Settings
	now     int64
	policy  *policy.Policy // of the newest event
	judged  weak.Pointer[policy.Policy]
	touched []*incident // whose row is to be updated
	// byIncident is gathering.repeated by incident, once that was asked for.
	byIncident map[*incident][]*knownBreach
	answers    []error // to the requests
	sealed     []*sealing
	sealings   map[*incident]*sealing // those of sealed
	enqueued   bool
}

// commit stores events, does what the requests ask and what is due, in one transaction. After an error
// the writer is of no more use.
func (w *writer) commit(ctx context.Context, now time.Time, s Settings, events batch, requests []request) (*turn, error) {
	t := &turn{writer: w, Settings: s, now: now.UnixMilli()}
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

// end stores what is gathered, and how far the chain and the transactions have come.
func (t *turn) end(ctx context.Context) error {
	if err := t.storeGathered(ctx); err != nil {
		return fmt.Errorf("store repeats: %w", err)
	}
	if err := t.storeTallies(ctx); err != nil {
		return fmt.Errorf("store tallies: %w", err)
	}
	t.number++
	if _, err := t.store.exec(ctx, "UPDATE turn SET number = ?", t.number); err != nil {
		return err
	}
	_, err := t.store.exec(ctx, "INSERT OR REPLACE INTO head VALUES (1, ?, ?)", t.link.seq, t.link.hash[:])
	return err
}

// After yieldEvery repeats the writer lets questions have its processor (see store.exec), and after as many incidents it
// rests for a breath: where the program is busy Go looks for packets that have come only when a goroutine rests, else
// every 10 ms. Of incidents there are few, so that what is new is never held up for long.
const (
	yieldEvery = 64
	breath     = 50 * time.Microsecond
)

func (t *turn) run(ctx context.Context, events batch, requests []request) error {
	for _, c := range events {
		for i := range c {
			if err := t.event(ctx, &c[i]); err != nil {
				return fmt.Errorf("store breach: %w", err)
			}
			if i%yieldEvery == 0 {
				runtime.Gosched()
			}
		}
	}
	if err := t.storeBreaches(ctx); err != nil {
		return fmt.Errorf("store breaches: %w", err)
	}
	if err := t.storeSealed(ctx); err != nil {
		return fmt.Errorf("store sealed names: %w", err)
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

// event stores one event with the times that it was seen again before now. Most are repeats, and of
// those the queue's entry says of which breach.
func (t *turn) event(ctx context.Context, e *pending) error {
	b, key := e.entry.stored, breachKey{}
	if b == nil || b.generation != t.generation || b.superseded {
		key = keyOf(e)
		b, _ = t.known.Get(key)
	}
	if t.policy != e.Policy {
		t.policy, t.judged = e.Policy, weak.Make(e.Policy)
	}
	// A new policy may have given the group other receivers, so each incident is attributed again.
	if b == nil || b.incident.rested(e.Time.UnixMilli()) || b.incident.judged != t.judged || e.Verdict.Severity > b.severity {
		a := e.Policy.Attribution(e.Event)
		if key == (breachKey{}) {
			key = keyOf(e)
		}
		incident, err := t.incident(ctx, e, a, key.name)
		if err != nil {
			return err
		}
		if b == nil || b.incident != incident || e.Verdict.Severity > b.severity {
			if b != nil {
				b.superseded = true
			}
			return t.breach(ctx, e, a, key, incident)
		}
	}
	e.entry.stored = b
	if !b.listed {
		t.known.Add(keyOf(e), b) // once a minute it is told that the breach is still asked for
	}
	t.gather(b, e.count, e.last.UnixMilli())
	return nil
}

func keyOf(e *pending) breachKey {
	c := e.Verdict.Category
	return breachKey{unique.Make(scope{e.Client, e.Policy.CategoryName(c), e.Policy.CategoryTitle(c)}), e.Name.String()}
}

// breach appends an event as a breach of the incident, which storeBreaches stores.
func (t *turn) breach(ctx context.Context, e *pending, a policy.Attribution, key breachKey, incident *incident) error {
	categories, err := json.Marshal(a.Categories)
	if err != nil {
		return err
	}
	r := breachRow{
		id: t.ids.next(time.UnixMilli(t.now)), time: e.Time.UnixMilli(),
		site: t.Site, group: a.Group, qtype: policy.TypeName(e.Type), transport: e.Transport,
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
	if a.Confidential {
		if err := t.sealName(&r, next.seq, e, key, incident); err != nil {
			return err
		}
	}
	t.rows = append(t.rows, next.seq, r.id, r.time, r.site, r.group,
		r.qtype, r.transport, r.category, r.categories, r.severity, r.action, r.list, r.via, r.count, r.last, r.incident,
		r.client.IP, r.client.MAC, r.client.Name, r.client.User, r.name, r.entry, salt, next.hash[:])
	if len(t.rows) == breachColumns*breachesAtOnce {
		if err := t.storeBreaches(ctx); err != nil {
			return err
		}
	}
	t.link = next
	e.entry.stored = &knownBreach{seq: next.seq, incident: incident, severity: a.Severity, generation: t.generation}
	t.known.Add(key, e.entry.stored)
	t.add(incident, 1, e.count, r.last)
	return nil
}

// storeBreaches stores the breaches that were appended since the last time.
func (t *turn) storeBreaches(ctx context.Context) error {
	if len(t.rows) == 0 {
		return nil
	}
	row := "(" + placeholders(breachColumns) + "), "
	rows := strings.Repeat(row, len(t.rows)/breachColumns)
	_, err := t.store.exec(ctx, "INSERT INTO breach VALUES "+strings.TrimSuffix(rows, ", "), t.rows...)
	clear(t.rows)
	t.rows = t.rows[:0]
	return err
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
	return t.over(t.now) || t.watches() && (t.now >= t.next || t.now < t.looked)
}

// watches reports whether there are incidents to tell of or to rest as time goes by.
func (w *writer) watches() bool { return w.router != nil && len(w.open) > 0 }

// idle returns how long nothing is due.
func (w *writer) idle(now time.Time) time.Duration {
	wait := time.Minute // then it is seen whether the file is still there
	if w.watches() {
		wait = min(lookAgain, time.Duration(w.next-now.UnixMilli())*time.Millisecond)
	}
	if w.over(now.UnixMilli()) {
		return 0
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
