// Package daemon is the running schoolgate: it builds every part from a configuration, owns the
// order in which they start and stop, and is the one place that replaces a policy.
//
// Start: lock the data directory, open the record, load the lists, compile the policy, open the
// sockets, serve, ready. A configuration that is refused at start is no reason to leave a school
// without DNS, nor without its filter: the last accepted one serves (accepted.go). Required lists
// that have never been there leave the policy not ready, so that nothing is let through unseen.
//
// Stop: close the listeners, drain the queries, write down every breach, close the record.
//
// Everything that changes while it runs is one immutable snapshot behind an atomic pointer, and
// one mutex admits one writer of it (reload.go). A reload replaces it, and so do lists that have
// come in since: refresh.go asks for them when they are due, and lists.go puts them in force.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/console"
	"schoolgate/config"
	"schoolgate/identity"
	"schoolgate/policy"
	"schoolgate/policy/alert"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
	"schoolgate/resolver"
)

// Options are what a Daemon is made with.
type Options struct {
	// Path is the configuration file; "" for the built-in default.
	Path string
	// StateDir is where the service's state is by convention, "" for nowhere in particular: one
	// more place in which to look for the last accepted configuration.
	StateDir string
	Build    Build
	Logger   *slog.Logger
	// Now is the clock; time.Now where it is nil.
	Now func() time.Time
	// Progress is told how far New is with the lists, as feed.Options.Progress. nil: nobody is.
	Progress func(feed.Progress)
}

// Build says which program this is.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	// Time is when its sources were committed; zero: unknown.
	Time time.Time `json:"-"`
}

// Daemon is a schoolgate, built and not yet running, or running.
type Daemon struct {
	path    string
	build   Build
	log     *slog.Logger
	now     func() time.Time
	started time.Time

	lock       *os.File
	loader     *feed.Loader
	updating   chan struct{} // has room for the one who asks for lists
	refresh    *refresher
	progress   progress
	background background

	record  *breach.Log
	queries *querylog.Log
	// clockTrusted says that what seems old may be deleted.
	clockTrusted atomic.Bool
	alerts       *alert.Dispatcher
	resolver     *resolver.Resolver
	// identities knows which device, and who, is at an address.
	identities *identity.Store
	clients    clientRecord
	telemetry  *telemetry
	systemd    notifier
	metrics    net.Listener // nil where there is none
	console    *console.Server
	consoleAt  consoleListener
	page       []net.Listener
	asking     askings
	control    controlListener
	tls        certificate
	forIT      chan string // what a system alert is to be sent about

	exceptionsChanged chan struct{} // holds one element when they have been since their next end was looked for

	loggedMu sync.Mutex
	logged   map[string]string // the problems that the log has, by their withoutCounts

	read    stamp // of the files when they were read at start
	current atomic.Pointer[snapshot]
	mu      sync.Mutex // held by the one writer of current
	// sealedTo is to whom confidential names were sealed when it was last written down; "": it is not known yet.
	sealedTo string

	askedMu sync.Mutex
	asked   *reload // waits for mu; nil for none
}

