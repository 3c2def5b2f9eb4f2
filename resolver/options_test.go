package resolver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestResponsesArePaddedWhereTheQueryWasAndTheTransportHidesIt(t *testing.T) {
	s := startEncrypted(t, nil)
	padding := func(r *dns.Msg) bool {
		for _, o := range r.IsEdns0().Option {
			if o.Option() == dns.EDNS0PADDING {
				return true
			}
		}
		return false
	}
	for _, name := range []string{"printer.internal", "www.porn.example", strings.Repeat("a.", 60) + "porn.example"} {
		q := ask(name, dns.TypeA)
		s.everyWay(t, q, func(t *testing.T, way string, r *dns.Msg) {
			t.Helper()
			if padding(r) {
				t.Errorf("%s over %s: padded without being asked", name, way)
			}
		})
		q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: make([]byte, 16)})
		s.everyWay(t, q, func(t *testing.T, way string, r *dns.Msg) {
			t.Helper()
			if size, _ := s.sizes.Load(r); !padding(r) || size.(int)%468 != 0 {
				t.Errorf("%s over %s: %d octets", name, way, size)
			}
		})
		for _, network := range []string{"udp", "tcp"} {
			if r := s.exchange(t, q, network, ""); padding(r) {
				t.Errorf("%s over %s: padded in clear", name, network)
			}
		}
	}
}

func TestHowLongAConnectionMayBeIdleIsToldWhereItIsAsked(t *testing.T) {
	s := startEncrypted(t, nil)
	q := ask("printer.internal", dns.TypeA)
	timeout := func(r *dns.Msg) int {
		for _, o := range r.IsEdns0().Option {
			if k, ok := o.(*dns.EDNS0_TCP_KEEPALIVE); ok {
				return int(k.Timeout)
			}
		}
		return -1
	}
	if r := s.exchange(t, q, "tcp", ""); timeout(r) != -1 {
		t.Errorf("told without being asked: %v", r)
	}
	q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE})
	doh, _ := s.overHTTPS(t, q, http.MethodPost, true)
	for way, c := range map[string]struct {
		r    *dns.Msg
		want int // in 100 ms
	}{
		"tcp": {s.exchange(t, q, "tcp", ""), 100}, "dot": {s.overTLS(t, q), 300}, "udp": {s.exchange(t, q, "udp", ""), -1}, "doh": {doh, -1},
	} {
		if got := timeout(c.r); got != c.want {
			t.Errorf("over %s: %d, want %d", way, got, c.want)
		}
	}
}
