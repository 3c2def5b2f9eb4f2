package resolver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/blocklist"
	"schoolgate/clients"
	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// Resolver answers queries under the settings that Apply last gave it.
type Resolver struct {
	log        *slog.Logger
	recorder   Recorder
	questions  Questions
	workers    atomic.Int32 // how many there have been
	identities Identities
	notify     func(zone blocklist.Name, from netip.Addr) (taken bool)
	metrics    *metrics
	panics     prometheus.Counter
	cache      *cache
	failures   *failures
	cuts       cuts
	forwarder  *forwarder
	snapshot   atomic.Pointer[snapshot]
	listeners  []*listener
	encrypted  []encrypted
	refused    refusals
	limits     *limits
	cookies    *cookieJar
	tunnels    *tunnels
	throngs    *throngs
	tallies    []*clients.Tally // of who asks: the first is for all but the workers, who have one each

	// certificate is Config.Certificate.
	certificate func() *tls.Certificate

	now func() time.Time // Config.Now

	rebindingSaid atomic.Int64 // when, in Unix seconds

	roots     *x509.CertPool
	bootstrap *bootstrap
	markers   sync.Map // dnswire.Marker to the *server that it is of

	applyMu    sync.Mutex
	servers    map[Upstream]*server // every one that was ever applied
	generation uint32
	only       map[string]*onlyNotes // by group
}

// snapshot is what one Apply put in force. A query loads it once, and is judged and answered by it.
type snapshot struct {
	Settings
	policy     *policy.Policy
	generation uint32 // never 0
	pool       *pool
	zones      []*pool
	bootstrap  *pool
	records    map[string][]Record // by the owner's key
	counters   *counters
	shared     []bool // by group: many people behind each of its addresses
	nsid       []byte
	only       []*onlyNotes // by group; nil: it has no allow-list
	// explanation is the extended error of blocked answers for who asks for a structured one; nil: the bare one.
	explanation []byte
}

// New opens the sockets and puts the first settings in force. Nothing is served until Run.
func New(c Config) (*Resolver, error) {
	r := &Resolver{
		log: c.Logger, recorder: c.Recorder, questions: c.Questions, identities: c.Identities, notify: c.Notify, roots: c.roots, cache: newCache(c.CacheEntries), failures: newFailures(), servers: make(map[Upstream]*server),
		certificate: c.Certificate, now: c.Now, tunnels: newTunnels(),
	}
	r.metrics = newMetrics(c.Registerer, r.cache.len)
	r.panics = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "schoolgate_panics_total", Help: "Queries that met a fault of the program; answered SERVFAIL.",
	})
	c.Registerer.MustRegister(r.panics)
	r.refused.register(c.Registerer)
	r.limits, r.cookies = newLimits(c.Registerer), newCookieJar(time.Now())
	r.throngs = newThrongs(c.Logger)
	r.newTally()
	r.forwarder = newForwarder(r)
	r.bootstrap = newBootstrap(func(name []byte, typ uint16) (dnswire.Answer, bool) {
		return r.forwarder.seek(&call{name: name, typ: typ, pool: r.snapshot.Load().bootstrap})
	}, r.forwarder.start)
	if err := r.Apply(c.Settings); err != nil {
		return nil, err
	}
	for _, addr := range c.Listen {
		l, err := listen(r, addr)
		if err != nil {
			r.closeListeners()
			return nil, err
		}
		r.listeners = append(r.listeners, l)
	}
	if err := r.listenEncrypted(c); err != nil {
		r.closeListeners()
		return nil, err
	}
	return r, nil
}

