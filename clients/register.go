package clients

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// School is what of the configuration counts here.
type School struct {
	// Keep is for how long a client is kept that asks no more; 0: nothing is kept of anybody.
	Keep time.Duration
	Zone *time.Location
	// SchoolDay reports whether a moment is on a day with school, and Terms whether the calendar can tell.
	SchoolDay func(time.Time) bool
	Terms     bool
	Groups    []string
}

// Presence is what shows that a device is on the network, whether it asks or not (identity.Presence).
type Presence struct {
	MAC                    string
	Reached, Lease, SignIn time.Time
}

// Register knows who asks. Safe for concurrent use.
type Register struct {
	now func() time.Time

	mu        sync.Mutex
	clients   map[netip.Addr]*client
	forgotten uint64    // to make room
	lost      uint64    // questions of more clients than fitted a Tally
	watching  time.Time // since when it has been counted without a gap
	merged    time.Time
	history   history
}

// MaxClients is how many clients are known at a time. Of more those go first that have been silent for longest.
const MaxClients = 20_000

// maxGap is how long nothing may be merged before what was asked meanwhile counts as not seen.
const maxGap = 10 * time.Minute

// client is what is known of one. What is written to the file has names there.
type client struct {
	MAC    string    `json:"mac,omitempty"`
	Group  string    `json:"group"`
	Shared bool      `json:"shared,omitempty"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	// Hours is how much it asked in each of the last 24 hours, up to Hour in hours since 1970: that of h in Hours[h%24].
	Hours [24]uint64 `json:"hours"`
	Hour  int64      `json:"hour"`
	// Days is in how many hours of each of the last days it asked, up to Day in days since 1970: that of d in Days[d%8].
	Days [daysKept]uint8 `json:"days"`
	Day  int64           `json:"day"`
	// Seen is when something last showed that the device is on the network.
	Seen time.Time `json:"seen,omitzero"`

	names, namesBefore Sketch // of Hour and the hour before
	lease, signIn      time.Time
}

// daysKept is room for five school days and the weekend between them.
const daysKept = 8

// New makes a Register that knows nobody.
func New(now func() time.Time) *Register {
	return &Register{now: now, clients: map[netip.Addr]*client{}, history: newHistory()}
}

// Merge takes in what was asked since the last call, and what shows who is on the network now. It is to be called once
// a minute.
func (r *Register) Merge(asked []Asked, lost uint64, present map[netip.Addr]Presence, s School) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if gap := now.Sub(r.merged); gap < 0 || gap > maxGap {
		r.watching = now
	}
	r.merged = now
	if s.Keep == 0 {
		r.clients, r.history = map[netip.Addr]*client{}, newHistory()
		return
	}
	r.lost += lost
	perGroup := map[string]uint64{}
	for i := range asked {
		a := &asked[i]
		c := r.clients[a.Client]
		if mac := present[a.Client].MAC; c == nil || mac != "" && c.MAC != "" && mac != c.MAC { // another device has the address now
			c = &client{First: now}
			r.clients[a.Client] = c
		}
		if c.MAC == "" {
			c.MAC = present[a.Client].MAC
		}
		c.Group, c.Shared, c.Last = a.Group, a.Shared, now
		c.count(now, s.Zone, a.Questions, &a.Names)
		perGroup[a.Group] += a.Questions
	}
	for addr, p := range present {
		if c := r.clients[addr]; c != nil {
			c.notePresence(p, now)
		}
	}
	r.tidy(now, s.Keep)
	r.history.merge(now, perGroup, s)
}

// count notes what it asked just now.
func (c *client) count(now time.Time, zone *time.Location, questions uint64, names *Sketch) {
	hour, day := hourOf(now), dayOf(now, zone)
	if hour > c.Hour {
		for h := max(c.Hour+1, hour-23); h <= hour; h++ {
			c.Hours[h%24] = 0
		}
		if c.namesBefore = (Sketch{}); hour == c.Hour+1 {
			c.namesBefore = c.names
		}
		c.names, c.Hour = Sketch{}, hour
		for d := max(c.Day+1, day-daysKept+1); d <= day; d++ {
			c.Days[d%daysKept] = 0
		}
		c.Day = max(c.Day, day)
		c.Days[c.Day%daysKept]++
	}
	c.Hours[c.Hour%24] += questions // in the newest, should the clock have gone back
	c.names.Merge(names)
}

// notePresence notes what shows that the device is there: the kernel reached it, or it renewed what runs out. That a
// lease runs on says nothing: it does so when the device has left. That of another device is no sign of this one.
func (c *client) notePresence(p Presence, now time.Time) {
	if p.MAC != c.MAC {
		return
	}
	if p.Reached.After(c.Seen) {
		c.Seen = p.Reached
	}
	if renewed(c.lease, p.Lease) || renewed(c.signIn, p.SignIn) {
		c.Seen = now
	}
	c.lease, c.signIn = p.Lease, p.SignIn
}

func renewed(before, now time.Time) bool { return !before.IsZero() && now.After(before) }

// tidy forgets who asked last before keep, and the stalest of too many. The caller holds mu.
func (r *Register) tidy(now time.Time, keep time.Duration) {
	maps.DeleteFunc(r.clients, func(_ netip.Addr, c *client) bool { return now.Sub(c.Last) > keep })
	over := len(r.clients) - MaxClients
	if over <= 0 {
		return
	}
	stalest := slices.SortedFunc(maps.Keys(r.clients), func(a, b netip.Addr) int {
		return cmp.Or(r.clients[a].Last.Compare(r.clients[b].Last), b.Compare(a))
	})
	for _, addr := range stalest[:over] {
		delete(r.clients, addr)
	}
	r.forgotten += uint64(over)
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// dayOf counts the days of the school's clock since 1970.
func dayOf(t time.Time, zone *time.Location) int64 {
	local := t.In(zone)
	return time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC).Unix() / 86400
}

// in is how much it asked in an hour.
func (c *client) in(hour int64) uint64 {
	if hour > c.Hour || hour <= c.Hour-24 {
		return 0
	}
	return c.Hours[hour%24]
}

// lastHour is about how much it asked in the hour before now: of the clock's hour before, the part that is as long as
// what is left of this one.
func (c *client) lastHour(now time.Time) uint64 {
	hour := hourOf(now)
	left := 3600 - now.Unix()%3600
	return c.in(hour) + c.in(hour-1)*uint64(left)/3600
}

// lastDay is how much it asked in the day before now.
func (c *client) lastDay(now time.Time) (sum uint64) {
	for h := range int64(24) {
		sum += c.in(hourOf(now) - h)
	}
	return sum
}

// lastNames is about how many different names it asked for in this hour of the clock and the one before.
func (c *client) lastNames(now time.Time) int {
	var both Sketch
	switch hourOf(now) {
	case c.Hour:
		both = c.names
		both.Merge(&c.namesBefore)
	case c.Hour + 1:
		both = c.names
	}
	return both.Count()
}
