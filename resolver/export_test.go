package resolver

import (
	"context"
	"crypto/x509"
)

// SetRoots has the certificates of servers checked by other roots than the system's.
func SetRoots(c *Config, roots *x509.CertPool) { c.roots = roots }

// ExchangeByRoots is Exchange with other roots than the system's.
func ExchangeByRoots(ctx context.Context, u Upstream, bootstrap []Upstream, roots *x509.CertPool, query []byte) ([]byte, error) {
	return exchangeOnce(ctx, newPlace(u, bootstrapOnce(bootstrap), roots), query)
}
