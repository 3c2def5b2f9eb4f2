package resolver_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/policy"
	"schoolgate/resolver"
)

// counting runs a resolver that counts who asks: pupils at 10.20.0.0/16, and behind the forwarder.
func counting(t testing.TB, change func(*resolver.Config)) *server {
	t.Helper()
	return start(t, func(c *resolver.Config) {
		spec := schoolSpec(t)
		spec.Access = append(spec.Access, netip.MustParsePrefix("10.0.0.0/8"))
		spec.Groups = append(spec.Groups, policy.Group{Name: "many", Inherit: "pupils", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.10/32")}, Shared: true, SharedSet: true})
		c.Settings.Policy = compile(t, spec)
		c.Settings.Access.TrustedForwarders = []netip.Prefix{netip.MustParsePrefix(forwarder + "/32")}
		c.Settings.CountClients = true
		if change != nil {
			change(c)
		}
	}, startUpstream(t, records("www.example. 300 IN A 192.0.2.1")))
}

// askFrom puts questions as if they came from an address.
func (s *server) askFrom(t testing.TB, from string, unrecorded bool, questions ...*dns.Msg) {
	t.Helper()
	for _, q := range questions {
		packet, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ask(t.Context(), packet, netip.AddrPortFrom(netip.MustParseAddr(from), 4000), "udp", unrecorded); err != nil {
			t.Fatal(err)
		}
	}
}

// counted is how much each client has asked since it was last called.
func (s *server) counted() map[string]counted {
	all := map[string]counted{}
	asked, _ := s.Asked()
	for _, a := range asked {
		c := all[a.Client.String()]
		all[a.Client.String()] = counted{a.Group, a.Shared, a.Questions + c.Questions, c.Named || a.Names.Count() > 0}
	}
	return all
}

type counted struct {
	Group     string
	Shared    bool
	Questions uint64
	Named     bool // their names are counted: two may be taken for one, by chance
}

func TestItIsCountedWhoAsksAndHowMuch(t *testing.T) {
	s := counting(t, nil)
	www, six, other, blocked := ask("www.example", dns.TypeA), ask("www.example", dns.TypeAAAA), ask("localhost", dns.TypeA), ask("www.porn.example", dns.TypeA)
	s.askFrom(t, "10.20.3.4", false, www, six, www, other, blocked)
	s.askFrom(t, "10.0.0.10", false, www)
	s.askFrom(t, "10.20.3.5", true, www)     // schoolgate's own check
	s.askFrom(t, "127.0.0.3", false, www)    // this machine
	s.askFrom(t, "192.0.2.1", false, www)    // may not ask
	s.askFrom(t, "fe80::1%eth0", false, www) // may not ask either
	s.askFrom(t, forwarder, false, www)      // says not for whom
	s.askFrom(t, forwarder, false, withOptions("www.example", subnet("10.20.3.6/32")))
	s.askFrom(t, forwarder, false, withOptions("www.example", subnet("10.20.7.0/24"))) // a network is no client
	want := map[string]counted{
		"10.20.3.4": {"pupils", false, 5, true}, "10.0.0.10": {"many", true, 1, true}, "10.20.3.6": {"pupils", false, 1, true},
	}
	if diff := cmp.Diff(want, s.counted()); diff != "" {
		t.Error(diff)
	}
	if got := s.counted(); len(got) != 0 {
		t.Errorf("taken twice: %v", got)
	}
	s.settings.CountClients = false
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	s.askFrom(t, "10.20.3.4", false, www)
	if got := s.counted(); len(got) != 0 {
		t.Errorf("where nobody is to be counted: %v", got)
	}
}

// However packets come together, each is counted once: of a batch one stands for all. The clients are behind a forwarder,
// as those of loopback are not counted.
func TestEveryQuestionOfABatchIsCounted(t *testing.T) {
	s := counting(t, func(c *resolver.Config) {
		c.Settings.Access.TrustedForwarders = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	const rounds, burst = 100, 50
	conn := s.dial(t, "udp", forwarder)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	var packets [2][]byte
	for i, client := range []string{"10.20.3.4/32", "10.20.3.5/32"} {
		packet, err := withOptions("localhost", subnet(client)).Pack()
		if err != nil {
			t.Fatal(err)
		}
		packets[i] = packet
	}
	buf := make([]byte, 1500)
	for range rounds {
		for i := range burst {
			if _, err := conn.Write(packets[min(i%5, 1)]); err != nil { // one in five is of the first
				t.Fatal(err)
			}
		}
		for range burst {
			if _, err := conn.Read(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := s.counted()
	first, second := got["10.20.3.4"].Questions, got["10.20.3.5"].Questions
	if first+second != rounds*burst {
		t.Errorf("%d and %d of %d", first, second, rounds*burst)
	}
	if share := float64(first) / (rounds * burst); share < 0.04 || share > 0.45 { // of some 150 samples: five times their deviation
		t.Errorf("the first asked a fifth, and is said to have asked %.2f", share)
	}
}

func TestAQueryOverTCPIsCounted(t *testing.T) {
	s := counting(t, nil)
	s.exchange(t, withOptions("localhost", subnet("10.20.3.6/32")), "tcp", forwarder)
	if diff := cmp.Diff(map[string]counted{"10.20.3.6": {"pupils", false, 1, true}}, s.counted()); diff != "" {
		t.Error(diff)
	}
}
