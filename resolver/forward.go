package resolver

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// The bounds on what waits: beyond them a question is answered SERVFAIL at once, so that a dead
// upstream under a flood costs a known amount of memory and the readers nothing.
const (
	maxCalls   = 4096  // questions asked upstream at one time
	maxWaiting = 16384 // queries that wait for them
	// giveUp bounds all tries for one question together. A client's stub resolver waits 5 s.
	giveUp = 4 * time.Second
)

// forwarder asks upstream. Equal questions in flight share one call, so that a burst of them is one
// question outside, and a forger has one port and id to guess, not many (CVE-2023-30464).
type forwarder struct {
	resolver *Resolver
	log      *slog.Logger

	mu      sync.Mutex
	calls   map[string]*call
	waiting int
	closed  bool

	running sync.WaitGroup
	hedging room
}

// call is one question asked upstream, with the queries that wait for its answer.
type call struct {
	key       string
	question  []byte // the cache's key
	name      []byte
	typ       uint16
	do, cd    bool
	hops      []dnswire.Marker // of the resolvers that it has come through
	pool      *pool
	snapshot  *snapshot    // of the query that began it
	nameFacts policy.Facts // by its policy
	started   time.Time
	waiters   []*query // under the forwarder's mu
	// tried is the server that a worker has asked, and came what came of it.
	tried  *server
	came   outcomeOfTry
	form   form    // where it came cameNotKnown: in which to ask
	next   *server // that is healthy, and may be asked besides
	hedged bool
	heard  atomic.Bool // some server answered, if only that it can't
	late   bool        // those who waited have had a stale answer; under the forwarder's mu
}

func newForwarder(r *Resolver) *forwarder {
	return &forwarder{resolver: r, log: r.log, calls: make(map[string]*call)}
}

// callKey tells the questions in flight apart. One that has come through another resolver does not wait for
// one that has not: two resolvers that forward to each other would wait for each other.
func callKey(q *query) string {
	if len(q.msg.Hops()) > 0 {
		return string(q.question) + "\x01"
	}
	return string(q.question)
}

// start runs something in the background, until close; false after that.
func (f *forwarder) start(run func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.running.Go(run)
	return true
}

// firstAsker is a sender that can ask the first server by itself. It reports false where it cannot.
type firstAsker interface {
	askFirst(c *call) bool
}

// submit hands q over: from then on it is the forwarder's. It returns false where whoever has q answers it,
// with a stale answer or, as there is no room, SERVFAIL.
func (f *forwarder) submit(q *query, p *pool) (taken bool) {
	first, _ := q.sender.(firstAsker)
	begun, taken := f.join(q, p)
	if begun != nil {
		f.begin(begun, first)
	}
	if !taken && (!q.cached.stale || !f.resolver.takeStale(q)) {
		f.resolver.metrics.overload.Inc()
		q.fail(outcomeFailed, dnswire.RcodeServFail, dnswire.EDENoReachableAuthority)
	}
	return taken
}

// refresh asks anew for what q, which has been answered, asked for.
func (f *forwarder) refresh(q *query, p *pool) {
	f.mu.Lock()
	key := callKey(q)
	c := f.calls[key]
	if c != nil || f.closed || len(f.calls) >= maxCalls/2 {
		f.mu.Unlock()
		return
	}
	c = f.newCall(key, q, p)
	f.mu.Unlock()
	first, _ := q.sender.(firstAsker)
	f.begin(c, first)
}

func (f *forwarder) begin(c *call, first firstAsker) {
	if first == nil || !first.askFirst(c) {
		f.running.Go(func() { f.run(c) })
	}
}

// join has q wait for the answer to its question. It returns the call where that is a new one.
func (f *forwarder) join(q *query, p *pool) (begun *call, taken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := callKey(q)
	c := f.calls[key]
	if f.closed || f.waiting >= maxWaiting || c == nil && len(f.calls) >= maxCalls || c != nil && c.late && q.cached.stale {
		return nil, false
	}
	f.waiting++
	q.batched, q.lent, q.counts = false, true, nil
	if c != nil {
		c.waiters = append(c.waiters, q)
		return nil, true
	}
	c = f.newCall(key, q, p)
	c.waiters = []*query{q}
	return c, true
}

// newCall adds the call for q's question. mu must be held.
func (f *forwarder) newCall(key string, q *query, p *pool) *call {
	question := slices.Clone(q.question)
	c := &call{
		key: key, hops: slices.Clone(q.msg.Hops()),
		question: question, name: question[:len(question)-questionKeyMore],
		typ: q.msg.Type, do: q.msg.DO, cd: q.msg.Flags&dnswire.FlagCD != 0, pool: p, started: q.received,
		snapshot: q.snapshot, nameFacts: q.nameFacts,
	}
	f.calls[key] = c
	return c
}

