package identity

import (
	"net/netip"
	"time"
)

// Config says where identity comes from.
type Config struct {
	// Neighbours: the kernel's table of neighbours.
	Neighbours bool
	// Leases are absolute paths of lease files.
	Leases []string
	// Reverse are the ranges of addresses whose names are asked for.
	Reverse []netip.Prefix
	RADIUS  RADIUS
}

// RADIUS says who tells of sign-ins. Where Listen is the zero AddrPort nobody does.
type RADIUS struct {
	Listen  netip.AddrPort
	Secret  []byte
	Clients []netip.Prefix
	// Session is how long a sign-in counts of which nothing more is heard.
	Session time.Duration
}
