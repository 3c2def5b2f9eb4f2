package console

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
)

var errNoCertificate = errors.New("there is no certificate at the moment")

const (
	maxConnections     = 256 // in all
	maxConnectionsEach = 16  // of one address
)

// Listen wraps a listener for a Server: there is a bound to its connections, so that neither many devices nor one can
// keep the others out for long, and, with a certificate, they are of TLS 1.2 or later. certificate is called for each.
func Listen(l net.Listener, certificate func() *tls.Certificate) net.Listener {
	bounded := &listener{Listener: l, of: map[netip.Prefix]int{}}
	if certificate == nil {
		return bounded
	}
	return tls.NewListener(bounded, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"}, // one request at a time on a connection, so that these are bounded as well
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := certificate(); cert != nil {
				return cert, nil
			}
			return nil, errNoCertificate
		},
	})
}

type listener struct {
	net.Listener
	mu   sync.Mutex
	open int
	of   map[netip.Prefix]int
}

// Accept closes what is too much at once: whoever waited would wait for somebody else's idle connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := network(c.RemoteAddr().String())
		if l.take(from) {
			return &conn{Conn: c, given: sync.OnceFunc(func() { l.giveBack(from) })}, nil
		}
		_ = c.Close() // nothing was written to it
	}
}

func (l *listener) take(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= maxConnections || l.of[from] >= maxConnectionsEach {
		return false
	}
	l.open++
	l.of[from]++
	return true
}

func (l *listener) giveBack(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

type conn struct {
	net.Conn
	given func()
}

// Close gives the place back.
func (c *conn) Close() error {
	c.given()
	return c.Conn.Close()
}
