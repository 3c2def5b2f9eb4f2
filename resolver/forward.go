package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
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
}

// call is one question asked upstream, with the queries that wait for its answer.
type call struct {
	question  []byte // the cache's key
	name      []byte
	typ       uint16
	do, cd    bool
	pool      *pool
	snapshot  *snapshot    // of the query that began it
	nameFacts policy.Facts // by its policy
	started   time.Time
	waiters   []*query // under the forwarder's mu
	// tried is the server that a worker has asked, and tooLong that its answer did not fit.
	tried   *server
	tooLong bool
	heard   bool  // some server answered, if only that it can't
	late    bool  // those who waited have had a stale answer; under the forwarder's mu
	facts   facts // of the answer
}

func newForwarder(r *Resolver) *forwarder {
	return &forwarder{resolver: r, log: r.log, calls: make(map[string]*call)}
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
	c := f.calls[string(q.question)]
	if c != nil || f.closed || len(f.calls) >= maxCalls/2 {
		f.mu.Unlock()
		return
	}
	c = f.newCall(q, p)
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
	c := f.calls[string(q.question)]
	if f.closed || f.waiting >= maxWaiting || c == nil && len(f.calls) >= maxCalls || c != nil && c.late && q.cached.stale {
		return nil, false
	}
	f.waiting++
	q.batched, q.lent, q.counts = false, true, nil
	if c != nil {
		c.waiters = append(c.waiters, q)
		return nil, true
	}
	c = f.newCall(q, p)
	c.waiters = []*query{q}
	return c, true
}

// newCall adds the call for q's question. mu must be held.
func (f *forwarder) newCall(q *query, p *pool) *call {
	c := &call{
		question: append([]byte(nil), q.question...), name: append([]byte(nil), q.msg.Name()...),
		typ: q.msg.Type, do: q.msg.DO, cd: q.msg.Flags&dnswire.FlagCD != 0, pool: p, started: q.received,
		snapshot: q.snapshot, nameFacts: q.nameFacts,
	}
	f.calls[string(c.question)] = c
	return c
}

// goOn takes over a call from a worker that has asked a server and got no answer, or one that was too long.
func (f *forwarder) goOn(c *call, tried *server, tooLong bool) {
	c.tried, c.tooLong = tried, tooLong
	f.running.Go(func() { f.run(c) })
}

