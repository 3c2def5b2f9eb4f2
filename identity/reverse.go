package identity

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// names are those that addresses have by reverse look-up.
type names struct{ byAddr map[netip.Addr]*name }

type name struct {
	name  string // "" where it has none
	until time.Time
	used  atomic.Bool // its client has asked something since
}

func newNames() names { return names{map[netip.Addr]*name{}} }

const (
	// nameLife is how long a name counts before it is asked for anew, and noNameLife how long that there is none:
	// a device that has just come gets its name a moment later.
	nameLife   = 10 * time.Minute
	noNameLife = time.Minute
	// failedLife is how long nobody is asked again who does not answer.
	failedLife = 30 * time.Second

	maxWanted   = 1024
	maxAsking   = 4
	nameTimeout = 5 * time.Second
)

// keep forgets the names of addresses that are not asked for any more.
func (n names) keep(reverse []netip.Prefix) {
	t := table{reverse: reverse}
	for addr := range n.byAddr {
		if !t.asks(addr) {
			delete(n.byAddr, addr)
		}
	}
}

func (n names) count() (found int) {
	for _, one := range n.byAddr {
		if one.name != "" {
			found++
		}
	}
	return found
}

// askNames asks for the names that are wanted, and for those anew that run out, until ctx ends.
func (s *Store) askNames(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	free := make(chan struct{}, maxAsking)
	busy := map[netip.Addr]bool{}
	done := make(chan netip.Addr, maxAsking)
	ask := func(addr netip.Addr) {
		if busy[addr] || !s.wantsName(addr) {
			return
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		busy[addr] = true
		asking.Go(func() {
			s.askName(ctx, addr)
			<-free
			select {
			case done <- addr:
			case <-ctx.Done():
			}
		})
	}
	tick := time.NewTicker(tableTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case addr := <-done:
			delete(busy, addr)
		case addr := <-s.wanted:
			ask(addr)
		case <-tick.C:
			for _, addr := range s.namesToRenew() {
				s.want(addr)
			}
		}
	}
}

// wantsName reports whether the name of an address is to be asked for now.
func (s *Store) wantsName(addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.names.byAddr[addr]
	return n == nil && len(s.names.byAddr) < maxDevices || n != nil && !s.now().Before(n.until)
}

// namesToRenew returns the addresses whose names have run out and whose clients have asked something since, and
// forgets those whose clients have not.
func (s *Store) namesToRenew() (addrs []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for addr, n := range s.names.byAddr {
		switch {
		case now.Before(n.until):
		case n.used.Load():
			addrs = append(addrs, addr)
		default:
			delete(s.names.byAddr, addr)
			signal(s.stale)
		}
	}
	return addrs
}

// askName asks for one name. Where nobody answers the one that was known stays.
func (s *Store) askName(ctx context.Context, addr netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	found, err := s.lookUp(ctx, addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !(&table{reverse: s.config.Reverse}).asks(addr) {
		return
	}
	old := s.names.byAddr[addr]
	n := &name{name: deviceName(found)}
	switch {
	case err != nil:
		n.until = s.now().Add(failedLife)
		if old != nil {
			n.name = old.name
			n.used.Store(true) // so that it is asked for again
		}
	case n.name == "":
		n.until = s.now().Add(noNameLife)
	default:
		n.until = s.now().Add(nameLife)
	}
	s.names.byAddr[addr] = n
	signal(s.stale)
}
