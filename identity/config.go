package identity

import (
	"net/netip"
	"strings"
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
	Logins  Logins
}

// Logins says whose sign-ins by /api/v1 are believed. Those that others told of end.
type Logins struct {
	Tellers []string // names of tokens; the Source of their sign-ins is LoginSource and the name
	// Session is how long a sign-in counts of which nothing more is heard.
	Session time.Duration
}

// LoginSource begins the Source of what /api/v1 told.
const LoginSource = "api "

// RADIUS says who tells of sign-ins. Where Listen is the zero AddrPort nobody does.
type RADIUS struct {
	Listen  netip.AddrPort
	Secret  []byte
	Clients []netip.Prefix
	// Session is how long a sign-in counts of which nothing more is heard.
	Session time.Duration
}

// Tellers are those who are believed of who has signed in where, for people; "" for nobody.
func (c Config) Tellers() string {
	var all []string
	if c.RADIUS.Listen.IsValid() {
		for _, p := range c.RADIUS.Clients {
			all = append(all, "RADIUS of "+p.String())
		}
	}
	for _, name := range c.Logins.Tellers {
		all = append(all, "API token "+name)
	}
	return strings.Join(all, ", ")
}
