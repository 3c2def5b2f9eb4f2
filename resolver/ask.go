package resolver

import (
	"errors"
	"slices"
	"time"

	"schoolgate/resolver/dnswire"
)

// ask tries the servers in turn until one answers; nil where none does.
func (f *forwarder) ask(c *call) *entry {
	answer, answered := f.seek(c)
	if !answered {
		return nil
	}
	return newEntry(c.question, answer, time.Now(), f.resolver.snapshot.Load().Cache)
}

// seek asks one server after the other until one has a good answer. Where a server takes longer than it
// usually does, the next is asked besides (see tryBoth), once a question at most.
func (f *forwarder) seek(c *call) (answer dnswire.Answer, answered bool) {
	servers := c.pool.order(time.Now())
	if i := slices.Index(servers, c.tried); i >= 0 {
		servers = slices.Delete(servers, i, i+1)
		switch c.came {
		case cameTooMuch, cameNotKnown, cameOtherCase, cameNoCookies, cameBadCookies:
			servers = slices.Insert(servers, 0, c.tried)
		case cameNothing:
			servers = append(servers, c.tried)
		case cameRefusal:
		}
	}
	started := c.started
	if started.IsZero() {
		started = time.Now()
	}
	deadline := started.Add(max(giveUp, c.pool.timeout))
	if c.tried == nil {
		c.pool.hedges.earn()
	}
	mayHedge := !c.hedged
	for len(servers) > 0 && !answered {
		now := time.Now()
		timeout := c.pool.tryTime(len(servers), deadline.Sub(now))
		if timeout <= 0 {
			break
		}
		tried := 1
		if mayHedge && len(servers) > 1 && servers[0].usual() < timeout && servers[1].healthy(now) {
			answer, answered, tried = f.tryBoth(c, servers, deadline)
			mayHedge = tried == 1
		} else {
			answer, answered = f.try(c, servers[0], timeout)
		}
		servers = servers[tried:]
	}
	return answer, answered
}

// tryTime is how long one try may take where so many servers, this one included, and so much time are left.
func (p *pool) tryTime(servers int, left time.Duration) time.Duration {
	timeout := min(p.timeout, left)
	if servers > 1 {
		timeout = min(timeout, shortTry)
	}
	return timeout
}

// result is what came of asking one server.
type result struct {
	answer   dnswire.Answer
	answered bool
}

// tryBoth asks the first server, and the second too where the first has not answered within its usual
// time. The first good answer wins; whoever loses is not called back, for what it takes in the end is
// worth knowing. tried is how many were asked.
func (f *forwarder) tryBoth(c *call, servers []*server, deadline time.Time) (answer dnswire.Answer, answered bool, tried int) {
	ask := func(i int) chan result {
		done := make(chan result, 1)
		timeout := c.pool.tryTime(len(servers)-i, time.Until(deadline))
		f.running.Go(func() {
			answer, answered := f.try(c, servers[i], timeout)
			done <- result{answer, answered}
		})
		return done
	}
	first := ask(0)
	late := time.NewTimer(servers[0].usual())
	defer late.Stop()
	select {
	case r := <-first:
		return r.answer, r.answered, 1
	case <-late.C:
	}
	if !f.hedging.take() {
		r := <-first
		return r.answer, r.answered, 1
	}
	if !c.pool.hedges.spend() {
		f.hedging.give()
		r := <-first
		return r.answer, r.answered, 1
	}
	servers[1].metrics.hedged.Inc()
	second := ask(1)
	var r result
	select {
	case r = <-first:
		first = nil
	case r = <-second:
		second = nil
	}
	if r.answered {
		f.running.Go(func() { // the room is free again when the other one has ended
			select {
			case <-first:
			case <-second:
			}
			f.hedging.give()
		})
		return r.answer, true, 2
	}
	select {
	case r = <-first:
	case r = <-second:
	}
	f.hedging.give()
	return r.answer, r.answered, 2
}

// errLoop says that a question came back to this resolver.
var errLoop = errors.New("the question came back to this resolver")

// try asks one server. It returns true for a good answer: one that says what there is, and not that the server
// could not find out.
func (f *forwarder) try(c *call, s *server, timeout time.Duration) (dnswire.Answer, bool) {
	started := time.Now()
	answer, err := f.reach(c, s, started.Add(timeout))
	return answer, f.takeNote(c, s, answer, err, started, time.Now())
}

// takeNote takes note of how a server did, and reports whether its answer is a good one.
func (f *forwarder) takeNote(c *call, s *server, answer dnswire.Answer, err error, asked, now time.Time) bool {
	good := err == nil && isGood(answer.Rcode)
	if err == nil && !good && s.cameBack(asked) {
		err = errLoop
	}
	switch {
	case errors.Is(err, errBusy):
		f.resolver.metrics.overload.Add(1)
	case err != nil:
		s.didNotAnswer(now)
		s.metrics.failed(err)
		f.log.Debug("upstream did not answer", "upstream", s.String(), "error", err)
	case !good && len(c.hops) > 0:
		// It may have failed because of a loop that begins at whoever asked us: that says nothing of it.
		s.metrics.refused.Inc()
	default:
		s.answered(now.Sub(asked))
		s.metrics.duration.Observe(now.Sub(asked).Seconds())
		if good {
			s.metrics.ok.Inc()
		} else {
			c.heard.Store(true)
			s.metrics.refused.Inc() // another server may know better
		}
	}
	return good
}

// isGood reports whether a response code is that of an answer.
func isGood(rcode uint16) bool {
	return rcode == dnswire.RcodeSuccess || rcode == dnswire.RcodeNXDomain || rcode == rcodeYXDomain
}

// rcodeYXDomain is the answer to a name that a DNAME record makes too long (RFC 6672 §2.2).
const rcodeYXDomain = 6
