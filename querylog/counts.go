package querylog

import (
	"context"
	"maps"
	"math"
	"time"
)

// Count is how many questions of a group had an outcome and a category.
type Count struct {
	Group    string
	Outcome  string // as the label of schoolgate_queries_total
	Category string // "" where none matched
	N        uint64
}

// what is a Count without its number.
type what struct{ group, outcome, category string }

// hourly is a what in an hour.
type hourly struct {
	hour int64 // its beginning, Unix seconds
	what
}

// maxWaitingCounts bounds what waits for a database that can't be written.
const maxWaitingCounts = 100_000

// counting turns totals into what there was in each hour. Run owns it.
type counting struct {
	source func() []Count
	store  *countStore

	before   map[what]uint64 // the totals last seen; nil: of no time that counts
	looked   time.Time
	storedAt time.Time
	waiting  map[hourly]uint64 // not stored yet
}

func newCounting(dataDir, mode string, source func() []Count) *counting {
	c := &counting{source: source, store: &countStore{path: CountsPath(dataDir)}, waiting: map[hourly]uint64{}}
	if mode != None {
		c.before = map[what]uint64{} // totals begin with the process
	}
	return c
}

// turn looks what has been counted, and stores it where that is due or all is to be stored.
func (c *counting) turn(ctx context.Context, mode string, now time.Time, all bool) error {
	if c.source == nil {
		return nil
	}
	switch counted := c.before != nil; {
	case mode != None && (all || !counted || c.isDue(now, c.looked, countEvery)):
		c.look(now, counted)
	case mode == None && counted: // up to now they were to be kept
		c.look(now, true)
		c.before, all = nil, true
	}
	if len(c.waiting) == 0 || !all && !c.isDue(now, c.storedAt, storeEvery) {
		return nil
	}
	if err := c.store.add(ctx, c.waiting); err != nil {
		return err
	}
	c.storedAt = now
	clear(c.waiting)
	return nil
}

// isDue reports whether so much time has passed, or another hour has begun, or the clock went back.
func (c *counting) isDue(now, last time.Time, every time.Duration) bool {
	return now.Sub(last) >= every || now.Before(last) || !now.Truncate(time.Hour).Equal(last.Truncate(time.Hour))
}

// look adds what has been counted since the last look to the hour in which that was: what came at the turn of an hour
// belongs to the one that ends, for Run looks then. Where it does not count, it only takes note of the totals.
func (c *counting) look(now time.Time, counts bool) {
	hour := c.looked
	if hour.IsZero() || now.Before(hour) || now.Sub(hour) > 2*countEvery {
		hour = now
	}
	totals := map[what]uint64{}
	for _, t := range c.source() {
		totals[what{t.Group, t.Outcome, t.Category}] += t.N
	}
	for w, n := range totals {
		before := c.before[w]
		if !counts || n <= before {
			continue
		}
		key := hourly{hour.Unix() - hour.Unix()%3600, w}
		if _, there := c.waiting[key]; there || len(c.waiting) < maxWaitingCounts {
			c.waiting[key] += n - before
		}
	}
	c.before, c.looked = maps.Clone(totals), now
}

// expire deletes the counts of hours before a time.
func (c *counting) expire(ctx context.Context, before time.Time) (n int64, err error) {
	return c.store.expire(ctx, before)
}

func (c *counting) close() error { return c.store.close() }

// HourCount is a Count of one hour: the JSON of `queries counts`.
type HourCount struct {
	Hour     string `json:"hour"` // when it begins, RFC 3339
	Group    string `json:"group"`
	Outcome  string `json:"outcome"`
	Category string `json:"category"` // "" where none matched
	Count    int64  `json:"count"`
}

// ReadCounts calls yield for each count of the hours that begin between two times, to excluded, oldest first; a zero time is no
// bound. An error of yield ends it and is returned. There are none where nothing was ever counted in the data directory.
func ReadCounts(ctx context.Context, dataDir string, zone *time.Location, from, to time.Time, yield func(HourCount) error) error {
	first, last := int64(math.MinInt64), int64(math.MaxInt64)
	if !from.IsZero() {
		first = from.Unix()
	}
	if !to.IsZero() {
		last = to.Unix()
	}
	if zone == nil {
		zone = time.UTC
	}
	return (&countStore{path: CountsPath(dataDir)}).read(ctx, first, last, func(h hourly, n int64) error {
		return yield(HourCount{time.Unix(h.hour, 0).In(zone).Format(time.RFC3339), h.group, h.outcome, h.category, n})
	})
}
