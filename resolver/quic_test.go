package resolver_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"

	"schoolgate/resolver"
)

func TestOneConnectionOfQUICIsAnsweredOutOfOrder(t *testing.T) {
	slow := make(chan struct{})
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Name == "slow.example." {
			<-slow
		}
		records("slow.example. 300 IN A 192.0.2.1", "fast.example. 300 IN A 192.0.2.2")(w, q)
	})
	s := startEncrypted(t, nil, up)
	conn := s.dialQUIC(t)
	query := func(name string) []byte {
		q := ask(name, dns.TypeA)
		q.Id = 0
		return framed(pack(t, q))
	}
	slowly := make(chan error, 1)
	go func() {
		_, err := askQUIC(t, conn, query("slow.example"))
		slowly <- err
	}()
	<-up.queries
	data, err := askQUIC(t, conn, query("fast.example"))
	close(slow)
	if err != nil || len(unpack(t, data[2:]).Answer) != 1 {
		t.Errorf("fast.example: %v", err)
	}
	if err := <-slowly; err != nil {
		t.Errorf("slow.example: %v", err)
	}
}

func TestQUICEndsAConnectionThatBreaksItsRules(t *testing.T) {
	s := startEncrypted(t, nil)
	q := ask("printer.internal", dns.TypeA)
	q.Id = 0
	good := framed(pack(t, q))
	q.Id = 7
	withID := framed(pack(t, q))
	q.Id = 0
	keepalive := q.Copy()
	keepalive.IsEdns0().Option = append(keepalive.IsEdns0().Option, &dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE})
	response := q.Copy()
	response.Response = true
	n := 0.0
	for name, wire := range map[string][]byte{
		"a message id":                  withID,
		"two queries on one stream":     append(bytes.Clone(good), good...),
		"an end within the length":      good[:1],
		"an end within the query":       good[:len(good)-1],
		"no query at all":               nil,
		"an empty query":                {0, 0},
		"a query that is too long":      append([]byte{0xFF, 0xFF}, make([]byte, 65535)...),
		"a response":                    framed(pack(t, response)),
		"the option edns-tcp-keepalive": framed(pack(t, keepalive)),
	} {
		conn := s.dialQUIC(t)
		_, err := askQUIC(t, conn, wire)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		<-conn.Context().Done()
		var closed *quic.ApplicationError
		if cause := context.Cause(conn.Context()); !errors.As(cause, &closed) || closed.ErrorCode != 2 {
			t.Errorf("%s: the connection ended with %v, want DOQ_PROTOCOL_ERROR", name, cause)
		}
		n++
	}
	if got := s.counter(t, "schoolgate_refused_connections_total", "transport", "doq", "reason", "malformed"); got != n {
		t.Errorf("%v of %v counted as malformed", got, n)
	}
	if data, err := askQUIC(t, s.dialQUIC(t), good); err != nil || len(unpack(t, data[2:]).Answer) != 1 {
		t.Errorf("a good query afterwards: %v", err)
	}
	if _, err := s.dialQUIC(t).OpenUniStream(); err == nil {
		t.Error("a stream of one direction may be opened")
	}
}

// connected is a UDP socket that takes datagrams from one address only.
type connected struct{ net.Conn }

func (c connected) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

func (c connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

func TestAWildcardListenerOfQUICAnswersFromTheAddressAsked(t *testing.T) {
	s := startEncrypted(t, func(c *resolver.Config) { c.DoQ = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")} })
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		addr := netip.AddrPortFrom(netip.MustParseAddr(host), port(s.doq)).String()
		socket, err := net.Dial("udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		conn, err := quic.Dial(t.Context(), connected{socket}, socket.RemoteAddr(), s.tlsClient("doq"), nil)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		q := ask("printer.internal", dns.TypeA)
		q.Id = 0
		if data, err := askQUIC(t, conn, framed(pack(t, q))); err != nil || len(unpack(t, data[2:]).Answer) != 1 {
			t.Errorf("%s: %v", addr, err)
		}
		_ = conn.CloseWithError(0, "")
	}
}
