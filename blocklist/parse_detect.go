package blocklist

import (
	"bytes"
	"fmt"
	"strings"
)

// sniff refuses what is not text, or a web page. A list server that fails often answers with one.
func sniff(head []byte) error {
	for _, m := range []struct{ magic, what string }{
		{"\x1f\x8b", "compressed with gzip"},
		{"PK\x03\x04", "a zip archive"},
		{"BZh", "compressed with bzip2"},
		{"\x28\xb5\x2f\xfd", "compressed with zstd"},
		{"\xfd7zXZ\x00", "compressed with xz"},
		{"\xff\xfe", "UTF-16, save it as UTF-8"},
		{"\xfe\xff", "UTF-16, save it as UTF-8"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return fmt.Errorf("%w: %s", ErrNotList, m.what)
		}
	}
	text := trimBlank(head)
	switch {
	case len(text) == 0:
		return fmt.Errorf("%w: nothing in it", ErrEmpty)
	case text[0] == '<':
		return fmt.Errorf("%w: HTML or XML", ErrNotList)
	}
	return nil
}

// trimBlank takes off what a reader does not see: white space, and at the front byte order marks, of
// which there are several where files were joined.
func trimBlank(text []byte) []byte {
	for {
		text = bytes.TrimSpace(text)
		rest, found := bytes.CutPrefix(text, []byte("\xef\xbb\xbf"))
		if !found {
			return text
		}
		text = rest
	}
}

// isHTML reports whether a line starts a web page, as the rest of a download does that broke off.
func isHTML(line []byte) bool {
	line = trimBlank(line)
	if len(line) == 0 || line[0] != '<' {
		return false
	}
	line = bytes.ToLower(line[:min(len(line), 10)])
	for _, tag := range []string{"<!doctype", "<html", "<head", "<body", "</html", "</body"} {
		if bytes.HasPrefix(line, []byte(tag)) {
			return true
		}
	}
	return false
}

// sampleLines is how many lines with content detect reads in every format.
const sampleLines = 500

// detect returns the format in which most entries of the list's beginning are well formed.
func detect(head []byte) (Format, error) {
	sample, wildcards := contentLines(head)
	if len(sample) == 0 {
		return "", fmt.Errorf("%w: nothing but comments", ErrEmpty)
	}
	best, most := Format(""), 0
	for _, f := range Formats() {
		p := newParser(f, Options{})
		for _, line := range sample {
			p.read(line)
		}
		if p.recognised > most {
			best, most = f, p.recognised
		}
	}
	switch {
	case best == "":
		return "", fmt.Errorf("%w: none of its first %d lines is in a known format", ErrNotList, len(sample))
	case best == FormatDomains && 2*wildcards >= len(sample): // the same reader, another name
		best = FormatWildcard
	}
	return best, nil
}

// contentLines returns the first lines that are neither blank nor a comment, and how many of them
// begin with "*.".
func contentLines(head []byte) (lines []string, wildcards int) {
	for line := range bytes.Lines(head) {
		text := bytes.TrimSpace(line)
		if len(line) > maxLine || len(text) == 0 || strings.IndexByte("#!;", text[0]) >= 0 {
			continue
		}
		if bytes.HasPrefix(text, []byte("*.")) {
			wildcards++
		}
		lines = append(lines, string(line))
		if len(lines) == sampleLines {
			break
		}
	}
	return lines, wildcards
}
