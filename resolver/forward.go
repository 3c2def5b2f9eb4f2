package resolver

import (
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

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
	key      string
	question []byte // the cache's key
	name     []byte
	typ      uint16
	do, cd   bool
	hops     []dnswire.Marker // of the resolvers that it has come through
	plain    bool             // ask without EDNS
	pool     *pool
	waiters  []*query
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

// submit hands q over: from then on it is the forwarder's. It returns false where there is no room;
// then q is answered SERVFAIL by whoever has it.
func (f *forwarder) submit(q *query, p *pool) (taken bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := callKey(q)
	c, joined := f.calls[key]
	if f.closed || f.waiting >= maxWaiting || !joined && len(f.calls) >= maxCalls {
		f.resolver.metrics.overload.Inc()
		q.fail(outcomeFailed, dnswire.RcodeServFail, dnswire.EDENoReachableAuthority)
		return false
	}
	f.waiting++
	if joined {
		c.waiters = append(c.waiters, q)
		return true
	}
	c = &call{
		key: key, hops: slices.Clone(q.msg.Hops()),
		question: append([]byte(nil), q.question...), name: append([]byte(nil), q.msg.Name()...),
		typ: q.msg.Type, do: q.msg.DO, cd: q.msg.Flags&dnswire.FlagCD != 0, pool: p, waiters: []*query{q},
	}
	f.calls[key] = c
	f.running.Go(func() { f.run(c) })
	return true
}

func (f *forwarder) run(c *call) {
	e := f.ask(c)
	if e != nil {
		f.resolver.cache.put(e)
	}
	f.mu.Lock()
	delete(f.calls, c.key)
	f.waiting -= len(c.waiters)
	f.mu.Unlock()

	for _, q := range c.waiters {
		f.finish(q, e)
		queries.Put(q)
	}
}

func (f *forwarder) finish(q *query, e *entry) {
	defer func() {
		if fault := recover(); fault != nil {
			f.resolver.fault(q, fault)
		}
	}()
	if e != nil {
		q.entry, q.elapsed = e, 0
	} else {
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
	if _, err := conn.Write(s.appendQuery(buf, id, c)); err != nil {
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
