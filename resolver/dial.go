package resolver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"time"
)

// place finds the addresses of a server, and connects to it.
type place struct {
	upstream Upstream
	names    *bootstrap
	tls      *tls.Config // nil for a server that is not encrypted
}

// sessionCache is how many sessions with one server are kept for resumption.
const sessionCache = 8

// newPlace prepares for a server. With TLS it is the strict profile of RFC 8310 §5: the certificate must
// be for the name, or for the address where there is no name, by the system's roots (nil) or others, and
// nothing is ever asked in clear text instead.
func newPlace(u Upstream, names *bootstrap, roots *x509.CertPool) *place {
	p := &place{upstream: u, names: names}
	if !u.Encrypted() {
		return p
	}
	name := u.name
	if name == "" {
		name = u.addr.Addr().String()
	}
	p.tls = &tls.Config{
		ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessionCache),
		NextProtos: [...][]string{
			dnsOverTLS: {"dot"}, dnsOverHTTPS: {"h2", "http/1.1"}, dnsOverQUIC: {"doq"},
		}[u.protocol],
	}
	return p
}

// addresses are where the server is.
func (p *place) addresses(ctx context.Context) ([]netip.AddrPort, error) {
	host := p.upstream.Host()
	if host == "" {
		return []netip.AddrPort{p.upstream.addr}, nil
	}
	found, err := p.names.lookUp(ctx, host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(found))
	for i, a := range found {
		addrs[i] = netip.AddrPortFrom(a, p.upstream.addr.Port())
	}
	return addrs, nil
}

// dial connects over TCP, and over TLS where the server is encrypted.
func (p *place) dial(ctx context.Context) (net.Conn, error) {
	addrs, err := p.addresses(ctx)
	if err != nil {
		return nil, err
	}
	return firstOf(ctx, addrs, func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
		if err != nil || p.tls == nil {
			return conn, err
		}
		secured := tls.Client(conn, p.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}, func(conn net.Conn) { conn.Close() })
}

// nextAddress is how long one address is waited for until the next is tried too (RFC 8305 §5).
const nextAddress = 250 * time.Millisecond

// firstOf connects to the first of several addresses that can be, each tried when the one before has
// failed or has had some time; discard takes those that come too late. It returns when no try is left
// running.
func firstOf[T any](
	ctx context.Context, addrs []netip.AddrPort, dial func(context.Context, netip.AddrPort) (T, error), discard func(T),
) (winner T, err error) {
	if len(addrs) == 1 {
		return dial(ctx, addrs[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn T
		err  error
	}
	results := make(chan result)
	next := time.NewTimer(0)
	defer next.Stop()
	won := false
	for started, running := 0, 0; running > 0 || started < len(addrs) && !won && ctx.Err() == nil; {
		select {
		case <-next.C:
			if started == len(addrs) || won {
				continue
			}
			addr := addrs[started]
			started, running = started+1, running+1
			go func() {
				conn, err := dial(ctx, addr)
				results <- result{conn, err}
			}()
			next.Reset(nextAddress)
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				if !won {
					err = errors.Join(err, r.err)
				}
				next.Reset(0)
			case won:
				discard(r.conn)
			default:
				won, winner = true, r.conn
				cancel()
			}
		}
	}
	if won {
		return winner, nil
	}
	if err == nil {
		err = ctx.Err()
	}
	return winner, err
}
