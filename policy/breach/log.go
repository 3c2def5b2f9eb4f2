package breach

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy"
)

const (
	// gather is how long the writer waits after the first event for more, so that a page's twenty
	// names cost one sync of the disk.
	gather = 20 * time.Millisecond
	// minPause and maxPause bound the wait before a failed database is tried again.
	minPause = 250 * time.Millisecond
	maxPause = 30 * time.Second
	// maxWait bounds the same at a stop.
	maxWait = 500 * time.Millisecond
	// lookAgain is how often the clock is compared with what is due while something is: a timer alone
	// would not see a clock that was set.
	lookAgain = time.Second
)

// ErrClosed is what a Log returns once Run has ended.
var ErrClosed = errors.New("the record is closed")

// Options is what a Log is made with.
type Options struct {
	// Path is that of the database. Its directory must exist.
	Path string
	// Site names this resolver on each record.
	Site string
	// Quiet is the least time between two alerts about one incident.
	Quiet time.Duration
	// Now is the clock; nil: time.Now. A jump is noticed within a second, at once by Tick.
	Now func() time.Time
	// Router says whom to alert. It is called once Run has begun. nil is for a tool that settles
	// something in the record of a resolver that does not run: no incident is told of or made to rest,
	// so that the resolver does it when it runs again.
	Router Router
	// System is told what a person must know: the record can't be written, records were lost, the
	// chain is broken. The same text comes again while it lasts. It must not wait. May be nil.
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
	done     chan struct{} // closed when Run has ended

	// The writer's own, used by Open and then by Run alone.
	writer   *writer // nil while the database can't be used
	waiting  []*event
	unsure   int64 // the transaction that failed and may have taken place all the same; 0: none
	pause    time.Duration
	retryAt  time.Time // by the real clock
	saidLost int64

	mu     sync.Mutex
	site   string
	quiet  time.Duration
	head   Head
	broken error  // why the database can't be used now
	chain  string // what is wrong with the chain, "" for nothing
	reader *sql.DB
}

// request is a change that a caller waits for. An error of do ends the transaction, unless it is a
// *refusal.
type request struct {
	do    func(context.Context, *turn) error
	flush bool // append the repeats now
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
		queue: newQueue(), requests: make(chan request), outbox: make(chan struct{}, 1), done: make(chan struct{}),
		site: o.Site, quiet: o.Quiet,
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
	if !l.queue.add(e) {
		l.metrics.dropped.Inc()
	}
}

// Apply takes a new site and quiet time, at a reload.
func (l *Log) Apply(site string, quiet time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.site, l.quiet = site, quiet
}

// Head returns the newest link of the chain that is stored.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Problems returns what is wrong now, a line for each, empty when nothing is. A loss stays until the
// next start.
func (l *Log) Problems() []string {
	l.mu.Lock()
	broken, chain := l.broken, l.chain
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
	if chain != "" {
		problems = append(problems, "breach record: "+chain)
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

// Run writes, until ctx ends; then it stores all that Record has taken by then, repeats too, and
// closes the database. Its error is that something could not be stored at the end. Stop the resolver
// and the dispatcher before.
func (l *Log) Run(ctx context.Context) error {
	defer close(l.done)
	var verification sync.WaitGroup
	defer verification.Wait()
	verifying := false
	work := context.WithoutCancel(ctx) // a transaction once begun is not broken off
	for ctx.Err() == nil {
		if l.writer != nil && !verifying {
			verifying = true
			verification.Go(func() { l.verify(ctx) })
		}
		l.turn(work, l.await(ctx))
	}
	return l.drain(work)
}

// await returns when there is something to do, with the requests that have come.
func (l *Log) await(ctx context.Context) (requests []request) {
	wake, wait := l.queue.wake, time.Duration(0)
	if l.writer == nil {
		wake, wait = nil, max(0, time.Until(l.retryAt))
	} else {
		wait = l.writer.idle(l.now())
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	case r := <-l.requests:
		requests = append(requests, r)
	case <-wake:
		more := time.NewTimer(gather)
		defer more.Stop()
		select {
		case <-ctx.Done():
		case <-more.C:
		case r := <-l.requests: // somebody waits for this transaction
			requests = append(requests, r)
		}
	}
	for {
		select {
		case r := <-l.requests:
			requests = append(requests, r)
		default:
			return requests
		}
	}
}

// turn stores what waits and does what is asked and due, in one transaction.
func (l *Log) turn(ctx context.Context, requests []request) {
	var answers []error
	var err error
	if l.pause > 0 && time.Now().Before(l.retryAt) {
		err = l.problem()
	} else if answers, err = l.attempt(ctx, requests); err != nil {
		l.fail(err)
	} else {
		l.recovered()
	}
	for i, r := range requests {
		if err != nil {
			r.done <- err
		} else {
			r.done <- answers[i]
		}
	}
}

// attempt does what turn says, or nothing, with an error.
func (l *Log) attempt(ctx context.Context, requests []request) (answers []error, err error) {
	defer func() {
		// A fault here must not stop the resolver, which runs in the same process.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			l.logger.Error("breach record: panic", "panic", p)
		}
	}()
	if l.writer == nil {
		if err := l.connect(ctx); err != nil {
			return nil, err
		}
	}
	again := l.waiting != nil
	if !again {
		l.waiting = l.queue.take()
	}
	l.mu.Lock()
	settings := settings{site: l.site, quiet: l.quiet}
	l.mu.Unlock()
	l.unsure = l.writer.number + 1
	t, err := l.writer.commit(ctx, l.now(), settings, l.waiting, requests)
	if err != nil {
		return nil, err
	}
	l.unsure, l.waiting = 0, nil
	l.queue.release()
	if again {
		l.queue.nudge() // what came in the meantime is still in the queue
	}
	l.show()
	if t.enqueued {
		l.ring()
	}
	return t.answers, nil
}

// connect opens the database and reads back what the writer has to know.
func (l *Log) connect(ctx context.Context) error {
	s, err := l.open(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", l.path, err)
	}
	w, err := load(ctx, s, l.router, l.now(), l.quietTime())
	if err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", l.path, err), s.close())
	}
	if l.unsure != 0 && w.number == l.unsure {
		// COMMIT returned an error, but what it wrote was complete on disk.
		l.waiting = nil
		l.queue.release()
		l.queue.nudge()
	}
	l.writer, l.unsure = w, 0
	l.mu.Lock()
	l.reader = s.read
	l.mu.Unlock()
	l.show()
	return nil
}

