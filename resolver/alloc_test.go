//go:build !race

package resolver_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"schoolgate/resolver"
)

// A flood of cached or blocked names must cost no garbage. The race detector's build allocates where
// the real one does not, so this runs without it.
func TestCachedAndBlockedNamesAllocateNothing(t *testing.T) {
	s := start(t, func(c *resolver.Config) {
		c.Settings.Access = resolver.Access{
			RateLimit: resolver.RateLimit{Every: time.Microsecond, Burst: 1_000_000}, Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		}
		c.Settings.Blocking.StructuredErrors = resolver.StructuredErrors{Option: askForReasons, Contact: "mailto:it@school.example"}
	}, startUpstream(t, records("hot.example. 3600 IN A 192.0.2.1")))
	s.exchange(t, ask("hot.example", dns.TypeA), "udp", "")
	asksForAll := withCookie("0102030405060708")
	asksForAll.IsEdns0().Option = append(asksForAll.IsEdns0().Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
	for name, q := range map[string]*dns.Msg{
		"hot.example": ask("hot.example", dns.TypeA), "a.noise.example": ask("a.noise.example", dns.TypeA),
		"localhost": ask("localhost", dns.TypeA), "localhost with a cookie and NSID": asksForAll,
		"a.noise.example, and why it is blocked": askingFor("a.noise.example", askForReasons),
	} {
		packet, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("udp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 1500)
		if n := testing.AllocsPerRun(2000, func() {
			if _, err := conn.Write(packet); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a query", name, n)
		}
	}
}

// To know who asks costs no garbage either, at home or behind a forwarder.
func TestAKnownClientAllocatesNothing(t *testing.T) {
	s := identified(t, nil)
	for what, c := range map[string]struct {
		from string
		q    *dns.Msg
	}{
		"known": {"127.0.0.3", ask("localhost", dns.TypeA)}, "unknown": {"127.0.0.4", ask("localhost", dns.TypeA)},
		"behind a forwarder, by address": {forwarder, withOptions("localhost", subnet("127.0.0.3/32"))}, "by MAC": {forwarder, withOptions("localhost", local(65001, string(knownMACOctets[:])))},
	} {
		packet, err := c.q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		conn := s.dial(t, "udp", c.from)
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 1500)
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := conn.Write(packet); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a query", what, n)
		}
	}
}

// Nor does it cost any to count who asks, and what an allow-list refuses.
func TestACountedClientAllocatesNothing(t *testing.T) {
	s := counting(t, nil)
	packet, err := withOptions("localhost", subnet("10.20.3.6/32")).Pack()
	if err != nil {
		t.Fatal(err)
	}
	early, _ := early(t)
	refused, err := ask("cdn.network.example", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		conn   net.Conn
		packet []byte
	}{
		"counted": {s.dial(t, "udp", forwarder), packet}, "refused by an allow-list": {early.dial(t, "udp", "127.0.0.30"), refused},
	} {
		_ = c.conn.SetDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 1500)
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := c.conn.Write(c.packet); err != nil {
				t.Fatal(err)
			}
			if _, err := c.conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a query", what, n)
		}
	}
}

// Whoever floods gets less of everything, garbage included.
func TestAQueryOverTheLimitAllocatesNothing(t *testing.T) {
	s := start(t, func(c *resolver.Config) { c.Settings.Access.RateLimit = slow(1) })
	packet, err := ask("localhost", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	conn := s.dial(t, "udp", "127.0.0.5")
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 1500)
	if n := testing.AllocsPerRun(2000, func() {
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a query", n)
	}
}

func TestTheMetricsAreThoseOfTheContract(t *testing.T) {
	s := start(t, nil, startUpstream(t, records("hot.example. 3600 IN A 192.0.2.1")))
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	before := seriesCount(t, s)
	for _, name := range []string{"hot.example", "a.porn.example", "b.porn.example", "illegal.example", "noise.example", "localhost", "missing.example"} {
		for _, from := range []string{"", "127.0.0.9", "127.0.0.66"} {
			s.exchange(t, ask(name, dns.TypeA), "udp", from)
			s.exchange(t, ask(name, dns.TypeA), "tcp", from)
		}
	}
	if after := seriesCount(t, s); after != before {
		t.Errorf("%d series became %d: a closed set of labels must be there from the start", before, after)
	}
}

func seriesCount(t *testing.T, s *server) int {
	t.Helper()
	n, err := testutil.GatherAndCount(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// BenchmarkPipeline is a query through all stages without a socket.
func BenchmarkPipeline(b *testing.B) {
	s := start(b, nil, startUpstream(b, records("hot.example. 3600 IN A 192.0.2.1")))
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	for _, name := range []string{"hot.example", "a.noise.example"} {
		packet, err := ask(name, dns.TypeA).Pack()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Ask(b.Context(), packet, from, "udp", false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCounted is the same for a client that is counted each time, as where packets come one by one, and for one that
// is not, as most of those that come together.
func BenchmarkCounted(b *testing.B) {
	for _, count := range []bool{false, true} {
		s := counting(b, func(c *resolver.Config) { c.Settings.CountClients = count })
		packet, err := ask("www.example", dns.TypeA).Pack()
		if err != nil {
			b.Fatal(err)
		}
		from := netip.MustParseAddrPort("10.20.3.4:4000")
		b.Run(map[bool]string{false: "not", true: "each"}[count], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Ask(b.Context(), packet, from, "udp", false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

var _ resolver.Recorder = (*record)(nil)
