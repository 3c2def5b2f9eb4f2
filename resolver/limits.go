package resolver

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// limits are the clients' buckets, and what was refused because of them. What is refused of connections
// is counted in refused.go.
type limits struct {
	began time.Time // from which the buckets count, by the monotonic clock
	// An address that is only claimed, as over UDP, has a bucket apart from the same one proved, by a
	// connection or a cookie (RFC 7873): whoever forges it empties the first, and its owner, who is told to
	// come over TCP, has the second.
	claimed, proved *limiter

	over    [transportCount]atomic.Uint64 // queries over the rate limit
	unnamed [transportCount]atomic.Uint64 // packets and connections of a proxy that name no client

	mu     sync.Mutex
	lately []Overasking // who was over the limit, the latest first
}

// Overasking is a client that was over the rate limit.
type Overasking struct {
	Client  netip.Addr `json:"client"`  // of IPv6 the first address of its /64
	Queries uint64     `json:"queries"` // over the limit, since it came among the latest
	Last    time.Time  `json:"last"`
}

// maxLately is how many of those who were over the limit are remembered.
const maxLately = 5

func newLimits(reg prometheus.Registerer) *limits {
	l := &limits{began: time.Now(), claimed: newLimiter(), proved: newLimiter()}
	for t := range transportCount {
		counter := func(name, help string, n *atomic.Uint64) {
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: name, Help: help, ConstLabels: prometheus.Labels{"transport": t.String()},
			}, func() float64 { return float64(n.Load()) }))
		}
		counter("schoolgate_rate_limited_total", "Queries over the rate limit of their client.", &l.over[t])
		if t != overQUIC { // which carries no such header
			counter("schoolgate_proxy_refused_total", "Packets and connections of a proxy that name no client.", &l.unnamed[t])
		}
	}
	return l
}

// overLimit reports whether q is one too many. Schoolgate's own checks never are, nor those who ask for
// many others.
func (r *Resolver) overLimit(q *query) bool {
	s := q.snapshot
	if s.Access.RateLimit.Every == 0 || q.unrecorded || s.shared[q.who.Group] || among(s.Access.TrustedForwarders, q.client) {
		return false
	}
	of := r.limits.proved
	if q.transport == overUDP && !q.proved {
		of = r.limits.claimed
	}
	if of.take(q.client, q.received.Sub(r.limits.began).Nanoseconds(), s.Access.RateLimit) {
		return false
	}
	r.limits.over[q.transport].Add(1)
	r.limits.note(host(q.client), q.received)
	return true
}

func (l *limits) note(client netip.Addr, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.lately, func(o Overasking) bool { return o.Client == client })
	o := Overasking{Client: client}
	if i >= 0 {
		o = l.lately[i]
	} else {
		if len(l.lately) < maxLately {
			l.lately = append(l.lately, o)
		}
		i = len(l.lately) - 1
	}
	copy(l.lately[1:i+1], l.lately[:i])
	o.Queries++
	o.Last = at
	l.lately[0] = o
}

// shed answers a query over the limit, whatever it was to get: over UDP an empty answer that is cut off,
// so that whoever is at home at that address comes over TCP, and which is no longer than the query; else
// REFUSED. Only what is answered is another: the policy has judged the name, and what it blocks is
// counted and recorded as ever, as is what it monitors. No extended error says that this was the limit:
// RFC 8914 has none for it, and 18, Prohibited, would say that the client may not ask at all.
func (q *query) shed() {
	if q.verdict.Action != policy.Block {
		q.outcome = outcomeRefused
	}
	q.answered, q.answers, q.authority, q.flags, q.ede = false, 0, 0, 0, dnswire.EDENone
	q.start()
	if q.transport != overUDP {
		q.rcode = dnswire.RcodeRefused
		return
	}
	q.rcode, q.flags = dnswire.RcodeSuccess, dnswire.FlagTC
	q.cookie = q.cookie && q.msg.CookieLen >= cookiesLen // else the answer would be longer
}

// LimitStats is what the limits refused since the start.
type LimitStats struct {
	RateLimited     uint64       `json:"rate_limited"`     // queries over the rate limit
	Lately          []Overasking `json:"lately"`           // whose, the latest first, at most five
	ForwardOverload uint64       `json:"forward_overload"` // queries that found too many waiting for upstreams
	ProxyRefused    uint64       `json:"proxy_refused"`    // packets and connections of a proxy that name no client
}

func (r *Resolver) limitStats() LimitStats {
	s := LimitStats{ForwardOverload: r.metrics.overload.Load()}
	for t := range transportCount {
		s.RateLimited += r.limits.over[t].Load()
		s.ProxyRefused += r.limits.unnamed[t].Load()
	}
	r.limits.mu.Lock()
	defer r.limits.mu.Unlock()
	s.Lately = append([]Overasking{}, r.limits.lately...)
	return s
}

// tally is a counter that status reads, too.
type tally struct{ atomic.Uint64 }

// Inc counts one.
func (t *tally) Inc() { t.Add(1) }

// among reports whether a range holds addr.
func among(ranges []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr.WithZone("")) })
}
