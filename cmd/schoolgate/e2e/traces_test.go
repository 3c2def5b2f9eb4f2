//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secretList is a confidential list of three names, each with a word that stands nowhere else: one name, one
// of an address with a path, one with letters of another alphabet.
type secretList struct{ word, idn, punycode string }

// The lists, by the way in which each comes.
var (
	inClear   = secretList{"qzvclrxw", "щъыэюячг", "c1a3bfefmhi"}
	encrypted = secretList{"qzvsldxw", "щъыэюясг", "c1a1axefmhi"}
	fetched   = secretList{"qzvrmtxw", "щъыэюярг", "c1az0aefmhi"}
)

func (l secretList) name() string     { return l.word + ".example" }
func (l secretList) withPath() string { return l.word + "-path.example" }
func (l secretList) foreign() string  { return "xn--" + l.punycode + ".example" }

// text is the list, with lines that are wrong, and filler to the size of a real one.
func (l secretList) text(filler int) string {
	out := new(strings.Builder)
	fmt.Fprintf(out, "https://%s/\nhttps://%s/%s/photo.jpg\nhttps://%s.example/\n", strings.ToUpper(l.name()), l.withPath(), l.word, l.idn)
	fmt.Fprintf(out, "https://%s..example/\nhttps://%s.*.example/\n%s %s %s\n||%s-rule.example^$third-party\n", l.word, l.word, l.word, l.word, l.word, l.word)
	for i := range filler {
		fmt.Fprintf(out, "https://site%d.confidential.example/\n", i)
	}
	return out.String()
}

// traces are what none of the names may leave anywhere, in lower case where case does not matter.
func traces() (anyCase, exact [][]byte) {
	for _, l := range []secretList{inClear, encrypted, fetched} {
		for _, word := range []string{l.word, l.idn, strings.ToUpper(l.idn), l.punycode} {
			anyCase = append(anyCase, []byte(word), []byte(hex.EncodeToString([]byte(word))))
			for shift := range 3 { // base64 of it, wherever in the text it stands
				coded := base64.StdEncoding.EncodeToString([]byte("   "[:shift] + word))
				exact = append(exact, []byte(coded[(8*shift+5)/6:len(coded)-4]))
			}
		}
	}
	return anyCase, exact
}

// traced fails the test where data has a trace of one of the names. The name inside the message of a
// question, labels behind their lengths, is one.
func traced(t *testing.T, where string, data []byte) {
	t.Helper()
	lower := bytes.Clone(data)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	report := func(in, trace []byte) {
		at := bytes.Index(in, trace)
		if at >= 0 {
			t.Errorf("%s has %q: %q", where, trace, in[max(0, at-100):min(len(in), at+100)])
		}
	}
	anyCase, exact := traces()
	for _, trace := range anyCase {
		report(lower, trace)
	}
	for _, trace := range exact {
		report(data, trace)
	}
}

// tracedFiles searches every file of the data directory and of the directory for temporary files, and
// every file that the program has open in them, also where its name is gone.
func (s *site) tracedFiles(t *testing.T, when string) {
	t.Helper()
	searched := 0
	read := func(path string) {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			t.Error(err)
		}
		traced(t, when+": "+path, data)
		searched += len(data)
	}
	for _, dir := range []string{s.dataDir(), filepath.Join(s.dir, "tmp")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			traced(t, when+": the name of a file", []byte(path))
			if err == nil && d.Type().IsRegular() {
				read(path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.cmd.Process.Pid)) // none where it does not run
	for _, fd := range open {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, s.dir) {
			read(fd)
		}
	}
	if searched == 0 {
		t.Errorf("%s: there was nothing to search", when)
	}
}
