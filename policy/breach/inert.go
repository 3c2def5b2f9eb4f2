package breach

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Names and notes are kept as they were chosen. What they may do where they are shown is for each form of showing to
// prevent: this file has what the record's own forms and the terminal need.

// steers reports whether a character does something else than stand there: it steers a terminal, begins a line, is
// invisible, or turns the direction of writing around.
func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Escaped returns a text in which whatever steers is written as \uXXXX, but for tabs and the ends of lines. What is not
// UTF-8 becomes U+FFFD. In JSON such characters stand in strings only, where the escape means the same (RFC 8259 §7).
// It returns the text itself where there is nothing to escape.
func Escaped(text []byte) []byte {
	clean := func(r rune) bool { return r == '\n' || r == '\t' || r != utf8.RuneError && !steers(r) }
	first := bytes.IndexFunc(text, func(r rune) bool { return !clean(r) })
	if first < 0 {
		return text
	}
	out := bytes.NewBuffer(append(make([]byte, 0, len(text)+32), text[:first]...))
	for _, r := range string(text[first:]) {
		if clean(r) || r == utf8.RuneError {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(out, `\u%04x`, unit)
		}
	}
	return out.Bytes()
}

// Inert returns a cell that a spreadsheet does not take for a formula: where it would begin one, an apostrophe stands
// before it (OWASP, "CSV Injection"; in East Asia the wide forms begin one too). Whatever steers is replaced, so that a
// record is one line and reads as it is.
func Inert(cell string) string {
	text := strings.Map(func(r rune) rune {
		if steers(r) {
			return unicode.ReplacementChar
		}
		return r
	}, cell)
	if first, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + text
	}
	return text
}
