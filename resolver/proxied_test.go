package resolver_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/policy"
	"schoolgate/resolver"
)

// proxied is a PROXY header, version 2, for a client over IPv4.
func proxied(client string) []byte {
	a := netip.MustParseAddr(client).As4()
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x12\x00\x0c"), a[:]...)
	return append(b, 127, 0, 0, 1, 0x30, 0x39, 0, 53)
}

const proxyItself = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

// behindProxy runs a resolver with a proxy at 127.0.0.30, which may not ask for itself.
func behindProxy(t *testing.T) *server {
	t.Helper()
	return start(t, func(c *resolver.Config) {
		spec := schoolSpec(t)
		spec.Access = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/28")}
		c.Settings.Policy = compile(t, spec)
		c.Settings.Access.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.30/32")}
	}, startUpstream(t, records("www.porn.example. 300 IN A 192.0.2.66")))
}

// dial opens a connection from a loopback address, with a deadline.
func (s *server) dial(t *testing.T, network, from string) net.Conn {
	t.Helper()
	local := netip.AddrPortFrom(netip.MustParseAddr(from), 0)
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(local)}
	if network == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
	}
	conn, err := d.Dial(network, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
	return conn
}

func (s *server) through(t *testing.T, network, from string, header []byte, q *dns.Msg) *dns.Msg {
	t.Helper()
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if network == "tcp" {
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	conn := s.dial(t, network, from)
	if _, err := conn.Write(append(bytes.Clone(header), packet...)); err != nil {
		t.Fatal(err)
	}
	m, err := (&dns.Conn{Conn: conn}).ReadMsg()
	if err != nil {
		t.Fatalf("%s from %s: %v", network, from, err)
	}
	return m
}

func TestAProxysClientIsWhoItNames(t *testing.T) {
	s := behindProxy(t)
	for _, network := range []string{"udp", "tcp"} {
		for client, want := range map[string]struct {
			rcode  int
			action policy.Action
		}{
			"127.0.0.5": {dns.RcodeNameError, policy.Block},
			"127.0.0.9": {dns.RcodeSuccess, policy.Monitor},
			"192.0.2.1": {rcode: dns.RcodeRefused},
		} {
			r := s.through(t, network, "127.0.0.30", proxied(client), ask("www.porn.example", dns.TypeA))
			events := s.record.taken()
			if r.Rcode != want.rcode || (want.action != 0) != (len(events) == 1) {
				t.Errorf("%s for %s: %d breaches, %v", network, client, len(events), r)
			}
			if len(events) == 1 && (events[0].Client.Addr.String() != client || events[0].Verdict.Action != want.action) {
				t.Errorf("%s for %s: breach %+v", network, client, events[0])
			}
		}
		// LOCAL: the proxy for itself.
		if r := s.through(t, network, "127.0.0.30", []byte(proxyItself), ask("localhost", dns.TypeA)); r.Rcode != dns.RcodeRefused || ede(r) != 18 {
			t.Errorf("%s for itself: %v", network, r)
		}
	}
}

func TestALimitIsThatOfTheProxysClient(t *testing.T) {
	s := behindProxy(t)
	s.settings.Access.RateLimit = slow(2)
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	for _, client := range []string{"127.0.0.5", "127.0.0.6"} {
		for i := range 3 {
			r := s.through(t, "udp", "127.0.0.30", proxied(client), ask("localhost", dns.TypeA))
			if r.Truncated != (i == 2) {
				t.Errorf("query %d for %s: %v", i, client, r)
			}
		}
	}
}

func TestAProxyThatNamesNobodyIsNotAnswered(t *testing.T) {
	s := behindProxy(t)
	udp, tcp := s.dial(t, "udp", "127.0.0.30"), s.dial(t, "tcp", "127.0.0.30")
	packet, err := ask("localhost", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := udp.Write(packet); err != nil {
		t.Fatal(err)
	}
	good := append(proxied("127.0.0.5"), packet...)
	good[len(proxied("127.0.0.5"))] ^= 0xff // another id
	if _, err := udp.Write(good); err != nil {
		t.Fatal(err)
	}
	if m, err := (&dns.Conn{Conn: udp}).ReadMsg(); err != nil || m.Id != uint16(packet[0]^0xff)<<8|uint16(packet[1]) {
		t.Errorf("over UDP the first answer is not to the one with a header: %v %v", m, err)
	}
	if _, err := tcp.Write(append([]byte{0, byte(len(packet))}, packet...)); err != nil {
		t.Fatal(err)
	}
	if n, err := tcp.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("over TCP: %d octets, %v", n, err)
	}
	s.dial(t, "tcp", "127.0.0.30").Close() // a health check, which is nothing to count
	s.through(t, "tcp", "127.0.0.30", proxied("127.0.0.5"), ask("localhost", dns.TypeA))
	metric(t, s, `schoolgate_proxy_refused_total{transport="doh"} 0
schoolgate_proxy_refused_total{transport="dot"} 0
schoolgate_proxy_refused_total{transport="tcp"} 1
schoolgate_proxy_refused_total{transport="udp"} 1
`)
}

func TestFromOthersAHeaderIsNone(t *testing.T) {
	s := behindProxy(t)
	packet, err := ask("localhost", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	conn := s.dial(t, "udp", "127.0.0.5")
	if _, err := conn.Write(append(proxied("127.0.0.9"), packet...)); err != nil {
		t.Fatal(err)
	}
	// "\r\n\r\n" is the id and the flags of an opcode that there is not.
	if m, err := (&dns.Conn{Conn: conn}).ReadMsg(); err != nil || m.Id != 0x0d0a || m.Rcode != dns.RcodeNotImplemented {
		t.Errorf("got %v %v", m, err)
	}
}

func TestAProxysConnectionsAreItsClients(t *testing.T) {
	s := behindProxy(t)
	packet, err := ask("localhost", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	// answered opens a connection for a client, leaves it open, and says whether a query over it is answered.
	answered := func(client string) bool {
		conn := s.dial(t, "tcp", "127.0.0.30")
		_, err := conn.Write(append(append(proxied(client), 0, byte(len(packet))), packet...))
		if err == nil {
			_, err = (&dns.Conn{Conn: conn}).ReadMsg()
		}
		return err == nil
	}
	n := 0
	for range 140 {
		if answered("127.0.0.5") {
			n++
		}
	}
	if n != 128 {
		t.Errorf("%d connections of one client were served, want the 128 of an address", n)
	}
	if !answered("127.0.0.6") {
		t.Error("another client's was not")
	}
}

func TestAProxyNamesTheClientOfEncryptedDNSToo(t *testing.T) {
	s := startEncrypted(t, func(c *resolver.Config) {
		c.Settings.Access.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.30/32")}
	})
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.30:0"))}
	for client, want := range map[string]int{"127.0.0.5": dns.RcodeNameError, "127.0.0.66": dns.RcodeRefused} {
		conn, err := d.Dial("tcp", s.dot)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
		if _, err := conn.Write(proxied(client)); err != nil {
			t.Fatal(err)
		}
		secure := &dns.Conn{Conn: tls.Client(conn, s.tlsClient("dot"))}
		if err := secure.WriteMsg(ask("www.porn.example", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if r, err := secure.ReadMsg(); err != nil || r.Rcode != want {
			t.Errorf("for %s: %v %v", client, r, err)
		}
	}
	if events := s.record.taken(); len(events) != 1 || events[0].Client.Addr.String() != "127.0.0.5" || events[0].Transport != "dot" {
		t.Errorf("breaches %+v", events)
	}
}
