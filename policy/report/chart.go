package report

import (
	"cmp"
	"fmt"
)

// Chart is a picture of bars, in the units of its view box. Beside it stands a table with the same figures.
type Chart struct {
	ID            string // of its title and description
	Title, About  string
	Width, Height int
	Bars          []Shape
	Labels        []Label
	Lines         []int // heights of the lines behind the bars
	Legend        bool  // what solid and hatched mean
}

// Shape is a bar. Before is one of the period before, which is hatched: so that both can be told apart in print.
type Shape struct {
	X, Y, Width, Height int
	Before              bool
}

// Label is a text; Anchor is SVG's text-anchor.
type Label struct {
	X, Y   int
	Anchor string
	Text   string
}

const chartWidth = 720

// size is what a bar stands for. A figure that is not told has none.
func size(f Figure) int64 {
	if f.Shown() {
		return f.N
	}
	return 0
}

// scaled is the length of a bar: one that is not nothing can be seen.
func scaled(n, most int64, length int) int {
	if n == 0 {
		return 0
	}
	return max(2, int(float64(n)/float64(most)*float64(length)))
}

// maxRows is how many rows a chart has.
const maxRows = 12

// rowsChart has a bar for each row, and below it that of the period before.
func rowsChart(id, title string, rows []Row) *Chart {
	const left, right, pitch = 250, 90, 34
	rows = rows[:min(len(rows), maxRows)]
	var most int64
	for _, r := range rows {
		most = max(most, size(r.Now), size(r.Before))
	}
	if most == 0 {
		return nil
	}
	c := &Chart{
		ID: id, Title: title, Width: chartWidth, Height: pitch*len(rows) + 8, Legend: true,
		About: fmt.Sprintf("Bars for %s; the longest is %s. The table below has the same figures.", plural(int64(len(rows)), "row", "rows"), thousands(most)),
	}
	for i, r := range rows {
		y := pitch*i + 6
		now, before := scaled(size(r.Now), most, chartWidth-left-right), scaled(size(r.Before), most, chartWidth-left-right)
		c.Bars = append(c.Bars, Shape{left, y, now, 15, false}, Shape{left, y + 16, before, 8, true})
		c.Labels = append(c.Labels,
			Label{left - 8, y + 13, "end", shorten(cmp.Or(r.Title, r.Name), 34)},
			Label{left + now + 6, y + 13, "start", r.Now.String()})
	}
	return c
}

// timeChart has a column for each bar, and a label for every so many.
func timeChart(id, title string, bars []Bar, every int) *Chart {
	const left, top, bottom, height, widest = 64, 12, 28, 200, 90
	var most int64
	for _, b := range bars {
		most = max(most, size(b.Now))
	}
	if most == 0 || len(bars) == 0 {
		return nil
	}
	c := &Chart{
		ID: id, Title: title, Width: chartWidth, Height: height,
		About: fmt.Sprintf("%s; the highest is %s. The table below has the same figures.", plural(int64(len(bars)), "column", "columns"), thousands(most)),
		Lines: []int{top, (top + height - bottom) / 2, height - bottom},
		Labels: []Label{
			{left - 8, top + 5, "end", thousands(most)}, {left - 8, height - bottom + 5, "end", "0"},
		},
	}
	width := min(float64(chartWidth-left)/float64(len(bars)), widest)
	for i, b := range bars {
		x, h := left+int(float64(i)*width), scaled(size(b.Now), most, height-top-bottom)
		c.Bars = append(c.Bars, Shape{x + 1, height - bottom - h, max(2, int(width)-2), h, false})
		if i%every == 0 {
			c.Labels = append(c.Labels, Label{x + int(width/2), height - 8, "middle", b.Label})
		}
	}
	return c
}

// shorten keeps a text to so many characters.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
