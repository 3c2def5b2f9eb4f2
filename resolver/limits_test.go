package resolver_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"schoolgate/policy"
	"schoolgate/resolver"
)

// slow is a limit in which no token flows in while a test runs.
func slow(burst int) resolver.RateLimit { return resolver.RateLimit{Every: time.Hour, Burst: burst} }

// askRaw takes a query through the pipeline as if it had come from a client over a transport.
func (s *server) askRaw(t testing.TB, q *dns.Msg, network, from string) (packet, response []byte) {
	t.Helper()
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	response, err = s.Ask(t.Context(), packet, netip.AddrPortFrom(netip.MustParseAddr(from), 4000), network, false)
	if err != nil {
		t.Fatal(err)
	}
	return packet, response
}

func (s *server) ask(t testing.TB, q *dns.Msg, network, from string) *dns.Msg {
	t.Helper()
	_, response := s.askRaw(t, q, network, from)
	m := new(dns.Msg)
	if err := m.Unpack(response); err != nil {
		t.Fatal(err)
	}
	return m
}

func metric(t testing.TB, s *server, want string) {
	t.Helper()
	name, _, _ := strings.Cut(strings.TrimSpace(want), "{")
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	help := ""
	for _, f := range families {
		if f.GetName() == name {
			help = "# HELP " + name + " " + f.GetHelp() + "\n# TYPE " + name + " counter\n"
		}
	}
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(help+want), name); err != nil {
		t.Error(err)
	}
}

func TestOverTheLimitUDPIsSentToTCPWhichIsRefusedInTheEnd(t *testing.T) {
	up := startUpstream(t, records("museum.example. 300 IN A 192.0.2.1"))
	s := start(t, func(c *resolver.Config) { c.Settings.Access.RateLimit = slow(3) }, up)
	for _, network := range []string{"udp", "tcp"} {
		for i := range 5 {
			r := s.exchange(t, ask("museum.example", dns.TypeA), network, "127.0.0.5")
			switch {
			case i < 3 && (r.Truncated || r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1):
				t.Errorf("%s query %d: %v", network, i, r)
			case i >= 3 && network == "udp" && (!r.Truncated || r.Rcode != dns.RcodeSuccess || len(r.Answer)+len(r.Ns) != 0 || ede(r) != -1):
				t.Errorf("%s query %d is over the limit: %v", network, i, r)
			case i >= 3 && network == "tcp" && (r.Truncated || r.Rcode != dns.RcodeRefused || ede(r) != -1):
				t.Errorf("%s query %d is over the limit: %v", network, i, r)
			}
		}
	}
	if r := s.exchange(t, ask("museum.example", dns.TypeA), "udp", "127.0.0.6"); len(r.Answer) != 1 {
		t.Errorf("a neighbour: %v", r)
	}
	metric(t, s, `schoolgate_rate_limited_total{transport="doh"} 0
schoolgate_rate_limited_total{transport="doq"} 0
schoolgate_rate_limited_total{transport="dot"} 0
schoolgate_rate_limited_total{transport="tcp"} 2
schoolgate_rate_limited_total{transport="udp"} 2
`)
	limits := s.Stats().Limits
	if limits.RateLimited != 4 || len(limits.Lately) != 1 || limits.Lately[0].Client != netip.MustParseAddr("127.0.0.5") || limits.Lately[0].Queries != 4 {
		t.Errorf("stats %+v", limits)
	}
}

func TestWhatIsOverTheLimitIsNeverLongerThanTheQuery(t *testing.T) {
	s := start(t, func(c *resolver.Config) { c.Settings.Access.RateLimit = slow(1) })
	bare := new(dns.Msg).SetQuestion("porn.example.", dns.TypeA)
	options := func(q *dns.Msg, options ...dns.EDNS0) *dns.Msg {
		q.IsEdns0().Option = options
		return q
	}
	any255 := ask("printer.internal", dns.TypeANY)
	update := ask("museum.example", dns.TypeA)
	update.Opcode = dns.OpcodeUpdate
	for name, q := range map[string]*dns.Msg{
		"bare": bare, "with EDNS": ask("porn.example", dns.TypeA), "ANY": any255, "update": update,
		"a client's cookie":      options(ask("museum.example", dns.TypeA), &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}),
		"another server's":       options(ask("museum.example", dns.TypeA), &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: strings.Repeat("01", 16)}),
		"one of our length":      options(ask("museum.example", dns.TypeA), &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: strings.Repeat("01", 24)}),
		"asks who we are":        options(ask("museum.example", dns.TypeA), &dns.EDNS0_NSID{Code: dns.EDNS0NSID}),
		"asks for all, no space": options(ask("museum.example", dns.TypeA), &dns.EDNS0_NSID{Code: dns.EDNS0NSID}, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}),
	} {
		s.askRaw(t, q, "udp", "127.0.0.5")
		packet, response := s.askRaw(t, q, "udp", "127.0.0.5")
		m := new(dns.Msg)
		if err := m.Unpack(response); err != nil || !m.Truncated || m.Rcode != dns.RcodeSuccess || len(response) > len(packet) {
			t.Errorf("%s: %d octets, then %d: %v %v", name, len(packet), len(response), m, err)
		}
	}
}

