package resolver_test

import (
	"context"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

func TestOneQuestionGoesToAnEncryptedServerWithoutAResolver(t *testing.T) {
	ca := newAuthority(t)
	boot := startUpstream(t, records("dns.example. 300 IN A 127.0.0.1"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	q := dns.Msg{}
	q.SetQuestion("Lists.example.", dns.TypeA)
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*encrypted{
		startTLS(t, ca.config(t, "dns.example", "dot"), false), startHTTPS(t, ca.config(t, "dns.example"), nil),
		startQUIC(t, ca.config(t, "dns.example", "doq"), "127.0.0.1:0", false),
	} {
		for _, text := range []string{e.text + "#dns.example", named(e, "dns.example")} {
			response, err := resolver.ExchangeByRoots(ctx, parseUpstreams(t, text)[0], parseUpstreams(t, "127.0.0.1:1", boot.addr), ca.roots, packed)
			m := new(dns.Msg)
			if err != nil || m.Unpack(response) != nil || m.Id != q.Id || len(m.Answer) != 1 {
				t.Errorf("%s: %v, %v", text, m, err)
			}
		}
	}
}

func TestOneQuestionIsNotAskedWhereItCannotBeEncrypted(t *testing.T) {
	ca := newAuthority(t)
	q := new(dns.Msg).SetQuestion("lists.example.", dns.TypeA)
	packed, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	e := startTLS(t, ca.config(t, "dns.example", "dot"), false)
	plain := startUpstream(t, records())
	for _, text := range []string{e.text + "#other.example", e.text, "udp://" + plain.addr, "tls://" + plain.addr} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if response, err := resolver.ExchangeByRoots(ctx, parseUpstreams(t, text)[0], nil, ca.roots, packed); err == nil {
			t.Errorf("%s: answered %x", text, response)
		}
		cancel()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queries) != 0 || plain.asked.Load() != 0 {
		t.Error("asked all the same")
	}
}
