package resolver_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// untilAnswer asks until an answer is as it should be.
func (s *server) untilAnswer(t *testing.T, what string, q func() *dns.Msg, want func(*dns.Msg) bool) *dns.Msg {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		m := s.exchange(t, q(), "udp", "")
		if want(m) {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, m)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAnOldAnswerServesWhereNoUpstreamAnswers(t *testing.T) {
	var dead atomic.Bool
	old := records("old.example. 50 IN A 192.0.2.1", "alias.example. 50 IN CNAME moved.example.", "moved.example. 50 IN A 192.0.2.2")
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if !dead.Load() {
			old(w, q)
		}
	})
	s := start(t, func(c *resolver.Config) {
		c.Settings.Cache.ServeStale = time.Hour
		c.Settings.Upstreams.Timeout = 100 * time.Millisecond
	}, up)
	s.exchange(t, ask("old.example", dns.TypeA), "udp", "")
	s.exchange(t, ask("alias.example", dns.TypeA), "udp", "")
	s.exchange(t, ask("missing.example", dns.TypeA), "udp", "")
	dead.Store(true)
	s.Age(time.Minute)

	m := s.untilAnswer(t, "an old answer", func() *dns.Msg { return ask("old.example", dns.TypeA) }, func(m *dns.Msg) bool { return ede(m) == 3 })
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 || m.Answer[0].Header().Ttl > 30 {
		t.Errorf("%v", m)
	}
	if m := s.exchange(t, ask("never.example", dns.TypeA), "udp", ""); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("a name that was never asked for: %v", m)
	}
	// The policy judges what is old as it judges what is new.
	s.settings.Policy = compile(t, schoolSpec(t), "moved.example")
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	m = s.untilAnswer(t, "an old answer that leads to what is blocked since", func() *dns.Msg { return ask("alias.example", dns.TypeA) },
		func(m *dns.Msg) bool { return m.Rcode != dns.RcodeSuccess })
	if m.Rcode != dns.RcodeNameError || ede(m) != 15 {
		t.Errorf("%v", m)
	}
	s.settings.Cache.ServeStale = 0
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	if m := s.exchange(t, ask("old.example", dns.TypeA), "udp", ""); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("with serve_stale 0: %v", m)
	}
	dead.Store(false)
	s.untilAnswer(t, "the upstream is back", func() *dns.Msg { return ask("old.example", dns.TypeA) },
		func(m *dns.Msg) bool { return m.Rcode == dns.RcodeSuccess && ede(m) == -1 })
}

func TestAFailureIsRememberedForAMoment(t *testing.T) {
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})
	s := start(t, nil, up)
	if m := s.exchange(t, ask("bogus.example", dns.TypeA), "udp", ""); m.Rcode != dns.RcodeServerFailure || ede(m) != 22 {
		t.Fatalf("%v", m)
	}
	asked := up.asked.Load()
	if m := s.exchange(t, ask("bogus.example", dns.TypeA), "udp", ""); m.Rcode != dns.RcodeServerFailure || ede(m) != 13 {
		t.Errorf("the second time: %v", m)
	}
	if n := up.asked.Load(); n != asked {
		t.Errorf("asked upstream %d times more", n-asked)
	}
}

func TestANameThatIsAskedForIsAskedAnewBeforeItRunsOut(t *testing.T) {
	up := startUpstream(t, records("popular.example. 100 IN A 192.0.2.1", "once.example. 100 IN A 192.0.2.1"))
	s := start(t, func(c *resolver.Config) { c.Settings.Cache.Prefetch = true }, up)
	for _, name := range []string{"popular.example", "popular.example", "once.example"} {
		s.exchange(t, ask(name, dns.TypeA), "udp", "")
	}
	s.Age(80 * time.Second)
	s.exchange(t, ask("popular.example", dns.TypeA), "udp", "")
	if n := up.asked.Load(); n != 2 {
		t.Fatalf("with 20 s of 100 left: %d questions upstream", n)
	}
	s.Age(11 * time.Second)
	s.exchange(t, ask("once.example", dns.TypeA), "udp", "") // the first time since it came
	m := s.untilAnswer(t, "asked anew", func() *dns.Msg { return ask("popular.example", dns.TypeA) },
		func(m *dns.Msg) bool { return len(m.Answer) == 1 && m.Answer[0].Header().Ttl > 90 })
	if n := up.asked.Load(); n != 3 {
		t.Errorf("%d questions upstream, want one more: %v", n, m)
	}
}
