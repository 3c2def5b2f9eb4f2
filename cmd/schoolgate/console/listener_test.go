package console

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"testing"
)

func TestOneAddressCanNotTakeAllConnections(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(inner, nil)
	t.Cleanup(func() { _ = l.Close() })
	dial := func(from string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var open []net.Conn
	accept := func() net.Conn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		open = append(open, c)
		return c
	}
	for range maxConnectionsEach {
		dial("127.0.0.2")
		accept()
	}
	tooMany := dial("127.0.0.2")
	dial("127.0.0.3")
	if from := accept().RemoteAddr().(*net.TCPAddr).IP.String(); from != "127.0.0.3" {
		t.Errorf("one too many was taken, of %s", from)
	}
	if _, err := tooMany.Read(make([]byte, 1)); err == nil {
		t.Error("it was not closed")
	}
	_ = open[0].Close()
	_ = open[0].Close() // twice gives one place back
	dial("127.0.0.2")
	accept()
	again := dial("127.0.0.2")
	dial("127.0.0.3")
	if from := accept().RemoteAddr().(*net.TCPAddr).IP.String(); from != "127.0.0.3" {
		t.Errorf("one too many was taken, of %s", from)
	}
	if _, err := again.Read(make([]byte, 1)); err == nil {
		t.Error("it was not closed")
	}
}

func TestAllConnectionsTogetherAreBounded(t *testing.T) {
	t.Parallel()
	l := &listener{of: map[netip.Prefix]int{}}
	taken := 0
	for i := range 1000 {
		if l.take(network(net.JoinHostPort(net.IPv4(10, 0, byte(i>>8), byte(i)).String(), "1"))) {
			taken++
		}
	}
	if taken != maxConnections {
		t.Errorf("%d, want %d", taken, maxConnections)
	}
}

func TestWithoutACertificateNothingIsSaidInClear(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(inner, func() *tls.Certificate { return nil })
	t.Cleanup(func() { _ = l.Close() })
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.ReadAll(c)
			_ = c.Close()
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()); err == nil {
		t.Error("there was a handshake")
	}
	if err := <-done; err == nil {
		t.Error("the server read something")
	}
}
