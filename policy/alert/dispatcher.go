package alert

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy/breach"
)

const (
	// sayAgain is how long a system message that still holds is not repeated.
	sayAgain = 24 * time.Hour
	// readTime bounds a look at the outbox for metrics and Problems.
	readTime = 2 * time.Second
)

// testMessage is what a test alert says.
const testMessage = "This is a test of schoolgate's alerts. Nothing has happened; nobody need do anything."

// Options is what a Dispatcher is made with.
type Options struct {
	Config Config
	// Outbox may be nil for a Dispatcher of which only Test is used.
	Outbox Outbox
	// Register is what digests are made of; nil: none are sent.
	Register Register
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Logger may be nil. It is given neither a client nor a name.
	Logger *slog.Logger
	// Registerer takes the metrics; nil: nobody.
	Registerer prometheus.Registerer
	// Transport carries the requests; nil: one of its own.
	Transport http.RoundTripper
	// Dial connects to mail servers; nil: by a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Roots are whose certificates of mail servers count; nil: the system's.
	Roots *x509.CertPool
}

// Dispatcher delivers alerts. Its methods are safe for concurrent use.
type Dispatcher struct {
	outbox  Outbox
	now     func() time.Time
	logger  *slog.Logger
	client  *http.Client
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	roots   *x509.CertPool
	metrics *metrics
	config  atomic.Pointer[Config]

	mu        sync.Mutex
	workers   map[string]*worker   // by receiver
	start     func(*worker)        // nil unless Run is running
	said      map[string]time.Time // system messages, and when they were last sent
	templates map[string]string    // by receiver: how its template failed

	digesting sync.Mutex
	digests   digests
}

// New returns a Dispatcher. Nothing is sent until Run, but by Test.
func New(o Options) (*Dispatcher, error) {
	d := &Dispatcher{
		outbox: o.Outbox, now: o.Now, logger: o.Logger, client: newClient(o.Transport),
		dial: o.Dial, roots: o.Roots,
		workers: map[string]*worker{}, said: map[string]time.Time{}, templates: map[string]string{},
		digests: digests{o.Register, map[string]breach.Told{}},
	}
	if d.dial == nil {
		d.dial = new(net.Dialer).DialContext
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	d.metrics = newMetrics(d)
	if o.Registerer != nil {
		if err := errors.Join(o.Registerer.Register(d.metrics.tries), o.Registerer.Register(d.metrics)); err != nil {
			return nil, fmt.Errorf("alert metrics: %w", err)
		}
	}
	d.Apply(o.Config)
	return d, nil
}

// Apply takes a new configuration, at a reload. What waits for a receiver that it no longer has is
// kept. A receiver that was disabled, and has another address or other secrets now, is enabled.
func (d *Dispatcher) Apply(c Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.config.Swap(&c)
	clear(d.templates)
	d.metrics.applied(&c)
	for i := range c.Receivers {
		name := c.Receivers[i].Name
		w := d.workers[name]
		if w == nil {
			w = newWorker(d, name)
			d.workers[name] = w
			if d.start != nil {
				d.start(w)
			}
		}
		if before != nil {
			if was := before.receiver(name); was != nil && !was.sameAddress(&c.Receivers[i]) {
				w.revive.Store(true)
			}
		}
		w.nudge()
	}
}

// Run delivers until ctx ends. A try that is under way then is broken off and counts as none; stop the
// record after it, so that the tries which have ended are stored.
func (d *Dispatcher) Run(ctx context.Context) error {
	if d.outbox == nil {
		return errors.New("alert: no outbox")
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	d.mu.Lock()
	d.start = func(w *worker) { workers.Go(func() { w.run(ctx) }) }
	for _, w := range d.workers {
		d.start(w)
	}
	d.mu.Unlock()
	workers.Go(func() { d.sendDigests(ctx) })
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.start = nil
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.outbox.Wake():
		}
		d.mu.Lock()
		for _, w := range d.workers {
			w.nudge()
		}
		d.mu.Unlock()
	}
}

// System tells those whom the routes about the system name. It never waits, and sends the same text at
// most once a day.
func (d *Dispatcher) System(_ context.Context, text string) { d.system(text, "") }

