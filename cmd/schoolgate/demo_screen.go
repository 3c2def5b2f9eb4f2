package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/mattn/go-isatty"
)

// screen shows the demo's day, a line for each thing that happens. Safe for concurrent use: alerts
// come when they come.
type screen struct {
	colour bool

	mu     sync.Mutex
	w      io.Writer
	minute float64 // the clock of the day
}

// The colours (ECMA-48 SGR), where there is a terminal that has them.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	pink   = "35"
)

// newScreen writes in colour to a terminal, unless the environment asks for none (no-color.org).
func newScreen(w io.Writer, env func(string) string) *screen {
	f, isFile := w.(*os.File)
	return &screen{w: w, colour: isFile && isatty.IsTerminal(f.Fd()) && env("NO_COLOR") == "" && env("TERM") != "dumb"} //nolint:misspell // the variable's name
}

// at sets the clock.
func (s *screen) at(minute float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.minute = minute
}

// line shows something that happened now: what it is, in a colour, and the rest.
func (s *screen) line(colour, what, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "%02d:%02d  %s  %s\n", int(s.minute)/60, int(s.minute)%60,
		s.paint(colour, fmt.Sprintf("%-9s", what)), strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// text shows something without a time.
func (s *screen) text(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format+"\n", args...)
}

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
