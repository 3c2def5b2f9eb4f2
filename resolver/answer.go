package resolver

import (
	"time"

	"schoolgate/resolver/dnswire"
)

// start begins the response with room for the header and the question as it came, the client's own
// case included.
func (q *query) start() {
	if q.msg.QuestionEnd > 0 {
		q.out = append(q.out[:0], q.in[:q.msg.QuestionEnd]...)
	} else {
		q.out = append(q.out[:0], make([]byte, headerLen)...)
	}
}

const headerLen = 12

// fail makes a response without records.
func (q *query) fail(o outcome, rcode uint16, ede dnswire.EDE) {
	q.outcome, q.rcode, q.ede = o, rcode, ede
	q.start()
}

// negative makes NXDOMAIN or NODATA (rcode 0) with the SOA record that bounds how long it may be kept.
func (q *query) negative(rcode uint16, ttl uint32) {
	q.rcode = rcode
	q.start()
	q.out = dnswire.AppendSOA(q.out, min(ttl, q.clientTTL()))
	q.authority = 1
}

// positive adds a record for the QNAME.
func (q *query) positive(typ uint16, ttl uint32, data []byte) {
	q.out = dnswire.AppendRecord(q.out, typ, min(ttl, q.clientTTL()), data)
	q.answers++
}

// block makes the blocked answer. It is the same whichever category blocks, so that nobody can read
// a confidential list out of the answers.
func (q *query) block() {
	b := &q.snapshot.Blocking
	ttl := seconds(b.TTL)
	q.outcome, q.ede, q.flags = outcomeBlocked, dnswire.EDEBlocked, 0
	address := func(ipv4, ipv6 []byte) bool {
		var data []byte
		switch q.msg.Type {
		case dnswire.TypeA:
			data = ipv4
		case dnswire.TypeAAAA:
			data = ipv6
		}
		if len(data) == 0 {
			return false
		}
		q.start()
		q.positive(q.msg.Type, ttl, data)
		return true
	}
	switch b.Answer {
	case "refused":
		q.fail(outcomeBlocked, dnswire.RcodeRefused, dnswire.EDEBlocked)
		return
	case "zero":
		if address(make([]byte, 4), make([]byte, 16)) {
			return
		}
	case "page":
		if address(b.PageIPv4.AsSlice(), b.PageIPv6.AsSlice()) {
			return
		}
	case "nxdomain":
		// NXDOMAIN would say that nothing is below the name either (RFC 8020 §2).
		if !q.verdict.NoDataBelow {
			q.negative(dnswire.RcodeNXDomain, ttl)
			return
		}
	}
	q.negative(dnswire.RcodeSuccess, ttl)
}

// localhost answers for this machine (RFC 6761 §6.3).
func (q *query) localhost() {
	const ttl = 86400
	q.start()
	switch q.msg.Type {
	case dnswire.TypeA:
		q.positive(dnswire.TypeA, ttl, []byte{127, 0, 0, 1})
	case dnswire.TypeAAAA:
		q.positive(dnswire.TypeAAAA, ttl, []byte{15: 1})
	default:
		q.negative(dnswire.RcodeSuccess, ttl)
	}
}

// any answers a question for any type (RFC 8482 §4.2).
func (q *query) any() {
	q.start()
	q.positive(dnswire.TypeHINFO, 3600, []byte("\x07RFC8482\x00"))
}

// localData answers from the configuration's records, following its CNAME records among them.
func (q *query) localData() {
	q.flags |= dnswire.FlagAA
	q.start()
	owner, ttl := string(q.msg.Name()), q.clientTTL()
	for range maxChain {
		next := ""
		for _, rec := range q.snapshot.records[owner] {
			if rec.typ == q.msg.Type || rec.typ == dnswire.TypeCNAME || q.msg.Type == dnswire.TypeANY {
				q.out = dnswire.AppendOwned(q.out, owner, rec.typ, min(rec.ttl, ttl), rec.data)
				q.answers++
			}
			if rec.typ == dnswire.TypeCNAME && q.msg.Type != dnswire.TypeCNAME {
				next = rec.target()
			}
		}
		if next == "" {
			break
		}
		owner = next
	}
	if q.answers == 0 {
		q.negative(dnswire.RcodeSuccess, seconds(q.snapshot.Blocking.TTL))
	}
}

// maxChain is how many CNAME records in a row are followed, so that a loop ends.
const maxChain = 8

// clientTTL is the most seconds that the client may keep this answer: the configuration's, and never
// past the next moment at which the verdict may change.
func (q *query) clientTTL() uint32 {
	limit := q.snapshot.Cache.ClientTTL
	if next := q.snapshot.policy.NextChange(q.at); !next.IsZero() {
		limit = min(limit, max(next.Sub(q.at), time.Second))
	}
	return seconds(limit)
}