// Apply puts settings in force for every query that comes from now on. Those that wait for an
// upstream are finished under the settings that they came under, with what the cache learned kept.
func (r *Resolver) Apply(s Settings) error {
	if s.Policy == nil {
		return errors.New("apply settings: no policy")
	}
	r.applyMu.Lock()
	defer r.applyMu.Unlock()
	r.generation++
	next := &snapshot{
		Settings: s, policy: s.Policy, generation: r.generation, records: make(map[string][]Record),
		pool: r.newPool(s.Upstreams, 0), counters: newCounters(r.metrics, s.Policy), nsid: nsid(s.Policy.Site()), only: r.onlyNotesOf(s.Policy),
		explanation: s.Blocking.StructuredErrors.explain(s.Policy.Site()),
	}
	for i := range s.Policy.Groups() {
		next.shared = append(next.shared, s.Policy.Shared(uint16(i)))
	}
	next.bootstrap = r.newPool(Upstreams{Servers: s.Upstreams.Bootstrap, Strategy: s.Upstreams.Strategy, Timeout: s.Upstreams.Timeout}, 0)
	for _, zone := range s.Zones {
		h := fnv.New64a()
		for _, u := range zone.Servers {
			fmt.Fprintln(h, u)
		}
		next.zones = append(next.zones, r.newPool(zone, h.Sum64()))
	}
	for _, rec := range s.Records {
		next.records[string(rec.name)] = append(next.records[string(rec.name)], rec)
	}
	last := r.snapshot.Swap(next)
	if last != nil && !slices.Equal(last.Upstreams.Bootstrap, s.Upstreams.Bootstrap) {
		r.bootstrap.expire()
	}
	return nil
}

// servers are those of the snapshot, zones last; one that is written twice comes twice.
func (s *snapshot) servers() iter.Seq[*server] {
	return func(yield func(*server) bool) {
		for _, p := range append([]*pool{s.pool}, s.zones...) {
			for _, server := range p.servers {
				if !yield(server) {
					return
				}
			}
		}
	}
}

// newPool makes a pool; a server that was known before keeps what is known of it.
func (r *Resolver) newPool(u Upstreams, id uint64) *pool {
	p := &pool{id: id, strategy: u.Strategy, timeout: u.Timeout}
	for _, upstream := range u.Servers {
		s := r.servers[upstream]
		if s == nil {
			s = newServer(upstream, r.metrics, newPlace(upstream, r.bootstrap, r.roots), r.log)
			r.servers[upstream] = s
			r.markers.Store(s.marker, s)
		}
		p.servers = append(p.servers, s)
	}
	return p
}

// drainTime bounds how long Run waits, once it is to end, for queries that are on their way.
const drainTime = 5 * time.Second

// Run serves until ctx ends, then lets what waits for upstreams finish, and closes the sockets.
func (r *Resolver) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	for _, l := range r.listeners {
		l.run(&serving)
	}
	for _, e := range r.encrypted {
		serving.Go(e.run)
	}
	r.probe(ctx)
	for _, l := range r.listeners {
		l.stopReading()
	}
	for _, e := range r.encrypted {
		e.stopReading()
	}
	done := make(chan struct{})
	go func() {
		serving.Wait()
		r.forwarder.close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(drainTime):
		r.log.Warn("queries were still waiting for upstream servers at the stop")
	}
	r.closeListeners()
	<-done
	r.closeServers()
	return nil
}

// closeServers ends the connections to servers.
func (r *Resolver) closeServers() {
	r.applyMu.Lock()
	defer r.applyMu.Unlock()
	for _, s := range r.servers {
		s.exchanger.close()
	}
}

func (r *Resolver) closeListeners() {
	for _, l := range r.listeners {
		l.close()
	}
	for _, e := range r.encrypted {
		e.close()
	}
}

// Addrs returns where it listens, with the ports that the system gave for port 0.
func (r *Resolver) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, 0, len(r.listeners))
	for _, l := range r.listeners {
		addrs = append(addrs, l.addr)
	}
	return addrs
}

// Stats is the state of the parts that wait and keep.
type Stats struct {
	Upstreams    []UpstreamStats // of the servers in force, zones last
	CacheEntries int
	Waiting      int       // queries that wait for an upstream
	Refused      []Refused // what is not 0
	Limits       LimitStats
	Throngs      []Throng // of the last day
}

