package identity

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Kea's memfile (kea-leases4.csv, kea-leases6.csv): a line for each time that a lease was given, renewed or ended, of
// which the last counts, behind a line with the names of the columns. A comma inside a value is written &#x2c.

// The states of a lease in Kea.
const keaActive = "0"

var errKeaColumns = errors.New("of Kea's columns, address, expire or state is missing")

func parseKea(data []byte, all map[netip.Addr]lease) error {
	var columns map[string]int
	for line := range strings.Lines(string(data)) {
		text, whole := strings.CutSuffix(line, "\n")
		values := strings.Split(strings.TrimSuffix(text, "\r"), ",")
		if !whole || values[0] == "" || strings.HasPrefix(values[0], "#") {
			continue
		}
		if values[0] == "address" {
			columns = map[string]int{}
			for i, c := range values {
				columns[c] = i
			}
			for _, need := range []string{"expire", "state"} {
				if _, ok := columns[need]; !ok {
					return errKeaColumns
				}
			}
			continue
		}
		column := func(name string) string {
			if i, ok := columns[name]; ok && i < len(values) {
				return keaText.Replace(values[i])
			}
			return ""
		}
		addr, err := netip.ParseAddr(values[0])
		expire, err2 := strconv.ParseInt(column("expire"), 10, 64)
		if err != nil || err2 != nil {
			continue // a damaged line says nothing
		}
		l := lease{mac: ParseMAC(column("hwaddr")), name: deviceName(column("hostname")), ends: time.Unix(expire, 0)}
		lifetime := column("valid_lifetime")
		if lifetime == "4294967295" { // RFC 2131 §3.3: for ever
			l.ends = time.Time{}
		}
		// A prefix that was delegated (type 2) is no device's address.
		put(all, addr.Unmap(), l, column("state") == keaActive && lifetime != "0" && column("lease_type") != "2")
	}
	return nil
}

var keaText = strings.NewReplacer("&#x2c", ",")
