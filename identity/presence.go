package identity

import (
	"net/netip"
	"time"
)

// Presence is what shows that a device is, or was lately, on the network at an address, whether it asks or not.
type Presence struct {
	MAC string // lower case, with colons; "" where it is not known
	// Reached is when the kernel last found that it answers; zero: never, or it is not a neighbour.
	Reached time.Time
	// Lease and SignIn are until when they run, each time later when the device renews them; zero: it has none.
	Lease, SignIn time.Time
}

// Present returns what is known of each address that has a device.
func (s *Store) Present() map[netip.Addr]Presence {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	t := s.table.Load()
	out := make(map[netip.Addr]Presence, len(t.byAddr))
	for addr, e := range t.byAddr {
		if e.known == nil {
			continue
		}
		p := Presence{MAC: e.known.Client.MAC}
		if n, near := s.neighbours[addr]; near && text(n.mac) == p.MAC {
			p.Reached = n.reached
		}
		if l := s.leases.at(addr, now); l.mac != (MAC{}) && text(l.mac) == p.MAC {
			p.Lease = l.ends
		}
		if in := s.signIns.byAddr[addr]; in != nil && (in.MAC == MAC{} || text(in.MAC) == p.MAC) {
			p.SignIn = in.Until
		}
		out[addr] = p
	}
	return out
}
