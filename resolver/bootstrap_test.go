package resolver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// byName has the resolver ask servers that are written with a name, and these bootstrap servers for it.
func byName(t testing.TB, ca *authority, bootstrap []string, servers ...string) func(*resolver.Config) {
	t.Helper()
	return func(c *resolver.Config) {
		to(t, ca.roots, servers...)(c)
		c.Settings.Upstreams.Bootstrap = parseUpstreams(t, bootstrap...)
	}
}

// named is the text of a server with a name instead of its address.
func named(e *encrypted, host string) string {
	scheme, rest, _ := strings.Cut(e.text, "://")
	_, rest, _ = strings.Cut(rest, ":")
	return scheme + "://" + host + ":" + rest
}

func TestAServerWithANameIsFoundByTheBootstrapServers(t *testing.T) {
	ca := newAuthority(t)
	dead := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})
	boot := startUpstream(t, records("dns.example. 300 IN CNAME dns.other.example.", "dns.other.example. 300 IN A 127.0.0.1"))
	for _, e := range []*encrypted{
		startTLS(t, ca.config(t, "dns.example", "dot"), false), startHTTPS(t, ca.config(t, "dns.example"), nil),
		startQUIC(t, ca.config(t, "dns.example", "doq"), "127.0.0.1:0", false),
	} {
		before := boot.asked.Load()
		s := start(t, byName(t, ca, []string{dead.addr, "tcp://" + boot.addr}, named(e, "dns.example")))
		for _, host := range []string{"a.example", "b.example"} {
			if r := s.exchange(t, ask(host, dns.TypeA), "udp", ""); len(r.Answer) != 1 {
				t.Errorf("%s: %v", e.text, r)
			}
		}
		if n := boot.asked.Load() - before; n != 2 {
			t.Errorf("%s: %d questions to the bootstrap server, want A and AAAA", e.text, n)
		}
		if up := s.Stats().Upstreams; len(up) != 1 || up[0].Server != named(e, "dns.example") {
			t.Errorf("upstreams %+v", up)
		}
	}
}

func TestTheNextAddressIsTriedWhereOneIsDead(t *testing.T) {
	ca := newAuthority(t)
	boot := startUpstream(t, records("dns.example. 300 IN AAAA ::1", "dns.example. 300 IN A 127.0.0.77", "dns.example. 300 IN A 127.0.0.1"))
	for _, e := range []*encrypted{
		startTLS(t, ca.config(t, "dns.example", "dot"), false), startHTTPS(t, ca.config(t, "dns.example"), nil),
		startQUIC(t, ca.config(t, "dns.example", "doq"), "127.0.0.1:0", false),
	} {
		s := start(t, func(c *resolver.Config) {
			byName(t, ca, []string{boot.addr}, named(e, "dns.example"))(c)
			c.Settings.Upstreams.Timeout = 5 * time.Second
		})
		if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Errorf("%s: %v", e.text, r)
		}
	}
}

func TestWhereBootstrapFailsTheAnswerIsServfail(t *testing.T) {
	ca := newAuthority(t)
	e := startTLS(t, ca.config(t, "dns.example", "dot"), false)
	for name, bootstrap := range map[string][]string{
		"no server":    nil,
		"a dead one":   {"127.0.0.1:1"},
		"no such name": {startUpstream(t, records()).addr},
	} {
		s := start(t, byName(t, ca, bootstrap, named(e, "dns.example")))
		if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestNewBootstrapServersAreAskedAtOnce(t *testing.T) {
	ca := newAuthority(t)
	e := startTLS(t, ca.config(t, "dns.example", "dot"), false)
	s := start(t, byName(t, ca, []string{"127.0.0.1:1"}, named(e, "dns.example")))
	if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) {
		t.Errorf("got %v", r)
	}
	s.settings.Upstreams.Bootstrap = parseUpstreams(t, startUpstream(t, records("dns.example. 300 IN A 127.0.0.1")).addr)
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	if r := s.exchange(t, ask("b.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("got %v", r)
	}
}
