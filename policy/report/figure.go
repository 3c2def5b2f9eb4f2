package report

import (
	"cmp"
	"slices"
	"strconv"
)

// Few is the least number of devices, or incidents, of which governors are told.
const Few = 5

// Figure is a number as it is shown.
type Figure struct {
	N int64
	// Instead is what is shown in its place; "" for the number itself.
	Instead string
	// Rounded says that N is so, to the nearest five.
	Rounded bool
}

const (
	fewerDevices = "fewer than 5 devices"
	fewerThan    = "fewer than 5"
	notShown     = "not shown"
)

func (f Figure) String() string {
	if f.Instead != "" {
		return f.Instead
	}
	if f.Rounded {
		return "about " + thousands(f.N)
	}
	return thousands(f.N)
}

// Shown reports whether the number itself is told.
func (f Figure) Shown() bool { return f.Instead == "" }

// hidden is a figure of which no more is told than a text.
func hidden(instead string) Figure { return Figure{Instead: instead} }

// thousands writes 1234567 as "1,234,567".
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// atLeast hides a number of one to four.
func atLeast(n int64) Figure {
	if n > 0 && n < Few {
		return hidden(fewerThan)
	}
	return Figure{N: n}
}

// about hides a small number, and rounds others to the nearest five: so that no small one can be worked out from a sum.
func about(n int64) Figure {
	f := atLeast(n)
	if f.Shown() && n > 0 {
		f = Figure{N: (n + Few/2) / Few * Few, Rounded: true}
	}
	return f
}

// protect hides in rows what fewer than five devices did, now and before.
func protect(rows []Row) {
	protectColumn(rows, func(r *Row) (*Figure, bool) { return &r.Now, r.few })
	protectColumn(rows, func(r *Row) (*Figure, bool) { return &r.Before, r.fewThen })
	for i := range rows {
		r := &rows[i]
		if !r.Now.Shown() {
			r.Repeats, r.Watched = hidden(notShown), hidden(notShown)
		} else {
			r.Watched = atLeast(r.Watched.N)
		}
	}
}

// protectColumn hides figures of one column. Where that is one alone, the smallest other goes too.
func protectColumn(rows []Row, column func(*Row) (*Figure, bool)) {
	n := 0
	var shown []*Figure
	for i := range rows {
		switch f, isFew := column(&rows[i]); {
		case f.N == 0:
		case isFew || f.N < Few:
			*f = hidden(fewerDevices)
			n++
		default:
			shown = append(shown, f)
		}
	}
	if n == 1 && len(shown) > 0 {
		*slices.MinFunc(shown, func(a, b *Figure) int { return cmp.Compare(a.N, b.N) }) = hidden(notShown)
	}
}
