package resolver_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

func port(addr string) uint16 { return netip.MustParseAddrPort(addr).Port() }

func TestAClientOfPlainDNSIsToldWhereTheEncryptedListenersAre(t *testing.T) {
	s := startEncrypted(t, nil)
	r := s.exchange(t, ask("_dns.Resolver.ARPA", dns.TypeSVCB), "udp", "")
	want := []string{
		fmt.Sprintf("1 %s. alpn=\"dot\" port=\"%d\"", serverName, port(s.dot)),
		fmt.Sprintf("2 %s. alpn=\"h2\" port=\"%d\" dohpath=\"/dns-query{?dns}\"", serverName, port(s.doh)),
		fmt.Sprintf("3 %s. alpn=\"doq\" port=\"%d\"", serverName, port(s.doq)),
	}
	if r.Rcode != dns.RcodeSuccess || len(r.Answer) != len(want) || len(r.Ns) != 0 {
		t.Fatalf("%v", r)
	}
	for i, rr := range r.Answer {
		svcb := rr.(*dns.SVCB)
		text := fmt.Sprintf("%d %s", svcb.Priority, svcb.Target)
		for _, v := range svcb.Value {
			text += fmt.Sprintf(" %s=%q", v.Key(), v.String())
		}
		if text != want[i] || svcb.Hdr.Name != "_dns.Resolver.ARPA." || svcb.Hdr.Ttl != 300 {
			t.Errorf("%v\ngot  %s\nwant %s", rr, text, want[i])
		}
	}

	r = s.exchange(t, ask("resolver.arpa", dns.TypeRESINFO), "udp", "")
	if len(r.Answer) != 1 || !r.Authoritative || r.Answer[0].(*dns.RESINFO).Txt[0] != "exterr=3,13-15,18-19,21-22,29" {
		t.Errorf("%v", r)
	}

	for _, q := range []*dns.Msg{
		ask("_dns.resolver.arpa", dns.TypeA), ask("_dns.resolver.arpa", dns.TypeRESINFO), ask("resolver.arpa", dns.TypeSVCB),
		ask("resolver.arpa", dns.TypeA), ask("x._dns.resolver.arpa", dns.TypeSVCB),
	} {
		if r := s.exchange(t, q, "udp", ""); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
			t.Errorf("not NODATA: %v", r)
		}
	}
}

func TestTheAddressesOfTheEncryptedListenersComeAlongWithTheirName(t *testing.T) {
	s := startEncrypted(t, func(c *resolver.Config) {
		for _, text := range [][3]string{{"A", "10.0.0.53"}, {"AAAA", "2001:db8::53"}, {"TXT", `"a resolver"`}} {
			rec, err := resolver.ParseRecord(serverName, text[0], text[1], time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			c.Settings.Records = append(c.Settings.Records, rec)
		}
	})
	for _, edns := range []bool{false, true} {
		q := ask("_dns.resolver.arpa", dns.TypeSVCB)
		if !edns {
			q.Extra = nil
		}
		r := s.exchange(t, q, "udp", "")
		var got []string
		for _, rr := range r.Extra {
			if rr.Header().Rrtype != dns.TypeOPT {
				got = append(got, strings.ReplaceAll(rr.String(), "\t", " "))
			}
		}
		want := []string{serverName + ". 300 IN A 10.0.0.53", serverName + ". 300 IN AAAA 2001:db8::53"}
		if len(r.Answer) != 3 || !slices.Equal(got, want) || (r.IsEdns0() != nil) != edns {
			t.Errorf("EDNS %v: %v", edns, r)
		}
	}
}

func TestAResolverWithoutEncryptedListenersOrAWholeNameSaysNothingOfItself(t *testing.T) {
	plain := start(t, nil)
	wildcard := startEncrypted(t, nil)
	cert, _ := newCertificate(t, "*.school.example")
	wildcard.certificate.Store(cert)
	gone := startEncrypted(t, nil)
	gone.certificate.Store(nil)
	for name, s := range map[string]*server{"no listener": plain, "a wildcard": wildcard.server, "no certificate": gone.server} {
		for _, q := range []*dns.Msg{ask("_dns.resolver.arpa", dns.TypeSVCB), ask("resolver.arpa", dns.TypeRESINFO)} {
			if r := s.exchange(t, q, "udp", ""); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
				t.Errorf("%s: %v", name, r)
			}
		}
	}

	cert, _ = newCertificate(t, "*.school.example", "resolver.school.example")
	wildcard.certificate.Store(cert)
	r := wildcard.exchange(t, ask("_dns.resolver.arpa", dns.TypeSVCB), "udp", "")
	if len(r.Answer) != 3 || r.Answer[0].(*dns.SVCB).Target != "resolver.school.example." {
		t.Errorf("the name after the wildcard: %v", r)
	}
}

func TestTwoListenersOnOnePortAreOneService(t *testing.T) {
	first := startEncrypted(t, nil)
	s := startEncrypted(t, func(c *resolver.Config) {
		c.DoT = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port(first.dot))}
		c.DoH = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port(first.doh)), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), port(first.doh))}
	})
	if r := s.exchange(t, ask("_dns.resolver.arpa", dns.TypeSVCB), "udp", ""); len(r.Answer) != 4 {
		t.Errorf("%v", r)
	}
}

// Devices ask for it by themselves, many times a day: that must raise no alarm, nor hide.
func TestToAskWhereTheEncryptedListenersAreIsCountedAndNoBreach(t *testing.T) {
	up := startUpstream(t, records())
	for name, s := range map[string]*server{"with encrypted listeners": startEncrypted(t, nil, up).server, "without": start(t, nil, up)} {
		for _, q := range []*dns.Msg{
			ask("_dns.resolver.arpa", dns.TypeSVCB), ask("_DNS.resolver.ARPA", dns.TypeHTTPS), ask("resolver.arpa", dns.TypeRESINFO), ask("x.y.resolver.arpa", dns.TypeA),
		} {
			for _, network := range []string{"udp", "tcp"} {
				s.exchange(t, q, network, "")
			}
		}
		for _, network := range []string{"udp", "tcp"} {
			if n := s.counter(t, "schoolgate_queries_total", "outcome", "local", "group", "pupils", "transport", network); n != 4 {
				t.Errorf("%s, over %s: %v are counted, want 4", name, network, n)
			}
		}
		if n := s.total(t, "schoolgate_queries_total"); n != 8 {
			t.Errorf("%s: %v in all", name, n)
		}
		if n, events := s.total(t, "schoolgate_breaches_total")+s.total(t, "schoolgate_blocked_total"), s.record.taken(); n != 0 || len(events) != 0 {
			t.Errorf("%s: %v breaches and blocks are counted, and recorded is %v", name, n, events)
		}
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("an upstream was asked %d times", n)
	}
}
