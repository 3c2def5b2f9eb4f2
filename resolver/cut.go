package resolver

import (
	"sync/atomic"
	"time"

	"schoolgate/resolver/dnswire"
)

// An NXDOMAIN says that nothing is below the name either (RFC 8020), so that it answers every question
// there, and of whatever type. Not every server means it, and who gets one forged past us should not be able
// to hide a whole domain by it: it is only believed of answers that the upstream calls validated (AD, which our
// questions ask for: RFC 6840 §5.7), as DNSSEC's records say it of the names below too.
//
// Such an answer is kept once more under a key without a type (see appendCutKey). What is answered from it is
// not kept, so that a flood of names below one pushes out nothing.

// maxCutLabels is of how many labels a name may be whose absence is looked for. Each look-up costs a fraction
// of a microsecond, and there are none for numbers of labels of which no answer is kept.
const maxCutLabels = 10

// cuts are until when, in Unix nanoseconds, the last answer is kept that denies a name of so many labels.
type cuts [maxCutLabels + 1]atomic.Int64

// keepCut keeps an answer that has come for what is below its name.
func (r *Resolver) keepCut(e *entry) {
	if e.ttl == 0 || !dnswire.DeniesAllBelow(e.msg) {
		return
	}
	labels := countLabels(e.question)
	if labels > maxCutLabels {
		return
	}
	below := *e
	below.question = appendCutKey(nil, e.question, e.question)
	r.cache.put(&below, facts{})
	if until := e.stored.Add(time.Duration(e.ttl) * time.Second).UnixNano(); until > r.cuts[labels].Load() {
		r.cuts[labels].Store(until)
	}
}

// takeCut answers q with what the cache has of a name above its own that does not exist, or of its own for
// another type. It reports whether there is such a thing.
func (r *Resolver) takeCut(q *query) bool {
	asked := q.question[:len(q.question)-questionKeyMore] // another name than the QNAME for safe search
	name, now := asked, q.received.UnixNano()
	var buf [dnswire.MaxName + questionKeyMore]byte
	for labels := countLabels(name); labels > 0; labels-- {
		if labels <= maxCutLabels && now < r.cuts[labels].Load() {
			key := appendCutKey(buf[:0], name, q.question)
			if out, found := r.cache.get(q.out[:0], key, r.cache.hash(key), q.received, q.clientTTL()); found.found {
				q.out, q.answered = dnswire.AppendDenial(q.outBuf[:0], out, asked, q.msg.Type)
				q.rcode = found.rcode
				q.facts = facts{generation: q.snapshot.generation, name: q.nameFacts} // it leads nowhere
				return q.answered
			}
		}
		name = name[1+int(name[0]):]
	}
	return false
}

// appendCutKey appends the key for all that is at a name and below, with flags and pool as in a question's.
func appendCutKey(dst, name, question []byte) []byte {
	end := 0
	for name[end] != 0 {
		end += 1 + int(name[end])
	}
	tail := question[len(question)-questionKeyMore:]
	dst = append(dst, name[:end+1]...)
	dst = append(dst, 0, 0, tail[2]|questionCut)
	return append(dst, tail[3:]...)
}

// countLabels is how many labels the name has with which a key begins, the root's apart.
func countLabels(key []byte) (n int) {
	for off := 0; key[off] != 0; off += 1 + int(key[off]) {
		n++
	}
	return n
}
