package identity

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"schoolgate/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

	ipad   = netip.MustParseAddr("10.20.3.4")
	ipad6  = netip.MustParseAddr("2001:db8:20::4")
	laptop = netip.MustParseAddr("10.20.3.5")

	ipadMAC   = MAC{0, 0x11, 0x22, 0x33, 0x44, 0x55}
	laptopMAC = MAC{0, 0x11, 0x22, 0x33, 0x44, 0x66}
)

// newStore is a store that looks nothing up, and whose clock is that of the test.
func newStore(t testing.TB, c Config) *Store {
	t.Helper()
	return New(Options{Config: c, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
}

// whoIs is what is known of an address, but for the address.
func (s *Store) whoIs(addr netip.Addr) policy.Client {
	k := s.Known(addr)
	if k == nil {
		return policy.Client{}
	}
	c := k.Client
	c.Addr = netip.Addr{}
	return c
}

func sameClient(t testing.TB, what string, got, want policy.Client) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// near has the kernel's table say that a device is at an address.
func (s *Store) near(addr netip.Addr, mac MAC) {
	if s.takeNeighbours([]change{{addr: addr, mac: mac}}) {
		s.rebuild()
	}
}

func (s *Store) away(addr netip.Addr) {
	s.takeNeighbours([]change{{addr: addr, gone: true}})
	s.rebuild()
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const ipadLease = "0 00:11:22:33:44:55 10.20.3.4 y7-ipad-3 *\n"

func TestWhatSeveralSourcesKnowIsJoined(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dnsmasq.leases")
	write(t, path, ipadLease)
	s := newStore(t, Config{Neighbours: true, Leases: []string{path}})
	known := policy.Client{MAC: "00:11:22:33:44:55", Name: "y7-ipad-3"}
	sameClient(t, "by its lease", s.whoIs(ipad), known)
	sameClient(t, "another", s.whoIs(laptop), policy.Client{})

	s.near(ipad6, ipadMAC)
	sameClient(t, "its IPv6 address, by the MAC", s.whoIs(ipad6), known)
	if err := s.SignIn(SignIn{ID: "1", User: "a.pupil", Addrs: []netip.Addr{ipad}, MAC: ipadMAC, Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	known.User = "a.pupil"
	sameClient(t, "who has signed in", s.whoIs(ipad), known)
	sameClient(t, "who has signed in, at the IPv6 address", s.whoIs(ipad6), known)
	sameClient(t, "behind a forwarder", s.KnownMAC(ipadMAC).Client, known)
	if k := s.KnownMAC(laptopMAC); k != nil {
		t.Errorf("another behind a forwarder: %v", k.Client)
	}

	s.near(ipad, laptopMAC)
	sameClient(t, "another device with that address is not who has the lease, nor who signed in",
		s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:66"})
	s.SignOut("1")
	known.User = ""
	sameClient(t, "once signed out", s.whoIs(ipad6), known)
}

func TestWhatStaysAsItWasKeepsItsGroup(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Neighbours: true})
	s.near(ipad, ipadMAC)
	before := s.Known(ipad)
	s.near(laptop, laptopMAC)
	if s.Known(ipad) != before {
		t.Error("what is known of the first was made anew when the second came")
	}
	s.near(ipad, laptopMAC)
	if s.Known(ipad) == before {
		t.Error("what is known was changed in place")
	}
}

func TestANeighbourThatTheKernelForgetsIsRememberedForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Neighbours: true})
		s.near(ipad, ipadMAC)
		s.away(ipad)
		time.Sleep(neighbourMemory - time.Second)
		s.rebuild()
		sameClient(t, "just before", s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:55"})
		time.Sleep(2 * time.Second)
		s.rebuild()
		sameClient(t, "after", s.whoIs(ipad), policy.Client{})
	})
}

func TestASignInEndsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{})
		in := SignIn{ID: "1", User: "a.pupil", Addrs: []netip.Addr{ipad}, Until: time.Now().Add(time.Hour)}
		if err := s.SignIn(in); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		in.Until = time.Now().Add(time.Hour)
		if err := s.SignIn(in); err != nil { // heard of again
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		s.rebuild()
		sameClient(t, "heard of again", s.whoIs(ipad), policy.Client{User: "a.pupil"})
		time.Sleep(10 * time.Minute)
		s.rebuild()
		sameClient(t, "not heard of again", s.whoIs(ipad), policy.Client{})
	})
}

