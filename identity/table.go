package identity

import (
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"schoolgate/policy"
)

// table is all that is known at one time. It does not change.
type table struct {
	byAddr  map[netip.Addr]entry
	byMAC   map[MAC]*policy.Known
	reverse []netip.Prefix // whose names can be asked for
}

// entry is what is known of an address: nil where it has been found out that nothing is.
type entry struct {
	known *policy.Known
	// renew is set once the client has asked something, so that the name, which runs out, is asked for anew. It is nil
	// where there is no such name.
	renew *atomic.Bool
	// nameless says that its name can be asked for and has not been.
	nameless bool
}

// asks reports whether the name of an address can be asked for.
func (t *table) asks(addr netip.Addr) bool {
	return slices.ContainsFunc(t.reverse, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// maxDevices bounds how many addresses there are of each source.
const maxDevices = 1 << 16

// build joins what the sources know. What is known as before is the same as before: the group that was found for it
// stands with it. The caller holds mu.
func (s *Store) build(before *table) *table {
	now := s.now()
	s.neighbours.expire(now)
	s.signIns.expire(now)
	next := &table{byAddr: make(map[netip.Addr]entry, len(before.byAddr)), byMAC: map[MAC]*policy.Known{}}
	if s.lookUp != nil {
		next.reverse = s.config.Reverse
	}
	add := func(addr netip.Addr) {
		if _, done := next.byAddr[addr]; done {
			return
		}
		var e entry
		if n := s.names.byAddr[addr]; n != nil {
			e.renew = &n.used
		}
		if c, known := s.client(addr); known {
			e.known = sameOr(before.byAddr[addr].known, c)
			e.nameless = c.Name == "" && e.renew == nil && next.asks(addr)
		} else if e.renew == nil {
			return
		}
		next.byAddr[addr] = e
	}
	for addr := range s.neighbours {
		add(addr)
	}
	for addr, l := range s.leases.all() {
		if l.current(now) {
			add(addr)
		}
	}
	for addr := range s.names.byAddr {
		add(addr)
	}
	for addr := range s.signIns.byAddr {
		add(addr)
	}
	for mac, name := range s.leases.names(now) {
		next.byMAC[mac] = sameOr(before.byMAC[mac], policy.Client{MAC: text(mac), Name: name, User: s.signIns.userOf(mac)})
	}
	for mac, in := range s.signIns.byMAC {
		if next.byMAC[mac] == nil {
			next.byMAC[mac] = sameOr(before.byMAC[mac], policy.Client{MAC: text(mac), User: in.User})
		}
	}
	return next
}

// sameOr returns what was known before where it is the same.
func sameOr(before *policy.Known, c policy.Client) *policy.Known {
	if before != nil && before.Client == c {
		return before
	}
	return &policy.Known{Client: c}
}

// client joins what is known of an address. The caller holds mu.
func (s *Store) client(addr netip.Addr) (c policy.Client, known bool) {
	now := s.now()
	c.Addr = addr
	lease := s.leases.at(addr, now)
	in := s.signIns.byAddr[addr]
	var mac MAC
	switch n, near := s.neighbours[addr]; {
	case near:
		mac = n.mac
	case lease.mac != MAC{}:
		mac = lease.mac
	case in != nil:
		mac = in.MAC
	}
	same := func(other MAC) bool { return mac == MAC{} || other == MAC{} || other == mac }
	if lease.name != "" && same(lease.mac) {
		c.Name = lease.name
	}
	if in != nil && same(in.MAC) {
		c.User = in.User
	}
	if mac != (MAC{}) {
		c.MAC = text(mac)
		if c.Name == "" {
			c.Name = s.leases.nameOf(mac, now)
		}
		if c.User == "" {
			c.User = s.signIns.userOf(mac)
		}
	}
	if n := s.names.byAddr[addr]; n != nil && c.Name == "" {
		c.Name = n.name
	}
	return c, c != policy.Client{Addr: addr}
}

func text(mac MAC) string { return net.HardwareAddr(mac[:]).String() }