func (f *forwarder) run(c *call) {
	soon := time.AfterFunc(time.Until(c.started.Add(clientTimer)), func() { f.answerStale(c) })
	e := f.ask(c)
	soon.Stop()
	for _, q := range f.land(c, e) {
		f.finish(q, e, c.facts)
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
// caller's from then on.
func (f *forwarder) land(c *call, e *entry) (waiters []*query) {
	if e != nil {
		c.facts = factsOf(c.snapshot, c.nameFacts, e.msg)
		f.resolver.cache.put(e, c.facts)
	} else {
		f.resolver.cache.fail(c.question, time.Now(), failureTTL(c.heard))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, string(c.question))
	waiters, c.waiters = c.waiters, nil
	f.waiting -= len(waiters)
	return waiters
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

// ask tries the servers in turn until one answers; nil where none does.
func (f *forwarder) ask(c *call) *entry {
	servers := c.pool.order(time.Now())
	if i := slices.Index(servers, c.tried); i >= 0 && !c.tooLong {
		servers = append(slices.Delete(servers, i, i+1), c.tried)
	} else if i > 0 {
		servers[0], servers[i] = servers[i], servers[0]
	}
	deadline := c.started.Add(max(giveUp, c.pool.timeout))
	for i, s := range servers {
		now := time.Now()
		timeout := min(c.pool.tryFor(i), deadline.Sub(now))
		if timeout <= 0 {
			break
		}
		answer, err := s.exchange(c, now.Add(timeout))
		rtt := time.Since(now)
		if err != nil {
			s.didNotAnswer(time.Now())
			s.metrics.failed(err)
			f.log.Debug("upstream did not answer", "upstream", s.String(), "error", err)
			continue
		}
		s.answered(rtt)
		s.metrics.duration.Observe(rtt.Seconds())
		if !useful(answer.Rcode) {
			s.metrics.refused.Inc() // another server may know better
			c.heard = true
			continue
		}
		s.metrics.ok.Inc()
		return newEntry(c.question, answer, time.Now(), f.resolver.snapshot.Load().Cache)
	}
	return nil
}

// useful reports whether an answer with that response code is one, and not word of a server's troubles.
func useful(rcode uint16) bool {
	return rcode == dnswire.RcodeSuccess || rcode == dnswire.RcodeNXDomain || rcode == rcodeYXDomain
}

// rcodeYXDomain is the answer to a name that a DNAME record makes too long (RFC 6672 §2.2).
const rcodeYXDomain = 6

// exchange asks s once, over UDP and, where the answer does not fit, over TCP.
func (s *server) exchange(c *call, deadline time.Time) (dnswire.Answer, error) {
	if known := c.tooLong && s == c.tried; !s.tcp && !known {
		answer, err := s.exchangeUDP(c, deadline)
		if err != nil || !answer.TC {
			return answer, err
		}
		s.metrics.truncated.Inc()
	}
	return s.exchangeTCP(c, deadline)
}

// maxUpstreamUDP is how much we offer to take over UDP, and the most that is read.
const maxUpstreamUDP = 1232

// newID returns an id that cannot be foretold (RFC 5452 §9.2); a client's id never goes upstream.
func newID() uint16 {
	var b [2]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return binary.BigEndian.Uint16(b[:])
}

// exchangeUDP uses a socket of its own for one question: the system gives it a port at random, and
// as it is connected, takes datagrams from that server only. What is not the answer to this question
// is passed over: the right one may still come (RFC 5452 §9.1).
func (s *server) exchangeUDP(c *call, deadline time.Time) (dnswire.Answer, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		return dnswire.Answer{}, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return dnswire.Answer{}, fmt.Errorf("deadline: %w", err)
	}
	id := newID()
	buf := make([]byte, 0, maxUpstreamUDP+1)
	if _, err := conn.Write(dnswire.AppendQuery(buf, id, c.name, c.typ, dnswire.ClassIN, maxUpstreamUDP, c.do, c.cd)); err != nil {
		return dnswire.Answer{}, fmt.Errorf("send: %w", err)
	}
	buf = buf[:cap(buf)]
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return dnswire.Answer{}, fmt.Errorf("receive: %w", err)
		}
		answer, err := dnswire.ParseAnswer(buf[:n], id, c.name, c.typ, c.do)
		if err == nil {
			return answer, nil
		}
		s.metrics.mismatched.Inc()
	}
}

func (s *server) exchangeTCP(c *call, deadline time.Time) (dnswire.Answer, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.addr.String())
	if err != nil {
		return dnswire.Answer{}, fmt.Errorf("connect over TCP: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return dnswire.Answer{}, fmt.Errorf("deadline: %w", err)
	}
	id := newID()
	query := dnswire.AppendQuery(make([]byte, 2, 512), id, c.name, c.typ, dnswire.ClassIN, maxUpstreamUDP, c.do, c.cd)
	binary.BigEndian.PutUint16(query, uint16(len(query)-2))
	if _, err := conn.Write(query); err != nil {
		return dnswire.Answer{}, fmt.Errorf("send over TCP: %w", err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return dnswire.Answer{}, fmt.Errorf("receive over TCP: %w", err)
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return dnswire.Answer{}, fmt.Errorf("receive over TCP: %w", err)
	}
	answer, err := dnswire.ParseAnswer(buf, id, c.name, c.typ, c.do)
	if err == nil && answer.TC {
		err = dnswire.ErrFormat // a truncated answer over TCP makes no sense
	}
	if err != nil {
		return dnswire.Answer{}, fmt.Errorf("answer over TCP: %w", err)
	}
	return answer, nil
}

// errTimeout says that a server has not answered in time.
var errTimeout = fmt.Errorf("receive: %w", os.ErrDeadlineExceeded)

// isTimeout tells a server that was silent from one that could not be reached.
func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
