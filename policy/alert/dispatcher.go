package alert

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy/breach"
)

// schedule is how long after a failed try the next one comes: the first entry is the wait before the
// first try. It is the example of the Standard Webhooks specification.
var schedule = [...]time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
	5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

const (
	// look is how often the outbox is looked at for tries that have come due.
	look = 2 * time.Second
	// batch is how many alerts are taken from the outbox at a time.
	batch = 16
	// failingAfter is how many tries in a row make a receiver one that IT must know of.
	failingAfter = 3
	// sayAgain is how soon the same system message is sent again while its cause lasts.
	sayAgain = 24 * time.Hour
)

// Outbox is where alerts wait. *breach.Log is one.
type Outbox interface {
	// Due returns the alerts for a receiver that are to be tried at now, the oldest first.
	Due(ctx context.Context, receiver string, now time.Time, limit int) ([]breach.Alert, error)
	// Settle records how a try ended.
	Settle(ctx context.Context, id string, o breach.Outcome) error
	// Enqueue stores alerts and returns when they are on disk.
	Enqueue(ctx context.Context, alerts ...breach.Alert) error
	// Queue returns what waits, by receiver.
	Queue(ctx context.Context) ([]breach.QueueState, error)
	// Wake holds an element after something was put into the outbox.
	Wake() <-chan struct{}
}

// Options is what a Dispatcher is made with.
type Options struct {
	Config Config
	// Outbox may be nil for a Dispatcher of which only Test is used.
	Outbox Outbox
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer takes the metrics; nil: nobody.
	Registerer prometheus.Registerer
	// Client posts; nil: NewClient's.
	Client *http.Client
}

// Dispatcher delivers alerts. Its methods are safe for concurrent use.
type Dispatcher struct {
	outbox  Outbox
	now     func() time.Time
	log     *slog.Logger
	client  *http.Client
	metrics *metrics
	config  atomic.Pointer[Config]
	applied chan struct{} // holds an element after Apply

	mu   sync.Mutex
	said map[string]time.Time // system messages, by when they were last sent
}

