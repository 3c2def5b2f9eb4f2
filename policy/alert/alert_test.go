package alert

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

var tenPast = time.Date(2026, 11, 20, 10, 14, 3, 218e6, time.UTC)

// memory is an outbox in memory that can be made to fail.
type memory struct {
	wake chan struct{}

	mu       sync.Mutex
	alerts   []breach.Alert
	outcomes []settled
	gone     []breach.Alert
	broken   bool
}

// settled is an outcome that the outbox was given.
type settled struct {
	ID      string
	Outcome breach.Outcome
}

var errBroken = errors.New("disk full")

func newMemory() *memory { return &memory{wake: make(chan struct{}, 1)} }

func (m *memory) Due(_ context.Context, receiver string, now time.Time, limit int) ([]breach.Alert, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return nil, errBroken
	}
	if slices.ContainsFunc(m.gone, func(a breach.Alert) bool { return a.Receiver == receiver }) {
		return nil, nil
	}
	var due []breach.Alert
	for _, a := range m.alerts {
		if a.Receiver == receiver && !a.Next.After(now) && len(due) < limit {
			due = append(due, a)
		}
	}
	slices.SortStableFunc(due, func(a, b breach.Alert) int { return a.Next.Compare(b.Next) })
	return due, nil
}

func (m *memory) Settle(ctx context.Context, tries map[string]breach.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errBroken
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := 0; i < len(m.alerts); i++ {
		a := m.alerts[i]
		o, tried := tries[a.ID]
		if !tried {
			continue
		}
		m.outcomes = append(m.outcomes, settled{a.ID, o})
		if o.State == breach.Gone {
			m.gone = append(m.gone, a)
		}
		if o.State != breach.Pending {
			m.alerts = slices.Delete(m.alerts, i, i+1)
			i--
			continue
		}
		m.alerts[i].Attempts++
		m.alerts[i].Next = o.Next
	}
	return nil
}

func (m *memory) Enqueue(_ context.Context, alerts ...breach.Alert) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errBroken
	}
	m.alerts = append(m.alerts, alerts...)
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return nil
}

func (m *memory) Revive(ctx context.Context, receiver string) error {
	m.mu.Lock()
	var again []breach.Alert
	m.gone = slices.DeleteFunc(m.gone, func(a breach.Alert) bool {
		if a.Receiver == receiver {
			a.Attempts, a.Next = 0, time.Time{}
			again = append(again, a)
		}
		return a.Receiver == receiver
	})
	m.mu.Unlock()
	return m.Enqueue(ctx, again...)
}

func (m *memory) Queue(context.Context) ([]breach.QueueState, error) { return nil, nil }

func (m *memory) Wake() <-chan struct{} { return m.wake }

func (m *memory) Head() breach.Head { return breach.Head{Seq: 42, Hash: "abc"} }

func (m *memory) setBroken(broken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = broken
}

func (m *memory) settled() []settled {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.outcomes)
}

// transport answers requests without a network, so that they can be in a bubble of synctest.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func response(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}
}

var secret = []byte("0123456789abcdef0123456789abcdef")

func webhook(name, url string) Receiver {
	return Receiver{Name: name, Type: TypeWebhook, URL: url, Secrets: [][]byte{secret}}
}

// run starts a Dispatcher and returns it with what stops it.
func run(t testing.TB, o Options) (*Dispatcher, func()) {
	t.Helper()
	d, err := New(o)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return d, stop
}

// record opens a record that routes to a Dispatcher, and runs it.
func record(t testing.TB, dir string, route func(breach.Notice) []breach.Alert) (*breach.Log, func()) {
	t.Helper()
	l, err := breach.Open(breach.Options{
		Path: filepath.Join(dir, "breach.db"), Settings: breach.Settings{Quiet: 10 * time.Minute}, Router: breach.RouterFunc(route),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the record: %v", err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

// receiver is a server that takes alerts as answer says, and hands on what it is sent.
func receiver(t testing.TB, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s
}

func notice(change func(*breach.Notice)) breach.Notice {
	n := breach.Notice{
		Kind: breach.IncidentOpened, Time: tenPast, Incident: "01JD3V5M8ZAAAAAAAAAAAAAAAA", Site: "winchelsea",
		Attribution: policy.Attribution{
			Group: "year7", Category: "pornography", Title: "Pornography", Severity: policy.SeverityHigh, Action: "block",
		},
		Client: policy.Client{Addr: pupil, Name: "y7-ipad-3"}, Count: 3, First: tenPast, Last: tenPast.Add(5783 * time.Millisecond),
		Names: []breach.NameCount{{Name: "www.example.org", Count: 2}, {Name: "example.org", Count: 1}},
		Chain: breach.Head{Seq: 42, Hash: "abc"},
	}
	if change != nil {
		change(&n)
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for something that goroutines and the network bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not: " + what)
		}
	}
}

// readAll returns the body of a request.
func readAll(t testing.TB, r *http.Request) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}
