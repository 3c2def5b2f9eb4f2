package breach

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// Categories of the test school, in the order of its Spec.
const (
	pornography blocklist.Category = iota
	gaming
	iwf
	gambling
	trackers
)

var (
	pupil      = netip.MustParseAddr("10.20.3.4")
	pupil2     = netip.MustParseAddr("10.20.3.5")
	teacher    = netip.MustParseAddr("10.1.0.9")
	controller = netip.MustParseAddr("10.0.0.10")

	// tenPast is a Friday in term; nothing here depends on it.
	tenPast = time.Date(2026, 11, 20, 10, 10, 0, 0, time.UTC)
)

func name(t testing.TB, text string) blocklist.Name {
	t.Helper()
	n, err := blocklist.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// school is a policy whose lists hold one name each, named after the category.
func school(t testing.TB, change func(*policy.Spec)) *policy.Policy {
	t.Helper()
	all := []string{"pornography", "gaming", "gambling", "trackers"}
	spec := policy.Spec{
		Access: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Categories: []policy.Category{
			pornography: {Name: "pornography", Title: "Pornography", Severity: policy.SeverityHigh},
			gaming:      {Name: "gaming", Title: "Gaming", Severity: policy.SeverityLow},
			iwf:         {Name: "iwf", Title: "Illegal", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
			gambling:    {Name: "gambling", Title: "Gambling", Severity: policy.SeverityMedium},
			trackers:    {Name: "trackers", Title: "Trackers", Severity: policy.SeverityNone},
		},
		Groups: []policy.Group{
			{Name: "year7", Clients: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, Block: all[:2], Monitor: all[2:]},
			{
				Name: "staff", Clients: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Block: all,
				AlertTo: []string{"headteacher"}, AlertToSet: true,
			},
			{Name: "controllers", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.10/32")}, Block: all, Shared: true, SharedSet: true},
		},
		DefaultGroup: "year7",
	}
	if change != nil {
		change(&spec)
	}
	var sources []blocklist.Source
	for i, c := range spec.Categories {
		sources = append(sources, blocklist.Source{
			ID: "lists/" + c.Name, Category: blocklist.Category(i), List: blocklist.ListOf(name(t, c.Name+".example")),
		})
	}
	p, err := policy.Compile(spec, blocklist.Build(sources), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ask is the event of a question that the policy holds to be a breach.
func ask(t testing.TB, p *policy.Policy, client netip.Addr, qname string, at time.Time) policy.Event {
	t.Helper()
	n := name(t, qname)
	group, _ := p.Identify(client)
	v := p.Decide(group, []byte(n), at)
	if !v.Breach() && v.Action != policy.Block && v.Action != policy.Monitor {
		t.Fatalf("the question for %s is no breach: %+v", qname, v)
	}
	return policy.Event{
		Time: at, Client: policy.Client{Addr: client}, Policy: p, Verdict: v, Name: n, Type: 1, Transport: "udp",
	}
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: tenPast} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// router keeps the notices that it is shown, and sends an alert for each.
type router struct {
	mu      sync.Mutex
	notices []Notice
}

func (r *router) Route(n Notice) []Alert {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notices = append(r.notices, n)
	return []Alert{{Receiver: "dsl", Type: n.Kind, Incident: n.Incident, Body: []byte(`{"type":"` + n.Kind + `"}`)}}
}

// take returns the notices since the last call.
func (r *router) take() []Notice {
	r.mu.Lock()
	defer r.mu.Unlock()
	notices := r.notices
	r.notices = nil
	return notices
}

// record is a running Log with what it is given.
type record struct {
	*Log
	path     string
	clock    *clock
	router   *router
	registry *prometheus.Registry
	system   chan string
	stop     func() error // ends Run and returns its error; once
}

// start runs a Log in dir. Options that are not set by change are those of record.
func start(t testing.TB, dir string, c *clock, change func(*Options), before func(*Log)) *record {
	t.Helper()
	r := &record{
		path: filepath.Join(dir, "breach.db"), clock: c, router: &router{}, registry: prometheus.NewRegistry(),
		system: make(chan string, 100),
	}
	o := Options{
		Path: r.path, Settings: Settings{Site: "winchelsea", Quiet: 10 * time.Minute}, Now: c.Now, Router: r.router, Registerer: r.registry,
		System: func(m string) { r.system <- m },
	}
	if change != nil {
		change(&o)
	}
	var err error
	if r.Log, err = Open(o); err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(r.Log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	r.stop = sync.OnceValue(func() error {
		cancel()
		stopped = true
		return <-ended
	})
	t.Cleanup(func() {
		if stopped {
			return
		}
		if err := r.stop(); err != nil {
			t.Errorf("the record did not stop well: %v", err)
		}
	})
	return r
}

func open(t testing.TB) *record {
	t.Helper()
	return start(t, t.TempDir(), newClock(), nil, nil)
}

// tick moves the clock and lets the writer look at it.
func (r *record) tick(t testing.TB, d time.Duration) {
	t.Helper()
	r.clock.add(d)
	if err := r.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// ask records a question now and has it stored.
func (r *record) ask(t testing.TB, p *policy.Policy, client netip.Addr, names ...string) {
	t.Helper()
	for _, n := range names {
		r.Record(ask(t, p, client, n, r.clock.Now()))
	}
	if err := r.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func reader(t testing.TB, path string) *Reader {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *record) breaches(t testing.TB, f Filter) []Breach {
	t.Helper()
	return breaches(t, r.path, f)
}

func breaches(t testing.TB, path string, f Filter) []Breach {
	t.Helper()
	var all []Breach
	err := reader(t, path).Breaches(t.Context(), f, func(b Breach) error {
		all = append(all, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (r *record) incidentsOf(t testing.TB, f Filter) []Incident {
	t.Helper()
	var all []Incident
	err := reader(t, r.path).Incidents(t.Context(), f, func(i Incident) error {
		all = append(all, i)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// verify fails the test unless the chain holds.
func verify(t testing.TB, path string) Head {
	t.Helper()
	head, err := reader(t, path).Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// asked is a breach in short: who asked for what, and how often.
type asked struct {
	Client, Name string
	Count        int64
}

func inShort(all []Breach) []asked {
	var short []asked
	for _, b := range all {
		short = append(short, asked{b.Client.IP, b.Query.Name, b.Count})
	}
	return short
}

// told is a notice in short.
type told struct {
	Kind  string
	Count int64
}

func (r *record) told() []told {
	var short []told
	for _, n := range r.router.take() {
		short = append(short, told{n.Kind, n.Count})
	}
	return short
}

// raw opens the database as somebody would who changes it by hand.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	db := openDB(path)
	t.Cleanup(func() { db.Close() })
	return db
}

func count(t testing.TB, path, table string) (n int) {
	t.Helper()
	if err := raw(t, path).QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func isBroken(err error) bool { return errors.As(err, new(*BrokenError)) }

func sorted[T any](all []T, compare func(a, b T) int) []T {
	slices.SortFunc(all, compare)
	return all
}
