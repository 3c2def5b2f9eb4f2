package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"schoolgate/policy/alert"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
	// longest keeps sums of durations and times within what time.Duration holds.
	longest = 100 * year
)

var durationPart = regexp.MustCompile(`^(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|y)`)

// ParseDuration reads a duration as time.ParseDuration does, with d for 24 hours and y for 365 days,
// alone or combined: "30s", "1d12h", "7y". It refuses negative ones and those over 100 years.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if strings.HasPrefix(s, "-") {
		return 0, wrong("", "%q is negative", s)
	}
	var total float64
	rest := s
	for first := true; first || rest != ""; first = false {
		part := durationPart.FindStringSubmatch(rest)
		if part == nil {
			return 0, wrong(`write it like "30s", "12h", "1d12h" or "7y"`, "%q is not a duration", s)
		}
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, wrong("at most 100y", "%q is too long", s)
		}
		total += n * float64(map[string]time.Duration{
			"ns": 1, "us": time.Microsecond, "µs": time.Microsecond, "ms": time.Millisecond,
			"s": time.Second, "m": time.Minute, "h": time.Hour, "d": day, "y": year,
		}[part[2]])
		rest = rest[len(part[0]):]
	}
	if total > float64(longest) {
		return 0, wrong("at most 100y", "%q is too long", s)
	}
	return time.Duration(math.Round(total)), nil
}

// duration is one within bounds, both included.
func duration(least, most time.Duration) scalar[time.Duration] {
	return scalar[time.Duration]{
		words: "duration",
		schema: object{"anyOf": []any{
			object{"type": "string", "pattern": `^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d|y))+$`}, object{"const": 0},
		}},
		parse: func(s string) (time.Duration, error) {
			d, err := ParseDuration(s)
			if err == nil && (d < least || d > most) {
				err = wrong(fmt.Sprintf("from %s to %s", formatDuration(least), formatDuration(most)), "%q is out of range", s)
			}
			return d, err
		},
	}
}

// formatDuration writes a duration in the largest unit that divides it.
func formatDuration(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{year, "y"}, {day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if d >= u.unit && d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return d.String()
}

func timeZone() scalar[*time.Location] {
	return scalar[*time.Location]{
		words: "time zone", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (*time.Location, error) {
			// "Local" would make the same file mean something else on another machine.
			l, err := time.LoadLocation(s)
			if err != nil || s == "" || s == "Local" {
				return nil, wrong(`write "Europe/London"`, "%q is not a time zone", s)
			}
			return l, nil
		},
	}
}

const dateRule = `\d{4}-\d{2}-\d{2}`

func parseDate(s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return t, wrong("write it like 2026-09-02", "%q is not a date", s)
	}
	return t, nil
}

// date is a calendar day, as its midnight in UTC.
func date() scalar[time.Time] {
	return scalar[time.Time]{words: "date", schema: object{"type": "string", "pattern": "^" + dateRule + "$"}, parse: parseDate}
}

// moment is a day or a point in time.
type moment struct {
	t   time.Time
	day bool
}

// start is the point in time, or when the day begins in the zone.
func (m moment) start(zone *time.Location) time.Time {
	if m.day && !m.t.IsZero() {
		return time.Date(m.t.Year(), m.t.Month(), m.t.Day(), 0, 0, 0, 0, zone)
	}
	return m.t
}

// end is the point in time, or when the day ends in the zone.
func (m moment) end(zone *time.Location) time.Time {
	if m.day {
		m.t = m.t.AddDate(0, 0, 1)
	}
	return m.start(zone)
}

func dateOrTime() scalar[moment] {
	return scalar[moment]{
		words: "date or time", schema: object{"type": "string", "pattern": "^" + dateRule},
		parse: func(s string) (moment, error) {
			if t, err := time.Parse(time.DateOnly, s); err == nil {
				return moment{t, true}, nil
			}
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return moment{}, wrong("write 2026-09-02 or 2026-09-02T15:00:00+01:00", "%q is not a date or time", s)
			}
			return moment{t, false}, nil
		},
	}
}

// dates is a run of days, both ends included, as midnights in UTC.
type dates struct{ from, to time.Time }

func dateRange() scalar[dates] {
	return scalar[dates]{
		words: "date, or first/last date", schema: object{"type": "string", "pattern": "^" + dateRule + "(/" + dateRule + ")?$"},
		parse: func(s string) (d dates, err error) {
			from, to, isRange := strings.Cut(s, "/")
			if d.from, err = parseDate(from); err != nil || !isRange {
				return dates{d.from, d.from}, err
			}
			if d.to, err = parseDate(to); err == nil && d.to.Before(d.from) {
				err = wrong("write first/last", "%q ends before it begins", s)
			}
			return d, err
		},
	}
}

var clockForm = regexp.MustCompile(`^(\d\d):(\d\d)$`)

// clock is a time of the day in minutes since midnight, 24:00 included.
func clock() scalar[int] {
	return scalar[int]{words: "time of the day", schema: object{"type": "string", "pattern": clockForm.String()}, parse: parseClock}
}

func parseClock(s string) (int, error) {
	m := clockForm.FindStringSubmatch(s)
	if m != nil {
		h, _ := strconv.Atoi(m[1])
		min, _ := strconv.Atoi(m[2])
		if t := 60*h + min; t <= 24*60 && min < 60 {
			return t, nil
		}
	}
	return 0, wrong("use 00:00 to 24:00", "%q is not a time", s)
}

// week is a set of weekdays: bit i stands for time.Weekday i.
type week uint8

func parseDays(s string) (week, error) {
	names := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	var w week
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, last := slices.Index(names, from), slices.Index(names, to)
		if first < 0 || last < 0 {
			return 0, wrong(`write "mon-fri" or "mon,wed,fri"`, "%q are not days", s)
		}
		for d := first; ; d = (d + 1) % 7 {
			w |= 1 << d
			if d == last {
				break
			}
		}
	}
	return w, nil
}

func days() scalar[week] {
	return scalar[week]{
		words: "days", schema: object{"type": "string", "pattern": "^[a-z, -]+$"}, parse: parseDays,
	}
}

// digest is the times at which what was gathered is sent: "mon-fri 15:45".
func digest() scalar[alert.Times] {
	return scalar[alert.Times]{
		words: "days and time", schema: object{"type": "string", "pattern": `^[a-z,-]+ \d\d:\d\d$`},
		parse: func(s string) (alert.Times, error) {
			days, at, _ := strings.Cut(s, " ")
			on, err := parseDays(days)
			if err != nil {
				return alert.Times{}, wrong(`write "mon-fri 15:45"`, "%q is not days and a time", s)
			}
			minute, err := parseClock(at)
			if err != nil {
				return alert.Times{}, wrong(`write "mon-fri 15:45"`, "%q is not days and a time", s)
			}
			return alert.Times{Days: uint8(on), Minute: minute}, nil
		},
	}
}
