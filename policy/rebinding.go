package policy

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"schoolgate/blocklist"
)

// isInside reports whether an address is of the site's own network, or of the device itself: an answer that
// leads a public name there lets a page on the web reach what only devices inside should (DNS rebinding). The ranges
// are those of dnsmasq's stop-dns-rebind. 100.64.0.0/10 is not among them: public names of VPN services have it.
func isInside(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.Is4() && addr.As4()[0] == 0
}

// isPublic reports whether a name, a key, is under a top-level domain that the world has: nobody outside
// can have one under local or lan.
func isPublic(name []byte) bool {
	suffix, icann := publicsuffix.PublicSuffix(blocklist.Name(name).String())
	return icann || strings.Contains(suffix, ".")
}
