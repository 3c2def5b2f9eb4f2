package resolver_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// overStreams runs a test over TCP and over TLS.
func overStreams(t *testing.T, test func(t *testing.T, start func(handle func(n int, conn net.Conn)) (*streamServer, *server))) {
	t.Helper()
	ca := newAuthority(t)
	for scheme, config := range map[string]*tls.Config{"tcp": nil, "tls": ca.config(t, "dns.example", "dot")} {
		t.Run(scheme, func(t *testing.T) {
			test(t, func(handle func(n int, conn net.Conn)) (*streamServer, *server) {
				up := startStreams(t, config, handle)
				text := scheme + "://" + up.addr
				if config != nil {
					text += "#dns.example"
				}
				return up, start(t, to(t, ca.roots, text))
			})
		})
	}
}

func TestSeveralQuestionsShareAConnectionAndAreAnsweredInAnyOrder(t *testing.T) {
	overStreams(t, func(t *testing.T, start func(func(int, net.Conn)) (*streamServer, *server)) {
		const questions = 40
		up, s := start(func(_ int, conn net.Conn) {
			var all []*dns.Msg
			for len(all) < questions {
				q := receive(conn)
				if q == nil {
					return
				}
				all = append(all, q)
			}
			slices.Reverse(all)
			for _, q := range all {
				send(conn, answerTo(q))
			}
			_, _ = io.Copy(io.Discard, conn)
		})
		if n := s.askAll(t, "a", questions); n != questions {
			t.Errorf("%d of %d questions answered", n, questions)
		}
		if n := up.accepted(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestAServerThatClosesAfterEachAnswerAnswersAll(t *testing.T) {
	overStreams(t, func(t *testing.T, start func(func(int, net.Conn)) (*streamServer, *server)) {
		_, s := start(func(_ int, conn net.Conn) {
			if q := receive(conn); q != nil {
				send(conn, answerTo(q))
			}
		})
		for i := range 5 {
			if n := s.askAll(t, fmt.Sprintf("a%d-", i), 3); n != 3 {
				t.Errorf("%d of 3 questions answered", n)
			}
		}
	})
}

func TestAConnectionThatTheServerClosedIsReplaced(t *testing.T) {
	for name, last := range map[string]func(conn net.Conn, q *dns.Msg){
		"before the answer":            func(net.Conn, *dns.Msg) {},
		"in the middle of the length":  func(conn net.Conn, _ *dns.Msg) { _, _ = conn.Write([]byte{0}) },
		"in the middle of the message": func(conn net.Conn, q *dns.Msg) { _, _ = conn.Write(framedMsg(answerTo(q))[:20]) },
		"after a message of no length": func(conn net.Conn, _ *dns.Msg) { _, _ = conn.Write([]byte{0, 0}) },
		"after garbage": func(conn net.Conn, _ *dns.Msg) {
			_, _ = conn.Write([]byte(strings.Repeat("\x00\x20garbage, garbage, garbage, garbag", 3)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			overStreams(t, func(t *testing.T, start func(func(int, net.Conn)) (*streamServer, *server)) {
				up, s := start(func(n int, conn net.Conn) {
					if n > 1 {
						serveStream(conn)
						return
					}
					send(conn, answerTo(receive(conn)))
					last(conn, receive(conn))
				})
				for _, question := range []string{"a", "b", "c"} {
					if n := s.askAll(t, question, 1); n != 1 {
						t.Errorf("%s is not answered", question)
					}
				}
				if n := up.accepted(); n != 2 {
					t.Errorf("%d connections, want 2", n)
				}
				if stats := s.Stats().Upstreams[0]; stats.Failures != 0 {
					t.Errorf("counted as a failure: %+v", stats)
				}
			})
		})
	}
}

func TestAServerThatClosesEveryConnectionIsAskedTwice(t *testing.T) {
	overStreams(t, func(t *testing.T, start func(func(int, net.Conn)) (*streamServer, *server)) {
		up, s := start(func(_ int, conn net.Conn) { receive(conn) })
		if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) {
			t.Errorf("got %v", r)
		}
		if n := up.accepted(); n != 2 {
			t.Errorf("%d connections, want 2", n)
		}
	})
}

func TestAnAnswerToAnotherQuestionIsPassedOver(t *testing.T) {
	overStreams(t, func(t *testing.T, start func(func(int, net.Conn)) (*streamServer, *server)) {
		up, s := start(func(_ int, conn net.Conn) {
			for q := receive(conn); q != nil; q = receive(conn) {
				for _, change := range []func(m *dns.Msg){
					func(m *dns.Msg) { m.Id++ },
					func(m *dns.Msg) { m.Question[0].Name = "other.example." },
					func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
					func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
					func(m *dns.Msg) { m.Question = nil },
					func(m *dns.Msg) { m.Response = false },
				} {
					wrong := answerTo(q)
					wrong.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 66)
					change(wrong)
					send(conn, wrong)
				}
				right := answerTo(q)
				right.Question[0].Name = strings.ToUpper(right.Question[0].Name)
				send(conn, right)
			}
		})
		r := s.exchange(t, ask("a.example", dns.TypeA), "udp", "")
		if len(r.Answer) != 1 || !r.Answer[0].(*dns.A).A.Equal(net.IPv4(192, 0, 2, 1)) {
			t.Errorf("got %v", r)
		}
		if n := up.accepted(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestAServerThatDoesNotAnswerOverStreamsIsPassedOver(t *testing.T) {
	ca := newAuthority(t)
	for name, handle := range map[string]func(conn net.Conn){
		"silent":             func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"stalls in a length": func(conn net.Conn) { receive(conn); _, _ = conn.Write([]byte{1}); _, _ = io.Copy(io.Discard, conn) },
		"announces more than it sends": func(conn net.Conn) {
			q := receive(conn)
			if q == nil {
				return
			}
			m := framedMsg(answerTo(q))
			m[0], m[1] = 0xff, 0xff
			_, _ = conn.Write(m)
			_, _ = io.Copy(io.Discard, conn)
		},
	} {
		t.Run(name, func(t *testing.T) {
			up := startStreams(t, nil, func(_ int, conn net.Conn) { handle(conn) })
			good := startStreams(t, ca.config(t, ""), func(_ int, conn net.Conn) { serveStream(conn) })
			s := start(t, to(t, ca.roots, "tcp://"+up.addr, "tls://"+good.addr))
			if n := s.askAll(t, "a", 20); n != 20 {
				t.Errorf("%d of 20 questions answered", n)
			}
			if n := up.accepted(); n > 20 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestAStalledHandshakeHoldsUpNobodyForLong(t *testing.T) {
	ca := newAuthority(t)
	up := startStreams(t, nil, func(_ int, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }) // no TLS at all
	good := startUpstream(t, records("a.example. 300 IN A 192.0.2.1", "b.example. 300 IN A 192.0.2.1"))
	s := start(t, to(t, ca.roots, "tls://"+up.addr, "udp://"+good.addr))
	for _, name := range []string{"a.example", "b.example"} {
		if r := s.exchange(t, ask(name, dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	const questions = 600
	release := make(chan struct{})
	arrived := make(chan struct{}, questions)
	up := startStreams(t, nil, func(_ int, conn net.Conn) {
		var all []*dns.Msg
		received := make(chan *dns.Msg)
		go func() {
			defer close(received)
			for q := receive(conn); q != nil; q = receive(conn) {
				received <- q
				arrived <- struct{}{}
			}
		}()
		for free := false; !free; {
			select {
			case q := <-received:
				all = append(all, q)
			case <-release:
				free = true
			}
		}
		for _, q := range all {
			send(conn, answerTo(q))
		}
		for q := range received {
			send(conn, answerTo(q))
		}
	})
	s := start(t, func(c *resolver.Config) {
		to(t, nil, "tcp://"+up.addr)(c)
		c.Settings.Upstreams.Timeout = 7 * time.Second
	})
	done := make(chan int)
	go func() { done <- s.askAll(t, "a", questions) }()
	for range questions {
		<-arrived
	}
	close(release)
	if n := <-done; n != questions {
		t.Errorf("%d of %d questions answered", n, questions)
	}
	if n := up.accepted(); n != 4 {
		t.Errorf("%d connections for %d questions", n, questions)
	}
}