// UpstreamStats is what is known of a server.
type UpstreamStats struct {
	Server   string
	Healthy  bool          // false: it has answered nothing for a while
	RTT      time.Duration // smoothed; 0: it has not answered yet
	Queries  uint64
	Failures uint64
	// LeadsBack says that a question sent to it came back here within the last minutes.
	LeadsBack bool
	// Without names what it is asked without, as it or something on the way does not bear it: "edns",
	// "edns_options", "0x20".
	Without []string
}

// Stats returns the present state.
func (r *Resolver) Stats() Stats {
	s := r.snapshot.Load()
	now := time.Now()
	var stats Stats
	for server := range s.servers() {
		stats.Upstreams = append(stats.Upstreams, server.stats(now))
	}
	stats.CacheEntries, _ = r.cache.len()
	stats.Refused = r.refused.stats()
	stats.Limits = r.limitStats()
	stats.Throngs = r.throngs.stats(now)
	r.forwarder.mu.Lock()
	stats.Waiting = r.forwarder.waiting
	r.forwarder.mu.Unlock()
	return stats
}

// foresee decodes queries that have come together, and has what the cache may have for them brought near, so
// that they need not wait for memory one after the other.
func (r *Resolver) foresee(batch []*query) {
	for _, q := range batch {
		if r.decode(q); q.status == dnswire.StatusOK {
			r.cache.warmSlot(q.hash)
		}
	}
	for _, q := range batch {
		if q.status == dnswire.StatusOK {
			r.cache.warmRecord(q.hash)
		}
	}
}

// serveSafely is serve, with a fault of ours turned into SERVFAIL and a number that alerts: one bad
// packet must not end the school's DNS.
func (r *Resolver) serveSafely(q *query) (finished bool) {
	defer func() {
		if fault := recover(); fault != nil {
			r.fault(q, fault)
			finished = true
		}
	}()
	return r.serve(q)
}

func (r *Resolver) fault(q *query, fault any) {
	r.panics.Inc()
	r.log.Error("fault while answering a query", "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
	if len(q.in) < headerLen {
		return
	}
	q.out = append(q.out[:0], q.in[:headerLen]...)
	dnswire.PutHeader(q.out, dnswire.Header{
		ID: q.msg.ID, Flags: dnswire.FlagQR | dnswire.FlagRA | q.msg.Flags&dnswire.FlagRD, Rcode: dnswire.RcodeServFail,
	})
	q.sender.send(q)
}

// Ask takes a query through the pipeline as if it had come from a client at from, "udp" or "tcp",
// and returns the response; nil where none is sent. It is how schoolgate asks itself: with
// unrecorded, a breach is counted and not recorded.
func (r *Resolver) Ask(ctx context.Context, packet []byte, from netip.AddrPort, network string, unrecorded bool) ([]byte, error) {
	if len(packet) > maxQuery {
		return nil, fmt.Errorf("query of %d octets: the most is %d", len(packet), maxQuery)
	}
	q := queries.Get().(*query)
	q.reset()
	q.in = q.buf[:copy(q.buf[:], packet)]
	q.from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	q.client = q.from.Addr()
	q.transport = overUDP
	if network == overTCP.String() {
		q.transport = overTCP
	}
	q.unrecorded = unrecorded
	answer := make(askSender, 1)
	q.sender = answer
	if r.serveSafely(q) {
		queries.Put(q)
		select {
		case response := <-answer:
			return response, nil
		default:
			return nil, nil
		}
	}
	select {
	case response := <-answer:
		return response, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// settle takes a query of a listener through the pipeline and waits for its response; nil where none is
// sent. q is given back then. It waits for an answer that nobody wants any more, too: what a client asks
// and breaks off must go on counting as his.
func (r *Resolver) settle(q *query) []byte {
	answer := make(askSender, 1)
	q.sender = answer
	if !r.serveSafely(q) {
		return <-answer
	}
	queries.Put(q)
	select {
	case response := <-answer:
		return response
	default:
		return nil
	}
}

// askSender hands a response to who waits for it.
type askSender chan []byte

func (s askSender) send(q *query) { s <- append([]byte(nil), q.out...) }
