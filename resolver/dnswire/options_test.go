package dnswire

import (
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// withOPT is a response with an OPT record at its end, and where that begins.
func withOPT(t *testing.T, rrs ...string) (msg []byte, opt int) {
	t.Helper()
	m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	m.Response = true
	for _, text := range rrs {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	msg[11] = 1 // one additional record
	return AppendOPT(msg, 1232, 0, false, EDEBlocked), len(msg)
}

func TestOptionsAreAddedToTheOPTRecordThatEndsAMessage(t *testing.T) {
	t.Parallel()
	msg, opt := withOPT(t, "www.example. 60 IN A 192.0.2.1")
	msg = AppendOption(msg, opt, OptionKeepalive, []byte{1, 44})
	for _, most := range []int{65535, 468, 200, len(msg) + 4, len(msg) + 3} {
		padded := AppendPadding(slices.Clip(msg), opt, 468, most)
		want := min(468, most)
		if most < len(msg)+4 {
			want = len(msg)
		}
		m := new(dns.Msg)
		if err := m.Unpack(padded); err != nil || len(padded) != want {
			t.Fatalf("at most %d: %d octets, want %d; %v", most, len(padded), want, err)
		}
		options := m.IsEdns0().Option
		if ede, ok := options[0].(*dns.EDNS0_EDE); !ok || ede.InfoCode != 15 {
			t.Errorf("first: %v", options[0])
		}
		if k, ok := options[1].(*dns.EDNS0_TCP_KEEPALIVE); !ok || k.Timeout != 300 {
			t.Errorf("second: %v", options[1])
		}
		if has := len(options) == 3; has != (want > len(msg)) {
			t.Errorf("at most %d: options %v", most, options)
		}
	}
	// Whatever its length, it comes to a whole block.
	for extra := range 600 {
		long := AppendOption(slices.Clip(msg), opt, 65001, make([]byte, extra))
		if n := len(AppendPadding(long, opt, 468, 65535)); n%468 != 0 || n-len(long) > 471 {
			t.Fatalf("%d octets are padded to %d", len(long), n)
		}
	}
}

func TestTheOptionsOfAQueryAreNoted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options            []dns.EDNS0
		padding, keepalive bool
	}{
		"none":      {nil, false, false},
		"padding":   {[]dns.EDNS0{&dns.EDNS0_PADDING{Padding: make([]byte, 5)}}, true, false},
		"keepalive": {[]dns.EDNS0{&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}}, false, true},
		"both, after another": {[]dns.EDNS0{
			&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE}, &dns.EDNS0_PADDING{},
		}, true, true},
	} {
		m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA).SetEdns0(1232, false)
		m.IsEdns0().Option = c.options
		wire, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		q := Query{Padding: true, Keepalive: true} // of the query before
		if status := q.Parse(wire); status != StatusOK || q.Padding != c.padding || q.Keepalive != c.keepalive {
			t.Errorf("%s: status %v, padding %v, keepalive %v", name, status, q.Padding, q.Keepalive)
		}
	}
}

func TestTheSmallestTTLIsThatOfAnswerAndAuthority(t *testing.T) {
	t.Parallel()
	for want, rrs := range map[uint32][]string{
		0:  nil,
		60: {"www.example. 60 IN A 192.0.2.1"},
		30: {"www.example. 60 IN CNAME x.example.", "x.example. 30 IN A 192.0.2.1"},
		20: {"example. 900 IN SOA ns.example. host.example. 1 2 3 4 20"},
		10: {"example. 10 IN SOA ns.example. host.example. 1 2 3 4 20"},
		5:  {"www.example. 5 IN CNAME x.example.", "example. 900 IN SOA ns.example. host.example. 1 2 3 4 20"},
	} {
		msg, _ := withOPT(t, rrs...)
		if got := SmallestTTL(msg); got != want {
			t.Errorf("%v: %d, want %d", rrs, got, want)
		}
	}
	msg, _ := withOPT(t, "www.example. 60 IN A 192.0.2.1")
	for n := range msg {
		_ = SmallestTTL(msg[:n]) // no panic
	}
}
