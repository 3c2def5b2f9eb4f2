package resolver_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// forwardTo has s ask these servers from now on, in this order.
func (s *server) forwardTo(t testing.TB, servers ...string) {
	t.Helper()
	s.settings.Upstreams.Servers = parseUpstreams(t, servers...)
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
}

func (s *server) loops(t testing.TB) int {
	t.Helper()
	return int(s.total(t, "schoolgate_forward_loops_total"))
}

func TestAResolverThatForwardsToItselfSaysSo(t *testing.T) {
	s := start(t, nil)
	for _, scheme := range []string{"udp://", "tcp://"} {
		before := s.loops(t)
		s.forwardTo(t, scheme+s.addr)
		if r := s.exchange(t, ask("loop."+scheme[:3]+".example", dns.TypeA), "udp", ""); !isFailure(r) {
			t.Errorf("got %v", r)
		}
		if n := s.loops(t) - before; n != 1 {
			t.Errorf("%s: %d loops for one question", scheme, n)
		}
		if u := s.Stats().Upstreams[0]; !u.LeadsBack || u.Failures != 1 {
			t.Errorf("%+v", u)
		}
	}
}

func TestTwoResolversThatForwardToEachOtherSaySo(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	a.forwardTo(t, "udp://"+b.addr)
	b.forwardTo(t, "udp://"+a.addr)
	if r := a.exchange(t, ask("loop.example", dns.TypeA), "udp", ""); !isFailure(r) {
		t.Errorf("got %v", r)
	}
	if a.loops(t) != 1 || b.loops(t) != 0 {
		t.Errorf("loops %d and %d: want one, found by the one that began", a.loops(t), b.loops(t))
	}
	if u := a.Stats().Upstreams[0]; !u.LeadsBack || u.Failures != 1 {
		t.Errorf("%+v", u)
	}
	if u := b.Stats().Upstreams[0]; u.LeadsBack || u.Failures != 0 || u.RTT != 0 {
		t.Errorf("the one that hands on takes the loop of another for something of its own: %+v", u)
	}
}

func TestWhereOneServerLeadsBackAnotherAnswers(t *testing.T) {
	good := startUpstream(t, records("a.example. 300 IN A 192.0.2.1", "b.example. 300 IN A 192.0.2.1", "c.example. 300 IN A 192.0.2.1", "d.example. 300 IN A 192.0.2.1"))
	a, b := start(t, nil), start(t, nil)
	a.forwardTo(t, "udp://"+b.addr, "udp://"+good.addr)
	b.forwardTo(t, "udp://"+a.addr)
	for _, name := range []string{"a.example", "b.example", "c.example"} {
		if r := a.exchange(t, ask(name, dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Errorf("%s: %v", name, r)
		}
	}
	// After three loops in a row the server is left alone.
	before := a.Stats().Upstreams[0].Queries
	if r := a.exchange(t, ask("d.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("got %v", r)
	}
	if after := a.Stats().Upstreams[0].Queries; before != 3 || after != before {
		t.Errorf("asked %d times, and then %d", before, after)
	}
}

func TestAtOneTimeAskedOnBothSidesALoopEndsToo(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	a.forwardTo(t, "udp://"+b.addr)
	b.forwardTo(t, "udp://"+a.addr)
	done := make(chan *dns.Msg)
	for _, s := range []*server{a, b} {
		go func() { done <- s.exchange(t, ask("loop.example", dns.TypeA), "udp", "") }()
	}
	for range 2 {
		if r := <-done; r.Rcode != dns.RcodeServerFailure { // of this question, or remembered from the other's
			t.Errorf("got %v", r)
		}
	}
}

func TestMarkersAreHandedOnWithinBounds(t *testing.T) {
	up := startUpstream(t, records("a.example. 300 IN A 192.0.2.1", "b.example. 300 IN A 192.0.2.1", "c.example. 300 IN A 192.0.2.1"))
	s := start(t, nil, up)
	marked := func(name string, data string) *dns.Msg {
		q := ask(name, dns.TypeA)
		q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65353, Data: []byte(data)}}
		return q
	}
	sent := func() string {
		for _, o := range (<-up.queries).IsEdns0().Option {
			if o.Option() == 65353 {
				return string(o.(*dns.EDNS0_LOCAL).Data)
			}
		}
		return ""
	}
	markers := strings.Repeat("0123456789abcdef", 7)
	if r := s.exchange(t, marked("a.example", "sgl1"+markers), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("through seven resolvers: %v", r)
	}
	own, handedOn := strings.CutPrefix(sent(), "sgl1"+markers)
	if !handedOn || len(own) != 16 {
		t.Errorf("markers %q: want those that came and one of 16 octets", own)
	}
	if r := s.exchange(t, marked("b.example", "sgl1"+markers+"0123456789abcdef"), "udp", ""); !isFailure(r) || s.loops(t) != 1 {
		t.Errorf("through eight: %v", r)
	}
	// What others send under the code goes nowhere.
	if r := s.exchange(t, marked("c.example", "mac 00:11:22:33:44:55"), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("somebody else's option: %v", r)
	}
	if got := sent(); got != "sgl1"+own {
		t.Errorf("sent %q, want the own marker %q", got, own)
	}
}

func TestALoopIsFoundBeforeThePolicyOfTheResolverInBetween(t *testing.T) {
	s := start(t, nil)
	s.forwardTo(t, "udp://"+s.addr)
	// Staff may see it. What comes back comes from 127.0.0.1, as if a pupil had asked.
	if r := s.exchange(t, ask("porn.example", dns.TypeA), "udp", "127.0.0.9"); !isFailure(r) || s.loops(t) != 1 {
		t.Errorf("%d loops, got %v", s.loops(t), r)
	}
	if events := s.record.taken(); len(events) != 1 {
		t.Errorf("%d events, want one of who asked", len(events))
	}
}

func TestBlockedAndCachedNamesAreAnsweredWhereverTheyComeFrom(t *testing.T) {
	s := start(t, nil)
	s.forwardTo(t, "udp://"+s.addr)
	if r := s.exchange(t, ask("porn.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError || s.loops(t) != 0 {
		t.Errorf("got %v", r)
	}
}
