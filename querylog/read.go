package querylog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"schoolgate/policy"
)

// Reader reads the questions of a data directory, with or without a schoolgate that writes there. What one has
// in memory is not there for it: Log.Flush before. Safe for concurrent use.
type Reader struct {
	dir string
	// zone is in which times are written.
	zone *time.Location
}

// NewReader returns a Reader of a data directory. Times are written in zone; nil: UTC.
func NewReader(dataDir string, zone *time.Location) *Reader {
	if zone == nil {
		zone = time.UTC
	}
	return &Reader{Dir(dataDir), zone}
}

// DamagedError says that parts of the files could not be read. What could be was.
type DamagedError struct {
	Places int      // in the files where something is damaged or missing
	Files  []string // their names
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("query log: damaged in %d places, which were left out: %s", e.Places, strings.Join(e.Files, ", "))
}

func (e *DamagedError) add(path string, places int) {
	if places == 0 {
		return
	}
	e.Places += places
	if name := filepath.Base(path); !slices.Contains(e.Files, name) {
		e.Files = append(e.Files, name)
	}
}

// orNil is e, or nil where nothing is damaged.
func (e *DamagedError) orNil() error {
	if e.Places == 0 {
		return nil
	}
	return e
}

// Export calls yield for each question of a client between two times, to excluded, in the order of time; a zero
// time is no bound. The client is an IP address, a MAC address, a device's name or a user's; mac:, name: or
// user: before it says which. An error of yield ends it and is returned. Where something is damaged the rest
// is exported, and the error is a *DamagedError.
func (r *Reader) Export(ctx context.Context, client string, from, to time.Time, yield func(Question) error) error {
	first, last := bounds(from, to)
	all, err := days(r.dir)
	if err != nil {
		return err
	}
	wanted := parseWho(client)
	var damage DamagedError
	for _, d := range all {
		if d.date.UnixMilli() >= last || d.date.Add(dayTime).UnixMilli() <= first {
			continue
		}
		err := d.each(ctx, wanted, first, last, &damage, func(s *stored) error { return yield(s.question(r.zone)) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it was deleted since: its time was over
			return err
		}
	}
	return damage.orNil()
}

// bounds are times in Unix milliseconds.
func bounds(from, to time.Time) (first, last int64) {
	first, last = math.MinInt64, math.MaxInt64
	if !from.IsZero() {
		first = ceilMilli(from)
	}
	if !to.IsZero() {
		last = ceilMilli(to)
	}
	return first, last
}

// ceilMilli is the first whole millisecond that is not before t: questions have whole ones.
func ceilMilli(t time.Time) int64 {
	milli := t.UnixMilli()
	if t.After(time.UnixMilli(milli)) {
		milli++
	}
	return milli
}

// each calls yield for the questions of a day that are selected, in the order of time. Blocks overlap by little, so
// little waits for the next ones.
func (d day) each(ctx context.Context, wanted who, first, last int64, damage *DamagedError, yield func(*stored) error) error {
	f, s, err := d.open()
	if err != nil {
		return err
	}
	defer f.Close()
	damage.add(d.path, s.gaps)
	slices.SortStableFunc(s.blocks, func(a, b placed) int { return cmp.Compare(a.first, b.first) })
	var waiting []stored
	var u unpacker
	// release yields what comes before a time.
	release := func(before int64) error {
		slices.SortStableFunc(waiting, func(a, b stored) int { return cmp.Compare(a.at, b.at) })
		n := 0
		for ; n < len(waiting) && waiting[n].at < before; n++ {
			if err := yield(&waiting[n]); err != nil {
				return err
			}
		}
		waiting = slices.Delete(waiting, 0, n)
		return nil
	}
	for _, b := range s.blocks {
		if !b.overlaps(first, last) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := release(b.first); err != nil {
			return err
		}
		body, err := b.body(f)
		if err != nil {
			return fmt.Errorf("query log: %s: %w", d.path, err)
		}
		found, err := u.unpack(b.header, body, wanted.is)
		if err != nil {
			damage.add(d.path, 1)
			continue
		}
		for _, q := range found {
			if q.at >= first && q.at < last {
				waiting = append(waiting, q)
			}
		}
	}
	return release(math.MaxInt64)
}

// question is s as people see it.
func (s *stored) question(zone *time.Location) Question {
	return Question{
		Time:   time.UnixMilli(s.at).In(zone).Format("2006-01-02T15:04:05.000-07:00"),
		Client: s.client, Group: s.group, Outcome: s.outcome, Category: s.category,
		Query: Query{Name: s.name, Type: policy.TypeName(s.typ), Transport: s.transport},
	}
}
