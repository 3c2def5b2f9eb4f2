package resolver

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"schoolgate/resolver/dnswire"
)

// A router, or another resolver, in front of many devices makes one client of them: one group, one name in the record.
// It shows by how many different names it asks for. They are counted by a sample that costs a query next to nothing:
// of all names one in throngShare, by their hash, so that it is the same ones whoever asks. Of n names in the sample n
// times throngShare were asked for, give or take one in √n.
const (
	throngShare  = 32
	throngWindow = 10 * time.Minute
	// throngNames in one window are what one device seldom asks for, and thirty often do.
	throngNames = 2000

	maxThrongClients = 4096
	maxThrongSample  = 4 * throngNames / throngShare // of one client: then it is enough
	maxThrongs       = 5                             // that are told of
	throngDay        = 24 * time.Hour
)

// Throng is a client that asks like many devices.
type Throng struct {
	Client netip.Addr `json:"client"`
	Names  int        `json:"names"` // asked for within ten minutes, about
	Last   time.Time  `json:"last"`
}

// throngs looks for such clients. Safe for concurrent use.
type throngs struct {
	log *slog.Logger

	mu     sync.Mutex
	since  time.Time // when the window began
	asked  map[netip.Addr]map[uint64]struct{}
	lately []Throng // of the last day, the latest first
	said   time.Time
}

func newThrongs(log *slog.Logger) *throngs {
	return &throngs{log: log, asked: map[netip.Addr]map[uint64]struct{}{}}
}

// noteThrong counts a query's name to its client's, where it is of the sample.
func (r *Resolver) noteThrong(q *query) {
	if q.hash%throngShare != 0 || q.status != dnswire.StatusOK || q.msg.Type != dnswire.TypeA || !q.known || q.unrecorded ||
		q.snapshot.shared[q.who.Group] || among(q.snapshot.Access.TrustedForwarders, q.who.Client.Addr) {
		return
	}
	r.throngs.note(q.who.Client.Addr.WithZone(""), q.hash, q.received)
}

func (t *throngs) note(client netip.Addr, name uint64, now time.Time) {
	if !t.mu.TryLock() {
		return // somebody else's name is counted: this one will be when it is asked for again
	}
	defer t.mu.Unlock()
	t.roll(now)
	names := t.asked[client]
	if names == nil {
		if len(t.asked) >= maxThrongClients {
			return
		}
		names = map[uint64]struct{}{}
		t.asked[client] = names
	}
	if len(names) < maxThrongSample {
		names[name] = struct{}{}
	}
}

// roll begins a new window where the last is over. The caller holds mu.
func (t *throngs) roll(now time.Time) {
	if now.Sub(t.since) < throngWindow {
		return
	}
	t.lately = slices.DeleteFunc(t.lately, func(old Throng) bool { return now.Sub(old.Last) > throngDay })
	var found []Throng
	for client, names := range t.asked {
		if n := len(names) * throngShare; n >= throngNames {
			found = append(found, Throng{client, n, now})
		}
	}
	t.since, t.asked = now, map[netip.Addr]map[uint64]struct{}{}
	if len(found) == 0 {
		return
	}
	slices.SortFunc(found, func(a, b Throng) int { return cmp.Or(b.Names-a.Names, a.Client.Compare(b.Client)) })
	for _, old := range t.lately {
		if !slices.ContainsFunc(found, func(f Throng) bool { return f.Client == old.Client }) {
			found = append(found, old)
		}
	}
	t.lately = found[:min(len(found), maxThrongs)]
	if now.Sub(t.said) >= throngDay {
		t.said = now
		t.log.Warn("one address asks like many devices: is it a router or a resolver? `schoolgate status` says which")
	}
}

// stats returns the clients of the last day that asked like many.
func (t *throngs) stats(now time.Time) []Throng {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(now)
	return append([]Throng{}, t.lately...)
}
