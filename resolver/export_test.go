package resolver

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"time"
)

// Age makes all that the cache has older.
func (r *Resolver) Age(by time.Duration) {
	for i := range r.cache.shards {
		s := &r.cache.shards[i]
		s.mu.Lock()
		for _, slot := range s.table {
			if slot != 0 {
				stored := s.at(placeOf(slot))[16:]
				binary.LittleEndian.PutUint64(stored, binary.LittleEndian.Uint64(stored)-uint64(by))
			}
		}
		s.mu.Unlock()
	}
}

// AgeServers makes what is known of the servers' ways older.
func (r *Resolver) AgeServers(by time.Duration) {
	r.applyMu.Lock()
	defer r.applyMu.Unlock()
	for _, s := range r.servers {
		s.mu.Lock()
		for _, at := range []*time.Time{&s.formUntil, &s.examinedAt, &s.lowerUntil, &s.cookiesFrom, &s.cookiesMade} {
			*at = at.Add(-by)
		}
		s.mu.Unlock()
	}
}

// SetRoots has the certificates of servers checked by other roots than the system's.
func SetRoots(c *Config, roots *x509.CertPool) { c.roots = roots }

// ExchangeByRoots is Exchange with other roots than the system's.
func ExchangeByRoots(ctx context.Context, u Upstream, bootstrap []Upstream, roots *x509.CertPool, query []byte) ([]byte, error) {
	return exchangeOnce(ctx, newPlace(u, bootstrapOnce(bootstrap), roots), query)
}
