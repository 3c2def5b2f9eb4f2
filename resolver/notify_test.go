package resolver_test

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
	"schoolgate/resolver"
)

func TestANotifyIsTakenOnlyFromAServerOfTheZone(t *testing.T) {
	type call struct {
		zone blocklist.Name
		from string
	}
	var mu sync.Mutex
	var calls []call
	up := startUpstream(t, records())
	s := start(t, func(c *resolver.Config) {
		c.Notify = func(zone blocklist.Name, from netip.Addr) bool {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, call{zone, from.String()})
			return zone == mustName(t, "rpz.example") && from == netip.MustParseAddr("127.0.0.9")
		}
	}, up)
	soa, err := dns.NewRR("rpz.example. 900 IN SOA ns.example. host.example. 7 2 3 4 60")
	if err != nil {
		t.Fatal(err)
	}
	ours := []call{{mustName(t, "rpz.example"), "127.0.0.9"}}
	for name, test := range map[string]struct {
		change func(*dns.Msg)
		from   string
		rcode  int
		calls  []call
	}{
		"from the primary":                     {nil, "127.0.0.9", dns.RcodeSuccess, ours},
		"with the new SOA record":              {func(m *dns.Msg) { m.Answer = []dns.RR{soa} }, "127.0.0.9", dns.RcodeSuccess, ours},
		"signed, though nobody checks it":      {func(m *dns.Msg) { m.SetTsig("k.", dns.HmacSHA256, 300, time.Now().Unix()) }, "127.0.0.9", dns.RcodeSuccess, ours},
		"with the zone's name in capitals":     {func(m *dns.Msg) { m.Question[0].Name = "RPZ.Example." }, "127.0.0.9", dns.RcodeSuccess, ours},
		"from somebody else":                   {nil, "127.0.0.1", dns.RcodeNotImplemented, []call{{mustName(t, "rpz.example"), "127.0.0.1"}}},
		"from who may not ask":                 {nil, "127.0.0.66", dns.RcodeRefused, nil},
		"for another zone":                     {func(m *dns.Msg) { m.Question[0].Name = "example." }, "127.0.0.9", dns.RcodeNotImplemented, []call{{mustName(t, "example"), "127.0.0.9"}}},
		"for another type than SOA":            {func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }, "127.0.0.9", dns.RcodeNotImplemented, nil},
		"of another class":                     {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "127.0.0.9", dns.RcodeNotImplemented, nil},
		"without a question":                   {func(m *dns.Msg) { m.Question = nil }, "127.0.0.9", dns.RcodeNotImplemented, nil},
		"an update, which is another opcode":   {func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "127.0.0.9", dns.RcodeNotImplemented, nil},
		"for a name that is blocked as a name": {func(m *dns.Msg) { m.Question[0].Name = "porn.example." }, "127.0.0.9", dns.RcodeNotImplemented, []call{{mustName(t, "porn.example"), "127.0.0.9"}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				calls = nil
				q := new(dns.Msg)
				q.SetNotify("rpz.example.")
				if test.change != nil {
					test.change(q)
				}
				packet, err := q.Pack()
				if err != nil {
					t.Fatal(err)
				}
				packet, err = s.Ask(t.Context(), packet, netip.AddrPortFrom(netip.MustParseAddr(test.from), 5353), network, false)
				if err != nil {
					t.Fatal(err)
				}
				var r dns.Msg
				if err := r.Unpack(packet); err != nil {
					t.Fatal(err)
				}
				taken := test.rcode == dns.RcodeSuccess
				if r.Rcode != test.rcode || r.Id != q.Id || !r.Response || r.Opcode != q.Opcode || r.Authoritative != taken {
					t.Errorf("over %s:\n%v", network, &r)
				}
				if taken && !slices.Equal(r.Question, q.Question) {
					t.Errorf("over %s: question %v, want %v", network, r.Question, q.Question)
				}
				if !slices.Equal(calls, test.calls) {
					t.Errorf("over %s: the hook was asked %v, want %v", network, calls, test.calls)
				}
			}
		})
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("%d went upstream", n)
	}
	if n := len(s.record.taken()); n != 0 {
		t.Errorf("%d breaches", n)
	}
}

func TestANotifyComesThroughTheSockets(t *testing.T) {
	from := make(chan netip.Addr, 2)
	s := start(t, func(c *resolver.Config) {
		c.Notify = func(_ blocklist.Name, addr netip.Addr) bool { from <- addr; return true }
	}, startUpstream(t, records()))
	for _, network := range []string{"udp", "tcp"} {
		q := new(dns.Msg)
		q.SetNotify("rpz.example.")
		if r := s.exchange(t, q, network, "127.0.0.9"); r.Rcode != dns.RcodeSuccess || r.Opcode != dns.OpcodeNotify || !r.Authoritative {
			t.Errorf("over %s:\n%v", network, r)
		}
		if got := <-from; got != netip.MustParseAddr("127.0.0.9") {
			t.Errorf("over %s: from %s", network, got)
		}
	}
}

func TestWithoutAHookNoNotifyIsTaken(t *testing.T) {
	s := start(t, nil, startUpstream(t, records()))
	q := new(dns.Msg)
	q.SetNotify("rpz.example.")
	if r := s.exchange(t, q, "udp", ""); r.Rcode != dns.RcodeNotImplemented || r.Opcode != dns.OpcodeNotify {
		t.Errorf("%v", r)
	}
}
