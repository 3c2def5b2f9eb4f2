package resolver

import (
	"net/netip"
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/clients"
	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// maxQuery is the largest query that is read: a question has at most 271 octets, the rest is for
// EDNS options.
const maxQuery = 4096

// query is one query on its way through the pipeline. It is owned by one goroutine at a time: the
// reader that took it from the pool, then, where the answer must be waited for, the forwarder, which
// gives it back to the pool when it has sent the answer.
type query struct {
	// What came, from where, and the way back.
	in        []byte // the packet: a part of buf
	from      netip.AddrPort
	transport transport
	sender    sender
	oob       []byte // for UDP on a wildcard address: the control message that names our address
	received  time.Time
	at        time.Time // received, by the clock that policy and record go by
	// peer is the way back as the kernel wrote it, where a worker read the packet.
	peer    [sizeofSockaddr]byte
	peerLen uint32
	// batched says that the worker who has q sends its response at the end of the round, lent that q goes
	// back to the pool then.
	batched, lent bool
	// answered in the round in which it came, q is counted here; nil: its time is its own.
	counts *counts
	lane   int // of who reads the socket, for Questions

	// client is who asks: from's address, or who a proxy names. Its zone is from's.
	client netip.Addr
	// host is the name that it asked for in the handshake of TLS, "" where it said none.
	host string

	// weight is for how many queries it is counted to its client, in tally; 0: another one is for it.
	weight uint32
	tally  *clients.Tally

	// unrecorded keeps schoolgate's own checks out of the record of breaches.
	unrecorded bool

	// What the stages found out, in their order.
	decoded   bool
	status    dnswire.Status
	msg       dnswire.Query
	snapshot  *snapshot
	known     bool // may ask
	proved    bool // a cookie shows that the address is not forged
	limited   bool // over the rate limit
	subnet    bool // a trusted forwarder says in which network the client is, and is believed
	network   bool // what it says is no one client's address
	who       policy.Who
	nameFacts policy.Facts // of the QNAME
	verdict   policy.Verdict
	question  []byte // the cache's key,
	hash      uint64 // and its hash
	cached    cached // what the cache has for it
	answered  bool   // an upstream's answer is in out
	facts     facts  // of that answer
	event     eventTarget
	recordAs  blocklist.Name // by which a breach is recorded; "": the QNAME

	// The answer.
	outcome    outcome
	rcode      uint16
	flags      uint16 // AA, AD
	ede        dnswire.EDE
	answers    uint16
	authority  uint16
	additional uint16 // without the OPT record
	cookie     bool   // the response has cookies
	cookies    [cookiesLen]byte
	out        []byte // the response; empty: none is sent

	buf    [maxQuery]byte
	oobBuf [64]byte
	outBuf [2048]byte
	keyBuf [dnswire.MaxName + questionKeyMore]byte
}

// sizeofSockaddr is the size of the larger kind of socket address, IPv6.
const sizeofSockaddr = 28

// eventTarget is what matched where it was not the question itself.
type eventTarget struct {
	name []byte
	addr netip.Addr
}

// sender sends q.out to where q came from. It is called by whoever owns q.
type sender interface {
	send(q *query)
}

// transport is how a query came.
type transport uint8

const (
	overUDP transport = iota
	overTCP
	overTLS
	overHTTPS
	overQUIC
	transportCount
)

// String returns the word of metrics and records.
func (t transport) String() string { return [...]string{"udp", "tcp", "dot", "doh", "doq"}[t] }

func (t transport) encrypted() bool { return t >= overTLS }

var queries = sync.Pool{New: func() any { return new(query) }}

// outcome is the label of schoolgate_queries_total.
type outcome uint8

const (
	outcomeAllowed outcome = iota
	outcomeBlocked
	outcomeMonitored
	outcomeRewritten
	outcomeLocal
	outcomeRefused
	outcomeFailed
	outcomeCount
)

// String returns the word of metrics.
func (o outcome) String() string {
	return [...]string{"allowed", "blocked", "monitored", "rewritten", "local", "refused", "failed"}[o]
}

// reset makes q ready for the next packet. The answer's buffer keeps what it grew to.
func (q *query) reset() {
	q.in, q.oob, q.question, q.snapshot, q.counts = nil, nil, nil, nil, nil
	q.received, q.batched, q.lent, q.lane = time.Time{}, false, false, 0
	q.weight, q.tally, q.network = 1, nil, false
	q.cached, q.answered, q.facts = cached{}, false, facts{}
	q.event, q.recordAs = eventTarget{}, ""
	q.verdict, q.nameFacts = policy.Verdict{}, policy.Facts{}
	q.decoded, q.unrecorded, q.known, q.proved, q.limited, q.cookie, q.subnet = false, false, false, false, false, false, false
	q.client, q.host = netip.Addr{}, ""
	q.who = policy.Who{}
	q.rcode, q.flags, q.answers, q.authority, q.additional = 0, 0, 0, 0, 0
	q.ede = dnswire.EDENone
	q.outcome = outcomeFailed
	q.out = q.outBuf[:0]
}
