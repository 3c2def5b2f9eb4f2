package resolver

import (
	"encoding/binary"
	"net/netip"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// serve takes a query through the stages of doc.go, from the packet's bytes to the response's. It
// returns false where the answer must be waited for: q then belongs to the forwarder, which calls
// finish, and must not be touched again.
func (r *Resolver) serve(q *query) (finished bool) {
	if !q.decoded {
		r.decode(q)
	}
	if q.status == dnswire.StatusIgnore {
		return true // no query: no response, and nothing to record
	}
	if r.identify(q) && r.decide(q) && !q.limited && !r.answer(q) {
		return false
	}
	if q.limited {
		q.shed()
	}
	r.finish(q)
	return true
}

// finish is stages 5 to 7 and the sending. Every query that gets a response comes through here, so
// that none goes unrecorded.
func (r *Resolver) finish(q *query) {
	r.recheck(q)
	q.leadToSafeForm()
	r.record(q)
	r.encode(q)
	q.sender.send(q)
}

// decode is stage 1.
func (r *Resolver) decode(q *query) {
	q.decoded = true
	if q.received.IsZero() {
		q.received = time.Now()
	}
	if q.at = q.received; r.now != nil {
		q.at = r.now()
	}
	q.snapshot = r.snapshot.Load()
	if q.status = dnswire.StatusIgnore; !r.unwrap(q) {
		return
	}
	if q.status = q.msg.Parse(q.in); q.status == dnswire.StatusOK {
		r.keyFor(q, q.msg.Name(), q.snapshot.pool)
	}
}

// identify is stage 2: who asks, may they, and do they ask too much? Only then is it said what is wrong
// with the packet.
func (r *Resolver) identify(q *query) (goOn bool) {
	r.recognise(q)
	q.verdict.Group = q.who.Group
	if q.known {
		r.readCookie(q)
		q.limited = r.overLimit(q)
		r.noteThrong(q)
		if q.weight > 0 {
			r.noteAsker(q)
		}
	}
	switch {
	case !q.known:
		q.verdict.Action = policy.Refuse
		q.fail(outcomeRefused, dnswire.RcodeRefused, dnswire.EDEProhibited)
	case q.status == dnswire.StatusFormErr:
		q.fail(outcomeFailed, dnswire.RcodeFormErr, dnswire.EDENone)
	case q.status == dnswire.StatusNotImp && r.notified(q):
		q.flags = dnswire.FlagAA
		q.fail(outcomeLocal, dnswire.RcodeSuccess, dnswire.EDENone)
	case q.status == dnswire.StatusNotImp:
		q.fail(outcomeRefused, dnswire.RcodeNotImp, dnswire.EDENone)
	case q.status == dnswire.StatusCookie:
		q.fail(outcomeLocal, dnswire.RcodeSuccess, dnswire.EDENone)
	case q.status == dnswire.StatusBadVers:
		q.fail(outcomeFailed, dnswire.RcodeBadVers, dnswire.EDENone)
	case q.msg.Class != dnswire.ClassIN:
		q.fail(outcomeRefused, dnswire.RcodeRefused, dnswire.EDENotSupported)
	default:
		return !r.loops(q)
	}
	return false
}

// notified reports whether q is a NOTIFY that is taken.
func (r *Resolver) notified(q *query) bool {
	if r.notify == nil {
		return false
	}
	var m dnswire.Query
	m.ID, m.Flags = q.msg.ID, q.msg.Flags
	if !m.ParseNotify(q.in) || !r.notify(blocklist.Name(m.Name()), q.client) {
		return false
	}
	q.msg = m
	return true
}

// decide is stage 3. The policy judges every query: a reload needs no flush, and no answer outlives the
// verdict that let it through. What it says of a name whoever asks stands with the cached answer, so
// that a name which concerns nobody here is judged without looking it up in the lists again.
func (r *Resolver) decide(q *query) (goOn bool) {
	p := q.snapshot.policy
	r.lookUp(q)
	if q.cached.facts.generation == q.snapshot.generation {
		q.nameFacts = q.cached.facts.name
	} else {
		q.nameFacts = p.Facts(q.msg.Name())
	}
	q.verdict = p.DecideKnown(&q.who, q.msg.Name(), q.nameFacts, q.at)
	switch q.verdict.Action {
	case policy.Passthru:
		q.outcome = outcomeAllowed
	case policy.Monitor:
		q.outcome = outcomeMonitored
	case policy.Forward:
		q.outcome = outcomeLocal
		return true
	case policy.Block:
		if q.cached.facts.generation != q.snapshot.generation {
			r.cache.learnBare(q.question, q.received, facts{generation: q.snapshot.generation, name: q.nameFacts})
		}
		q.block()
		return false
	case policy.LocalData:
		q.outcome = outcomeLocal
		q.localData()
		return false
	case policy.NXDomain:
		q.outcome = outcomeLocal
		q.negative(dnswire.RcodeNXDomain, seconds(q.snapshot.Blocking.TTL))
		return false
	case policy.SelfData:
		q.outcome = outcomeLocal
		r.describeItself(q)
		return false
	case policy.Localhost:
		q.outcome = outcomeLocal
		q.localhost()
		return false
	case policy.NotReady:
		q.fail(outcomeFailed, dnswire.RcodeServFail, dnswire.EDENotReady)
		return false
	case policy.Refuse:
		q.fail(outcomeRefused, dnswire.RcodeRefused, dnswire.EDEProhibited)
		return false
	}
	if q.verdict.Safe != 0 {
		if q.verdict.Action == policy.Passthru {
			q.outcome = outcomeRewritten
		}
		return r.safeForm(q)
	}
	return true
}

// answer is stage 4 for what is to be looked up: from the cache, else from upstream, which is the
// only wait.
func (r *Resolver) answer(q *query) (settled bool) {
	switch typ := q.msg.Type; {
	case typ == dnswire.TypeANY:
		q.any()
		return true
	case typ >= firstMetaType && typ <= lastMetaType:
		// Zone transfers and the like are between servers: never passed on.
		q.fail(outcomeRefused, dnswire.RcodeRefused, dnswire.EDENotSupported)
		return true
	}
	if r.cameTooFar(q) {
		return true
	}
	pool := q.snapshot.pool
	if q.verdict.Action == policy.Forward {
		pool = q.snapshot.zones[q.verdict.Index]
		r.keyFor(q, q.msg.Name(), pool)
		r.lookUp(q)
	}
	if q.cached.found {
		r.metrics.cacheHit.Inc()
		q.answered, q.rcode, q.facts = true, q.cached.rcode, q.cached.facts
		if q.cached.refresh && q.snapshot.Cache.Prefetch {
			r.forwarder.refresh(q, pool)
		}
		return true
	}
	if r.takeCut(q) {
		r.metrics.cacheHit.Inc()
		return true
	}
	r.metrics.cacheMiss.Inc()
	if r.failures.has(q.question, q.received) {
		if !r.takeStale(q) {
			q.fail(outcomeFailed, dnswire.RcodeServFail, dnswire.EDECachedError)
		}
		return true
	}
	if q.verdict.Action != policy.Forward && q.verdict.Safe == 0 && r.tunnelled(q) {
		return true
	}
	return !r.forwarder.submit(q, pool)
}

// takeStale answers q with what the cache has though its time is over (RFC 8767 §4), and reports whether it
// has any.
func (r *Resolver) takeStale(q *query) bool {
	var old cached
	q.out, old = r.cache.getStale(q.out[:0], q.question, time.Now(), min(staleTTL, q.clientTTL()), seconds(q.snapshot.Cache.ServeStale))
	if !old.found {
		return false
	}
	r.metrics.cacheStale.Inc()
	q.answered, q.rcode, q.facts, q.cached = true, old.rcode, old.facts, old
	if q.ede = dnswire.EDEStale; q.rcode == dnswire.RcodeNXDomain {
		q.ede = dnswire.EDEStaleNXDomain
	}
	return true
}

// staleTTL is how many seconds a client may keep a stale answer (RFC 8767 §4).
const staleTTL = 30

// keyFor makes the cache's key of what a pool's servers would be asked: as a rule for the QNAME.
func (r *Resolver) keyFor(q *query, name []byte, pool *pool) {
	q.question = appendQuestionKey(q.keyBuf[:0], name, q.msg.Type, q.msg.DO, q.msg.Flags&dnswire.FlagCD != 0, pool.id)
	q.hash = r.cache.hash(q.question)
}

// lookUp asks the cache. What it has is in q.out then.
func (r *Resolver) lookUp(q *query) {
	q.out, q.cached = r.cache.get(q.out[:0], q.question, q.hash, q.received, q.clientTTL())
}

// recheck is stage 5: each name and address to which an upstream's answer leads is judged too. Of an
// answer whose targets concern nobody of the group, that is known from the first time.
func (r *Resolver) recheck(q *query) {
	if !q.answered || q.verdict.Action == policy.Forward {
		return
	}
	p := q.snapshot.policy
	// By this query's own policy: one that came before a reload may be here at the same time.
	if q.facts.generation != q.snapshot.generation {
		q.facts = factsOf(q.snapshot, q.nameFacts, q.out)
		r.cache.learn(q.question, q.cached, q.facts)
	}
	if !p.Concerns(q.who.Group, q.facts.targets, q.at) {
		return
	}
	verdict := q.verdict
	dnswire.Targets(q.out, func(kind dnswire.Target, name []byte, addr netip.Addr) bool {
		var next policy.Verdict
		if kind == dnswire.TargetAddress {
			next = p.RecheckAddr(verdict, q.msg.Name(), addr, q.at)
		} else {
			next = p.Recheck(verdict, &q.who.Client, viaTarget(kind), name, q.at)
		}
		if next != verdict {
			q.event = eventTarget{name: append([]byte(nil), name...), addr: addr}
			verdict = next
		}
		return verdict.Action != policy.Block
	})
	q.verdict = verdict
	if verdict.Action == policy.Monitor {
		q.outcome = outcomeMonitored
	}
	if verdict.Action == policy.Block {
		q.answered = false
		q.block()
		if verdict.Category == policy.CategoryRebinding {
			r.noteRebinding(q)
		}
	}
}

// noteRebinding tells IT which name leads to the site's own network, once a minute at most: as a rule it is a
// name of their own, which belongs into zones or rebind_exempt.
func (r *Resolver) noteRebinding(q *query) {
	now := q.received.Unix()
	if last := r.rebindingSaid.Load(); now-last >= 60 && r.rebindingSaid.CompareAndSwap(last, now) {
		r.log.Warn("an address of the site's own network for a public name: refused", "name", blocklist.Name(q.msg.Name()), "address", q.event.addr,
			"advice", "where the name is the school's own, add it to zones, or to blocking.rebind_exempt")
	}
}

func viaTarget(kind dnswire.Target) policy.Via {
	return [...]policy.Via{
		dnswire.TargetCNAME: policy.ViaCNAME, dnswire.TargetDNAME: policy.ViaDNAME,
		dnswire.TargetSVCB: policy.ViaSVCB, dnswire.TargetAddress: policy.ViaAddress,
	}[kind]
}

// factsOf is what the snapshot's policy says of an answer msg to a question of whose name it says that.
func factsOf(s *snapshot, name policy.Facts, msg []byte) facts {
	f := facts{generation: s.generation, name: name}
	dnswire.Targets(msg, func(kind dnswire.Target, name []byte, addr netip.Addr) bool {
		if kind == dnswire.TargetAddress {
			f.targets = f.targets.And(s.policy.AddrFacts(addr))
		} else {
			f.targets = f.targets.And(s.policy.TargetFacts(name))
		}
		return true
	})
	return f
}

// record is stage 6: the counters always, the record where the verdict is a breach.
func (r *Resolver) record(q *query) {
	v := q.verdict
	q.snapshot.counters.query(q)
	if n := q.snapshot.only[q.who.Group]; n != nil {
		n.noteOnly(q)
	}
	if v.Action == policy.Block {
		q.snapshot.counters.blocked(v)
	}
	if v.Action == policy.Monitor {
		q.snapshot.counters.monitored(v)
	}
	r.logQuestion(q)
	if !v.Breach() || q.unrecorded {
		return
	}
	q.snapshot.counters.breach(v)
	name := q.recordAs
	if name == "" {
		name = blocklist.Name(q.msg.Name())
	}
	r.recorder.Record(policy.Event{
		Time:      q.at,
		Client:    q.who.Client,
		Policy:    q.snapshot.policy,
		Verdict:   v,
		Name:      name,
		Type:      q.msg.Type,
		Transport: q.transport.String(),
		Target:    blocklist.Name(q.event.name),
		Address:   q.event.addr,
	})
}

// logQuestion hands a question to the query log. What a flood sends, over its limit or from outside, is counted and
// no more: it must not push out what devices asked.
func (r *Resolver) logQuestion(q *query) {
	if !q.snapshot.LogQuestions || r.questions == nil || q.unrecorded || !q.known || q.limited || q.status != dnswire.StatusOK {
		return
	}
	category := policy.CategoryNone
	if q.verdict.Action == policy.Block || q.verdict.Action == policy.Monitor {
		category = q.verdict.Category
	}
	r.questions.Question(q.lane, policy.Question{
		Time:      q.at,
		Client:    q.who.Client,
		Policy:    q.snapshot.policy,
		Group:     q.who.Group,
		Category:  category,
		Type:      q.msg.Type,
		Transport: q.transport.String(),
		Outcome:   q.outcome.String(),
		Name:      q.msg.Name(),
		Listed:    q.verdict.Categories | q.nameFacts.Listed | q.facts.targets.Listed,
	})
}

// encode is stage 7: the response's bytes, within what the client takes.
func (r *Resolver) encode(q *query) {
	flags := dnswire.FlagQR | dnswire.FlagRA | q.flags | q.msg.Flags&(dnswire.FlagRD|dnswire.FlagCD|opcodeBits)
	if q.answered {
		q.answers, q.authority = dnswire.Counts(q.out)
		if q.msg.DO || q.msg.Flags&dnswire.FlagAD != 0 {
			flags |= binary.BigEndian.Uint16(q.out[2:]) & dnswire.FlagAD
		}
		copy(q.out, q.in[:q.msg.QuestionEnd]) // the client's own case
	}
	limit := maxTCPMessage
	if q.transport == overUDP {
		limit = min(maxUDP, max(minUDP, int(q.msg.UDPSize)))
		if q.limited {
			limit = min(limit, len(q.in))
		}
	}
	opt := 0
	if q.msg.EDNS {
		opt = optWithoutEDE
	}
	if q.cookie {
		opt += cookieOption
	}
	if q.subnet {
		opt += 4 + q.msg.SubnetLen
	}
	if len(q.out)+opt+optEDE > limit {
		q.ede = dnswire.EDENone // RFC 8914 §3: it goes first
	}
	if len(q.out)+opt > limit {
		q.start()
		q.answers, q.authority, q.additional = 0, 0, 0
		flags |= dnswire.FlagTC
	}
	h := dnswire.Header{
		ID: q.msg.ID, Flags: flags, Rcode: q.rcode, Answers: q.answers, Authority: q.authority, More: q.additional,
	}
	if q.msg.QuestionEnd > 0 {
		h.Questions = 1
	}
	if q.msg.EDNS {
		h.More++
		q.appendOPT(opt, limit)
	}
	dnswire.PutHeader(q.out, h)
	q.snapshot.counters.response(q.rcode)
}

// The sizes of stage 7.
const (
	minUDP        = 512  // RFC 1035 §4.2.1
	maxUDP        = 1400 // RFC 9715 §3: what a network with Ethernet's MTU carries in one piece
	offeredUDP    = 1232 // what any path does: more than a query needs
	maxTCPMessage = 65535
	optWithoutEDE = 11
	optEDE        = 6

	opcodeBits = 0xF << 11
)

// Query types from 128 to 255 ask for something else than a type of record (RFC 6895 §3.1).
const (
	firstMetaType = 128
	lastMetaType  = 254
)
