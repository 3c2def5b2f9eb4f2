package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"schoolgate/config"
)

// authorise returns the token of a request, which must have a role, or why it may not do what it asks.
func (s *Server) authorise(r *http.Request, role config.Role) (config.Token, *problem) {
	from := network(r.RemoteAddr)
	if !s.failures.mayTry(from, s.now()) {
		return config.Token{}, &problem{Status: http.StatusTooManyRequests, Detail: "too many tokens were wrong: try again soon", retryAfter: "10"}
	}
	scheme, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	presented = strings.TrimSpace(presented)
	if !strings.EqualFold(scheme, "Bearer") || presented == "" {
		return config.Token{}, &problem{Status: http.StatusUnauthorized, Detail: "a token is needed: Authorization: Bearer …"}
	}
	c, _ := s.inForce()
	hash := sha256.Sum256([]byte(presented))
	var found *config.Token
	for i := range c.Tokens { // all of them, so that the time says nothing of which it was
		if subtle.ConstantTimeCompare(hash[:], c.Tokens[i].Hash[:]) == 1 {
			found = &c.Tokens[i]
		}
	}
	if found == nil {
		s.stats.unauthorised.Add(1)
		if s.failures.note(from, s.now()) {
			s.log.Warn("a request to /api/v1 had a token that is none of api.tokens")
		}
		return config.Token{}, &problem{Status: http.StatusUnauthorized, Detail: "the token is none of api.tokens"}
	}
	if found.Role != role {
		return config.Token{}, &problem{Status: http.StatusForbidden, Detail: "the token's role is " + string(found.Role) + ", and this is for " + string(role)}
	}
	return *found, nil
}

const (
	// maxFailures is how many wrong tokens an address may show at once, failureRate how soon it may show one more.
	maxFailures = 10
	failureRate = 10 * time.Second
	// maxFailing bounds of how many addresses that is known; those beyond count as one.
	maxFailing = 4096
	// failureSaid is how often the log says that there are any.
	failureSaid = time.Minute
)

// failures counts the wrong tokens of each address. It is for one that guesses; a token of 32 characters is not guessed,
// but what comes with roles later may be.
type failures struct {
	mu   sync.Mutex
	of   map[netip.Prefix]time.Time // when all that the address has tried is forgotten
	said time.Time
}

// mayTry reports whether an address may show a token.
func (f *failures) mayTry(from netip.Prefix, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	from = f.counted(from, now)
	return f.of[from].Sub(now) <= (maxFailures-1)*failureRate
}

// note counts a wrong token, and reports whether the log is to say so.
func (f *failures) note(from netip.Prefix, now time.Time) (say bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[netip.Prefix]time.Time{}
	}
	from = f.counted(from, now)
	until := f.of[from]
	if until.Before(now) {
		until = now
	}
	f.of[from] = until.Add(failureRate)
	if say = now.Sub(f.said) >= failureSaid || now.Before(f.said); say {
		f.said = now
	}
	return say
}

// counted is by what an address is counted. The caller holds mu.
func (f *failures) counted(from netip.Prefix, now time.Time) netip.Prefix {
	if _, known := f.of[from]; known || len(f.of) < maxFailing {
		return from
	}
	for p, until := range f.of {
		if until.Before(now) {
			delete(f.of, p)
		}
	}
	if len(f.of) < maxFailing {
		return from
	}
	return netip.Prefix{}
}

// network is what counts as one address: of IPv6 the /64, which is one device's to choose from.
func network(remote string) netip.Prefix {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := a.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // it has so many
	return p
}
