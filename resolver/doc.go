// Package resolver answers DNS queries: it listens, asks package policy, which is the decision point,
// and enforces what that says, from its cache and from upstream servers (RFC 9499: a forwarder).
//
// A query goes through seven stages, in pipeline.go from top to bottom:
//
//	bytes in
//	  1 decode      header, one question, EDNS facts: offsets into the packet
//	  2 identify    who asks, as far as that is known → group; may it ask, and so much?
//	  3 decide      name × group × time → verdict
//	  4 answer      blocked or local: build it · cached: take it · else: forward (the only wait)
//	  5 recheck     every name and address to which an upstream's answer leads is judged too
//	  6 record      counters always; the record where the verdict is a breach
//	  7 encode      id, TTL, EDE, size limit, truncation
//	bytes out
//
// The bytes come over UDP, TCP, TLS, HTTPS or QUIC: a listener makes queries of them, and sends the
// responses back (listen*.go). What it lets in at a time is bounded, in all and for each address
// (crowd.go).
//
// Whatever needs no waiting is answered by the reader that took the packet off its socket: no
// goroutine, no channel, and for cached and blocked names no allocation. A query that has to wait goes
// to the forwarder, which joins equal questions, asks upstream, and finishes it.
//
// The cache holds what upstreams said, never what policy said: the policy judges every query, so a reload
// needs no flush, groups share one cache, and there is no stale verdict. What stands with a cached answer are
// facts of the lists (policy.Facts), with the generation of the policy whose lists they were; of a name that is
// blocked the facts stand there alone. A validated NXDOMAIN answers for all below its name (cut.go).
//
// On Linux packets come and leave in batches (worker_linux.go). A look-up in the cache is mostly a wait for
// memory; for a batch they are waited for together (foresee).
//
// Upstream servers are asked in the manner that they bear (manner.go, reach.go), and believed where an answer
// matches what nobody else could know (exchange_udp.go).
package resolver
