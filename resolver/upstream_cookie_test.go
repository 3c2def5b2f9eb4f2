package resolver_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// serverCookie is what the test servers give, in hexadecimal, for each generation another one.
func serverCookie(generation int64) string { return fmt.Sprintf("01000000%024x", generation) }

// answerWithCookies is an answer with the cookies.
func answerWithCookies(q *dns.Msg, cookies string) *dns.Msg {
	m := answerTo(q)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookies})
	return m
}

// clientCookie is our part of the cookies of a question; "" where there are none.
func clientCookie(q *dns.Msg) string { return cookieOf(q)[:min(16, len(cookieOf(q)))] }

// withCookies is a server that gives the cookie of the generation, over UDP only to who sent one.
func withCookies(generation *atomic.Int64) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if cookieOf(q) == "" {
			_ = w.WriteMsg(answerTo(q))
			return
		}
		_ = w.WriteMsg(answerWithCookies(q, clientCookie(q)+serverCookie(generation.Load())))
	}
}

func TestAServersCookieGoesBackToIt(t *testing.T) {
	var generation atomic.Int64
	up := startUpstream(t, withCookies(&generation))
	s := start(t, nil, up)
	var own string
	for i := range int64(6) {
		generation.Store(i)
		s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), []string{"udp", "tcp"}[i%2], "") // a worker asks, and the forwarder
		want := own + serverCookie(i-1)
		if i == 0 {
			own = cookieOf(<-up.queries)
			if len(own) != 16 {
				t.Fatalf("the first question has the cookie %q, want 8 octets", own)
			}
		} else if got := cookieOf(<-up.queries); got != want {
			t.Errorf("question %d has the cookies %q, want %q", i, got, want)
		}
	}
}

func TestEachServerSeesAnotherCookieAndForADay(t *testing.T) {
	var generation atomic.Int64
	up := startUpstream(t, withCookies(&generation))
	other := startUpstream(t, withCookies(&generation))
	s := start(t, func(c *resolver.Config) {
		c.Settings.Zones[0].Servers = parseUpstreams(t, "udp://"+other.addr)
	}, up)
	seen := map[string]bool{}
	s.exchange(t, ask("a.example", dns.TypeA), "udp", "")
	s.exchange(t, ask("host.zone.internal", dns.TypeA), "udp", "")
	seen[cookieOf(<-up.queries)], seen[cookieOf(<-other.queries)] = true, true
	s.AgeServers(24 * time.Hour)
	s.exchange(t, ask("b.example", dns.TypeA), "udp", "")
	seen[cookieOf(<-up.queries)] = true
	if len(seen) != 3 {
		t.Errorf("cookies %v, want three", seen)
	}
	for c := range seen {
		if len(c) != 16 {
			t.Errorf("cookie %q", c)
		}
	}
}

func TestAnAnswerWithAWrongCookieDoesNotHideTheRightOne(t *testing.T) {
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		for _, wrong := range []string{"0102030405060708" + serverCookie(1), clientCookie(q) + "00", clientCookie(q)[:14], clientCookie(q) + strings.Repeat("00", 33), ""} {
			if wrong == "" && len(cookieOf(q)) == 16 {
				continue // until it is known that the server gives some
			}
			forged := answerWithCookies(q, wrong)
			forged.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 66)
			_ = w.WriteMsg(forged)
		}
		_ = w.WriteMsg(answerWithCookies(q, clientCookie(q)+serverCookie(1)))
	})
	s := start(t, nil, up)
	for i, network := range []string{"udp", "tcp", "udp"} {
		r := s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), network, "")
		if len(r.Answer) != 1 || !r.Answer[0].(*dns.A).A.Equal(net.IPv4(192, 0, 2, 1)) {
			t.Errorf("question %d: %v", i, r)
		}
	}
	if n := s.resultOf(t, "mismatched"); n != 4+5+5 {
		t.Errorf("%v answers did not match", n)
	}
}

