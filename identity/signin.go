package identity

import (
	"errors"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// SignIn is somebody who has signed in at a device.
type SignIn struct {
	// ID tells it from others, for SignOut and for whoever tells of it again.
	ID   string
	User string
	// Addrs are the device's addresses, MAC its network card's: at least one of both is known.
	Addrs []netip.Addr
	MAC   MAC
	// Source is who told, so that all of one can be ended at once.
	Source string
	// Until is when it ends of which nothing more is heard.
	Until time.Time
}

const (
	maxSignIns = 1 << 14
	maxUser    = 253 // of RADIUS (RFC 2865 §5), and enough
	maxAddrs   = 16
)

// signIns are those that have not ended. Of several at one address the last counts.
type signIns struct {
	byID   map[string]*SignIn
	byAddr map[netip.Addr]*SignIn
	byMAC  map[MAC]*SignIn
}

func newSignIns() signIns {
	return signIns{map[string]*SignIn{}, map[netip.Addr]*SignIn{}, map[MAC]*SignIn{}}
}

var (
	errNoUser = errors.New("a sign-in needs a user of at most 253 printable octets")
	errNoAddr = errors.New("a sign-in needs an address or a MAC, and at most 16 addresses")
	errMany   = errors.New("too many are signed in")
)

// SignIn takes note that somebody has signed in, or still is. What is asked from now on is theirs.
func (s *Store) SignIn(in SignIn) error {
	switch {
	case in.User == "" || len(in.User) > maxUser || !utf8.ValidString(in.User) || strings.ContainsFunc(in.User, unicode.IsControl):
		return errNoUser
	case len(in.Addrs) > maxAddrs:
		return errNoAddr
	}
	addrs := make([]netip.Addr, 0, len(in.Addrs))
	for _, a := range in.Addrs {
		addrs = append(addrs, a.Unmap().WithZone(""))
	}
	in.Addrs = addrs
	s.mu.Lock()
	defer s.mu.Unlock()
	_, again := s.signIns.byID[in.ID]
	switch {
	case again:
	case len(in.Addrs) == 0 && in.MAC == MAC{}:
		return errNoAddr
	case len(s.signIns.byID) >= maxSignIns:
		if s.signIns.expire(s.now()); len(s.signIns.byID) >= maxSignIns {
			return errMany
		}
	}
	s.signIns.add(&in)
	s.table.Store(s.build(s.table.Load()))
	return nil
}

// SignOut ends a sign-in. One that is not known is none.
func (s *Store) SignOut(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.signIns.byID[id]; in != nil {
		s.signIns.remove(in)
		s.table.Store(s.build(s.table.Load()))
	}
}

// signOutAll ends all sign-ins that one source told of.
func (s *Store) signOutAll(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.signIns.byID {
		if in.Source == source {
			s.signIns.remove(in)
		}
	}
	s.table.Store(s.build(s.table.Load()))
}

func (s *signIns) add(in *SignIn) {
	if old := s.byID[in.ID]; old != nil {
		// An interim report may have fewer addresses than one before.
		if in.MAC == (MAC{}) {
			in.MAC = old.MAC
		}
		if len(in.Addrs) == 0 {
			in.Addrs = old.Addrs
		}
		s.remove(old)
	}
	s.byID[in.ID] = in
	for _, a := range in.Addrs {
		s.byAddr[a] = in
	}
	if in.MAC != (MAC{}) {
		s.byMAC[in.MAC] = in
	}
}

// remove forgets a sign-in, but not another that has come to the same address since.
func (s *signIns) remove(in *SignIn) {
	delete(s.byID, in.ID)
	for _, a := range in.Addrs {
		if s.byAddr[a] == in {
			delete(s.byAddr, a)
		}
	}
	if s.byMAC[in.MAC] == in {
		delete(s.byMAC, in.MAC)
	}
}

func (s *signIns) expire(now time.Time) {
	for _, in := range s.byID {
		if !now.Before(in.Until) {
			s.remove(in)
		}
	}
}

func (s *signIns) userOf(mac MAC) string {
	if in := s.byMAC[mac]; in != nil {
		return in.User
	}
	return ""
}
