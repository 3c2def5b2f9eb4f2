package resolver

import (
	"context"
	"time"

	"schoolgate/resolver/dnswire"
)

// A server that answers nothing is left alone by pupils' questions for ever longer times. So that it is
// found soon when it is back, it is asked for the root's name servers all the while.
const (
	probeTick = 500 * time.Millisecond
	// probeFirst and probeMost are the pauses between probes. With the time that one takes the most is
	// below five seconds: within that time a server is found that is back.
	probeFirst = time.Second
	probeMost  = 3 * time.Second
	probeTime  = 1500 * time.Millisecond
)

// probe asks the servers in force that are down until ctx ends.
func (r *Resolver) probe(ctx context.Context) {
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for s := range r.snapshot.Load().servers() {
			if now := time.Now(); s.probeDue(now) {
				r.forwarder.start(func() { r.probeServer(s) })
			}
		}
	}
}

// probeServer asks once. Any answer will do, one that refuses too, unless the question came back here.
func (r *Resolver) probeServer(s *server) {
	started := time.Now()
	_, err := r.forwarder.reach(&call{name: []byte{0}, typ: dnswire.TypeNS}, s, started.Add(probeTime))
	s.probed(time.Now(), err == nil && !s.cameBack(started))
}

// probeDue reports whether a probe is to be sent now, which is then on its way.
func (s *server) probeDue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures < failuresToDown || s.probing || now.Before(s.probeAt) {
		return false
	}
	s.probing = true
	return true
}

// probed takes note of how a probe went. A server that answered is asked again; but one that answers
// probes and not questions is, with the first question it fails, down again, and probed as seldom as its
// pauses say.
func (s *server) probed(now time.Time, answered bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probing = false
	if s.failures < failuresToDown {
		return // a question was answered meanwhile
	}
	if answered {
		s.failures, s.until, s.revived = failuresToDown-1, time.Time{}, true
		return
	}
	s.probePause = min(max(2*s.probePause, probeFirst), probeMost)
	s.probeAt = now.Add(s.probePause)
}