// outcomeOfTry is what came of asking the first server.
type outcomeOfTry uint8

const (
	cameNothing    outcomeOfTry = iota // it may be asked once more, as the last one
	cameTooMuch                        // the answer did not fit: it is asked over TCP
	cameRefusal                        // it said that it cannot answer
	cameNotKnown                       // it does not understand EDNS, it seems: it is asked without
	cameOtherCase                      // the answer may be forged: it is asked over TCP
	cameNoCookies                      // it may be, too
	cameBadCookies                     // it wants other cookies, which it has told: it is asked with them
)

// goOn takes over a call from a worker that has asked the first server and got no good answer.
func (f *forwarder) goOn(c *call, came outcomeOfTry) {
	c.came = came
	f.running.Go(func() { f.run(c) })
}

// hedge asks another server, besides the one that a worker has asked and still waits for, where there is
// room for that; false where there is not. The first good answer ends the call.
func (f *forwarder) hedge(c *call) bool {
	if !f.hedging.take() {
		return false
	}
	if !c.pool.hedges.spend() {
		f.hedging.give()
		return false
	}
	c.hedged = true
	c.next.metrics.hedged.Inc()
	f.running.Go(func() {
		defer f.hedging.give()
		f.run(c)
	})
	return true
}

func (f *forwarder) run(c *call) {
	soon := time.AfterFunc(time.Until(c.started.Add(clientTimer)), func() { f.answerStale(c) })
	e := f.ask(c)
	soon.Stop()
	waiters, known := f.land(c, e)
	for _, q := range waiters {
		f.finish(q, e, known)
		queries.Put(q)
	}
}

// answerStale answers those who wait with what the cache has, if it has anything: no client waits longer
// than clientTimer where there is an old answer (RFC 8767 §5). The call goes on.
func (f *forwarder) answerStale(c *call) {
	over := seconds(f.resolver.snapshot.Load().Cache.ServeStale)
	if _, old := f.resolver.cache.getStale(nil, c.question, time.Now(), staleTTL, over); !old.found {
		return
	}
	f.mu.Lock()
	waiters := c.waiters
	c.waiters, c.late = nil, true
	f.waiting -= len(waiters)
	f.mu.Unlock()
	for _, q := range waiters {
		f.finish(q, nil, facts{})
		queries.Put(q)
	}
}

// clientTimer is RFC 8767's client response timer.
const clientTimer = 1800 * time.Millisecond

// land ends the call: the answer, nil where there is none, is kept, and those who wait for it are the
// caller's from then on, with what the policy says of the answer. Of two that end it nobody waits for the second.
func (f *forwarder) land(c *call, e *entry) (waiters []*query, known facts) {
	if e != nil {
		if c.snapshot.Blocking.StripECH {
			e.stripECH()
		}
		known = factsOf(c.snapshot, c.nameFacts, e.msg)
		f.resolver.cache.put(e, known)
		f.resolver.keepCut(e)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls[c.key] != c {
		return nil, known
	}
	if e == nil {
		f.resolver.failures.add(c.question, time.Now(), failureTTL(c.heard.Load()))
	}
	delete(f.calls, c.key)
	waiters, c.waiters = c.waiters, nil
	f.waiting -= len(waiters)
	return waiters, known
}

// failureTTL is for how many seconds a question is not asked again that no server answered, which may be
// for a moment, or that some said they cannot answer (RFC 9520 §3.2: 1 s to 5 min).
func failureTTL(heard bool) uint32 {
	if heard {
		return 5
	}
	return 1
}

// finish finishes q with the answer that came for it, nil where none did.
func (f *forwarder) finish(q *query, e *entry, known facts) {
	defer func() {
		if fault := recover(); fault != nil {
			f.resolver.fault(q, fault)
		}
	}()
	if e != nil {
		q.out = append(q.out[:0], e.msg...)
		limit := q.clientTTL()
		for _, o := range e.ttls {
			dnswire.AgeTTL(q.out, o, 0, limit)
		}
		q.answered, q.rcode, q.facts = true, e.rcode, known
	} else if !f.resolver.takeStale(q) {
		q.fail(outcomeFailed, dnswire.RcodeServFail, dnswire.EDENoReachableAuthority)
	}
	f.resolver.finish(q)
}

// close waits for the calls that run and lets no more begin.
func (f *forwarder) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.running.Wait()
}

func (f *forwarder) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}