// New builds a Daemon: it takes the data directory, opens the record and the sockets, and reads the
// lists. It serves nothing until Run, which must be called once New has succeeded, for that is what
// closes everything. The error is a *Refused where the configuration cannot be used and there is no
// accepted one to fall back on, ErrInUse where another process has the data directory, and
// ErrUnreadable where the file cannot be read at all.
func New(ctx context.Context, o Options) (d *Daemon, err error) {
	d = &Daemon{path: o.Path, build: o.Build, log: o.Logger, now: o.Now, systemd: notifier{o.Logger}, forIT: make(chan string, 16)}
	d.exceptionsChanged = make(chan struct{}, 1)
	d.updating, d.refresh = make(chan struct{}, 1), newRefresher()
	if d.now == nil {
		d.now = time.Now
	}
	d.started, d.read = d.now(), stampOf(d.watched()...)
	var opened []io.Closer // what to close if a later step fails, last first
	defer func() {
		if err != nil {
			for _, c := range slices.Backward(opened) {
				err = errors.Join(err, c.Close())
			}
		}
	}()

	s, err := d.readStart(o.StateDir)
	if err != nil {
		return nil, err
	}
	cfg := s.filter.Config
	if d.lock, err = Lock(cfg.DataDir); err != nil {
		return nil, err
	}
	opened = append(opened, d.lock)
	if s.fallback == nil {
		// The one before, to compare with. Damaged, it compares to nothing, and the next is written over it.
		if s.accepted, err = readAccepted(cfg.DataDir); err != nil {
			d.log.Error("start", "error", err)
			d.tellIT(err.Error())
		}
	}

	d.telemetry = newTelemetry(d)
	d.record, err = breach.Open(breach.Options{ //nolint:contextcheck // it has none
		Path: RecordPath(cfg), Settings: cfg.Record, Now: d.now,
		// The dispatcher takes its alerts out of the record, so it is made after it.
		Router: breach.RouterFunc(func(n breach.Notice) []breach.Alert { return d.alerts.Route(n) }),
		System: d.tellIT,
		Logger: d.log, Registerer: d.telemetry.registry,
	})
	if err != nil {
		return nil, err
	}
	opened = append(opened, closer(d.closeRecord))
	if d.queries, err = d.newQueryLog(cfg); err != nil {
		return nil, err
	}
	d.alerts, err = alert.New(alert.Options{
		Config: cfg.Alerts, Outbox: d.record, Register: d.record, Now: d.now, Logger: d.log, Registerer: d.telemetry.registry,
	})
	if err != nil {
		return nil, err
	}

	loading := LoaderOptions(cfg)
	loading.Log, loading.Now, loading.Progress = d.log, d.now, d.progress.report
	loading.Resolver = lookups(func() *config.Config { return d.Filter().Config })
	d.loader = feed.New(loading)
	if o.Progress != nil {
		defer d.progress.watch(o.Progress)()
	}
	if s.filter, err = d.assemble(ctx, cfg); err != nil {
		return nil, err
	}
	d.telemetry.listsRead(s.filter)

	if d.control, err = listenControl(cfg.DataDir); err != nil {
		return nil, err
	}
	opened = append(opened, d.control)
	if cfg.Metrics != "" {
		if d.metrics, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Metrics); err != nil {
			return nil, fmt.Errorf("listen.metrics: %w%s", err, portTaken(err, "listen.metrics"))
		}
		opened = append(opened, d.metrics)
	}
	if d.consoleAt, err = d.listenConsole(ctx, cfg.Console); err != nil {
		return nil, err
	}
	if d.consoleAt.Listener != nil {
		opened = append(opened, d.consoleAt)
	}
	for _, address := range cfg.Page {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address.String())
		if err != nil {
			return nil, fmt.Errorf("listen.page: %w%s", err, portTaken(err, "listen.page"))
		}
		d.page = append(d.page, netutil.LimitListener(l, pageConnections))
		opened = append(opened, l)
	}
	d.identities = identity.New(identity.Options{Config: cfg.Sources, LookUp: d.nameOf, Now: d.now, Logger: d.log})
	d.readClients(cfg)
	d.console = console.New(console.Config{InForce: d.inForce, Identities: d.identities, Now: d.now, Logger: d.log})
	d.tls.log = d.log
	d.tls.use(cfg.TLS)
	d.resolver, err = resolver.New(resolver.Config{ //nolint:contextcheck // it has none
		Listen: cfg.Listen, DoT: cfg.DoT, DoH: cfg.DoH, DoQ: cfg.DoQ, Certificate: d.tls.inUse.Load, CacheEntries: cfg.CacheEntries, Recorder: d.record, Questions: d.queries, Identities: d.identities, Now: o.Now,
		Registerer: d.telemetry.registry, Logger: d.log, Notify: d.notified, Settings: settings(s.filter),
	})
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, portTaken(err, listenKey(err)))
	}
	s.since = d.now()
	d.current.Store(s)
	d.telemetry.reloaded(s.fallback == nil, s.since)
	return d, nil
}

