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

// lineWidth is that of a terminal that nobody has made larger.
const lineWidth = 80

// line shows something that happened now: what it is, in a colour, and the rest, which goes on in
// further lines where it is long.
func (s *screen) line(colour, what, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const indent = len("15:30 monitored ")
	rest := wrap(cell(fmt.Sprintf(format, args...)), lineWidth-indent)
	fmt.Fprintf(s.w, "%02d:%02d %s %s\n", int(s.minute)/60, int(s.minute)%60,
		s.paint(colour, fmt.Sprintf("%-9s", what)), strings.Join(rest, "\n"+strings.Repeat(" ", indent)))
}

// wrap breaks a text into lines of at most width characters, between words where it can.
func wrap(text string, width int) []string {
	var lines []string
	for {
		text = strings.TrimRight(text, " ")
		runes := []rune(text)
		if len(runes) <= width {
			return append(lines, text)
		}
		at := len(string(runes[:width]))
		if space := strings.LastIndexByte(text[:at+1], ' '); space > 0 {
			at = space
		}
		lines = append(lines, strings.TrimRight(text[:at], " "))
		text = strings.TrimLeft(text[at:], " ")
	}
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
