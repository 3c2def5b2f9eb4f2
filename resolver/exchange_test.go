package resolver_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

func TestAServerThatDoesNotKnowEDNSIsAskedWithout(t *testing.T) {
	ca := newAuthority(t)
	for name, refuse := range map[string]func(m *dns.Msg){
		"FORMERR":                      func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError },
		"FORMERR without the question": func(m *dns.Msg) { m.Rcode, m.Question = dns.RcodeFormatError, nil },
		"NOTIMP":                       func(m *dns.Msg) { m.Rcode = dns.RcodeNotImplemented },
	} {
		t.Run(name, func(t *testing.T) {
			handle := func(w dns.ResponseWriter, q *dns.Msg) {
				if q.IsEdns0() == nil {
					_ = w.WriteMsg(answerTo(q))
					return
				}
				m := new(dns.Msg).SetReply(q)
				refuse(m)
				_ = w.WriteMsg(m)
			}
			for _, scheme := range []string{"udp", "tcp"} {
				up := startUpstream(t, handle)
				s := start(t, to(t, ca.roots, scheme+"://"+up.addr))
				for i, questions := range []int64{2, 3} { // the second time it is known
					if r := s.exchange(t, ask(string(rune('a'+i))+".example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
						t.Errorf("%s: %v", scheme, r)
					}
					if n := up.asked.Load(); n != questions {
						t.Errorf("%s: %d questions, want %d", scheme, n, questions)
					}
				}
			}
		})
	}
}

func TestAServerThatKnowsEDNSAndRefusesIsAskedWithoutItsOptionsOnly(t *testing.T) {
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
		m.SetEdns0(1232, false)
		_ = w.WriteMsg(m)
	})
	s := start(t, nil, up)
	if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) || up.asked.Load() != 2 {
		t.Errorf("%d questions, %v", up.asked.Load(), r)
	}
	for i := range 2 {
		if o := (<-up.queries).IsEdns0(); o == nil || (len(o.Option) == 0) != (i == 1) {
			t.Errorf("question %d: %v", i, o)
		}
	}
	if without := s.Stats().Upstreams[0].Without; len(without) != 0 {
		t.Errorf("without %v, which was no better", without)
	}
}

func TestASlowServerIsNotWaitedForWhereAnotherAnswers(t *testing.T) {
	askedToo := make(chan struct{})
	first := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "slow") {
			<-askedToo // and then it is late
		}
		_ = w.WriteMsg(answerTo(q))
	})
	second := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "slow") {
			defer close(askedToo)
		}
		_ = w.WriteMsg(answerTo(q))
	})
	s := start(t, nil, first, second)
	for i := range 60 { // until it is known how fast it is, and one in ten may be hedged
		if n := s.askAll(t, fmt.Sprintf("fast%d-", i), 1); n != 1 {
			t.Fatal("not answered")
		}
	}
	before := s.total(t, "schoolgate_upstream_hedged_total")
	if n := s.askAll(t, "slow", 1); n != 1 {
		t.Error("not answered")
	}
	if after := s.total(t, "schoolgate_upstream_hedged_total"); after != before+1 || after > 6 {
		t.Errorf("%v hedged questions before, %v after", before, after)
	}
	if stats := s.Stats().Upstreams; stats[0].Failures != 0 {
		t.Errorf("late is not dead: %+v", stats[0])
	}
}

func TestAServerThatIsDownIsProbed(t *testing.T) {
	asked := make(chan string, 100)
	alive := make(chan struct{})
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		select {
		case <-alive:
			_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeRefused)) // any answer will do
			asked <- q.Question[0].String()
		default:
		}
	})
	other := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(answerTo(q)) })
	s := start(t, func(c *resolver.Config) { c.Settings.Upstreams.Timeout = 100 * time.Millisecond }, up, other)
	for _, name := range []string{"a", "b", "c"} {
		if n := s.askAll(t, name, 1); n != 1 {
			t.Errorf("%s is not answered", name)
		}
	}
	close(alive)
	if got, want := <-asked, ";.\tIN\t NS"; got != want {
		t.Errorf("probed with %q, want %q", got, want)
	}
	before := s.Stats().Upstreams[0]
	for i := 0; s.Stats().Upstreams[0].Queries == before.Queries; i++ {
		if n := s.askAll(t, fmt.Sprintf("d%d-", i), 1); n != 1 {
			t.Fatal("not answered")
		}
	}
}

// total is the sum of a counter over its labels.
func (s *server) total(t testing.TB, name string) (sum float64) {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
			return sum
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
