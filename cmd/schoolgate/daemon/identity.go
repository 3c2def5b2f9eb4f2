package daemon

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"schoolgate/config"
	"schoolgate/policy"
)

// nameOf asks for the name of an address (PTR), of the servers of the school's own zone that it is in and of
// nobody else; "" where it has none.
func (d *Daemon) nameOf(ctx context.Context, addr netip.Addr) (string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return &lookup{ctx: ctx, config: func() *config.Config { return d.Filter().Config }}, nil
	}}
	names, err := resolver.LookupAddr(ctx, addr.String())
	if len(names) > 0 {
		return names[0], nil
	}
	if missing, ok := errors.AsType[*net.DNSError](err); ok && missing.IsNotFound {
		return "", nil
	}
	return "", err
}

// known is the client at an address, as far as it is known at this moment.
func (d *Daemon) known(addr netip.Addr) policy.Client {
	if k := d.identities.Known(addr.Unmap().WithZone("")); k != nil {
		return k.Client
	}
	return policy.Client{Addr: addr}
}