func TestNoBreachIsLostToTheLimit(t *testing.T) {
	up := startUpstream(t, records("porn.example. 300 IN A 192.0.2.66"))
	s := start(t, func(c *resolver.Config) { c.Settings.Access.RateLimit = slow(1) }, up)
	for _, from := range []string{"127.0.0.5", "127.0.0.9"} { // a pupil, for whom it is blocked, and staff, for whom it is monitored
		for _, network := range []string{"udp", "tcp"} {
			for range 4 {
				s.ask(t, ask("www.porn.example", dns.TypeA), network, from)
			}
		}
		events := s.record.taken()
		if len(events) != 8 {
			t.Errorf("%d breaches of %s in 8 queries", len(events), from)
		}
		for _, e := range events {
			if want := map[string]policy.Action{"127.0.0.5": policy.Block, "127.0.0.9": policy.Monitor}[from]; e.Verdict.Action != want || e.Client.Addr.String() != from {
				t.Errorf("breach %+v", e)
			}
		}
	}
	// One of staff over UDP was within the limit, and one over TCP, which the cache had.
	if n := up.asked.Load(); n != 1 {
		t.Errorf("%d questions went upstream, want 1", n)
	}
	for _, transport := range []string{"udp", "tcp"} {
		for outcome, want := range map[string]float64{"blocked": 4, "refused": 0} {
			if n := s.counter(t, "schoolgate_queries_total", "transport", transport, "group", "pupils", "outcome", outcome); n != want {
				t.Errorf("%v of the pupils over %s are counted as %s, want %v", n, transport, outcome, want)
			}
		}
		for outcome, want := range map[string]float64{"monitored": 1, "refused": 3} {
			if n := s.counter(t, "schoolgate_queries_total", "transport", transport, "group", "staff", "outcome", outcome); n != want {
				t.Errorf("%v of staff over %s are counted as %s, want %v", n, transport, outcome, want)
			}
		}
	}
	if n := s.counter(t, "schoolgate_blocked_total", "group", "pupils", "category", "pornography"); n != 8 {
		t.Errorf("%v are counted as blocked, want 8", n)
	}
}

func TestWhoAsksForManyHasNoLimit(t *testing.T) {
	spec := schoolSpec(t)
	spec.Groups = append(spec.Groups, policy.Group{
		Name: "domain_controllers", Inherit: "pupils", Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.10/32")}, Shared: true, SharedSet: true,
	})
	s := start(t, func(c *resolver.Config) {
		c.Settings.Policy = compile(t, spec)
		c.Settings.Access = resolver.Access{RateLimit: slow(1), TrustedForwarders: []netip.Prefix{netip.MustParsePrefix("127.0.0.11/32")}}
	})
	for _, test := range []struct {
		from, what string
		want       bool
	}{
		{"127.0.0.10", "a group with many people behind an address", false},
		{"127.0.0.11", "a trusted forwarder", false},
		{"127.0.0.1", "this machine", true},
	} {
		limited := false
		for range 5 {
			limited = s.ask(t, ask("localhost", dns.TypeA), "udp", test.from).Truncated
		}
		if limited != test.want {
			t.Errorf("%s is limited: %v", test.what, limited)
		}
	}
	packet, err := ask("localhost", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // schoolgate's own checks
		r, err := s.Ask(t.Context(), packet, netip.MustParseAddrPort("127.0.0.1:53"), "udp", true)
		if err != nil || r[2]&2 != 0 {
			t.Errorf("%x %v", r, err)
		}
	}
}

func TestAReloadChangesTheLimitAtOnceAndEmptiesNoBucket(t *testing.T) {
	s := start(t, func(c *resolver.Config) { c.Settings.Access.RateLimit = slow(2) })
	within := func(n int) (answered int) {
		for range n {
			if !s.ask(t, ask("localhost", dns.TypeA), "udp", "127.0.0.5").Truncated {
				answered++
			}
		}
		return answered
	}
	apply := func(limit resolver.RateLimit) {
		t.Helper()
		s.settings.Access.RateLimit = limit
		if err := s.Apply(s.settings); err != nil {
			t.Fatal(err)
		}
	}
	if n := within(5); n != 2 {
		t.Errorf("%d queries were answered within a limit of 2", n)
	}
	apply(slow(2))
	if n := within(5); n != 0 {
		t.Errorf("%d more were, within the same limit anew", n)
	}
	apply(resolver.RateLimit{})
	if n := within(5); n != 5 {
		t.Errorf("%d of 5 were answered without a limit", n)
	}
	apply(slow(3))
	if n := within(5); n != 1 {
		t.Errorf("%d more were within a limit that is larger by one", n)
	}
}

func TestAtMostFiveWhoWereOverTheLimitAreNamedTheLatestFirst(t *testing.T) {
	s := start(t, func(c *resolver.Config) { c.Settings.Access.RateLimit = slow(1) })
	for _, last := range []string{"1", "2", "3", "4", "5", "6", "7", "3"} {
		for range 3 {
			s.ask(t, ask("localhost", dns.TypeA), "udp", "127.0.0."+last)
		}
	}
	var got []string
	for _, o := range s.Stats().Limits.Lately {
		got = append(got, o.Client.String())
	}
	if want := "127.0.0.3 127.0.0.7 127.0.0.6 127.0.0.5 127.0.0.4"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
