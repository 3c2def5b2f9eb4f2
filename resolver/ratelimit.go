package resolver

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// RateLimit is how much one client may ask.
type RateLimit struct {
	// Every is for how long each query counts: the client may ask one in that time, for ever. 0: as many
	// as it likes.
	Every time.Duration
	// Burst is how many it may ask at once, after a while of fewer: at least one.
	Burst int
}

// limiter knows how much each client has asked of late. Each has a bucket of Burst tokens, into which one
// flows every so often and of which a query takes one; written as the one number of the generic cell rate
// algorithm, the moment at which the bucket will be full again.
//
// It has a fixed number of places, so that a flood of forged addresses costs no memory. A client that is
// not known has a full bucket. So one whose bucket is full may be forgotten without loss, and where none
// is, it is the fullest that is forgotten: never one that is over the limit, while there is one that is
// not. The places are chosen by a hash with a secret seed, so that nobody can aim at a neighbour's.
//
// It costs some 30 ns, most of it for the one write that no other core may come between, and no allocation.
// Safe for concurrent use.
type limiter struct {
	seed maphash.Seed
	sets []bucketSet
}

// bucketSet is the places that a client may have: one line of the processor's cache.
type bucketSet [4]bucket

type bucket struct {
	client atomic.Uint64 // its hash; two of the 32,768 are the same once in 2³⁴ times
	full   atomic.Int64  // when it is full again, in nanoseconds of the caller's clock
}

// limiterSets times four clients are known at a time, in half a megabyte. A power of two.
const limiterSets = 8192

func newLimiter() *limiter {
	return &limiter{seed: maphash.MakeSeed(), sets: make([]bucketSet, limiterSets)}
}

// take reports whether client may ask one more at now, which is not negative, and notes it. A limit that
// has changed holds for what the client has asked before, too.
func (l *limiter) take(client netip.Addr, now int64, limit RateLimit) bool {
	interval := int64(limit.Every)
	refilled := now + interval*int64(max(limit.Burst, 1)) // when a bucket is full again that is empty now
	octets := host(client).As16()
	key := maphash.Bytes(l.seed, octets[:])
	set := &l.sets[key%limiterSets]
	for { // until nobody else writes to the bucket at the same time
		b, was := set.find(key)
		old := b.full.Load()
		full := max(old, now)
		if was != key {
			if !b.client.CompareAndSwap(was, key) {
				continue
			}
			full = now
		}
		full = min(full, refilled) // it may have been deeper
		within := full+interval <= refilled
		if within {
			full += interval
		}
		if b.full.CompareAndSwap(old, full) {
			return within
		}
	}
}

// find returns the bucket of a client, else the fullest, and whose it is.
func (s *bucketSet) find(client uint64) (b *bucket, of uint64) {
	b, of = &s[0], s[0].client.Load()
	for i := range s {
		c := s[i].client.Load()
		if c == client {
			return &s[i], c
		}
		if s[i].full.Load() < b.full.Load() {
			b, of = &s[i], c
		}
	}
	return b, of
}
