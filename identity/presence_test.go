package identity

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestWhatShowsThatADeviceIsOnTheNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		path := filepath.Join(t.TempDir(), "dnsmasq.leases")
		lease := func(mac MAC, ends time.Time) {
			write(t, path, fmt.Sprintf("%d %s 10.20.3.4 y7-ipad-3 *\n", ends.Unix(), text(mac)))
		}
		lease(ipadMAC, began.Add(8*time.Hour))
		s := newStore(t, Config{Neighbours: true, Leases: []string{path}})
		present := func(what string, want map[netip.Addr]Presence) {
			t.Helper()
			s.readLeases()
			s.rebuild()
			if diff := cmp.Diff(want, s.Present(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		one := func(p Presence) map[netip.Addr]Presence { return map[netip.Addr]Presence{ipad: p} }
		mac := text(ipadMAC)
		present("a lease", one(Presence{MAC: mac, Lease: began.Add(8 * time.Hour)}))
		s.near(ipad, ipadMAC)
		present("a neighbour that is merely known", one(Presence{MAC: mac, Lease: began.Add(8 * time.Hour)}))
		time.Sleep(time.Minute)
		s.takeNeighbours([]change{{addr: ipad, mac: ipadMAC, reached: true}})
		present("one that has answered", one(Presence{MAC: mac, Lease: began.Add(8 * time.Hour), Reached: began.Add(time.Minute)}))
		time.Sleep(time.Minute)
		s.near(ipad, ipadMAC)
		s.away(ipad)
		lease(ipadMAC, began.Add(12*time.Hour))
		if err := s.SignIn(SignIn{ID: "1", User: "a.pupil", Addrs: []netip.Addr{ipad}, Until: began.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		present("what the kernel forgets was reached all the same", one(Presence{
			MAC: mac, Lease: began.Add(12 * time.Hour), Reached: began.Add(time.Minute), SignIn: began.Add(time.Hour),
		}))
		s.near(ipad, laptopMAC)
		present("another device at the address", one(Presence{MAC: text(laptopMAC)}))
	})
}
