package resolver

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Upstream is a server that questions are forwarded to.
type Upstream struct {
	addr netip.AddrPort
	tcp  bool // always over TCP
}

// ParseUpstream reads udp://ADDRESS, tcp://ADDRESS or a bare ADDRESS (UDP), with :PORT unless it is 53.
// An IPv6 address with a port stands in brackets. Names are not resolved.
func ParseUpstream(s string) (Upstream, error) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "udp", s
	}
	var u Upstream
	switch scheme {
	case "udp":
	case "tcp":
		u.tcp = true
	case "tls", "https", "quic":
		return u, fmt.Errorf("%s:// upstreams come in a later version (use udp:// or tcp://)", scheme)
	default:
		return u, fmt.Errorf("%q is not udp:// or tcp://", scheme+"://")
	}
	if addr, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		u.addr = netip.AddrPortFrom(addr.Unmap(), 53)
		return u, nil
	}
	addr, err := netip.ParseAddrPort(rest)
	if err != nil || addr.Port() == 0 {
		return u, fmt.Errorf("%q is not an address with an optional port (192.0.2.1:53, [2001:db8::1]:53)", rest)
	}
	u.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return u, nil
}

// String returns the form that ParseUpstream reads, with scheme and port.
func (u Upstream) String() string {
	if u.tcp {
		return "tcp://" + u.addr.String()
	}
	return "udp://" + u.addr.String()
}

// AddrPort is where the server listens.
func (u Upstream) AddrPort() netip.AddrPort { return u.addr }

// The health of a server: after failuresToDown failures in a row it is left alone for a while that
// doubles from downFirst to downMost, and then tried with one question.
const (
	failuresToDown = 3
	downFirst      = time.Second
	downMost       = 30 * time.Second
	// shortTry bounds a try while another server is left to ask.
	shortTry = 800 * time.Millisecond
	// probeEvery is how often the strategy "fastest" asks another server than the fastest, so that
	// it learns when that has changed.
	probeEvery = 32
	// deadAfter is how long a server must not have answered at all until people are told.
	deadAfter = 10 * time.Second
)

// pool is a set of servers with what is known of them. Its servers outlive a reload that names them
// again.
type pool struct {
	id       uint64 // tells the answers of one set of servers from those of another
	servers  []*server
	strategy string
	timeout  time.Duration
}

type server struct {
	Upstream
	metrics upstreamMetrics

	mu       sync.Mutex
	rtt      time.Duration // smoothed; 0: not known yet
	failures int           // in a row
	since    time.Time     // of the first of them
	down     time.Duration // how long it was last left alone
	until    time.Time     // left alone until then
	queries  uint64
	failed   uint64
}

// order returns the servers in the order in which to try them: the healthy ones by the strategy, then
// the others, for when nothing else is left.
func (p *pool) order(now time.Time) []*server {
	healthy := make([]*server, 0, len(p.servers))
	var others []*server
	for _, s := range p.servers {
		if s.healthy(now) {
			healthy = append(healthy, s)
		} else {
			others = append(others, s)
		}
	}
	switch p.strategy {
	case "random":
		//nolint:gosec // G404: spreads load; nothing depends on its being hard to guess
		rand.Shuffle(len(healthy), func(i, j int) { healthy[i], healthy[j] = healthy[j], healthy[i] })
	case "fastest":
		first := 0
		for i, s := range healthy {
			if s.roundTrip() < healthy[first].roundTrip() {
				first = i
			}
		}
		//nolint:gosec // G404: as above
		if len(healthy) > 1 && rand.IntN(probeEvery) == 0 {
			first = rand.IntN(len(healthy)) //nolint:gosec // G404: as above
		}
		if first > 0 {
			healthy[0], healthy[first] = healthy[first], healthy[0]
		}
	}
	return append(healthy, others...)
}

// tryFor is how long the i-th server in order may take.
func (p *pool) tryFor(i int) time.Duration {
	if i < len(p.servers)-1 {
		return min(p.timeout, shortTry)
	}
	return p.timeout
}

func (s *server) healthy(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.until)
}

func (s *server) roundTrip() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rtt
}

// answered records a response after rtt.
func (s *server) answered(rtt time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries++
	s.failures, s.down = 0, 0
	s.until = time.Time{}
	if s.rtt == 0 {
		s.rtt = rtt
	} else {
		s.rtt += (rtt - s.rtt) / 8 // RFC 6298's weight
	}
}

// didNotAnswer records a timeout or a network error.
func (s *server) didNotAnswer(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries++
	s.failed++
	if s.failures == 0 {
		s.since = now
	}
	s.failures++
	if s.failures >= failuresToDown {
		s.down = min(max(2*s.down, downFirst), downMost)
		s.until = now.Add(s.down)
	}
}

func (s *server) stats(now time.Time) UpstreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Three names that nobody can answer for are no dead server, but do put it last for a moment.
	dead := s.failures >= failuresToDown && now.Sub(s.since) >= deadAfter
	return UpstreamStats{
		Server: s.String(), Healthy: !dead, RTT: s.rtt, Queries: s.queries, Failures: s.failed,
	}
}
