package config

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/identity"
)

// identitySources are where it is learned which device, and who, is at an address.
type identitySources struct {
	place
	neighbours value[bool]
	leases     values[string]
	reverse    value[bool]
	radius     radius
	logins     logins
}

func (i *identitySources) fields() []field {
	return []field{
		{
			key: "neighbours", kind: one(&i.neighbours, boolean()), def: "true",
			doc: "MAC addresses of devices on the networks that this machine is on, as its kernel knows them (Linux)",
		},
		{
			key: "leases", kind: many(&i.leases, filePath()), def: "[]",
			doc: "Lease files of ISC dhcpd (`/var/lib/dhcp/dhcpd.leases`), Kea (`/var/lib/kea/kea-leases4.csv`) or dnsmasq (`/var/lib/misc/dnsmasq.leases`), told apart by their content: MAC and name of each device. Read again within a second of a change",
		},
		{
			key: "reverse", kind: one(&i.reverse, boolean()), def: "true",
			doc: "Ask for the name of an address (PTR) where its reverse zone is one of `zones`: of that zone's own servers",
		},
		{
			key: "radius", kind: mapping(&i.radius), def: "{}",
			doc: "Sign-ins, as switches, access points and captive portals tell them by RADIUS accounting (RFC 2866): who is at which address, until they sign out. On breaches, and for exceptions of `user:`",
		},
		{
			key: "logins", kind: mapping(&i.logins), def: "{}",
			doc: "Sign-ins, as programs of the school's own tell them by `POST /api/v1/logins`, with a token of `api.tokens` whose role is `signin`",
		},
	}
}

type radius struct {
	place
	listen     value[netip.AddrPort]
	secretFile value[string]
	secretEnv  value[string]
	clients    values[prefix]
	session    value[time.Duration]
}

func (r *radius) fields() []field {
	return []field{
		{
			key: "listen", kind: one(&r.listen, blank(address())), def: `""`,
			doc: "Where accounting is listened for, over UDP: `\"10.0.0.53:1813\"`; empty for nowhere. On loopback or the school's own network: RADIUS is not encrypted",
		},
		{key: "secret_file", kind: one(&r.secretFile, filePath()), doc: "File with the secret shared with those who tell"},
		{key: "secret_env", kind: one(&r.secretEnv, text()), doc: "Environment variable with that secret"},
		{key: "clients", kind: many(&r.clients, addressRange()), def: "[]", doc: "Who tells; what comes from others is dropped and counted"},
		{
			key: "session", kind: one(&r.session, duration(time.Minute, 30*day)), def: "12h",
			doc: "How long a sign-in counts of which nothing more is heard",
		},
	}
}

type logins struct {
	place
	session value[time.Duration]
}

func (l *logins) fields() []field {
	return []field{
		{
			key: "session", kind: one(&l.session, duration(time.Minute, 30*day)), def: "12h",
			doc: "How long a sign-in counts of which nothing more is heard; what is older is not taken",
		},
	}
}

// identities fills the sources of identity.
func (c *checker) identities() {
	i := &c.identitySources
	c.cfg.Sources = identity.Config{Neighbours: i.neighbours.v}
	for _, l := range i.leases.all {
		c.regularFile(l)
		c.cfg.Sources.Leases = append(c.cfg.Sources.Leases, c.path(l))
	}
	if i.reverse.v {
		for _, z := range c.zones {
			for _, n := range z.names.all {
				if p, ok := reverseRange(n.v); ok {
					c.cfg.Sources.Reverse = append(c.cfg.Sources.Reverse, p)
				}
			}
		}
	}
	r := &i.radius
	if !r.listen.v.Addr().IsValid() {
		if r.listen.v.Port() != 0 {
			c.fail(r.listen.place, "write 127.0.0.1:1813, or the machine's address in the school's network", "has no address")
		}
		return
	}
	if addr := r.listen.v.Addr(); !addr.IsLoopback() && !addr.IsPrivate() {
		c.warn(r.listen.place, "listen on loopback or the school's own network", "RADIUS is not encrypted")
	}
	text, at, ok := c.secretText(r.secretFile, r.secretEnv)
	switch secret := strings.TrimSpace(text); {
	case !ok && !c.failed(r.secretFile.place) && !c.failed(r.secretEnv.place):
		c.fail(r.listen.place, needSecret, "has no secret")
	case r.secretFile.written() && r.secretEnv.written():
		c.fail(r.secretEnv.place, needSecret, "has two secrets")
	case ok && len(secret) < 16:
		c.fail(at, "head -c 24 /dev/urandom | base64", "has %d characters, fewer than 16: it can be guessed", len(secret))
	default:
		c.cfg.Sources.RADIUS = identity.RADIUS{Listen: r.listen.v, Secret: []byte(secret), Session: r.session.v}
	}
	for _, p := range r.clients.all {
		c.tight(p.place, p.v)
		c.cfg.Sources.RADIUS.Clients = append(c.cfg.Sources.RADIUS.Clients, p.v.Prefix)
	}
	if len(r.clients.all) == 0 && !c.failed(r.clients.place) {
		c.fail(r.listen.place, "write clients: [10.0.0.2]", "nobody may tell it of sign-ins")
	}
}

// reverseRange is the range of the addresses whose names are in a zone of in-addr.arpa or ip6.arpa, where it is
// one on a border of octets or hexadecimal digits.
func reverseRange(zone blocklist.Name) (netip.Prefix, bool) {
	labels := strings.Split(strings.ToLower(zone.String()), ".")
	n := len(labels) - 2
	if n < 0 || labels[n+1] != "arpa" {
		return netip.Prefix{}, false
	}
	switch labels[n] {
	case "in-addr":
		var octets [4]byte
		if n > len(octets) {
			return netip.Prefix{}, false
		}
		for i := range n {
			octet, err := strconv.ParseUint(labels[n-1-i], 10, 8)
			if err != nil {
				return netip.Prefix{}, false
			}
			octets[i] = byte(octet)
		}
		return netip.PrefixFrom(netip.AddrFrom4(octets), 8*n), true
	case "ip6":
		digits := make([]byte, 0, 32)
		for i := range n {
			if len(labels[n-1-i]) != 1 {
				return netip.Prefix{}, false
			}
			digits = append(digits, labels[n-1-i]...)
		}
		if n > 32 {
			return netip.Prefix{}, false
		}
		for len(digits) < 32 {
			digits = append(digits, '0')
		}
		var octets [16]byte
		if _, err := hex.Decode(octets[:], digits); err != nil {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(netip.AddrFrom16(octets), 4*n), true
	}
	return netip.Prefix{}, false
}
