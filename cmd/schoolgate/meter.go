package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"

	"schoolgate/blocklist/feed"
)

// meter shows how far a Load or an Update is: on a terminal in one line that is written over and over,
// elsewhere in a line of the log for each thing that took its time. What is over at once shows nothing.
// Safe for concurrent use.
type meter struct {
	w       io.Writer    // the terminal; nil for none
	log     *slog.Logger // without a terminal
	now     func() time.Time
	started time.Time

	mu    sync.Mutex
	width int // of what stands on the terminal's line
	work  map[feed.Progress]*piece
}

// piece is one list, or all, in one stage.
type piece struct {
	began, last time.Time
	done        int64
	logged      bool
}

// worthwhile is from when on there is something to show.
const worthwhile = time.Second

// newMeter returns a meter on standard error. log is for where that is no terminal.
func newMeter(inv *invocation, log *slog.Logger) *meter {
	m := &meter{log: log, now: time.Now, started: time.Now(), work: map[feed.Progress]*piece{}}
	if f, isFile := inv.stderr.(*os.File); isFile && isatty.IsTerminal(f.Fd()) && inv.env("TERM") != "dumb" {
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
	key := feed.Progress{List: p.List, Stage: p.Stage}
	work := m.work[key]
	if work == nil {
		work = &piece{began: now}
		m.work[key] = work
	}
	work.last, work.done = now, p.Done
	if p.Total > 0 && p.Done >= p.Total {
		m.tell(key, work)
	}
}

// end wipes the line, and logs what came to no end of its own.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.w != nil && m.width > 0 {
		m.draw("")
		fmt.Fprint(m.w, "\r")
	}
	for key, work := range m.work {
		m.tell(key, work)
	}
	m.work = map[feed.Progress]*piece{}
}

func (m *meter) tell(key feed.Progress, work *piece) {
	took := work.last.Sub(work.began)
	if work.logged || took < worthwhile {
		return
	}
	work.logged = true
	m.log.Info("lists", "stage", key.Stage, "list", listName(key.List), amount(key.Stage), work.done, "seconds", took.Seconds())
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
	if amount(p.Stage) == "entries" {
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

// amount is what the numbers of a stage count.
func amount(stage string) string {
	if stage == "compile" {
		return "entries"
	}
	return "bytes"
}

// metered runs what may take its time with a meter on standard error.
func metered[T any](ctx context.Context, inv *invocation, do func(context.Context, func(feed.Progress)) (T, error)) (T, error) {
	m := newMeter(inv, logger(inv))
	defer m.end()
	return do(ctx, m.report)
}