// New makes a Dispatcher. Nothing is sent before Run or Test.
func New(o Options) (*Dispatcher, error) {
	d := &Dispatcher{
		outbox: o.Outbox, now: o.Now, log: o.Logger, client: o.Client,
		applied: make(chan struct{}, 1), said: make(map[string]time.Time),
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.client == nil {
		d.client = NewClient()
	}
	d.metrics = newMetrics(d)
	if o.Registerer != nil {
		if err := d.metrics.register(o.Registerer); err != nil {
			return nil, fmt.Errorf("alert metrics: %w", err)
		}
	}
	d.Apply(o.Config)
	return d, nil
}

// Apply takes a new configuration, at a reload. What waits for a receiver that is gone is kept.
func (d *Dispatcher) Apply(c Config) {
	d.config.Store(&c)
	d.metrics.applied(&c)
	select {
	case d.applied <- struct{}{}:
	default:
	}
}

// worker serves one receiver.
type worker struct {
	wake chan struct{} // holds an element while there is something new
	stop context.CancelFunc
}

// Run delivers until ctx ends. A try that is under way then is broken off, and made again at the next
// start.
func (d *Dispatcher) Run(ctx context.Context) error {
	workers := make(map[string]worker)
	var running sync.WaitGroup
	defer running.Wait()
	defer func() {
		for _, w := range workers {
			w.stop()
		}
	}()
	for {
		c := d.config.Load()
		for name, w := range workers {
			if c.receiver(name) == nil {
				w.stop()
				delete(workers, name)
			}
		}
		for _, r := range c.Receivers {
			if _, known := workers[r.Name]; known {
				continue
			}
			workerCtx, stop := context.WithCancel(ctx)
			w := worker{make(chan struct{}, 1), stop}
			workers[r.Name] = w
			running.Go(func() { d.serve(workerCtx, r.Name, w.wake) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.applied:
		case <-d.outbox.Wake():
			for _, w := range workers {
				select {
				case w.wake <- struct{}{}:
				default: // it is awake
				}
			}
		}
	}
}

// serve delivers to one receiver. settled holds the outcomes that the outbox could not take, so that
// what was delivered is not sent again while the disk is full.
func (d *Dispatcher) serve(ctx context.Context, receiver string, wake <-chan struct{}) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	unsettled := make(map[string]breach.Outcome)
	for {
		due, err := d.outbox.Due(ctx, receiver, d.now(), batch)
		if err != nil && ctx.Err() == nil {
			d.log.Debug("read the outbox", "receiver", receiver, "error", err)
		}
		failed := false
		for _, a := range due {
			outcome, known := unsettled[a.ID]
			if !known {
				r := d.config.Load().receiver(receiver)
				if r == nil {
					return
				}
				got := d.post(ctx, r, a)
				if ctx.Err() != nil {
					return
				}
				outcome = d.judge(ctx, r.Name, a, got)
			}
			delete(unsettled, a.ID)
			if err := d.outbox.Settle(ctx, a.ID, outcome); err != nil {
				unsettled[a.ID] = outcome
				failed = true
			}
		}
		if len(due) == batch && !failed {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-ticker.C:
		}
	}
}

// judge says what is to become of an alert after a try, and tells IT where it does not look well.
func (d *Dispatcher) judge(ctx context.Context, receiver string, a breach.Alert, got answer) breach.Outcome {
	o := breach.Outcome{State: breach.Delivered, Status: got.String()}
	tries := a.Attempts + 1
	switch {
	case got.delivered():
	case got.status == http.StatusGone:
		o.State = breach.Gone
	case tries >= len(schedule):
		o.State = breach.Failed
	default:
		o.State = breach.Pending
		// Up to a tenth more, so that those who failed together do not come back together.
		pause := schedule[tries] + mathrand.N(schedule[tries]/10+1) //nolint:gosec // G404: nothing depends on its being hard to guess
		o.Next = d.now().Add(max(pause, got.retryAfter))
	}
	d.metrics.tried(receiver, o.State)
	if o.State == breach.Delivered {
		return o
	}
	d.log.Warn("an alert was not taken", "receiver", receiver, "alert", a.ID, "try", tries, "answer", o.Status)
	if a.Type != typeSystem && (tries == failingAfter || o.State != breach.Pending) {
		go d.System(context.WithoutCancel(ctx), fmt.Sprintf("The alert receiver %s does not take alerts. Those that wait are tried again for four days; see /healthz.", receiver))
	}
	return o
}

// System tells IT something in words: by the outbox, or, where that cannot be written, straight away and
// once. The same message is sent once a day at most.
func (d *Dispatcher) System(ctx context.Context, text string) {
	now := d.now()
	d.mu.Lock()
	for m, at := range d.said {
		if age := now.Sub(at); age >= sayAgain || age < 0 {
			delete(d.said, m)
		}
	}
	_, said := d.said[text]
	d.said[text] = now
	d.mu.Unlock()
	if said {
		return
	}
	c := d.config.Load()
	var alerts []breach.Alert
	for _, name := range c.systemReceivers() {
		alerts = append(alerts, breach.Alert{
			ID: newID(), Receiver: name, Type: typeSystem, Body: encode(typeSystem, now, textData{c.Site, text}), Created: now,
		})
	}
	if len(alerts) == 0 {
		return
	}
	err := d.outbox.Enqueue(ctx, alerts...)
	if err == nil || ctx.Err() != nil {
		return
	}
	d.log.Warn("a system alert could not be stored; it is sent once", "error", err)
	for _, a := range alerts {
		if got := d.post(ctx, c.receiver(a.Receiver), a); got.delivered() {
			d.metrics.tried(a.Receiver, breach.Delivered)
		} else {
			d.metrics.tried(a.Receiver, breach.Failed)
		}
	}
}

// TestResult is how a receiver took a test alert.
type TestResult struct {
	Receiver string `json:"receiver"`
	OK       bool   `json:"ok"`
	Status   string `json:"status"` // for people: "HTTP 204 No Content"
}

// Test sends a test alert, labelled as one, to a receiver, or to all for "". It is sent now and once.
func (d *Dispatcher) Test(ctx context.Context, receiver string) []TestResult {
	c := d.config.Load()
	results := make([]TestResult, 0, len(c.Receivers))
	var sending sync.WaitGroup
	for i := range c.Receivers {
		r := &c.Receivers[i]
		if receiver != "" && r.Name != receiver {
			continue
		}
		results = append(results, TestResult{Receiver: r.Name})
		at := len(results) - 1
		sending.Go(func() {
			got := d.post(ctx, r, breach.Alert{ID: newID(), Body: encode(typeTest, d.now(), textData{
				cmp.Or(c.Site, "schoolgate"), "This is a test alert of schoolgate. Nothing has happened; nobody need do anything.",
			})})
			results[at].OK, results[at].Status = got.delivered(), got.String()
		})
	}
	sending.Wait()
	return results
}

// newID returns the id of an alert that the record does not number.
func newID() string { return "msg_" + rand.Text() }

// Problems returns what is wrong with the delivery, a line for each receiver, empty when nothing is.
func (d *Dispatcher) Problems() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	queues, err := d.outbox.Queue(ctx)
	if err != nil {
		return nil // the record says what is wrong with it
	}
	c := d.config.Load()
	var problems []string
	for _, q := range queues {
		if q.Length > 0 && c.receiver(q.Receiver) == nil {
			problems = append(problems, fmt.Sprintf("alert receiver %s is no longer configured, and %d alerts wait for it", q.Receiver, q.Length))
		} else if q.Length > 0 && q.Attempts >= failingAfter {
			problems = append(problems, fmt.Sprintf("alert receiver %s does not take alerts: %d wait (schoolgate alert test %s shows how it answers)", q.Receiver, q.Length, q.Receiver))
		}
		if q.Undelivered > 0 {
			problems = append(problems, fmt.Sprintf("%d alerts to receiver %s were given up (schoolgate alert retry %s tries one again)", q.Undelivered, q.Receiver, q.Example))
		}
	}
	return problems
}