// show publishes what the writer knows now.
func (l *Log) show() {
	for _, s := range severities {
		l.metrics.open[s].Set(float64(l.writer.bySeverity[s]))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = l.writer.link.head()
}

func (l *Log) quietTime() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quiet
}

// fail closes the database after an error, to be opened again after a pause.
func (l *Log) fail(err error) {
	l.metrics.writeFailures.Inc()
	if l.writer != nil {
		l.mu.Lock()
		l.reader = nil
		l.mu.Unlock()
		if closeErr := l.writer.store.close(); closeErr != nil {
			l.logger.Debug("close breach record", "error", closeErr)
		}
		l.writer = nil
	}
	first := l.problem() == nil
	l.mu.Lock()
	l.broken = err
	l.mu.Unlock()
	l.pause = min(max(2*l.pause, minPause), maxPause)
	l.retryAt = time.Now().Add(l.pause)
	if first {
		l.logger.Error("breach record can't be written; breaches wait in memory", "error", err, "advice", advice(err))
	}
	if l.pause >= time.Second { // not a passing fault
		l.system("The breach record can't be written. DNS goes on; breaches wait in memory and no alert about them leaves. See /healthz for the cause.")
	}
	l.sayLosses()
}

// recovered takes note that a transaction went well.
func (l *Log) recovered() {
	l.pause = 0
	if l.problem() != nil {
		l.mu.Lock()
		l.broken = nil
		l.mu.Unlock()
		l.logger.Info("breach record is written again")
	}
	l.sayLosses()
}

// problem returns why the database can't be used, nil when it can.
func (l *Log) problem() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

func (l *Log) sayLosses() {
	if lost := l.queue.losses(); lost > l.saidLost {
		l.logger.Error("breaches were lost: the queue is full", "lost", lost-l.saidLost)
		l.system("Breaches were lost, because they could not be stored and the queue in memory was full. See /healthz and schoolgate_records_dropped_total.")
		l.saidLost = lost
	}
}

// drain stores what is left, and closes.
func (l *Log) drain(ctx context.Context) error {
	l.queue.close()
	var err error
	// What a failed attempt left is stored before what came after it. A fault may pass: three attempts.
	for attempts := 0; attempts < 3; {
		time.Sleep(min(time.Until(l.retryAt), maxWait))
		l.retryAt = time.Time{}
		last := request{do: func(context.Context, *turn) error { return nil }, flush: true, done: make(chan error, 1)}
		requests := []request{last}
		for more := true; more; {
			select {
			case r := <-l.requests:
				requests = append(requests, r)
			default:
				more = false
			}
		}
		l.turn(ctx, requests)
		if err = <-last.done; err != nil {
			attempts++
		} else if l.queue.waiting() == 0 {
			break
		}
	}
	if n := int64(l.queue.waiting()); n > 0 {
		l.queue.lose(n)
		l.metrics.dropped.Add(float64(n))
		err = fmt.Errorf("close record: %d breaches are lost: %w", n, err)
	}
	l.sayLosses()
	if l.writer != nil {
		l.mu.Lock()
		l.reader = nil
		l.mu.Unlock()
		err = errors.Join(err, l.writer.store.close())
		l.writer = nil
	}
	return err
}

// verify checks the chain once, off the data path.
func (l *Log) verify(ctx context.Context) {
	for {
		reader, err := l.reading()
		if err == nil {
			_, err = (&Reader{db: reader, gentle: true}).Verify(ctx)
			if now, _ := l.reading(); err == nil || now == reader && ctx.Err() == nil {
				l.verified(err)
				return
			}
		}
		select { // the database failed in between, and comes back
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// verified takes note of what a verification found.
func (l *Log) verified(err error) {
	if err == nil {
		return
	}
	text := fmt.Sprintf("the chain could not be verified: %v", err)
	if errors.As(err, new(*BrokenError)) {
		text = fmt.Sprintf("%v: keep a copy of %s, and find out who changed it", err, l.path)
		l.system("The chain of the breach record is broken: what was recorded has been changed or is damaged. See /healthz.")
	}
	l.logger.Error("breach record: verification", "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chain = text
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
