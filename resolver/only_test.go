package resolver_test

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/policy"
	"schoolgate/resolver"
)

// early runs a resolver with a group that has an allow-list, at 127.0.0.30 and .31, and a clock of the test's.
func early(t testing.TB) (s *server, pass func(time.Duration)) {
	t.Helper()
	var ahead atomic.Int64
	began := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	s = start(t, func(c *resolver.Config) {
		c.Settings.Policy = compile(t, earlySpec(t, "page.example", "other.example"))
		c.Now = func() time.Time { return began.Add(time.Duration(ahead.Load())) }
	}, startUpstream(t, records("www.page.example. 300 IN A 192.0.2.1", "other.example. 300 IN A 192.0.2.2", "www.example. 300 IN A 192.0.2.3")))
	return s, func(d time.Duration) { ahead.Add(int64(d)) }
}

func earlySpec(t testing.TB, only ...string) policy.Spec {
	t.Helper()
	spec := schoolSpec(t)
	g := policy.Group{Name: "early", Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.30/31")}, OnlySet: true}
	for _, n := range only {
		g.Only = append(g.Only, mustName(t, n))
	}
	spec.Groups = append(spec.Groups, g)
	return spec
}

// outside is what the group's allow-list refused, as text: after pages, without, and after which.
func (s *server) outside(t testing.TB) map[string]string {
	t.Helper()
	_, all, _, ok := s.OnlyRefused("early")
	if !ok {
		t.Fatal("it has no allow-list")
	}
	out := map[string]string{}
	for _, r := range all {
		out[r.Name.String()] = fmt.Sprint(r.After, r.Alone, pages(r.Pages))
	}
	return out
}

func pages(of []resolver.OnlyPage) map[string]int {
	out := map[string]int{}
	for _, p := range of {
		out[p.Name.String()] = p.Count
	}
	return out
}

func TestWhatAnAllowListRefusesAfterAPageIsCountedToThePage(t *testing.T) {
	s, pass := early(t)
	child, neighbour := "127.0.0.30", "127.0.0.31"
	visit := func(network, from string, names ...string) {
		for _, name := range names {
			s.exchange(t, ask(name, dns.TypeA), network, from)
			s.exchange(t, ask(name, dns.TypeAAAA), network, from) // counts as the same
		}
	}
	visit("udp", child, "www.page.example", "cdn.network.example")
	pass(time.Minute)
	visit("udp", child, "other.example")
	visit("udp", neighbour, "noise.of.another.example") // at the same time
	visit("tcp", child, "CDN.network.example")
	pass(10 * time.Second)
	visit("udp", child, "late.example") // ten seconds count,
	pass(time.Second)
	visit("udp", child, "too.late.example") // eleven don't
	want := map[string]string{
		"cdn.network.example":      "2 0 map[other.example:1 www.page.example:1]",
		"noise.of.another.example": "0 1 map[]",
		"late.example":             "1 0 map[other.example:1]",
		"too.late.example":         "0 1 map[]",
	}
	if diff := cmp.Diff(want, s.outside(t)); diff != "" {
		t.Error(diff)
	}
	if events := s.record.taken(); len(events) != 0 {
		t.Errorf("%d breaches", len(events))
	}
}

func TestAllowListsAreCountedApartAndOverReloads(t *testing.T) {
	s, _ := early(t)
	s.exchange(t, ask("www.page.example", dns.TypeA), "udp", "127.0.0.30")
	s.exchange(t, ask("cdn.network.example", dns.TypeA), "udp", "127.0.0.30")
	s.exchange(t, ask("www.porn.example", dns.TypeA), "udp", "127.0.0.9") // of a group without
	s.settings.Policy = compile(t, earlySpec(t, "page.example"))
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	s.exchange(t, ask("cdn.network.example", dns.TypeA), "udp", "127.0.0.30")
	if diff := cmp.Diff(map[string]string{"cdn.network.example": "2 0 map[www.page.example:2]"}, s.outside(t)); diff != "" {
		t.Error(diff)
	}
	if _, _, _, ok := s.OnlyRefused("pupils"); ok {
		t.Error("pupils have no allow-list")
	}
	s.settings.Policy = compile(t, schoolSpec(t))
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := s.OnlyRefused("early"); ok {
		t.Error("the group is gone")
	}
}

func TestAFloodOfNamesPushesOutNoneThatFollowedPages(t *testing.T) {
	s, pass := early(t)
	for range 2 {
		s.exchange(t, ask("www.page.example", dns.TypeA), "udp", "127.0.0.30")
		s.exchange(t, ask("cdn.network.example", dns.TypeA), "udp", "127.0.0.30")
	}
	for n := range 5000 {
		s.askFrom(t, "127.0.0.31", false, ask(fmt.Sprintf("n%d.example", n), dns.TypeA))
	}
	pass(time.Minute)
	s.askFrom(t, "127.0.0.31", false, ask("new.example", dns.TypeA))
	_, all, missed, _ := s.OnlyRefused("early")
	if len(all) > 2000 || missed == 0 || all[0].Name.String() != "cdn.network.example" || all[0].After != 2 {
		t.Errorf("%d names, %d missed, first %+v", len(all), missed, all[0])
	}
	if s.outside(t)["new.example"] != "0 1 map[]" {
		t.Error("a minute later there is no room for a new one")
	}
}
