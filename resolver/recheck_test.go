package resolver

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// Queries of the policy before a reload and of the one after it may look at one cached answer at the
// same time. Neither must go by what the other found out.
func TestACachedAnswerIsJudgedByTheQuerysOwnPolicy(t *testing.T) {
	under := func(listed string, generation uint32) *snapshot {
		name, err := blocklist.ParseName(listed)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Compile(policy.Spec{
			Categories:   []policy.Category{{Name: "c", Severity: policy.SeverityHigh}},
			Groups:       []policy.Group{{Name: "g", Block: []string{"c"}}},
			DefaultGroup: "g",
			Access:       []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		}, blocklist.Build([]blocklist.Source{{List: blocklist.ListOf(name)}}), true)
		if err != nil {
			t.Fatal(err)
		}
		return &snapshot{Settings: Settings{Blocking: Blocking{Answer: "nxdomain"}}, policy: p, generation: generation}
	}
	const questionEnd = 19
	msg := []byte("\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01q\x00\x00\x01\x00\x01" + // q. A
		"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x0d\x03bad\x07example\x00") // CNAME bad.example.
	asked := append([]byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"), msg[headerLen:questionEnd]...)
	r := &Resolver{cache: newCache(100)}
	question := appendQuestionKey(nil, []byte("\x01q\x00"), 1, false, false, 0)
	cached := &entry{question: question, msg: msg, stored: time.Now(), ttl: 60}
	r.cache.put(cached, facts{})
	judge := func(s *snapshot, want policy.Action) {
		q := new(query)
		for range 100_000 {
			q.reset()
			q.in, q.snapshot, q.received, q.at = asked, s, cached.stored, cached.stored
			q.msg.Parse(q.in)
			q.question, q.nameFacts = question, s.policy.Facts(q.msg.Name())
			q.out, q.cached = r.cache.get(q.out[:0], question, r.cache.hash(question), q.received, 60)
			q.answered, q.facts = true, q.cached.facts
			q.verdict = policy.Verdict{Category: policy.CategoryNone, Rule: -1, Index: -1}
			if r.recheck(q); q.verdict.Action != want {
				t.Errorf("generation %d: action %d, want %d", s.generation, q.verdict.Action, want)
				return
			}
		}
	}
	var judging sync.WaitGroup
	judging.Go(func() { judge(under("other.example", 1), policy.Passthru) })
	judging.Go(func() { judge(under("bad.example", 2), policy.Block) })
	judging.Wait()
}
