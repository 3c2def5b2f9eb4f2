package alert

import "time"

// Times are when a digest is sent, by the clock on the wall. The zero value is never: what the route matches is
// told at once.
type Times struct {
	Days   uint8 // bit i stands for time.Weekday i
	Minute int   // since midnight, 0 to 1440
}

// last returns the newest of the times that is not after a moment; the zero time where there is none.
func (t Times) last(moment time.Time, zone *time.Location) time.Time {
	local := moment.In(zone)
	// Tomorrow too: 24:00 of a day and an hour that does not happen are later than their date says.
	for back := -1; t.Days != 0 && back <= 8; back++ {
		day := time.Date(local.Year(), local.Month(), local.Day()-back, 0, 0, 0, 0, time.UTC)
		if t.Days>>day.Weekday()&1 == 0 {
			continue
		}
		if at := onWall(day.Add(time.Duration(t.Minute)*time.Minute), zone); !at.After(moment) {
			return at
		}
	}
	return time.Time{}
}

// onWall returns when the clock on the wall shows what a time in UTC shows: the first time, where clocks that go back
// show it twice, and as much after the gap as it is after its beginning, where clocks that go forward never do.
func onWall(shows time.Time, zone *time.Location) time.Time {
	var at time.Time
	for i, around := range []time.Duration{-26 * time.Hour, 26 * time.Hour} {
		_, offset := shows.Add(around).In(zone).Zone()
		t := shows.Add(-time.Duration(offset) * time.Second)
		if _, is := t.In(zone).Zone(); is == offset {
			return t
		}
		if i == 0 {
			at = t
		}
	}
	return at
}