func TestTheLastToSignInIsWhoIsThere(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{})
	until := time.Now().Add(time.Hour)
	for _, in := range []SignIn{{ID: "1", User: "a", Addrs: []netip.Addr{ipad}, Until: until}, {ID: "2", User: "b", Addrs: []netip.Addr{ipad, ipad6}, Until: until}} {
		if err := s.SignIn(in); err != nil {
			t.Fatal(err)
		}
	}
	s.SignOut("1") // which is late
	for _, addr := range []netip.Addr{ipad, ipad6} {
		sameClient(t, "after the first one's end", s.whoIs(addr), policy.Client{User: "b"})
	}
	s.SignOut("2")
	s.SignOut("2")
	sameClient(t, "after the second one's", s.whoIs(ipad), policy.Client{})
}

func TestANewDeviceAtAnAddressIsNotWhoHadSignedInThere(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Neighbours: true})
	s.near(ipad, ipadMAC)
	if err := s.SignIn(SignIn{ID: "1", User: "a.pupil", Addrs: []netip.Addr{ipad}, Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	sameClient(t, "the one", s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:55", User: "a.pupil"})
	s.near(ipad, laptopMAC)
	sameClient(t, "the other", s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:66"})
}

func TestSignInsThatAreNone(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{})
	for what, test := range map[string]struct {
		in   SignIn
		want error
	}{
		"nobody":              {SignIn{Addrs: []netip.Addr{ipad}}, errNoUser},
		"control characters":  {SignIn{User: "a\nb", Addrs: []netip.Addr{ipad}}, errNoUser},
		"bytes that are none": {SignIn{User: "a\xff", Addrs: []netip.Addr{ipad}}, errNoUser},
		"nowhere":             {SignIn{User: "a"}, errNoAddr},
		"everywhere":          {SignIn{User: "a", Addrs: make([]netip.Addr, maxAddrs+1)}, errNoAddr},
	} {
		if err := s.SignIn(test.in); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// namer is a zone with names, and counts how often it is asked.
type namer struct {
	mu    sync.Mutex
	names map[netip.Addr]string
	fails bool
	asked int
}

func (n *namer) lookUp(_ context.Context, addr netip.Addr) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.fails {
		return "", errors.New("nobody answers")
	}
	return n.names[addr], nil
}

// set changes what it says.
func (n *namer) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// count is how often it was asked.
func (n *namer) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func TestNamesAreAskedForWhenAClientComesAndAnewWhileItAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		zone := &namer{names: map[netip.Addr]string{ipad: "Y7-iPad-3.school.internal.", laptop: ""}}
		s := New(Options{
			Config: Config{Reverse: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, LookUp: zone.lookUp, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go s.Run(ctx)
		rest := func() {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		synctest.Wait()
		sameClient(t, "the first question waits for nothing", s.whoIs(ipad), policy.Client{})
		rest()
		name := policy.Client{Name: "y7-ipad-3.school.internal"}
		sameClient(t, "the second", s.whoIs(ipad), name)
		s.whoIs(netip.MustParseAddr("192.168.0.1")) // of no zone
		rest()
		for range 10 {
			s.whoIs(ipad)
			s.whoIs(laptop)
			rest()
		}
		if asked := zone.count(); asked != 2 {
			t.Errorf("asked %d times for two addresses", asked)
		}

		zone.set(func() { zone.names[ipad] = "y8-ipad-3.school.internal." })
		time.Sleep(nameLife)
		synctest.Wait()
		s.whoIs(ipad)
		time.Sleep(2 * tableTick)
		synctest.Wait()
		sameClient(t, "with its new name", s.whoIs(ipad), policy.Client{Name: "y8-ipad-3.school.internal"})

		zone.set(func() { zone.fails = true })
		for range 3 {
			time.Sleep(nameLife)
			synctest.Wait()
			sameClient(t, "while nobody answers", s.whoIs(ipad), policy.Client{Name: "y8-ipad-3.school.internal"})
		}

		zone.set(func() { zone.fails = false })
		time.Sleep(2 * nameLife) // the client asks nothing any more
		synctest.Wait()
		asked := zone.count()
		time.Sleep(2 * nameLife)
		synctest.Wait()
		if more := zone.count() - asked; more != 0 || len(s.table.Load().byAddr) != 0 {
			t.Errorf("asked %d times more for who is silent; the table has %v", more, s.table.Load().byAddr)
		}
	})
}

func TestTooManyAddressesAreNotTakenIn(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Neighbours: true})
	changes := make([]change, 0, maxDevices+10)
	addr := netip.MustParseAddr("2001:db8::")
	for range maxDevices + 10 {
		changes = append(changes, change{addr: addr, mac: ipadMAC})
		addr = addr.Next()
	}
	s.takeNeighbours(changes)
	if n := s.Stats().Neighbours; n != maxDevices {
		t.Errorf("%d neighbours", n)
	}
	// Whom it knows moves all the same.
	s.near(netip.MustParseAddr("2001:db8::"), laptopMAC)
	sameClient(t, "one that it knew", s.whoIs(netip.MustParseAddr("2001:db8::")), policy.Client{MAC: "00:11:22:33:44:66"})
}

func TestAnotherConfigurationIsTakenUpWhileItRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, other := filepath.Join(dir, "one.leases"), filepath.Join(dir, "other.leases")
	write(t, one, ipadLease)
	write(t, other, "0 00:11:22:33:44:66 10.20.3.5 laptop *\n")
	s := newStore(t, Config{Leases: []string{one}})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	s.Apply(Config{Leases: []string{other}})
	sameClient(t, "the one's", s.whoIs(ipad), policy.Client{})
	sameClient(t, "the other's", s.whoIs(laptop), policy.Client{MAC: "00:11:22:33:44:66", Name: "laptop"})
	stop()
	<-ended
}

func TestWhatIsOlderThanWhatIsKnownIsNotTaken(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{})
	now := time.Now()
	in := func(id, user string, since time.Time) Event {
		return Event{SignIn: SignIn{ID: id, User: user, Addrs: []netip.Addr{ipad}, Since: since, Until: now.Add(time.Hour)}}
	}
	out := func(id string, since time.Time) Event {
		return Event{SignIn: SignIn{ID: id, Since: since}, Out: true}
	}
	for _, step := range []struct {
		what  string
		event Event
		err   error
		user  string
	}{
		{"a sign-in", in("1", "a", now.Add(-30*time.Minute)), nil, "a"},
		{"an older one of another", in("2", "b", now.Add(-40*time.Minute)), ErrLater, "a"},
		{"an older report of the same", in("1", "a", now.Add(-40*time.Minute)), ErrLater, "a"},
		{"an end before it began", out("1", now.Add(-40*time.Minute)), ErrLater, "a"},
		{"a newer one of another", in("2", "b", now.Add(-20*time.Minute)), nil, "b"},
		{"one without a time", in("3", "c", time.Time{}), nil, "c"},
		{"its end, without a time", out("3", time.Time{}), nil, ""},
		{"an end of nobody", out("4", now), nil, ""},
	} {
		if err := s.Tell([]Event{step.event})[0]; !errors.Is(err, step.err) {
			t.Errorf("%s: %v", step.what, err)
		}
		sameClient(t, step.what, s.whoIs(ipad), policy.Client{User: step.user})
	}
}

