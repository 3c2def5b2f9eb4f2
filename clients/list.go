package clients

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Client is a client, for people.
type Client struct {
	Addr   netip.Addr `json:"client"`
	MAC    string     `json:"mac"` // "" where it is not known
	Group  string     `json:"group"`
	Shared bool       `json:"shared"`
	First  time.Time  `json:"first"`
	Last   time.Time  `json:"last"` // to the minute
	// Hour and Day are how many questions it asked in the last hour and day, and Names for about how many different
	// names in the last hour or two.
	Hour  uint64 `json:"questions_hour"`
	Day   uint64 `json:"questions_day"`
	Names int    `json:"names"`
	// Times is how many times as much as the median of all clients it asked in the last hour; 0: too few ask.
	Times int `json:"times_median"`
	// Busy says that it asks like many devices, and Silent that it asked as devices do and asks no more.
	Busy   bool `json:"busy"`
	Silent bool `json:"silent"`
	// Seen is when something last showed that the device is on the network, where it did; Still says that this was long
	// after its last question. Lease is until when its lease runs, which says less.
	Seen  time.Time `json:"seen,omitzero"`
	Still bool      `json:"still_on_network"`
	Lease time.Time `json:"lease,omitzero"`
}

const (
	// One that asks as much as busyTimes others together, busyQuestions in an hour at least, and for busyNames times as
	// many names. A median of fewer than busyClients says nothing. The names tell a device in a loop, which asks for a
	// few names all the time, from many devices, which ask for as many as they are different.
	busyTimes     = 30
	busyQuestions = 3000
	busyNames     = 3
	busyClients   = 10

	// One that has not asked for silentFor, though silentOthers others of its group have within goesOnFor, after it had
	// asked in usualHours of the last usualDays school days: so neither a printer that looks for updates once a day, nor
	// a class that has gone home.
	silentFor    = 2 * time.Hour
	goesOnFor    = time.Hour
	silentOthers = 3
	usualHours   = 4
	usualDays    = 5
	// A device that is on the network for stillFor after its last question is there and asks nobody here. One that goes
	// to sleep, or away, is seen for a while too: its lease may be renewed once.
	stillFor = time.Hour
)

// List returns every client, by group and address.
func (r *Register) List(s School) []Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	median, medianNames, asking := r.median(now)
	going := r.goingOn(now)
	lastOfMAC := map[string]time.Time{}
	for _, c := range r.clients {
		if c.MAC != "" && c.Last.After(lastOfMAC[c.MAC]) {
			lastOfMAC[c.MAC] = c.Last
		}
	}
	list := make([]Client, 0, len(r.clients))
	for addr, c := range r.clients {
		out := Client{
			Addr: addr, MAC: c.MAC, Group: c.Group, Shared: c.Shared, First: c.First.In(s.Zone), Last: c.Last.In(s.Zone),
			Hour: c.lastHour(now), Day: c.lastDay(now), Names: c.lastNames(now),
		}
		if asking >= busyClients && median > 0 {
			out.Times = int(out.Hour / median)
			out.Busy = !c.Shared && out.Times >= busyTimes && out.Hour >= busyQuestions && out.Names >= busyNames*medianNames
		}
		out.Silent = now.Sub(r.watching) >= silentFor && now.Sub(c.Last) >= silentFor &&
			// One device has several addresses, and gives those of IPv6 up after a day.
			(c.MAC == "" && addr.Is4() || c.MAC != "" && now.Sub(lastOfMAC[c.MAC]) >= silentFor && c.Last.Equal(lastOfMAC[c.MAC])) &&
			!c.Shared && going[c.Group] >= silentOthers && c.usual(now, s)
		if !c.Seen.IsZero() {
			out.Seen = c.Seen.In(s.Zone)
			out.Still = out.Silent && c.Seen.Sub(c.Last) >= stillFor
		}
		if now.Before(c.lease) {
			out.Lease = c.lease.In(s.Zone)
		}
		list = append(list, out)
	}
	slices.SortFunc(list, func(a, b Client) int { return cmp.Or(cmp.Compare(a.Group, b.Group), a.Addr.Compare(b.Addr)) })
	return list
}

// Whose says of whom, by address or, where that is the zero Addr, by MAC, and of which time.
type Whose struct {
	Addr     netip.Addr
	MAC      string
	From, To time.Time // To is not included
}

// Has reports whether a client is that one, and asked within the time.
func (w Whose) Has(c Client) bool {
	if !c.First.Before(w.To) || c.Last.Before(w.From) {
		return false
	}
	return w.Addr.IsValid() && c.Addr == w.Addr || !w.Addr.IsValid() && w.MAC != "" && c.MAC == w.MAC
}

// Forget forgets a client, and returns how many of its addresses there were.
func (r *Register) Forget(w Whose) (forgotten int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for addr, c := range r.clients {
		if w.Has(Client{Addr: addr, MAC: c.MAC, First: c.First, Last: c.Last}) {
			delete(r.clients, addr)
			forgotten++
		}
	}
	return forgotten
}

// median is that of what each client, but for the shared, asked in the last hour, and of how many names; and how many
// those are. The caller holds mu.
func (r *Register) median(now time.Time) (questions uint64, names, clients int) {
	var asked []uint64
	var named []int
	for _, c := range r.clients {
		if n := c.lastHour(now); n > 0 && !c.Shared {
			asked, named = append(asked, n), append(named, c.lastNames(now))
		}
	}
	if len(asked) == 0 {
		return 0, 0, 0
	}
	slices.Sort(asked)
	slices.Sort(named)
	return asked[len(asked)/2], named[len(named)/2], len(asked)
}

// goingOn counts the clients of each group that have asked just now. The caller holds mu.
func (r *Register) goingOn(now time.Time) map[string]int {
	going := map[string]int{}
	for _, c := range r.clients {
		if now.Sub(c.Last) < goesOnFor {
			going[c.Group]++
		}
	}
	return going
}

// usual reports whether it asked in usualHours of the last usualDays school days, today included.
func (c *client) usual(now time.Time, s School) bool {
	hours, days := 0, 0
	local := now.In(s.Zone)
	today := dayOf(now, s.Zone)
	for back := range daysKept {
		noon := time.Date(local.Year(), local.Month(), local.Day()-back, 12, 0, 0, 0, s.Zone)
		if !s.SchoolDay(noon) {
			continue
		}
		if day := today - int64(back); day <= c.Day && day > c.Day-daysKept {
			hours += int(c.Days[day%daysKept])
		}
		if days++; days == usualDays {
			break
		}
	}
	return hours >= usualHours
}

// Stats is how much is known.
type Stats struct {
	Clients   int    `json:"clients"`
	Silent    int    `json:"silent"`           // that asked as devices do, and ask no more
	Still     int    `json:"still_on_network"` // of those, that are seen on the network
	Forgotten uint64 `json:"forgotten"`        // to make room
	Uncounted uint64 `json:"uncounted"`        // questions of more clients at a time than are counted
}

// Stats returns how much is known, and who asks like many devices.
func (r *Register) Stats(s School) (stats Stats, busy []Client) {
	for _, c := range r.List(s) {
		stats.Clients++
		if c.Silent {
			stats.Silent++
		}
		if c.Still {
			stats.Still++
		}
		if c.Busy {
			busy = append(busy, c)
		}
	}
	slices.SortFunc(busy, func(a, b Client) int { return cmp.Or(cmp.Compare(b.Hour, a.Hour), a.Addr.Compare(b.Addr)) })
	r.mu.Lock()
	defer r.mu.Unlock()
	stats.Forgotten, stats.Uncounted = r.forgotten, r.lost
	return stats, busy
}
