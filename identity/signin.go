package identity

import (
	"errors"
	"net/netip"
	"slices"
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
	// Since is when that was; zero: now, whatever the clock says. What is older than what is known already is not taken.
	Since time.Time
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
	// ErrLater says that something later is known already of the device or the sign-in.
	ErrLater = errors.New("something later is known already")
)

// SignIn takes note that somebody has signed in, or still is. What is asked from now on is theirs.
func (s *Store) SignIn(in SignIn) error { return s.Tell([]Event{{SignIn: in}})[0] }

// SignOut ends a sign-in. One that is not known is none.
func (s *Store) SignOut(id string) { s.Tell([]Event{{SignIn: SignIn{ID: id}, Out: true}}) }

// Event is that somebody has signed in, or, with Out, that the sign-in with the same ID has ended, at Since.
type Event struct {
	SignIn
	Out bool
}

// Tell takes note of events in their order, all at once. It returns an error for each, nil where it is in force.
func (s *Store) Tell(events []Event) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(events))
	for i := range events {
		if events[i].Out {
			errs[i] = s.signOut(events[i].SignIn)
		} else {
			errs[i] = s.signIn(events[i].SignIn)
		}
	}
	s.table.Store(s.build(s.table.Load()))
	return errs
}

// signIn is SignIn. The caller holds mu, and builds the table.
func (s *Store) signIn(in SignIn) error {
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
	_, again := s.signIns.byID[in.ID]
	switch {
	case !in.Since.IsZero() && s.signIns.hasLater(&in):
		return ErrLater
	case again:
	case len(in.Addrs) == 0 && in.MAC == MAC{}:
		return errNoAddr
	case len(s.signIns.byID) >= maxSignIns:
		if s.signIns.expire(s.now()); len(s.signIns.byID) >= maxSignIns {
			return errMany
		}
	}
	if in.Since.IsZero() {
		in.Since = s.now()
	}
	s.signIns.add(&in)
	return nil
}

// signOut ends the sign-in that has out's ID, unless it began after that. The caller holds mu, and builds the table.
func (s *Store) signOut(out SignIn) error {
	in := s.signIns.byID[out.ID]
	switch {
	case in == nil:
		return nil
	case !out.Since.IsZero() && in.Since.After(out.Since):
		return ErrLater
	}
	s.signIns.remove(in)
	return nil
}

// signOutUnless ends the sign-ins of tellers that are no longer to be believed. The caller holds mu, and builds the table.
func (s *signIns) signOutUnless(believed func(source string) bool) {
	for _, in := range s.byID {
		if !believed(in.Source) {
			s.remove(in)
		}
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

// hasLater reports whether a sign-in that in would take the place of is later.
func (s *signIns) hasLater(in *SignIn) bool {
	later := func(other *SignIn) bool { return other != nil && other.Since.After(in.Since) }
	return later(s.byID[in.ID]) || later(s.byMAC[in.MAC]) || slices.ContainsFunc(in.Addrs, func(a netip.Addr) bool { return later(s.byAddr[a]) })
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
