package resolver

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestAnAddressThatAsksLikeManyDevicesIsToldOf(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	s := newThrongs(slog.New(slog.NewTextHandler(&said, nil)))
	now := time.Now()
	router, tablet := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.20.3.4")
	ask := func(client netip.Addr, names int) {
		for n := range names {
			if n%throngShare == 0 { // as noteThrong has it
				s.note(client, uint64(n), now)
				s.note(client, uint64(n), now)
			}
		}
	}
	ask(router, 3200)
	ask(tablet, 1000)
	if got := s.stats(now); len(got) != 0 {
		t.Errorf("before the end of the window: %v", got)
	}
	for window := range 3 {
		now = now.Add(throngWindow)
		if got := s.stats(now); len(got) != 1 || got[0].Client != router || got[0].Names != 3200 || got[0].Last.After(now) {
			t.Errorf("after window %d: %v", window, got)
		}
		ask(tablet, 1000)
	}
	if n := strings.Count(said.String(), "asks like many devices"); n != 1 || strings.Contains(said.String(), router.String()) {
		t.Errorf("said %d times:\n%s", n, &said)
	}
	now = now.Add(throngDay)
	if got := s.stats(now); len(got) != 0 {
		t.Errorf("a day later: %v", got)
	}
}

func TestWhatIsRememberedOfThoseWhoAskIsBounded(t *testing.T) {
	t.Parallel()
	s := newThrongs(slog.New(slog.DiscardHandler))
	now := time.Now()
	addr := netip.MustParseAddr("2001:db8::")
	for range maxThrongClients + 10 {
		s.note(addr, 0, now)
		addr = addr.Next()
	}
	for n := range uint64(10 * maxThrongSample) {
		s.note(netip.MustParseAddr("2001:db8::"), n, now)
	}
	if len(s.asked) != maxThrongClients || len(s.asked[netip.MustParseAddr("2001:db8::")]) != maxThrongSample {
		t.Errorf("%d clients, %d names of one", len(s.asked), len(s.asked[netip.MustParseAddr("2001:db8::")]))
	}
}
