package breach

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzInert gives a name that somebody chose to each form of the record, and reads it as its consumers do.
func FuzzInert(f *testing.F) {
	for _, text := range []string{
		"", "www.example.org.", "=cmd|'/c calc'!A1", "\t=1", "＝1", "\x1b[2J\x9b\u009b2J\x7f", "\u202egpj\u2066\u200b\ufeff\u2028", "\U000e0041\U0001f600", `\u202e\\`,
		"\xff\xc3", "a\r\nb", "\ufffd", "\"<>&'",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var line bytes.Buffer
		must(t, WriteLine(&line, []string{text}))
		body, ended := strings.CutSuffix(line.String(), "\n")
		if i := strings.IndexFunc(body, unfit); i >= 0 || !ended || !utf8.ValidString(body) {
			t.Errorf("the line is %q", body)
		}
		var got []string
		must(t, json.Unmarshal(line.Bytes(), &got))
		var valid strings.Builder // a U+FFFD for each octet that is not UTF-8, as encoding/json has it
		for _, r := range text {
			valid.WriteRune(r)
		}
		if got[0] != valid.String() {
			t.Errorf("%q is read as %q", text, got[0])
		}
		if i := strings.IndexFunc(string(Escaped([]byte(text))), func(r rune) bool { return unfit(r) && r != '\n' && r != '\t' }); i >= 0 {
			t.Errorf("on a terminal it is %q", Escaped([]byte(text)))
		}

		var table bytes.Buffer
		w := csv.NewWriter(&table)
		must(t, w.Write([]string{"x", Inert(text)}))
		w.Flush()
		rows, err := csv.NewReader(&table).ReadAll()
		if err != nil || len(rows) != 1 || len(rows[0]) != 2 {
			t.Fatalf("%q: %v", rows, err)
		}
		cell := rows[0][1]
		if first, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune("=+-@＝＋－＠", first) || strings.ContainsFunc(cell, unfit) {
			t.Errorf("the cell is %q", cell)
		}
	})
}

// unfit reports whether a character does anything but stand there.
func unfit(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}
