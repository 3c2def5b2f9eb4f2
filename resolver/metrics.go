package resolver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy"
)

// metrics are the series that do not depend on the policy, and the vectors of those that do. A child
// is looked up when a policy is applied, not when a query is counted.
type metrics struct {
	queries   *prometheus.CounterVec
	responses *prometheus.CounterVec
	blocked   *prometheus.CounterVec
	monitored *prometheus.CounterVec
	breaches  *prometheus.CounterVec
	durations *durations

	cacheHit, cacheMiss, cacheStale prometheus.Counter
	overload                        tally
	loops                           prometheus.Counter
	upstreamRequests                *prometheus.CounterVec
	upstreamDuration                *prometheus.HistogramVec
	upstreamHedged                  *prometheus.CounterVec
	upstreamFallbacks               *prometheus.CounterVec

	rcodes    [24]prometheus.Counter
	rcodeElse prometheus.Counter
}

// upstreamMetrics are the children of one server.
type upstreamMetrics struct {
	ok, timeout, unreachable, refused, truncated, mismatched prometheus.Counter
	hedged                                                   prometheus.Counter
	fallbacks                                                [lackCount]prometheus.Counter
	duration                                                 prometheus.Observer
}

var rcodeNames = map[uint16]string{
	0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 16: "BADVERS",
}

// latencyBuckets run from 50 µs, in seconds: a cached answer takes a few, an upstream's milliseconds.
var latencyBuckets = [...]float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5}

func newMetrics(reg prometheus.Registerer, cacheLen func() (entries, bytes int)) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latencyBuckets[:]}, labels)
		reg.MustRegister(h)
		return h
	}
	m := &metrics{
		queries:           counter("schoolgate_queries_total", "DNS queries by what became of them.", "transport", "group", "outcome"),
		responses:         counter("schoolgate_responses_total", "DNS responses by response code.", "rcode"),
		blocked:           counter("schoolgate_blocked_total", "Blocked queries by the category that blocked them.", "group", "category"),
		monitored:         counter("schoolgate_monitored_total", "Queries that were let through and are watched, by category.", "group", "category"),
		breaches:          counter("schoolgate_breaches_total", "Attempts at blocked or monitored content, severity none left out.", "group", "category", "severity", "action"),
		durations:         newDurations(),
		upstreamRequests:  counter("schoolgate_upstream_requests_total", "Questions to upstream servers by how they ended.", "upstream", "result"),
		upstreamHedged:    counter("schoolgate_upstream_hedged_total", "Questions put to an upstream server because another one was slower than usual.", "upstream"),
		upstreamFallbacks: counter("schoolgate_upstream_fallbacks_total", "How often an upstream server began to be asked without something that it does not bear.", "upstream", "without"),
		upstreamDuration:  histogram("schoolgate_upstream_duration_seconds", "Time until an upstream server answered.", "upstream"),
	}
	cacheRequests := counter("schoolgate_cache_requests_total", "Look-ups in the answer cache.", "result")
	m.cacheHit, m.cacheMiss = cacheRequests.WithLabelValues("hit"), cacheRequests.WithLabelValues("miss")
	m.cacheStale = cacheRequests.WithLabelValues("stale")
	m.loops = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "schoolgate_forward_loops_total", Help: "Queries that came back to this resolver by an upstream server; answered SERVFAIL.",
	})
	reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "schoolgate_forward_overload_total", Help: "Queries answered SERVFAIL because too many were waiting for upstream servers.",
	}, func() float64 { return float64(m.overload.Load()) }), m.loops, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "schoolgate_cache_entries", Help: "Answers in the cache.",
	}, func() float64 { entries, _ := cacheLen(); return float64(entries) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "schoolgate_cache_bytes", Help: "Memory that the answer cache has taken.",
	}, func() float64 { _, size := cacheLen(); return float64(size) }))
	for code, name := range rcodeNames {
		m.rcodes[code] = m.responses.WithLabelValues(name)
	}
	m.rcodeElse = m.responses.WithLabelValues("other")
	reg.MustRegister(m.durations)
	return m
}

