package identity

import (
	"net/netip"
	"time"
)

// neighbours are the devices on the networks that this machine is on.
type neighbours map[netip.Addr]neighbour

type neighbour struct {
	mac  MAC
	gone time.Time // when the kernel forgot it; zero: it has not
	// reached is when the kernel last found that the device answers at this address; zero: never.
	reached time.Time
}

func newNeighbours() neighbours { return neighbours{} }

// neighbourMemory is how long a neighbour is remembered that the kernel has forgotten: it does so with devices that
// are silent for a minute, and would know one that comes to ask again only once that is answered. Another device at
// that address is soon known: to ask, it must first find this machine's own MAC, and that tells the kernel its own.
const neighbourMemory = time.Hour

// change is one change of the kernel's table.
type change struct {
	addr netip.Addr
	mac  MAC
	gone bool
	// reached says that the device has just answered. One that is merely known may have left long ago: while there
	// are few of them, the kernel forgets none (gc_thresh1, arp(7)).
	reached bool
}

// takeNeighbours takes changes in, and reports whether they say something new.
func (s *Store) takeNeighbours(changes []change) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, c := range changes {
		was, known := s.neighbours[c.addr]
		switch {
		case c.gone && known && was.gone.IsZero():
			was.gone = now
			s.neighbours[c.addr] = was
		case c.gone, !known && len(s.neighbours) >= maxDevices:
		default:
			is := neighbour{mac: c.mac}
			if was.mac == c.mac {
				is.reached = was.reached
			}
			if c.reached {
				is.reached = now
			}
			s.neighbours[c.addr] = is
			if was.mac == c.mac {
				continue
			}
			news = true
			if known {
				s.moved(c.addr)
			}
		}
	}
	return news
}

// moved forgets what was known of an address that is now another device's. The caller holds mu.
func (s *Store) moved(addr netip.Addr) {
	delete(s.names.byAddr, addr)
	if in := s.signIns.byAddr[addr]; in != nil && in.MAC == (MAC{}) {
		s.signIns.remove(in)
	}
}

func (n neighbours) expire(now time.Time) {
	for addr, one := range n {
		if !one.gone.IsZero() && now.Sub(one.gone) > neighbourMemory {
			delete(n, addr)
		}
	}
}
