package resolver

import (
	"cmp"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"schoolgate/resolver/dnswire"
)

// The health of a server: after failuresToDown failures in a row it is left alone for a while that
// doubles from downFirst to downMost, and then tried with one question, unless a probe has found it before.
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
	hedges   budget
}

type server struct {
	Upstream
	metrics   upstreamMetrics
	exchanger exchanger
	log       *slog.Logger
	marker    dnswire.Marker // in every query to it, so that it is known where a loop begins

	mu         sync.Mutex
	rtt        time.Duration // smoothed; 0: not known yet
	deviation  time.Duration // of it
	failures   int           // in a row
	since      time.Time     // of the first of them
	down       time.Duration // how long it was last left alone
	until      time.Time     // left alone until then
	probing    bool          // a probe is on its way
	probeAt    time.Time     // while it is down: when the next probe is due
	probePause time.Duration // before that
	revived    bool          // a probe was the last thing it answered
	habits
	backAt  time.Time // when a question sent to it last came back here
	queries uint64
	failed  uint64
}

func newServer(u Upstream, m *metrics, at *place, log *slog.Logger) *server {
	s := &server{Upstream: u, metrics: m.upstream(u.String()), log: log}
	s.exchanger = newExchanger(at, func() { s.metrics.mismatched.Inc() })
	rand.Read(s.marker[:]) // never fails: crypto/rand
	return s
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
		mathrand.Shuffle(len(healthy), func(i, j int) { healthy[i], healthy[j] = healthy[j], healthy[i] })
	case "fastest":
		slices.SortStableFunc(healthy, func(a, b *server) int { return cmp.Compare(a.roundTrip(), b.roundTrip()) })
		//nolint:gosec // G404: as above
		if len(healthy) > 1 && mathrand.IntN(probeEvery) == 0 {
			first := mathrand.IntN(len(healthy)) //nolint:gosec // G404: as above
			healthy[0], healthy[first] = healthy[first], healthy[0]
		}
	}
	return append(healthy, others...)
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
	s.failures, s.down, s.revived = 0, 0, false
	s.until = time.Time{}
	s.measure(rtt)
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
		switch {
		case s.revived: // by a probe, to no purpose
			s.probeAt, s.revived = s.until, false
		case s.failures == failuresToDown:
			s.probePause, s.probeAt = probeFirst, now.Add(probeFirst)
		}
	}
}

func (s *server) stats(now time.Time) UpstreamStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Three names that nobody can answer for are no dead server, but do put it last for a moment.
	dead := s.failures >= failuresToDown && now.Sub(s.since) >= deadAfter
	return UpstreamStats{
		Server: s.String(), Healthy: !dead, RTT: s.rtt, Queries: s.queries, Failures: s.failed,
		LeadsBack: !s.backAt.IsZero() && now.Sub(s.backAt) < leadsBackFor,
		Without:   s.without(now),
	}
}