// system is System, leaving out one receiver. Where that is the only one, everybody else is told.
func (d *Dispatcher) system(text, except string) {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for said, at := range d.said {
		if since := now.Sub(at); since >= sayAgain || since < 0 { // the clock may have gone back
			delete(d.said, said)
		}
	}
	if _, said := d.said[text]; said {
		return
	}
	d.said[text] = now
	for _, name := range d.config.Load().systemReceivers(except) {
		if w := d.workers[name]; w != nil {
			w.add(breach.Alert{
				ID: systemID(text, name, now), Receiver: name, Type: typeSystem, Body: d.textBody(typeSystem, text),
			})
		}
	}
}

// Test sends a test alert to a receiver, "" for all, once, and returns how they took it, in the order
// of the configuration. One that was disabled and takes it is enabled. There is no result for a receiver that the configuration does not have.
func (d *Dispatcher) Test(ctx context.Context, receiver string) []TestResult {
	config := d.config.Load()
	results := make([]TestResult, 0, len(config.Receivers))
	body := d.textBody(typeTest, testMessage)
	var tries sync.WaitGroup
	for i := range config.Receivers {
		r := &config.Receivers[i]
		if receiver != "" && r.Name != receiver {
			continue
		}
		results = append(results, TestResult{Receiver: r.Name})
		result := &results[len(results)-1] // there is room for all: it stays where it is
		tries.Go(func() {
			got := d.deliver(ctx, r, breach.Alert{ID: "msg_test_" + rand.Text(), Body: body}, map[string]bool{})
			result.OK, result.Status = got.delivered, got.text
			if got.said != "" && r.Type != TypeWebhook {
				result.Status += ": " + got.said // of a test it may repeat all
			}
			d.tested(ctx, r.Name, got)
		})
	}
	tries.Wait()
	return results
}

// tested notes how a receiver took a test. One that takes it is enabled.
func (d *Dispatcher) tested(ctx context.Context, name string, got answer) {
	d.logger.Info("alert test", "receiver", name, "delivered", got.delivered, "answer", got.text)
	if !got.delivered || d.outbox == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := d.outbox.Revive(ctx, name); err != nil {
		d.logger.Warn("enable receiver", "receiver", name, "error", err)
	}
}

func notSupported(r *Receiver) string {
	return fmt.Sprintf("receivers of type %q are not supported yet", r.Type)
}

// Problems returns what is wrong with the delivery, a line for each, empty when nothing is.
func (d *Dispatcher) Problems() []string {
	config := d.config.Load()
	var problems []string
	say := func(format string, args ...any) {
		problems = append(problems, "alerts: "+fmt.Sprintf(format, args...))
	}
	for _, q := range d.queue() {
		r := config.receiver(q.Receiver)
		switch {
		case r == nil && q.Length > 0:
			say("%d wait for the receiver %q, which the configuration no longer has (put it back, and they are sent)", q.Length, q.Receiver)
		case r != nil && !known(r.Type) && q.Length > 0:
			say("%d wait for the receiver %q: %s", q.Length, q.Receiver, notSupported(r))
		case q.Disabled:
			say("the receiver %q is disabled, for it took none: %d wait and %d were given up (once it works: schoolgate alert test %s, or alert retry %s)",
				q.Receiver, q.Length, q.Undelivered, q.Receiver, q.Example)
			continue
		case q.Length > 0 && q.Attempts >= failing:
			say("the receiver %q does not take them: %d wait, the oldest since %s (schoolgate alert test %s shows how it answers)",
				q.Receiver, q.Length, q.Oldest.UTC().Format(time.RFC3339), q.Receiver)
		}
		if q.Undelivered > 0 {
			say("%d to the receiver %q were given up (schoolgate alert retry %s tries again)", q.Undelivered, q.Receiver, q.Example)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.templates)) {
		say("the template of the receiver %q fails, and the built-in text is sent: %s", name, d.templates[name])
	}
	return problems
}

// queue returns what waits. While the outbox can't be read that is nothing: the record says why.
func (d *Dispatcher) queue() []breach.QueueState {
	if d.outbox == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	queues, err := d.outbox.Queue(ctx)
	if err != nil {
		d.logger.Debug("read outbox", "error", err)
	}
	return queues
}
