package resolver

import (
	"sync/atomic"
	"time"
)

// The bounds on asking a second server before the first has had its time.
const (
	hedgeShare = 10  // one question in so many
	hedgeBurst = 10  // saved up, for the moment at which a server becomes slow
	maxHedges  = 256 // at one time
	// leastUsual is the least that a server is given: less would be the noise of a network.
	leastUsual = 30 * time.Millisecond
)

// budget is how many questions may be hedged: a share of all.
type budget struct{ parts atomic.Int64 } // hedgeShare of them are one hedge

// earn counts a question.
func (b *budget) earn() {
	if b.parts.Load() < hedgeBurst*hedgeShare {
		b.parts.Add(1)
	}
}

// spend takes one hedge, if there is one.
func (b *budget) spend() bool {
	for {
		have := b.parts.Load()
		if have < hedgeShare {
			return false
		}
		if b.parts.CompareAndSwap(have, have-hedgeShare) {
			return true
		}
	}
}

// room bounds how many hedged questions run at one time: the one that lost runs on.
type room struct{ taken atomic.Int64 }

func (r *room) take() bool {
	if r.taken.Add(1) <= maxHedges {
		return true
	}
	r.give()
	return false
}

func (r *room) give() { r.taken.Add(-1) }

// usual is how long the server usually takes at most: RFC 6298 §2's estimate of when it is no longer
// worth waiting. Where nothing is known of it, it is the time of a short try.
func (s *server) usual() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rtt == 0 {
		return shortTry
	}
	return min(max(s.rtt+4*s.deviation, leastUsual), shortTry)
}

// measure takes a round trip into the estimate (RFC 6298 §2). The caller holds s.mu.
func (s *server) measure(rtt time.Duration) {
	if s.rtt == 0 {
		s.rtt, s.deviation = rtt, rtt/2
		return
	}
	s.deviation += (max(s.rtt-rtt, rtt-s.rtt) - s.deviation) / 4
	s.rtt += (rtt - s.rtt) / 8
}
