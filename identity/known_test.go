//go:build !race

package identity

import (
	"net/netip"
	"testing"
)

func TestALookUpAllocatesNothing(t *testing.T) {
	s := newStore(t, Config{Neighbours: true})
	s.near(ipad, ipadMAC)
	for what, addr := range map[string]netip.Addr{"known": ipad, "unknown": laptop} {
		if n := testing.AllocsPerRun(1000, func() { s.Known(addr) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// BenchmarkKnown is what identity adds to a query.
func BenchmarkKnown(b *testing.B) {
	full := newStore(b, Config{Neighbours: true})
	changes := make([]change, 0, 4000)
	addr := netip.MustParseAddr("10.20.0.0")
	for i := range 4000 {
		changes = append(changes, change{addr: addr, mac: MAC{0, 1, 2, 3, byte(i >> 8), byte(i)}})
		addr = addr.Next()
	}
	full.takeNeighbours(changes)
	full.rebuild()
	for name, s := range map[string]*Store{"nothing known": newStore(b, Config{}), "4000 devices": full} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Known(ipad)
			}
		})
	}
}
