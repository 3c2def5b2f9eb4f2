package resolver_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// formOf is how much of EDNS a question has.
func formOf(q *dns.Msg) string {
	switch o := q.IsEdns0(); {
	case o == nil:
		return "plain"
	case len(o.Option) == 0:
		return "bare"
	}
	return "whole"
}

// picky is a server that drops what it is told to, and remembers the forms in which each name was asked.
type picky struct {
	*server
	mu    sync.Mutex
	asked map[string][]string
}

func startPicky(t *testing.T, drops func(name, form string, times int) bool) *picky {
	t.Helper()
	p := &picky{asked: map[string][]string{}}
	server := startUDP(t, func(reply func([]byte), packet []byte) {
		q := new(dns.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		name, form := strings.ToLower(q.Question[0].Name), formOf(q)
		p.mu.Lock()
		p.asked[name] = append(p.asked[name], form)
		times := len(p.asked[name])
		p.mu.Unlock()
		if !drops(name, form, times) {
			b, _ := answerTo(q).Pack()
			reply(b)
		}
	})
	p.server = start(t, func(c *resolver.Config) { c.Settings.Upstreams.Servers = parseUpstreams(t, server) })
	return p
}

// forms are those in which a name was asked, in their order.
func (p *picky) forms(name string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked[name])
}

// query asks as a client that waits for two seconds.
func (p *picky) query(t *testing.T, network, name string) *dns.Msg {
	t.Helper()
	r, _, err := (&dns.Client{Net: network, Timeout: 2 * time.Second}).Exchange(ask(name, dns.TypeA), p.addr)
	if err != nil {
		t.Fatalf("%s over %s: %v", name, network, err)
	}
	return r
}

// until waits for something to become true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in 15 s", what)
		}
	}
}

func TestWhatIsDroppedForItsOptionsOrItsEDNSIsAskedWithout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		bears, without string
		drops          func(name, form string, times int) bool
	}{
		{"bare", "edns_options", func(_, form string, _ int) bool { return form == "whole" }},
		{"plain", "edns", func(_, form string, _ int) bool { return form != "plain" }},
	} {
		for _, network := range []string{"udp", "tcp"} { // a worker asks, and the forwarder
			t.Run(test.bears+" over "+network, func(t *testing.T) {
				t.Parallel()
				p := startPicky(t, test.drops)
				if r := p.query(t, network, "first.example."); len(r.Answer) != 1 {
					t.Fatalf("%v", r)
				}
				if forms := p.forms("first.example."); forms[0] != "whole" || !slices.Contains(forms, test.bears) {
					t.Errorf("asked %v", forms)
				}
				until(t, "it is known", func() bool { return len(p.Stats().Upstreams[0].Without) > 0 })
				if without := p.Stats().Upstreams[0].Without; !slices.Equal(without, []string{test.without}) {
					t.Errorf("without %v", without)
				}
				// Once it is known nobody waits, and after an hour it is tried again.
				if r := p.query(t, network, "known.example."); len(r.Answer) != 1 || !slices.Equal(p.forms("known.example."), []string{test.bears}) {
					t.Errorf("asked %v: %v", p.forms("known.example."), r)
				}
				p.AgeServers(time.Hour)
				if r := p.query(t, network, "later.example."); len(r.Answer) != 1 || p.forms("later.example.")[0] != "whole" {
					t.Errorf("asked %v: %v", p.forms("later.example."), r)
				}
			})
		}
	}
}

func TestLostPacketsTurnNothingOff(t *testing.T) {
	t.Parallel()
	p := startPicky(t, func(_, form string, times int) bool { return times == 1 }) // the first question for each name is lost
	for i := range 4 {
		name := fmt.Sprintf("n%d.example.", i)
		if r := p.query(t, "udp", name); len(r.Answer) != 1 {
			t.Fatalf("%v", r)
		}
		until(t, "the server was asked again as before", func() bool {
			return i > 0 || slices.Contains(p.forms(name)[1:], "whole") // it is not looked at each time
		})
		if forms := p.forms(name); forms[0] != "whole" {
			t.Errorf("%s: asked %v", name, forms)
		}
	}
	if without := p.Stats().Upstreams[0].Without; len(without) != 0 {
		t.Errorf("without %v", without)
	}
}

func TestAServerThatIsSilentToEverythingIsAskedInNoLowerFormLater(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	dead := true
	p := startPicky(t, func(string, string, int) bool {
		mu.Lock()
		defer mu.Unlock()
		return dead
	})
	if r := p.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) {
		t.Errorf("%v", r)
	}
	mu.Lock()
	dead = false
	mu.Unlock()
	if r := p.query(t, "udp", "b.example."); len(r.Answer) != 1 || p.forms("b.example.")[0] != "whole" {
		t.Errorf("asked %v: %v", p.forms("b.example."), r)
	}
}

// An answer without DNSSEC's records would be bogus to who asks for them.
func TestWhoAsksForDNSSECGetsNoAnswerWithoutUnlessTheServerKnowsNone(t *testing.T) {
	t.Parallel()
	p := startPicky(t, func(_, form string, _ int) bool { return form != "plain" })
	do := func(name string) *dns.Msg {
		q := ask(name, dns.TypeA)
		q.IsEdns0().SetDo()
		return q
	}
	if r := p.exchange(t, do("a.example."), "udp", ""); !isFailure(r) || slices.Contains(p.forms("a.example."), "plain") {
		t.Errorf("asked %v: %v", p.forms("a.example."), r)
	}
	if r := p.query(t, "udp", "b.example."); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
	until(t, "it is known", func() bool { return len(p.Stats().Upstreams[0].Without) > 0 })
	if r := p.exchange(t, do("c.example."), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
}

func TestAServerThatComplainsOfOptionsIsAskedWithoutThem(t *testing.T) {
	for name, rcode := range map[string]int{"FORMERR": dns.RcodeFormatError, "BADVERS": dns.RcodeBadVers} {
		t.Run(name, func(t *testing.T) {
			up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
				m := answerTo(q)
				if formOf(q) == "whole" {
					m.Answer, m.Rcode = nil, rcode
				}
				_ = w.WriteMsg(m)
			})
			s := start(t, nil, up)
			for i, questions := range []int64{2, 3, 4} {
				r := s.exchange(t, ask(fmt.Sprintf("n%d.example", i), dns.TypeA), "udp", "")
				if n := up.asked.Load(); len(r.Answer) != 1 || n != questions {
					t.Errorf("asked %d times, want %d: %v", n, questions, r)
				}
			}
			if without := s.Stats().Upstreams[0].Without; !slices.Equal(without, []string{"edns_options"}) {
				t.Errorf("without %v", without)
			}
		})
	}
}