func (m *metrics) upstream(name string) upstreamMetrics {
	result := func(r string) prometheus.Counter { return m.upstreamRequests.WithLabelValues(name, r) }
	u := upstreamMetrics{
		ok: result("ok"), timeout: result("timeout"), unreachable: result("unreachable"), refused: result("refused"),
		truncated: result("truncated"), mismatched: result("mismatched"),
		hedged: m.upstreamHedged.WithLabelValues(name), duration: m.upstreamDuration.WithLabelValues(name),
	}
	for i, what := range withoutNames {
		u.fallbacks[i] = m.upstreamFallbacks.WithLabelValues(name, what)
	}
	return u
}

func (u *upstreamMetrics) failed(err error) {
	if isTimeout(err) {
		u.timeout.Inc()
	} else {
		u.unreachable.Inc()
	}
}

// counters are the children of one policy's groups and categories.
type counters struct {
	metrics *metrics
	policy  *policy.Policy
	groups  []groupCounters
}

type groupCounters struct {
	name    string
	queries [transportCount][outcomeCount]prometheus.Counter
	blocked []prometheus.Counter // by categorySlot
	// monitored is by categorySlot too; only a category of the configuration is.
	monitored []prometheus.Counter
	breaches  [2][]prometheus.Counter // by action and categorySlot, with the category's own severity
}

// categorySlot makes an index of a verdict's category: the rule and the allow-list come first.
func categorySlot(category int16) int { return int(category) - int(policy.CategoryRebinding) }

var actionNames = [2]string{"block", "monitor"}

func newCounters(m *metrics, p *policy.Policy) *counters {
	c := &counters{metrics: m, policy: p}
	categories := p.Categories()
	for _, name := range p.Groups() {
		g := groupCounters{name: name}
		for t := range transportCount {
			for o := range outcomeCount {
				g.queries[t][o] = m.queries.WithLabelValues(t.String(), name, o.String())
			}
		}
		for slot := range categorySlot(int16(len(categories))) {
			category := int16(slot) + policy.CategoryRebinding
			label, severity, trial := p.CategoryName(category), policy.SeverityLow, false
			if category >= 0 {
				severity, trial = categories[category].Severity, categories[category].TrialOf != ""
			}
			if category == policy.CategoryNone {
				g.blocked = append(g.blocked, nil)
			} else {
				g.blocked = append(g.blocked, m.blocked.WithLabelValues(name, label))
			}
			if category >= 0 {
				g.monitored = append(g.monitored, m.monitored.WithLabelValues(name, label))
			} else {
				g.monitored = append(g.monitored, nil)
			}
			for a := range g.breaches {
				var child prometheus.Counter
				possible := !trial
				if actionNames[a] == "monitor" {
					possible = category >= 0
				}
				if category != policy.CategoryNone && category != policy.CategoryOnly && category != policy.CategoryRebinding && severity != policy.SeverityNone && possible {
					child = m.breaches.WithLabelValues(name, label, severity.String(), actionNames[a])
				}
				g.breaches[a] = append(g.breaches[a], child)
			}
		}
		c.groups = append(c.groups, g)
	}
	return c
}

func (c *counters) query(q *query) {
	c.groups[q.who.Group].queries[q.transport][q.outcome].Inc()
	if q.counts != nil {
		q.counts[q.outcome]++
	} else {
		c.metrics.durations.observe(q.outcome, time.Since(q.received), 1)
	}
}

func (c *counters) blocked(v policy.Verdict) {
	c.groups[v.Group].blocked[categorySlot(v.Category)].Inc()
}

func (c *counters) monitored(v policy.Verdict) {
	if child := c.groups[v.Group].monitored[categorySlot(v.Category)]; child != nil {
		child.Inc()
	}
}

func (c *counters) breach(v policy.Verdict) {
	g, action := &c.groups[v.Group], 0
	if v.Action == policy.Monitor {
		action = 1
	}
	usual := policy.SeverityLow
	if v.Category >= 0 {
		usual = c.policy.Categories()[v.Category].Severity
	}
	if v.Severity == usual {
		g.breaches[action][categorySlot(v.Category)].Inc()
		return
	}
	// A rule's own severity, or that of an address.
	c.metrics.breaches.WithLabelValues(g.name, c.policy.CategoryName(v.Category), v.Severity.String(), actionNames[action]).Inc()
}

func (c *counters) response(rcode uint16) {
	if int(rcode) < len(c.metrics.rcodes) && c.metrics.rcodes[rcode] != nil {
		c.metrics.rcodes[rcode].Inc()
		return
	}
	c.metrics.rcodeElse.Inc()
}
