package report

import (
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
)

//go:embed report.html
var pageHTML string

//go:embed report.css
var pageCSS string

// page is what the template is given.
type page struct {
	*Report
	Style                                           template.CSS
	Policy                                          string
	Site, Span, SpanBefore, Made, FewerDevices      string
	Governors                                       bool
	CategoryChart, GroupChart, WeekChart, HourChart *Chart
	AnyWatched                                      bool
	Matrix                                          *matrix
	Limits, Kept                                    []string
}

// matrix is how much each group tried in each category.
type matrix struct {
	Groups []string
	Rows   []matrixRow
}

type matrixRow struct {
	Title string
	Cells []string
}

// maxMatrix is how many groups have a column: as many as A4 has room for.
const maxMatrix = 8

// HTML writes the report as one page: it needs no other file, runs no script and asks no server for anything.
func (r *Report) HTML(w io.Writer) error {
	style := sha256.Sum256([]byte(pageCSS))
	p := page{
		Report: r, Style: template.CSS(pageCSS), //nolint:gosec // G203: our own
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'",
		Site:   Text(r.in.Site), Span: r.days(r.in.From, r.in.To), SpanBefore: r.days(r.before, r.in.From), Made: r.in.Made.In(r.in.Zone).Format("2 January 2006"),
		FewerDevices: fewerDevices, Governors: r.in.Governors, Limits: Limits(), Kept: r.in.Kept,
		CategoryChart: rowsChart("c", "Attempts by category", r.Categories), GroupChart: rowsChart("g", "Attempts by group", r.Groups),
		WeekChart:  timeChart("w", "Attempts by week", r.Weeks, max(1, (len(r.Weeks)+7)/8)),
		HourChart:  timeChart("h", "Attempts by hour of the day", r.Hours, 3),
		AnyWatched: slices.ContainsFunc(r.Categories, func(row Row) bool { return row.Watched.N > 0 }),
		Matrix:     r.matrix(),
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"text": Text, "change": change, "number": func(n int) string { return thousands(int64(n)) },
		"moment": func(t time.Time) string { return t.Format("2 Jan 2006, 15:04") },
		"table": func(head string, rows []Row, watched bool) any {
			return struct {
				Head    string
				Rows    []Row
				Watched bool
			}{head, rows, watched}
		},
		"bars": func(head string, bars []Bar) any {
			each := max(4, (len(bars)+2)/3)
			return struct {
				Head  string
				Parts [][]Bar
			}{head, slices.Collect(slices.Chunk(bars, each))}
		},
	}).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return t.Execute(w, p)
}

// days is a span of days as people say it; to is not of it.
func (r *Report) days(from, to time.Time) string {
	const long = "2 January 2006"
	first, last := from.In(r.in.Zone).Format(long), to.Add(-time.Second).In(r.in.Zone).Format(long)
	if first == last {
		return first
	}
	return first + " to " + last
}

// change says by how much a figure grew, "" where that says nothing.
func change(now, before Figure) string {
	switch {
	case !now.Shown() || !before.Shown() || before.N == 0:
		return ""
	case now.N == before.N:
		return "the same"
	}
	percent := (now.N - before.N) * 100 / before.N
	switch {
	case percent == 0:
		return "about the same"
	case percent >= 1000:
		return thousands(now.N/before.N) + " times as much"
	}
	return fmt.Sprintf("%+d%%", percent)
}

// matrix crosses groups and categories, those with most first; nil where that says no more than the other tables.
func (r *Report) matrix() *matrix {
	if r.in.Governors || len(r.Groups) < 2 || len(r.Categories) < 2 {
		return nil
	}
	m := new(matrix)
	sums := map[[2]string]int64{}
	for _, c := range r.Cells {
		sums[[2]string{c.Category, c.Group}] += c.Breaches
	}
	groups := slices.DeleteFunc(slices.Clone(r.Groups), func(g Row) bool { return g.Now.N == 0 })
	groups = groups[:min(len(groups), maxMatrix)]
	for _, g := range groups {
		m.Groups = append(m.Groups, shorten(Text(g.Title), 24))
	}
	for _, c := range r.Categories {
		if c.Now.N == 0 {
			continue
		}
		row := matrixRow{Title: Text(c.Title)}
		for _, g := range groups {
			cell := "–"
			if n := sums[[2]string{c.Name, g.Name}]; n > 0 {
				cell = thousands(n)
			}
			row.Cells = append(row.Cells, cell)
		}
		m.Rows = append(m.Rows, row)
	}
	return m
}

// maxText is how many characters of a text are shown.
const maxText = 500

// Text makes a text fit to be shown in a line: nothing that steers, is invisible, or turns the direction of writing.
func Text(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c), unicode.IsControl(c):
			return ' '
		case unicode.Is(unicode.Cf, c), unicode.Is(unicode.Co, c):
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return shorten(strings.Join(strings.Fields(s), " "), maxText)
}
