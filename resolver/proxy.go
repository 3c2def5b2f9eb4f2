package resolver

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"time"
)

// The header of version 2 of HAProxy's PROXY protocol, which load balancers put before what they pass on:
// a signature of twelve octets, version and command, family and protocol, the length of the rest; then
// the addresses and ports of both ends, and what else the proxy has to say (TLV), which is skipped.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyFixed     = 16
	proxyIPv4      = 12  // octets of the addresses and ports
	proxyIPv6      = 36  //
	maxProxyHeader = 512 // the whole; dnsdist's bound, too
)

var errProxy = errors.New("no PROXY header, version 2, with a client's address")

// proxyLength returns how long the header is whose first sixteen octets begin b.
func proxyLength(b []byte) (int, error) {
	if len(b) < proxyFixed || string(b[:len(proxySignature)]) != proxySignature {
		return 0, errProxy
	}
	n := proxyFixed + int(binary.BigEndian.Uint16(b[14:]))
	if n > maxProxyHeader {
		return 0, errProxy
	}
	return n, nil
}

// parseProxy reads the header that begins b: who the client is, and what stands behind the header. The
// zero AddrPort says that the proxy asks for itself (LOCAL). A client without an IP address is an error:
// it would be taken for the proxy.
func parseProxy(b []byte) (client netip.AddrPort, rest []byte, err error) {
	n, err := proxyLength(b)
	if err != nil || n > len(b) {
		return netip.AddrPort{}, nil, errProxy
	}
	header, rest := b[proxyFixed:n], b[n:]
	const local, proxied = 0x20, 0x21
	switch b[12] {
	case local:
		return netip.AddrPort{}, rest, nil
	case proxied:
	default:
		return netip.AddrPort{}, nil, errProxy
	}
	switch family := b[13] >> 4; {
	case family == 1 && len(header) >= proxyIPv4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(header)), binary.BigEndian.Uint16(header[8:])), rest, nil
	case family == 2 && len(header) >= proxyIPv6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(header)).Unmap(), binary.BigEndian.Uint16(header[32:])), rest, nil
	}
	return netip.AddrPort{}, nil, errProxy
}

// unwrap finds out who asks: who sent the packet, or, over UDP from a proxy, who the header before the
// query names. It returns false where a proxy's packet names nobody.
func (r *Resolver) unwrap(q *query) bool {
	if q.client.IsValid() {
		return true // whoever took the query knows
	}
	q.client = q.from.Addr()
	if q.transport != overUDP || !among(q.snapshot.Access.Proxies, q.client) {
		return true
	}
	client, rest, err := parseProxy(q.in)
	if err != nil {
		r.limits.unnamed[overUDP].Add(1)
		return false
	}
	q.in = rest
	if client.IsValid() {
		q.client = client.Addr()
	}
	return true
}

// introduce reads the header that begins a proxy's connection. It returns false where the connection is
// to be closed.
func (l *streamListener) introduce(conn *guestConn) bool {
	g := conn.guest
	// To set a deadline fails only on a closed connection, and then the read does too.
	if !l.crowd.unlessStopping(func() { _ = conn.SetReadDeadline(time.Now().Add(handshakeTime)) }) {
		return false
	}
	client, err := readProxy(conn)
	switch {
	case errors.Is(err, io.EOF):
		return false // one that sends nothing and goes, as health checks do
	case err != nil:
		l.resolver.limits.unnamed[l.crowd.transport].Add(1)
		return false
	case !client.IsValid():
		return true
	}
	return l.crowd.rename(g, client)
}

// readProxy reads a header, and not an octet more.
func readProxy(conn io.Reader) (netip.AddrPort, error) {
	var b [maxProxyHeader]byte
	if _, err := io.ReadFull(conn, b[:proxyFixed]); err != nil {
		return netip.AddrPort{}, err
	}
	n, err := proxyLength(b[:])
	if err != nil {
		return netip.AddrPort{}, err
	}
	if _, err := io.ReadFull(conn, b[proxyFixed:n]); err != nil {
		return netip.AddrPort{}, errProxy
	}
	client, _, err := parseProxy(b[:n])
	return client, err
}
