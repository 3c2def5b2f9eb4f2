package resolver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"schoolgate/blocklist"
)

// Upstream is a server that questions are forwarded to. Two are the same server when they are equal.
type Upstream struct {
	protocol protocol
	// addr is where it is. Where the address is not valid it is what bootstrap servers say of name.
	addr netip.AddrPort
	// name is whom the certificate must be for, in lower case without the final dot; "": for the address.
	name string
	path string // of https
}

// protocol is how a server is spoken to.
type protocol uint8

const (
	plainUDP protocol = iota
	plainTCP
	dnsOverTLS
	dnsOverHTTPS
	dnsOverQUIC
)

var schemes = [...]string{plainUDP: "udp", plainTCP: "tcp", dnsOverTLS: "tls", dnsOverHTTPS: "https", dnsOverQUIC: "quic"}

// RFC 1035 §4.2, RFC 7858 §3.1, RFC 8484 §4, RFC 9250 §4.1.1.
var defaultPorts = [...]uint16{plainUDP: 53, plainTCP: 53, dnsOverTLS: 853, dnsOverHTTPS: 443, dnsOverQUIC: 853}

// UpstreamForms says how a server is written.
const UpstreamForms = "udp://192.0.2.1, tcp://192.0.2.1, tls://192.0.2.1#dns.example, https://dns.example/dns-query or quic://192.0.2.1#dns.example"

// ParseUpstream reads the forms of a server:
//
//   - udp://ADDRESS, tcp://ADDRESS and a bare ADDRESS (UDP);
//   - tls://ADDRESS#NAME and quic://ADDRESS#NAME, where the certificate must be for NAME, and without
//     #NAME for the address;
//   - tls://NAME and quic://NAME, where bootstrap servers are asked for the address;
//   - https://NAME/PATH, https://ADDRESS/PATH and https://ADDRESS/PATH#NAME.
//
// Each ADDRESS or NAME may have :PORT behind it; an IPv6 address with a port stands in brackets. No name
// is looked up.
func ParseUpstream(s string) (Upstream, error) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		scheme, rest = "udp", s
	}
	p := slices.Index(schemes[:], scheme)
	if p < 0 {
		return Upstream{}, fmt.Errorf("%q is not udp://, tcp://, tls://, https:// or quic://", scheme+"://")
	}
	u := Upstream{protocol: protocol(p)}
	if !u.Encrypted() {
		err := u.parseHost(rest)
		return u, err
	}
	rest, name, named := strings.Cut(rest, "#")
	if u.protocol == dnsOverHTTPS {
		var err error
		if rest, err = u.parsePath(rest); err != nil {
			return Upstream{}, err
		}
	}
	if err := u.parseHost(rest); err != nil {
		return Upstream{}, err
	}
	if !named {
		return u, nil
	}
	if u.name != "" {
		return Upstream{}, fmt.Errorf("%q has two names (before # stands the address, behind it the name of its certificate)", s)
	}
	var err error
	u.name, err = hostName(name)
	return u, err
}

// parsePath takes the path off what stands behind https://.
func (u *Upstream) parsePath(rest string) (host string, err error) {
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return "", fmt.Errorf("%q has no path (https://dns.example/dns-query)", "https://"+rest)
	}
	u.path = rest[i:]
	if parsed, err := url.Parse("https://x" + u.path); err != nil || parsed.RawQuery != "" || parsed.ForceQuery || parsed.EscapedPath() != u.path {
		return "", fmt.Errorf("%q is not the path of a URL", u.path)
	}
	return rest[:i], nil
}

// parseHost reads an address or, where the protocol knows names, a name, with an optional port.
func (u *Upstream) parseHost(text string) error {
	port := defaultPorts[u.protocol]
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	if addr, err := netip.ParseAddr(bare); err == nil && u.takesZone(addr.Zone()) {
		u.addr = netip.AddrPortFrom(addr.Unmap(), port)
		return nil
	}
	if addr, err := netip.ParseAddrPort(text); err == nil && addr.Port() != 0 && u.takesZone(addr.Addr().Zone()) {
		u.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		return nil
	}
	if !u.Encrypted() {
		return fmt.Errorf("%q is not an address with an optional port (192.0.2.1:53, [2001:db8::1]:53)", text)
	}
	host, portText, hasPort := strings.Cut(text, ":")
	if hasPort {
		n, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not an address or a name with an optional port (192.0.2.1:853, [2001:db8::1]:853, dns.example:853)", text)
		}
		port = uint16(n)
	}
	u.addr = netip.AddrPortFrom(netip.Addr{}, port)
	var err error
	u.name, err = hostName(host)
	return err
}

// takesZone reports whether an IPv6 address may have this zone, the name of an interface: certificates know
// none.
func (u *Upstream) takesZone(zone string) bool {
	return zone == "" || !u.Encrypted() && !strings.ContainsFunc(zone, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune("[]%/#", c)
	})
}

var errHostName = errors.New("is not the name of a host (dns.example)")

// hostName returns a name as certificates have it. A last label of digits is a mistyped address.
func hostName(text string) (string, error) {
	name, err := blocklist.ParseName(text)
	host := strings.TrimSuffix(name.String(), ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if err != nil || host == "" || strings.Trim(last, "0123456789") == "" ||
		strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.ContainsAny(host, `\/`) {
		return "", fmt.Errorf("%q %w", text, errHostName)
	}
	return host, nil
}

// String returns the form that ParseUpstream reads, with the port unless it is that of every URL.
func (u Upstream) String() string {
	text := schemes[u.protocol] + "://" + u.authority() + u.path
	if u.addr.Addr().IsValid() && u.name != "" {
		text += "#" + u.name
	}
	return text
}

// authority is the address or the name with the port.
func (u Upstream) authority() string {
	host, port := u.Host(), u.addr.Port()
	if host == "" {
		host = u.addr.Addr().String()
	}
	if u.protocol == dnsOverHTTPS && port == defaultPorts[u.protocol] {
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// AddrPort is where the server listens. Its address is not valid where the server has a Host.
func (u Upstream) AddrPort() netip.AddrPort { return u.addr }

// Host is the name that bootstrap servers are asked for to find the server; "" where its address is
// written.
func (u Upstream) Host() string {
	if u.addr.Addr().IsValid() {
		return ""
	}
	return u.name
}

// Encrypted reports whether nobody on the way can read or change what is asked and answered.
func (u Upstream) Encrypted() bool { return u.protocol >= dnsOverTLS }
