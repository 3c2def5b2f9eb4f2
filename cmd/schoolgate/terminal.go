package main

import (
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"schoolgate/policy/breach"
)

// inert is standard output or error of every command. Whatever a command prints, names that devices and people chose for
// themselves do nothing to the terminal on which it is read: see breach.Escaped. Safe for concurrent use.
type inert struct {
	to io.Writer

	mu   sync.Mutex
	half []byte // the beginning of a character whose end has not been written yet
}

// Write implements io.Writer.
func (i *inert) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	text := append(i.half, p...)
	whole := len(text)
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if last := text[len(text)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				whole -= n
			}
			break
		}
	}
	_, err := i.to.Write(breach.Escaped(text[:whole]))
	i.half = append([]byte(nil), text[whole:]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// bare is the writer itself, for what draws on a terminal.
func bare(w io.Writer) io.Writer {
	if i, ok := w.(*inert); ok {
		return i.to
	}
	return w
}

// cell is a text in a table: one line, without what makes columns.
func cell(text string) string {
	return string(breach.Escaped([]byte(strings.NewReplacer("\n", " ", "\t", " ", "\r", " ").Replace(text))))
}
