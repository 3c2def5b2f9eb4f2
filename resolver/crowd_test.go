package resolver

import (
	"net/netip"
	"testing"
)

// address is the nth of many clients.
func address(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 5353)
}

func TestOneAddressHasAShareOfTheConnectionsAndNoMore(t *testing.T) {
	var refused refusals
	c := newCrowd(overTLS, &refused)
	var guests []*guest
	for n := range maxConnectionsPerAddress + 3 {
		g := &guest{from: netip.AddrPortFrom(address(1).Addr(), uint16(n))}
		if entered := c.enter(g); entered != (n < maxConnectionsPerAddress) {
			t.Fatalf("connection %d: entered %v", n, entered)
		} else if entered {
			guests = append(guests, g)
		}
	}
	if n := refused[overTLS][refusedPerAddress].Load(); n != 3 {
		t.Errorf("%d refused, want 3", n)
	}
	if !c.enter(&guest{from: address(2)}) {
		t.Error("another address is kept out")
	}
	for _, s := range []string{"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:2"} {
		if !c.enter(&guest{from: netip.MustParseAddrPort(s)}) {
			t.Errorf("%s is kept out", s)
		}
	}
	if n := c.perAddress[netip.MustParseAddr("2001:db8:0:1::")].connections; n != 2 {
		t.Errorf("the addresses of one /64 have %d connections together", n)
	}
	guests[0].leave()
	guests[0].leave() // once is what counts
	if !c.enter(&guest{from: address(1)}) || c.enter(&guest{from: address(1)}) {
		t.Error("one that left makes room for one")
	}
}

func TestWhereAllPlacesAreTakenAnIdleConnectionMakesRoom(t *testing.T) {
	var refused refusals
	c := newCrowd(overTCP, &refused)
	shut := 0
	busy := map[*guest]bool{}
	for n := range maxConnections {
		g := &guest{from: address(n), shut: func() { shut++ }}
		busy[g] = n != 7 && n != 9
		g.idle = func() bool { return !busy[g] }
		if !c.enter(g) {
			t.Fatalf("connection %d was kept out", n)
		}
	}
	for n, want := range []bool{true, true, false} {
		if entered := c.enter(&guest{from: address(maxConnections + n)}); entered != want {
			t.Errorf("newcomer %d: entered %v", n, entered)
		}
	}
	if shut != 2 || refused[overTCP][refusedEvicted].Load() != 2 || refused[overTCP][refusedFull].Load() != 1 {
		t.Errorf("%d shut; refused: %v", shut, refused.stats())
	}
}

func TestRequestsAreBoundedForEachAddressAndInAll(t *testing.T) {
	var refused refusals
	c := newCrowd(overHTTPS, &refused)
	var guests []*guest
	for n := range maxRequests/maxRequestsPerAddress + 1 {
		g := &guest{from: address(n)}
		if !c.enter(g) {
			t.Fatal("kept out")
		}
		guests = append(guests, g)
	}
	last := guests[len(guests)-1]
	for _, g := range guests[:len(guests)-1] {
		for n := range maxRequestsPerAddress {
			if !g.begin() {
				t.Fatalf("request %d of %v was refused", n, g.from)
			}
		}
		if g.begin() {
			t.Fatalf("%v has more than its share", g.from)
		}
	}
	if last.begin() {
		t.Error("there are more than there may be in all")
	}
	guests[0].end()
	if !last.begin() {
		t.Error("one that ended makes room for one")
	}
	if n := refused[overHTTPS][refusedBusy].Load(); n != uint64(len(guests)) {
		t.Errorf("%d counted, want %d", n, len(guests))
	}

	// A connection may end before its requests do. Nothing is left of either.
	last.end()
	for _, g := range guests {
		g.leave()
	}
	if guests[0].begin() {
		t.Error("a request of a connection that has ended")
	}
	for i, g := range guests[:len(guests)-1] {
		for n := range maxRequestsPerAddress {
			if i > 0 || n > 0 {
				g.end()
			}
		}
	}
	if len(c.open) != 0 || len(c.perAddress) != 0 || c.answering != 0 {
		t.Errorf("left: %d connections, %d addresses, %d requests", len(c.open), len(c.perAddress), c.answering)
	}
	c.requests.Wait()
	c.stop(func(*guest) {})
	if c.enter(&guest{from: address(1)}) {
		t.Error("somebody came in after the stop")
	}
}
