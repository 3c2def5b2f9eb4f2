package breach

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy"
)

// ErrClosed is what a Log returns once Run has ended.
var ErrClosed = errors.New("the record is closed")

// Settings are what a reload may change.
type Settings struct {
	// Site names this resolver on each record.
	Site string
	// Quiet is the least time between two alerts about one incident.
	Quiet time.Duration
	// Escalation is when an incident grows graver by itself.
	Escalation Escalation
}

// Options is what a Log is made with.
type Options struct {
	// Path is that of the database. Its directory must exist.
	Path string
	Settings
	// Now is the clock; nil: time.Now. A jump is noticed within a second, at once by Tick.
	Now func() time.Time
	// Router says whom to alert. It is called once Run has begun. nil is for a tool that settles
	// something in the record of a resolver that does not run: no incident is told of or made to rest,
	// and a record that was replaced or is damaged is left as it is, so that the resolver does it when it
	// runs again.
	Router Router
	// System is told what a person must know: the record can't be written, was replaced,
	// records were lost, the chain is broken. The same text comes again while it lasts. It must not wait. May be nil.
	System func(message string)
	// Logger may be nil. It is given neither a client nor a name.
	Logger *slog.Logger
	// Registerer takes the metrics; nil: nobody.
	Registerer prometheus.Registerer
}

// Log is the record of a running resolver. Its methods are safe for concurrent use. Those that change
// something or wait for it, Flush, Tick, Audit, Enqueue, Settle and Retry, need Run to be running.
type Log struct {
	router  Router
	system  func(string)
	logger  *slog.Logger
	metrics *metrics
	path    string
	now     func() time.Time
	open    func(ctx context.Context) (*store, error)

	queue    *queue
	requests chan request
	outbox   chan struct{}
	opened   chan struct{} // holds one element when the database was opened, for the verification
	done     chan struct{} // closed when Run has ended

	// The writer's own, used by Open and then by Run alone.
	writer  *writer // nil while the database can't be used
	waiting batch
	// generation is how many writers there have been.
	generation int
	unsure     int64 // the transaction that failed and may have taken place all the same; 0: none
	pause      time.Duration
	retryAt    time.Time // by the real clock
	saidLost   int64

	// The writer's own too: whether the record is still the one that was written.
	last     link // the newest that is known to be stored; its seq is 0 where none is known
	saved    link // what the head file says
	savedAt  time.Time
	unsaved  bool      // it can't be written
	damaged  int       // attempts in a row that found the database damaged
	aside    string    // where a damaged database was moved, until the new one says so
	movedAt  time.Time // by the real clock
	stopping bool

	mu       sync.Mutex
	settings Settings
	head     Head
	broken   error    // why the database can't be used now
	replaced []string // how the record was replaced since the start
	chain    error    // what is wrong with the chain
	reader   *sql.DB
}

// request is a change that a caller waits for. An error of do ends the transaction, unless it is a
// *refusal.
type request struct {
	do    func(context.Context, *turn) error
	flush bool // append the repeats now
	scrub bool // then leave nothing of deleted rows in the files
	done  chan error
}

// refusal is an error that concerns only its request.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// Open opens the record, and makes it where there is none. A database that can't be used is no error:
// the Log then keeps what comes in memory, tries again, and says so in Problems. Nothing is started.
func Open(o Options) (*Log, error) {
	if o.Path == "" {
		return nil, errors.New("open record: no path")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.System == nil {
		o.System = func(string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	l := &Log{
		router: o.Router, system: o.System, logger: o.Logger, metrics: m, path: o.Path, now: o.Now,
		open:  func(ctx context.Context) (*store, error) { return openStore(ctx, o.Path) },
		queue: newQueue(), requests: make(chan request), outbox: make(chan struct{}, 1), opened: make(chan struct{}, 1), done: make(chan struct{}),
		settings: o.Settings,
	}
	if l.router != nil {
		l.last = l.readHead()
		l.saved = l.last
	}
	if err := l.connect(context.Background()); err != nil {
		l.fail(err)
	}
	return l, nil
}

// Record puts a breach on the record. It never waits, and may be called from any goroutine. An event
// of severity none is none.
func (l *Log) Record(e policy.Event) {
	if e.Verdict.Severity == policy.SeverityNone {
		return
	}
	if !l.queue.add(&e) {
		l.metrics.dropped.Inc()
	}
}

// Apply takes new settings, at a reload.
func (l *Log) Apply(s Settings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settings = s
}

// Head returns the newest link of the chain that is stored.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Problems returns what is wrong now, a line for each, empty when nothing is. A loss, a record that was
// replaced and a chain that is broken stay until the next start.
func (l *Log) Problems() []string {
	l.mu.Lock()
	broken, replaced, chain := l.broken, slices.Clone(l.replaced), l.chain
	l.mu.Unlock()
	var problems []string
	if broken != nil {
		text := fmt.Sprintf("breach record: %v", broken)
		if do := advice(broken); do != "" {
			text += " (" + do + ")"
		}
		problems = append(problems, fmt.Sprintf("%s; waiting in memory: %d", text, l.queue.waiting()))
	}
	if lost := l.queue.losses(); lost > 0 {
		problems = append(problems, fmt.Sprintf("breach record: %d breaches were lost since the start, because they could not be stored", lost))
	}
	for _, what := range replaced {
		problems = append(problems, "breach record: it "+what)
	}
	if chain != nil {
		problems = append(problems, fmt.Sprintf("breach record: %v", chain))
	}
	return problems
}

// Flush stores all that waits, appends the repeats of this minute, does what is due, and returns when
// it is on disk.
func (l *Log) Flush(ctx context.Context) error {
	return l.request(ctx, request{do: func(context.Context, *turn) error { return nil }, flush: true})
}

// Tick stores all that waits, does what is due, and returns when it is on disk: for those who set the
// clock.
func (l *Log) Tick(ctx context.Context) error {
	return l.request(ctx, request{do: func(context.Context, *turn) error { return nil }})
}

// Audit appends an act to the record and returns when it is on disk.
func (l *Log) Audit(ctx context.Context, act Act) error {
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error { return t.audit(ctx, act) }})
}

// request has the writer do something in its next transaction, and returns when that is on disk.
func (l *Log) request(ctx context.Context, r request) error {
	r.done = make(chan error, 1)
	select {
	case l.requests <- r: // from here on the writer answers, whatever becomes of it
	case <-l.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reading returns the connections for reading, or why there are none.
func (l *Log) reading() (*sql.DB, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.reader != nil:
		return l.reader, nil
	case l.broken != nil:
		return nil, l.broken
	}
	return nil, ErrClosed
}
