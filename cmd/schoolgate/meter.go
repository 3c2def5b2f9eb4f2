package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"

	"schoolgate/blocklist/feed"
)

// meter shows how far a Load or an Update is: on a terminal in one line that is written over and over,
// elsewhere, at the end, in a line of the log for each list that took its time, in the order in which they
// were done. What is over at once shows nothing. Safe for concurrent use.
type meter struct {
	w       io.Writer    // the terminal; nil for none
	log     *slog.Logger // without a terminal; nil for none
	now     func() time.Time
	started time.Time

	mu    sync.Mutex
	width int // of what stands on the terminal's line
	work  []*piece
}

// piece is one list, or all, in whatever stage.
type piece struct {
	list        string
	began, last time.Time
}

// worthwhile is from when on there is something to show.
const worthwhile = time.Second

// newMeter returns a meter on standard error. log is for where that is no terminal; nil for nobody.
func newMeter(inv *invocation, log *slog.Logger) *meter {
	m := &meter{log: log, now: time.Now, started: time.Now()}
	if f, isFile := bare(inv.stderr).(*os.File); isFile && isatty.IsTerminal(f.Fd()) && inv.env("TERM") != "dumb" {
		m.w = f
	}
	return m
}

// report is feed.Options.Progress.
func (m *meter) report(p feed.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if m.w != nil {
		if now.Sub(m.started) >= worthwhile {
			m.draw(progressLine(p))
		}
		return
	}
	i := slices.IndexFunc(m.work, func(w *piece) bool { return w.list == p.List })
	if i < 0 {
		i, m.work = len(m.work), append(m.work, &piece{list: p.List, began: now})
	}
	m.work[i].last = now
}

// end wipes the line, or logs what took its time.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.w != nil && m.width > 0 {
		m.draw("")
		fmt.Fprint(m.w, "\r")
	}
	slices.SortStableFunc(m.work, func(a, b *piece) int { return a.last.Compare(b.last) })
	for _, w := range m.work {
		if took := w.last.Sub(w.began); m.log != nil && took >= worthwhile {
			m.log.Info("list read", "list", listName(w.list), "seconds", took.Round(100*time.Millisecond).Seconds())
		}
	}
	m.work = nil
}

// draw replaces what stands on the line.
func (m *meter) draw(line string) {
	width := len([]rune(line))
	fmt.Fprint(m.w, "\r"+line+strings.Repeat(" ", max(0, m.width-width)))
	m.width = width
}

// progressLine is one line, no wider than a terminal:
//
//	read    ut1:adult              [########            ]  40 %  25.1 of 62.7 MB
func progressLine(p feed.Progress) string {
	const bar = 20
	name := []rune(listName(p.List))
	if len(name) > 22 {
		name = append([]rune("…"), name[len(name)-21:]...) // the end of a path or URL says more than its beginning
	}
	line := fmt.Sprintf("%-7s %-22s ", p.Stage, string(name))
	unit, done, total := " MB", float64(p.Done)/1e6, float64(p.Total)/1e6
	if p.Stage == "compile" {
		unit = "M entries"
	}
	if p.Total <= 0 {
		return line + fmt.Sprintf("%.1f%s", done, unit)
	}
	share := min(1, done/total)
	full := int(share * bar)
	return line + fmt.Sprintf("[%s%s] %3.0f %% %.1f of %.1f%s", strings.Repeat("#", full), strings.Repeat(" ", bar-full), 100*share, done, total, unit)
}

func listName(id string) string {
	if id == "" {
		return "all lists"
	}
	return id
}

// metered runs what may take its time with a meter on standard error, if that is a terminal: elsewhere, as
// under cron, a command says nothing but its outcome.
func metered[T any](ctx context.Context, inv *invocation, do func(context.Context, func(feed.Progress)) (T, error)) (T, error) {
	m := newMeter(inv, nil)
	defer m.end()
	return do(ctx, m.report)
}