func TestAServerThatWantsAnotherCookieGetsIt(t *testing.T) {
	var generation atomic.Int64
	answer := withCookies(&generation)
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if cookieOf(q) != clientCookie(q)+serverCookie(generation.Load()) {
			m := answerWithCookies(q, clientCookie(q)+serverCookie(generation.Load()))
			m.Answer, m.Rcode = nil, dns.RcodeBadCookie
			_ = w.WriteMsg(m)
			return
		}
		answer(w, q)
	})
	s := start(t, nil, up)
	for i, want := range []int64{2, 1, 1, 2, 1, 1} {
		if i == 3 {
			generation.Add(1)
		}
		before := up.asked.Load()
		r := s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), []string{"udp", "tcp"}[i/3], "")
		if n := up.asked.Load() - before; len(r.Answer) != 1 || n != want {
			t.Errorf("question %d: asked %d times, want %d: %v", i, n, want, r)
		}
	}
	if stats := s.Stats().Upstreams[0]; stats.Failures != 0 {
		t.Errorf("%+v", stats)
	}
}

// RFC 7873 §5.3.
func TestAServerThatIsContentWithNoCookieIsAskedOverTCP(t *testing.T) {
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "tcp" {
			_ = w.WriteMsg(answerTo(q))
			return
		}
		m := answerWithCookies(q, clientCookie(q)+serverCookie(1))
		m.Answer, m.Rcode = nil, dns.RcodeBadCookie
		_ = w.WriteMsg(m)
	})
	s := start(t, nil, up)
	for i, network := range []string{"udp", "tcp"} {
		if r := s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), network, ""); len(r.Answer) != 1 || up.asked.Load() != int64(3*i+3) {
			t.Errorf("%s: asked %d times: %v", network, up.asked.Load(), r)
		}
	}
}

// RFC 9018 §3.
func TestAServerThatGivesNoCookiesIsAskedWithoutAndThenWithAnother(t *testing.T) {
	up := startUpstream(t, records())
	s := start(t, nil, up)
	asked := func(i int) string {
		s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), []string{"udp", "tcp"}[i%2], "")
		return cookieOf(<-up.queries)
	}
	first := asked(0)
	for i := range 4 {
		if got := asked(1 + i); got != "" {
			t.Errorf("asked with %q", got)
		}
	}
	s.AgeServers(5 * time.Minute)
	if again := asked(5); len(first) != 16 || len(again) != 16 || again == first {
		t.Errorf("asked with %q, and again with %q", first, again)
	}
	if stats := s.Stats().Upstreams[0]; len(stats.Without) != 0 {
		t.Errorf("without %v: that is no fault", stats.Without)
	}
}

func TestAServerThatStopsGivingCookiesIsBelievedOverTCP(t *testing.T) {
	var stopped atomic.Bool
	var generation atomic.Int64
	give := withCookies(&generation)
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if stopped.Load() {
			_ = w.WriteMsg(answerTo(q))
			return
		}
		give(w, q)
	})
	s := start(t, nil, up)
	for i, want := range []int64{1, 1, 2, 2, 2, 1, 1} {
		stopped.Store(i >= 2)
		before := up.asked.Load()
		r := s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), "udp", "")
		if n := up.asked.Load() - before; len(r.Answer) != 1 || n != want {
			t.Errorf("question %d: asked %d times, want %d: %v", i, n, want, r)
		}
	}
}

func TestAServerThatStopsGivingCookiesAndTakesNoTCPIsAskedAllTheSame(t *testing.T) {
	var questions atomic.Int64
	server := startUDP(t, func(reply func([]byte), packet []byte) {
		q := new(dns.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		m := answerTo(q)
		if questions.Add(1) <= 2 {
			m = answerWithCookies(q, clientCookie(q)+serverCookie(1))
		}
		b, _ := m.Pack()
		reply(b)
	})
	s := start(t, func(c *resolver.Config) { c.Settings.Upstreams.Servers = parseUpstreams(t, server) })
	for i := range 7 {
		if r := s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Errorf("question %d: %v", i, r)
		}
	}
	if n := questions.Load(); n != 2+3*2+2 {
		t.Errorf("asked %d times", n)
	}
}
