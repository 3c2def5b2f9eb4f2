package resolver

import (
	"crypto/rand"
	"time"

	"schoolgate/resolver/dnswire"
)

const (
	// cookiesLife is for how long a server sees the same client cookie of ours (RFC 9018 §3 lets it be up to
	// a year).
	cookiesLife = 24 * time.Hour
	// withoutCookies is how long a server that gives none is asked without (RFC 9018 §3).
	withoutCookies = 5 * time.Minute
)

// cookies are what a server is sent over UDP: our cookie, and behind it, once it is known, the server's. Ours
// is random, as RFC 9018 §3 has it, another one for each server, and made anew from time to time, so that it
// is of no use to follow this resolver by. It is not bound to our address, as a device's should be that
// moves from network to network.
type cookies struct {
	octets [dnswire.MaxCookies]byte
	length uint8
}

func (c *cookies) data() []byte { return c.octets[:c.length] }

// expected reports whether the server has given one before, so that an answer without is a strange one.
func (c *cookies) expected() bool { return c.length > dnswire.ClientCookieLen }

// taken reports whether the cookies of an answer are such as answer these: of a good length (RFC 7873 §5.3),
// and with ours. Where we sent none, what came is nobody's business.
func (c *cookies) taken(came []byte) bool {
	return c.length == 0 || dnswire.ValidCookies(len(came)) && [dnswire.ClientCookieLen]byte(came) == [dnswire.ClientCookieLen]byte(c.octets[:])
}

// cookiesAt returns what to send at now. mu must be held.
func (s *server) cookiesAt(now time.Time) cookies {
	if now.Before(s.cookiesFrom) {
		return cookies{}
	}
	if s.cookiesMade.IsZero() || now.Sub(s.cookiesMade) >= cookiesLife {
		rand.Read(s.cookies.octets[:dnswire.ClientCookieLen]) // never fails: crypto/rand
		s.cookies.length, s.cookiesMade = dnswire.ClientCookieLen, now
	}
	return s.cookies
}

// gave takes note of the cookies of an answer to a question that had some. A server that gives none, and gave
// none before, is left alone with them for a while, and never sees the same one again.
func (s *server) gave(came []byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case came == nil:
		if !s.cookies.expected() {
			s.dropCookies(now)
		}
	case [dnswire.ClientCookieLen]byte(came) == [dnswire.ClientCookieLen]byte(s.cookies.octets[:]):
		if len(came) > dnswire.ClientCookieLen {
			s.cookies.length = uint8(copy(s.cookies.octets[:], came))
		}
		s.noCookies.Store(0)
	}
}

// gaveNone takes note that a server that gave cookies before itself answers a question that it had answered
// without. After some in a row none are expected any more (RFC 7873 §5.3 would have each such answer
// discarded, and a server that was replaced by another never heard again).
func (s *server) gaveNone(now time.Time) {
	if s.noCookies.Add(1) < doubts {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropCookies(now)
	s.log.Info("upstream gives no cookies any more", "upstream", s.String())
}

// dropCookies has the server asked without for a while, and with others then. mu must be held.
func (s *server) dropCookies(now time.Time) {
	s.cookies, s.cookiesMade, s.cookiesFrom = cookies{}, time.Time{}, now.Add(withoutCookies)
	s.noCookies.Store(0)
}