// listenKey is the key of the address of which the resolver says that it cannot listen there.
func listenKey(err error) string {
	for _, t := range []string{"dot", "doh", "doq"} {
		if strings.Contains(err.Error(), " for "+t+": ") {
			return "listen." + t
		}
	}
	return "listen.dns"
}

// portTaken says what to do where a key's port is another program's; "" where err is another one.
func portTaken(err error, key string) string {
	var op *net.OpError
	if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &op) {
		return ""
	}
	_, port, _ := net.SplitHostPort(op.Addr.String())
	return fmt.Sprintf(" (see who has it: ss -lnptu 'sport = :%s'; or change %s)", port, key)
}

// readStart reads the configuration to start with: the file's, or, where that is refused, the last
// accepted one. Its filter has no lists yet.
func (d *Daemon) readStart(stateDir string) (*snapshot, error) {
	cfg, err := readConfig(d.path)
	if err == nil {
		// What only the compiler of policies sees is a fault of the file too. It needs no list.
		_, err = policy.Compile(cfg.Policy, blocklist.Build(nil), false)
	}
	if err == nil && d.path != "" {
		// A copy that cannot be read is said when the data directory is ours.
		before, _ := readAccepted(cfg.DataDir)
		err = before.cutOff(cfg.Files)
	}
	if err == nil {
		return &snapshot{filter: &Filter{Config: cfg, exceptions: &exceptions{}}}, nil
	}
	why := refused(err)
	if d.path == "" {
		return nil, why
	}
	last, cfg, lookErr := lastAccepted(d.path, stateDir)
	switch {
	case lookErr != nil:
		return nil, &Refused{Reasons: append(why.Reasons, refused(lookErr).Reasons...)}
	case last == nil && errors.Is(err, ErrUnreadable):
		return nil, err
	case last == nil:
		return nil, why
	}
	for _, reason := range why.Reasons {
		d.log.Error("the configuration was refused at start; the last accepted one serves", "reason", reason)
	}
	return &snapshot{filter: &Filter{Config: cfg, exceptions: &exceptions{}}, accepted: last, fallback: why}, nil
}

// closer closes by a function.
type closer func() error

func (c closer) Close() error { return c() }

// closeRecord closes a record that nothing was written to.
func (d *Daemon) closeRecord() error {
	ended, end := context.WithCancel(context.Background())
	end()
	return d.record.Run(ended)
}

// Run serves until ctx ends, then stops in order and returns. It returns early with an error only
// where a part that nothing can do without has failed.
func (d *Daemon) Run(ctx context.Context) error {
	// The record outlives everything that writes to it.
	recordCtx, stopRecord := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRecord()
	recordDone := make(chan error, 1)
	go func() { recordDone <- d.record.Run(recordCtx) }()
	queriesCtx, stopQueries := context.WithCancel(recordCtx)
	defer stopQueries()
	queriesDone := make(chan error, 1)
	go func() { queriesDone <- d.queries.Run(queriesCtx) }()

	d.loader.SetBackground(d.background.run)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.resolver.Run(ctx) })
	g.Go(func() error { return d.alerts.Run(ctx) })
	g.Go(func() error { d.identities.Run(ctx); return nil })
	g.Go(func() error { d.serveHTTP(ctx, d.control, d.controlHandler()); return nil })
	if d.metrics != nil {
		g.Go(func() error { d.serveHTTP(ctx, d.metrics, d.telemetryHandler()); return nil })
	}
	if d.consoleAt.Listener != nil {
		g.Go(func() error { d.serveHTTP(ctx, d.consoleAt, d.console); return nil })
	}
	for _, l := range d.page {
		g.Go(func() error { d.serveHTTP(ctx, l, d.pageHandler()); return nil })
	}
	g.Go(func() error {
		d.begin(ctx)
		d.awaitLists(ctx)
		return nil
	})
	g.Go(func() error { d.refreshLists(ctx); return nil })
	g.Go(func() error { d.watchFile(ctx); return nil })
	g.Go(func() error { d.endExceptions(ctx); return nil })
	g.Go(func() error { d.tls.watch(ctx); return nil })
	g.Go(func() error { d.watchHealth(ctx); return nil })
	g.Go(func() error { d.countClients(ctx); return nil })
	g.Go(func() error { d.retain(ctx); return nil })
	g.Go(func() error { d.alertIT(ctx); return nil })
	g.Go(func() error { d.watchdog(ctx); return nil })
	err := g.Wait()
	d.keepClients()

	stopQueries()
	if err := <-queriesDone; err != nil {
		d.log.Error("the end of the query log was not written", "error", err)
	}
	stopRecord()
	if err := errors.Join(err, <-recordDone, d.lock.Close()); err != nil {
		return err
	}
	d.log.Info("stopped; every breach is written down")
	return nil
}

