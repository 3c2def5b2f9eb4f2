package resolver

import (
	"time"

	"schoolgate/resolver/dnswire"
)

// A loop is an upstream that leads back here: this resolver under another address, or one that forwards
// to it. Each query that is sent carries a marker (dnswire.Marker) of this process and of the server that
// it goes to, and those of the resolvers that it has come through before. A query that comes with a marker
// of our own is a loop, and the marker says by which server. Nobody else can tell what made a marker; it
// says nothing of the device that asked.

// leadsBackFor is how long a server is named as one that leads back, after it did.
const leadsBackFor = 10 * time.Minute

// loops answers a query that has been here before. It comes before the policy is asked: what is blocked
// for the network of the resolver in between would else be the answer to whoever asked first, whose groups
// may allow it. The extended error is the one for every failure upstream (No Reachable Authority): RFC 8914
// has none for loops, and what the asker should do is the same, ask elsewhere.
func (r *Resolver) loops(q *query) bool {
	found := false
	for _, h := range q.msg.Hops() {
		if s, ours := r.markers.Load(h); ours {
			s.(*server).cameBackAt(time.Now())
			found = true
		}
	}
	if found {
		r.loop(q)
	}
	return found
}

// cameTooFar answers a query that has come through more resolvers than make sense.
func (r *Resolver) cameTooFar(q *query) bool {
	if len(q.msg.Hops()) < dnswire.MaxHops {
		return false
	}
	r.loop(q)
	return true
}

func (r *Resolver) loop(q *query) {
	r.metrics.loops.Inc()
	q.fail(outcomeFailed, dnswire.RcodeServFail, dnswire.EDENoReachableAuthority)
}

// cameBackAt takes note that a question sent to s has come back.
func (s *server) cameBackAt(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backAt = now
}

// cameBack reports whether a question sent to s has come back since a time.
func (s *server) cameBack(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.backAt.IsZero() && !s.backAt.Before(since)
}
