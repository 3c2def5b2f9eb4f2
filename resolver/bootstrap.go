package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/resolver/dnswire"
)

// How long the addresses of a server are believed, whatever their time to live says, and how soon
// bootstrap servers that failed are asked again.
const (
	minBootstrap   = 30 * time.Second
	maxBootstrap   = 24 * time.Hour
	bootstrapAgain = 5 * time.Second
	// maxAddresses is how many addresses of a family are kept of one host.
	maxAddresses = 8
)

// bootstrap finds the addresses of servers that are written with a name. It asks plain servers, never
// schoolgate itself: that could not answer before it has the addresses. What it found is used until
// something newer is known: an old address that still answers is better than none.
type bootstrap struct {
	// resolve asks for the addresses of one type; false: nobody answered.
	resolve func(name []byte, typ uint16) (dnswire.Answer, bool)
	// start runs something in the background that whoever ends the resolver waits for, or does not.
	start func(func()) bool

	mu    sync.Mutex
	hosts map[string]*bootstrapHost // one for each server with a name
}

type bootstrapHost struct {
	addrs   []netip.Addr  // IPv6 and IPv4 by turns; replaced, never changed
	until   time.Time     // asked again then
	pending chan struct{} // closed when the question under way has ended; nil: none is
}

func newBootstrap(resolve func(name []byte, typ uint16) (dnswire.Answer, bool), start func(func()) bool) *bootstrap {
	return &bootstrap{resolve: resolve, start: start, hosts: make(map[string]*bootstrapHost)}
}

// lookUp returns the addresses of a host, and waits only where it has never known any.
func (b *bootstrap) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	b.mu.Lock()
	h := b.hosts[host]
	if h == nil {
		h = &bootstrapHost{}
		b.hosts[host] = h
	}
	if h.pending == nil && !time.Now().Before(h.until) {
		pending := make(chan struct{})
		if b.start(func() { b.refresh(host, h) }) {
			h.pending = pending
		}
	}
	addrs, pending := h.addrs, h.pending
	b.mu.Unlock()
	if len(addrs) == 0 && pending != nil {
		select {
		case <-pending:
		case <-ctx.Done():
			return nil, fmt.Errorf("look up %s: %w", host, ctx.Err())
		}
		b.mu.Lock()
		addrs = h.addrs
		b.mu.Unlock()
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("look up %s: %w", host, errBootstrap)
	}
	return addrs, nil
}

var errBootstrap = errors.New("the bootstrap servers gave no address")

// expire has every host asked for anew, of other bootstrap servers.
func (b *bootstrap) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.hosts {
		h.until = time.Time{}
	}
}

// refresh asks for a host's addresses of both families.
func (b *bootstrap) refresh(host string, h *bootstrapHost) {
	var families [2][]netip.Addr
	var ttls [2]time.Duration
	var asking sync.WaitGroup
	for i, typ := range []uint16{dnswire.TypeAAAA, dnswire.TypeA} {
		asking.Go(func() { families[i], ttls[i] = b.ask(host, typ) })
	}
	asking.Wait()
	addrs, ttl := interleave(families[0], families[1]), maxBootstrap
	for i := range families {
		if len(families[i]) > 0 {
			ttl = min(ttl, ttls[i])
		}
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if len(addrs) > 0 {
		h.addrs, h.until = addrs, time.Now().Add(max(ttl, minBootstrap))
	} else {
		h.until = time.Now().Add(bootstrapAgain)
	}
	close(h.pending)
	h.pending = nil
}

func (b *bootstrap) ask(host string, typ uint16) (addrs []netip.Addr, ttl time.Duration) {
	name, err := blocklist.ParseName(host)
	if err != nil {
		return nil, 0
	}
	answer, answered := b.resolve([]byte(name), typ)
	if !answered {
		return nil, 0
	}
	smallest := dnswire.BoundTTLs(answer.Msg, answer.TTLs, 0, seconds(maxBootstrap))
	dnswire.Targets(answer.Msg, func(kind dnswire.Target, _ []byte, addr netip.Addr) bool {
		if kind == dnswire.TargetAddress && len(addrs) < maxAddresses {
			addrs = append(addrs, addr)
		}
		return true
	})
	return addrs, time.Duration(smallest) * time.Second
}

// interleave takes from both by turns, so that a network without one family loses little time (RFC 8305
// §4).
func interleave(a, b []netip.Addr) []netip.Addr {
	both := make([]netip.Addr, 0, len(a)+len(b))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			both = append(both, a[i])
		}
		if i < len(b) {
			both = append(both, b[i])
		}
	}
	return both
}
