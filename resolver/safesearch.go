package resolver

import (
	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// safeForm turns q to the host of the safe form of what it asks for, or answers it where that takes no
// addresses. The host's addresses are looked up as any others are: those that are built in would be stale one day.
// Where they can't be had the answer is SERVFAIL, never the open site.
func (r *Resolver) safeForm(q *query) (goOn bool) {
	p := q.snapshot.policy
	host := p.SafeHost(q.verdict)
	if next := p.Recheck(q.verdict, &q.who.Client, policy.ViaCNAME, []byte(host), q.at); next.Action == policy.Block {
		q.verdict, q.event = next, eventTarget{name: []byte(host)}
		q.block()
		return false
	}
	switch typ := q.msg.Type; {
	case typ == dnswire.TypeA || typ == dnswire.TypeAAAA:
		r.keyFor(q, []byte(host), q.snapshot.pool)
		r.lookUp(q)
		q.nameFacts = p.Facts([]byte(host))
		return true
	case typ == dnswire.TypeCNAME:
		q.start()
		q.leadTo(host)
	case typ >= firstMetaType && typ <= dnswire.TypeANY:
		return true // not looked up in any case
	default:
		// HTTPS records would have the addresses of the open site.
		q.start()
		q.leadTo(host)
		q.out = dnswire.AppendSOAOf(q.out, string(host), min(safeTTL, q.clientTTL()))
		q.authority = 1
	}
	q.ede = dnswire.EDESynthesized
	return false
}

// safeTTL is for how many seconds a name leads to its safe form: as long as Google's own does.
const safeTTL = 300

// leadTo adds the CNAME record from the QNAME to the host.
func (q *query) leadTo(host blocklist.Name) {
	q.positive(dnswire.TypeCNAME, safeTTL, []byte(host))
}

// leadToSafeForm makes the answer to q out of that for the host of the safe form.
func (q *query) leadToSafeForm() {
	host := q.snapshot.policy.SafeHost(q.verdict)
	if host == "" || !q.answered {
		return
	}
	found := append([]byte(nil), q.out...)
	q.answered = false
	if q.rcode != dnswire.RcodeSuccess {
		q.fail(outcomeFailed, dnswire.RcodeServFail, dnswire.EDENoReachableAuthority)
		return
	}
	q.ede = dnswire.EDESynthesized
	q.start()
	q.leadTo(host)
	limit := q.clientTTL()
	dnswire.Addresses(found, q.msg.Type, func(ttl uint32, data []byte) {
		q.out = dnswire.AppendOwned(q.out, string(host), q.msg.Type, min(ttl, limit), data)
		q.answers++
	})
	if q.answers == 1 {
		q.out = dnswire.AppendSOAOf(q.out, string(host), min(safeTTL, limit))
		q.authority = 1
	}
}
