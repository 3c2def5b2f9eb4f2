package feed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// place is where an address leads, as seen from a school. A request that may go to one place may go
// to every smaller one.
type place uint8

const (
	public  place = iota
	private       // the school's own network
	local         // this machine and its links, where things answer that trust it; and what is no host's address
)

// privatePrefixes are private beside those of netip.Addr.IsPrivate: shared address space (RFC 6598),
// protocol assignments (RFC 6890), benchmarks (RFC 2544), local translation (RFC 8215) and site-local (RFC 3879).
var privatePrefixes = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("fec0::/10"),
}

// localPrefixes are local beside loopback, link-local, multicast and unspecified: this network and
// the reserved block with the broadcast address (RFC 6890).
var localPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// carriers are the IPv6 prefixes that hold an IPv4 address, from that byte on: IPv4-compatible
// (RFC 4291 §2.5.5.1), translated (RFC 6052) and 6to4 (RFC 3056). What they lead to is the inner address's place.
var carriers = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// placeOf returns the place of an address.
func placeOf(a netip.Addr) place {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || within(a, localPrefixes) {
		return local
	}
	if a.IsPrivate() || within(a, privatePrefixes) {
		return private
	}
	if a.Is6() {
		b := a.As16()
		for _, c := range carriers {
			if c.prefix.Contains(a) {
				return placeOf(netip.AddrFrom4([4]byte(b[c.at:])))
			}
		}
	}
	return public
}

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// reach returns the furthest place that the request for a configured URL may go to. It may name this
// machine where it says so (an address or localhost), and a mirror in the school's network by any
// name; a name that somebody else's DNS has led to this machine is refused.
func reach(configured *url.URL) place {
	return max(private, literalPlace(configured.Hostname()))
}

// reachOfRedirect returns the furthest place that a redirect may lead to: into the school's network only on
// the host that was configured, and to this machine never, even from itself. A list's publisher must not get to
// ask what only the school can (server-side request forgery).
func reachOfRedirect(configured, to *url.URL) place {
	if strings.EqualFold(configured.Hostname(), to.Hostname()) {
		return private
	}
	return public
}

// literalPlace returns the place of a host that is written as an address or as localhost (RFC 6761
// §6.3); public for every other name, whose addresses only the connection shows.
func literalPlace(host string) place {
	if a, err := netip.ParseAddr(host); err == nil {
		return placeOf(a)
	}
	host = "." + strings.ToLower(strings.TrimSuffix(host, "."))
	if strings.HasSuffix(host, ".localhost") {
		return local
	}
	return public
}

// check returns an error for what lies beyond a place.
func (furthest place) check(to place) error {
	switch {
	case to <= furthest:
		return nil
	case furthest == public:
		return errors.New("not a public address: a redirect to another host may lead to public ones only")
	}
	return errors.New("an address of this machine or its links: only a configured URL with the address itself, or localhost, may lead there, and no redirect")
}

// connectTimeout bounds each attempt to connect.
const connectTimeout = 30 * time.Second

// dialer returns a dialer that connects to no address beyond a place. It looks at the address that is
// really connected to, after the name has been resolved, so that no answer of a DNS server that
// changes between check and use gets round it.
func dialer(furthest place, resolver *net.Resolver) *net.Dialer {
	return &net.Dialer{
		Timeout:  connectTimeout,
		Resolver: resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("not an address and port: %w", err)
			}
			return furthest.check(placeOf(to.Addr()))
		},
	}
}
