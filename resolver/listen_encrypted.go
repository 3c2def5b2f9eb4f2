package resolver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
)

// encrypted is a listener of DNS over TLS, HTTPS or QUIC.
type encrypted struct {
	transport transport
	addr      netip.AddrPort
	entrance
}

// entrance is a socket by which queries come in.
type entrance interface {
	// run serves until stopReading and until what was taken in is answered; or until close.
	run()
	stopReading()
	close()
}

// listenEncrypted opens the sockets of DNS over TLS (RFC 7858), HTTPS (RFC 8484) and QUIC (RFC 9250).
func (r *Resolver) listenEncrypted(c Config) error {
	for _, want := range []struct {
		transport transport
		addrs     []netip.AddrPort
		alpn      []string
		listen    func(*Resolver, netip.AddrPort, *tls.Config) (entrance, netip.AddrPort, error)
	}{
		{overTLS, c.DoT, []string{"dot"}, listenTLS},
		{overHTTPS, c.DoH, []string{"h2", "http/1.1"}, listenHTTPS},
		{overQUIC, c.DoQ, []string{"doq"}, listenQUIC},
	} {
		for _, addr := range want.addrs {
			e, bound, err := want.listen(r, addr, r.tlsConfig(want.alpn))
			if err != nil {
				return fmt.Errorf("listen on %v for %s: %w", addr, want.transport, err)
			}
			r.encrypted = append(r.encrypted, encrypted{want.transport, netip.AddrPortFrom(addr.Addr(), bound.Port()), e})
		}
	}
	return nil
}

// tlsConfig is that of one listener, which keeps it: session tickets belong to it. Version 1.3 is taken
// wherever the client has it.
func (r *Resolver) tlsConfig(alpn []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: alpn,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := r.certificate(); cert != nil {
				return cert, nil
			}
			return nil, errNoCertificate
		},
	}
}

var errNoCertificate = errors.New("there is no certificate")

func listenTLS(r *Resolver, addr netip.AddrPort, config *tls.Config) (entrance, netip.AddrPort, error) {
	l, err := listenTCP(r, addr, overTLS, config)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	return l, l.addr(), nil
}

// EncryptedAddrs returns where it listens for DNS over TLS, HTTPS and QUIC, as Addrs does.
func (r *Resolver) EncryptedAddrs() (dot, doh, doq []netip.AddrPort) {
	of := func(t transport) []netip.AddrPort {
		addrs := []netip.AddrPort{}
		for _, e := range r.encrypted {
			if e.transport == t {
				addrs = append(addrs, e.addr)
			}
		}
		return addrs
	}
	return of(overTLS), of(overHTTPS), of(overQUIC)
}