// begin writes down what was started with, and says ready.
func (d *Daemon) begin(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := *d.current.Load()
	if s.filter.Policy.Ready() {
		d.compareLocked(ctx, &s)
	}
	for _, w := range s.filter.WarningTexts() {
		d.log.Warn("configuration", "warning", w)
	}
	d.accept(ctx, &s, "start", "config.start")
	d.auditSealed(ctx, s.filter, "start")
	d.current.Store(&s)
	d.log.Info("serving", "dns", d.Addrs().DNS, "metrics", d.Addrs().Metrics, "hash", s.filter.Config.Hash, "filter", s.filter.Summary())
	d.systemd.ready(d.statusLine())
	d.giveBack(nil, s.filter)
}

// compareLocked records and alerts what a start has taken away from the locked categories. A reload
// that does so is refused; whoever can restart the process could have taken the file away too, so
// here it is made known instead.
func (d *Daemon) compareLocked(ctx context.Context, s *snapshot) {
	if s.accepted == nil {
		return
	}
	for _, w := range s.filter.weakened(s.accepted.Locked) {
		d.log.Error("started with a weaker filter", "reason", w)
		d.audit(ctx, breach.Act{Who: "start", What: "locked.weakened", Detail: w})
		d.tellIT("started with a weaker filter: " + w)
	}
}

// Addrs says where a Daemon listens, ports as they are where the configuration said 0.
type Addrs struct {
	DNS     []netip.AddrPort `json:"dns"`
	DoT     []netip.AddrPort `json:"dot"`
	DoH     []netip.AddrPort `json:"doh"`
	DoQ     []netip.AddrPort `json:"doq"`
	Page    []string         `json:"page"`
	Console string           `json:"console"` // "" for nowhere
	Metrics string           `json:"metrics"` // "" for nowhere
	Control string           `json:"control"` // path of the control socket
}

// Addrs returns where d listens. It does not change.
func (d *Daemon) Addrs() Addrs {
	a := Addrs{DNS: d.resolver.Addrs(), Control: d.control.path}
	a.DoT, a.DoH, a.DoQ = d.resolver.EncryptedAddrs()
	a.Page = []string{}
	for _, l := range d.page {
		a.Page = append(a.Page, l.Addr().String())
	}
	if d.consoleAt.Listener != nil {
		a.Console = d.consoleAt.Addr().String()
	}
	if d.metrics != nil {
		a.Metrics = d.metrics.Addr().String()
	}
	return a
}

// Filter returns what is in force at this moment.
func (d *Daemon) Filter() *Filter { return d.current.Load().filter }

// Fallback says why the configuration in force is the last accepted one instead of the file's; nil
// where it is the file's.
func (d *Daemon) Fallback() *Refused { return d.current.Load().fallback }

// Ask puts a question to the resolver as if it came from an address, over "udp" or "tcp". With
// unrecorded a breach is counted and leaves no record.
func (d *Daemon) Ask(ctx context.Context, packet []byte, from netip.AddrPort, transport string, unrecorded bool) ([]byte, error) {
	return d.resolver.Ask(ctx, packet, from, transport, unrecorded)
}
