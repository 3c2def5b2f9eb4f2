package identity

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"schoolgate/policy"
)

// Options are what a Store is made with and keeps for its life.
type Options struct {
	Config Config
	// LookUp asks for the name of an address; "" where it has none. An error says that nobody answered.
	LookUp func(ctx context.Context, addr netip.Addr) (name string, err error)
	Now    func() time.Time
	Logger *slog.Logger
}

// Store knows who is at an address. Known and KnownMAC are for the data path: they take no lock, do not allocate and
// cost some 20 ns, and less where nothing is known of anybody. Safe for concurrent use.
type Store struct {
	lookUp func(context.Context, netip.Addr) (string, error)
	now    func() time.Time
	log    *slog.Logger

	table  atomic.Pointer[table]
	wanted chan netip.Addr // whose names are to be asked for
	stale  chan struct{}   // has room for one: the table is to be made anew
	again  chan struct{}   // has room for one: the configuration has changed

	mu         sync.Mutex
	config     Config
	neighbours neighbours
	leases     leases
	names      names
	signIns    signIns
	problems   map[string]string // what is wrong, by the source
	radius     RADIUSStats
}

// MAC is the address of a network card.
type MAC = [6]byte

// New makes a Store, and reads the lease files. Nothing else is known before Run.
func New(o Options) *Store {
	s := &Store{
		lookUp: o.LookUp, now: o.Now, log: o.Logger,
		wanted: make(chan netip.Addr, maxWanted), stale: make(chan struct{}, 1), again: make(chan struct{}, 1),
		neighbours: newNeighbours(), names: newNames(), signIns: newSignIns(), problems: map[string]string{},
	}
	s.table.Store(new(table))
	s.Apply(o.Config)
	return s
}

// Apply puts a configuration in force, and reads the lease files that have changed.
func (s *Store) Apply(c Config) {
	s.mu.Lock()
	changed := !reflect.DeepEqual(c, s.config)
	if changed {
		s.config = c
		s.leases.use(c.Leases)
		if !c.Neighbours {
			s.neighbours = newNeighbours()
		}
		s.names.keep(c.Reverse)
		s.signIns.signOutUnless(func(source string) bool {
			teller, byAPI := strings.CutPrefix(source, LoginSource)
			return !byAPI || slices.Contains(c.Logins.Tellers, teller)
		})
		s.forgetFaults()
	}
	s.mu.Unlock()
	if s.readLeases() || changed {
		s.rebuild()
	}
	if changed {
		signal(s.again)
	}
}

// signal wakes who waits at a channel that has room for one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Known returns what is known of the client at an address, which has no zone; nil where nothing is. Where its name
// can be asked for, that is done then.
func (s *Store) Known(addr netip.Addr) *policy.Known {
	t := s.table.Load()
	if e, ok := t.byAddr[addr]; ok {
		switch {
		case e.nameless:
			s.want(addr)
		case e.renew != nil && !e.renew.Load():
			e.renew.Store(true)
		}
		return e.known
	}
	if len(t.reverse) > 0 && t.asks(addr) {
		s.want(addr)
	}
	return nil
}

// want has a name asked for. Where too many are it is not, and is once the client asks again.
func (s *Store) want(addr netip.Addr) {
	select {
	case s.wanted <- addr:
	default:
	}
}

// KnownMAC returns what is known of the device with a MAC, without an address; nil where nothing is.
func (s *Store) KnownMAC(mac MAC) *policy.Known { return s.table.Load().byMAC[mac] }

// Run keeps the store up to date until ctx ends.
func (s *Store) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { s.keepTable(ctx) })
	for ctx.Err() == nil {
		sources, stop := context.WithCancel(ctx)
		select {
		case <-s.again: // it is read now
		default:
		}
		s.mu.Lock()
		config := s.config
		s.forgetFaults()
		s.mu.Unlock()
		var reading sync.WaitGroup
		if config.Neighbours {
			reading.Go(func() { s.watchNeighbours(sources) })
		}
		if len(config.Leases) > 0 {
			reading.Go(func() { s.watchLeases(sources) })
		}
		if len(config.Reverse) > 0 && s.lookUp != nil {
			reading.Go(func() { s.askNames(sources) })
		}
		if config.RADIUS.Listen.IsValid() {
			reading.Go(func() { s.listenRADIUS(sources, config.RADIUS) })
		}
		select {
		case <-ctx.Done():
		case <-s.again:
		}
		stop()
		reading.Wait()
	}
	running.Wait()
}

const (
	// tableTick is how often the table is made anew because something may have run out.
	tableTick = 15 * time.Second
	// tableShare bounds what that costs where much changes: between two tables lies so many times what one took.
	tableShare = 20
)

// keepTable makes the table anew whenever something has changed.
func (s *Store) keepTable(ctx context.Context) {
	tick := time.NewTicker(tableTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.stale:
		case <-tick.C:
		}
		began := time.Now()
		s.rebuild()
		rest := time.NewTimer(tableShare * time.Since(began))
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
	}
}

// rebuild makes the table anew out of what the sources know now.
func (s *Store) rebuild() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.Store(s.build(s.table.Load()))
}

// fault notes what is wrong with a source, "" for nothing.
func (s *Store) fault(source, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if what == "" {
		delete(s.problems, source)
	} else {
		s.problems[source] = what
	}
}

// forgetFaults forgets what was wrong with sources that begin anew, or that there are no more. The caller holds mu.
func (s *Store) forgetFaults() {
	for source := range s.problems {
		if path, isLease := strings.CutPrefix(source, leaseSource); !isLease || !slices.Contains(s.config.Leases, path) {
			delete(s.problems, source)
		}
	}
}

// Problems are a line for each thing that is wrong.
func (s *Store) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.problems))
	for _, p := range s.problems {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// Stats is how much is known.
type Stats struct {
	Devices    int         `json:"devices"`    // addresses of which something is known
	Neighbours int         `json:"neighbours"` // that the kernel has, or had lately
	Leases     int         `json:"leases"`
	Names      int         `json:"names"` // found by reverse look-up
	SignIns    int         `json:"sign_ins"`
	RADIUS     RADIUSStats `json:"radius"`
}

// RADIUSStats counts what came by RADIUS.
type RADIUSStats struct {
	Taken   uint64 `json:"taken"`
	Refused uint64 `json:"refused"` // from others than the clients, or not signed with the secret
}

// Stats returns the present state.
func (s *Store) Stats() Stats {
	devices := 0
	for _, e := range s.table.Load().byAddr {
		if e.known != nil {
			devices++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Devices: devices, Neighbours: len(s.neighbours), Leases: s.leases.count(), Names: s.names.count(),
		SignIns: len(s.signIns.byID), RADIUS: s.radius,
	}
}