func TestManyEventsAreTakenInTheirOrderAndEachIsToldOf(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{})
	until := time.Now().Add(time.Hour)
	errs := s.Tell([]Event{
		{SignIn: SignIn{ID: "1", User: "a", Addrs: []netip.Addr{ipad}, Until: until}},
		{SignIn: SignIn{ID: "2", Addrs: []netip.Addr{ipad}, Until: until}},
		{SignIn: SignIn{ID: "1"}, Out: true},
		{SignIn: SignIn{ID: "3", User: "c", Addrs: []netip.Addr{ipad6}, Until: until}},
	})
	if len(errs) != 4 || errs[0] != nil || !errors.Is(errs[1], errNoUser) || errs[2] != nil || errs[3] != nil {
		t.Errorf("%v", errs)
	}
	sameClient(t, "signed out", s.whoIs(ipad), policy.Client{})
	sameClient(t, "signed in", s.whoIs(ipad6), policy.Client{User: "c"})
}

func TestTheSignInsOfATellerWhoIsNoLongerBelievedEnd(t *testing.T) {
	t.Parallel()
	config := Config{Logins: Logins{Tellers: []string{"bridge", "portal"}, Session: time.Hour}}
	s := newStore(t, config)
	for source, addr := range map[string]netip.Addr{LoginSource + "bridge": ipad, LoginSource + "portal": ipad6, "radius 10.0.0.2": laptop} {
		if err := s.SignIn(SignIn{ID: source, User: "a", Addrs: []netip.Addr{addr}, Source: source, Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	config.Logins.Tellers = []string{"portal"}
	s.Apply(config)
	sameClient(t, "its", s.whoIs(ipad), policy.Client{})
	sameClient(t, "another's", s.whoIs(ipad6), policy.Client{User: "a"})
	sameClient(t, "RADIUS's", s.whoIs(laptop), policy.Client{User: "a"})
}
