package identity

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// dnsmasq's lease file: a line for each lease, with when it ends in seconds since 1970 (0: never), the MAC, the
// address, the name (* for none) and the client's identifier. Behind a line that begins with duid are those of DHCPv6,
// which have another number in place of the MAC.
func parseDnsmasq(data []byte, all map[netip.Addr]lease) {
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasSuffix(line, "\n") {
			continue
		}
		ends, err := strconv.ParseInt(words[0], 10, 64)
		addr, err2 := netip.ParseAddr(words[2])
		if err != nil || err2 != nil {
			continue // a damaged line says nothing
		}
		l := lease{name: deviceName(words[3])}              // * is none
		if addr.Is4() && !strings.Contains(words[1], "-") { // 06-…: another kind of network than Ethernet
			l.mac = ParseMAC(words[1])
		}
		if ends != 0 {
			l.ends = time.Unix(ends, 0)
		}
		put(all, addr, l, true)
	}
}
