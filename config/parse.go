package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// parse reads one YAML document and returns its mapping, or nil after reporting why there is none.
func parse(r *report, data []byte) *yaml.Node {
	if !checkText(r, data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		r.fail(place{}, "schoolgate init writes one to begin with", "the file is empty")
		return nil
	}
	if err != nil {
		syntax(r, data, err)
		return nil
	}
	root := doc.Content[0]
	var more yaml.Node
	switch err := decoder.Decode(&more); {
	case err == nil:
		r.fail(place{line: more.Line, column: more.Column}, "remove the --- and what follows", "a second document")
		return nil
	case !errors.Is(err, io.EOF):
		syntax(r, data, err)
		return nil
	}
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		r.fail(place{}, "schoolgate init writes one to begin with", "the file is empty")
		return nil
	}
	if a := (aliases{active: map[*yaml.Node]bool{}}); !a.check(r, root, false) {
		return nil
	}
	return root
}

// checkText refuses what is not UTF-8 text.
func checkText(r *report, data []byte) bool {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		bad := ""
		switch {
		case c == utf8.RuneError && size == 1:
			bad = "is not UTF-8"
		case c < ' ' && c != '\n' && c != '\r' && c != '\t', c == 0x7f:
			bad = "a control character"
		}
		if bad != "" {
			line, column := position(data, i)
			r.fail(place{line: line, column: column}, "save the file as UTF-8 text", "%s", bad)
			return false
		}
		i += size
	}
	return true
}

var syntaxLine = regexp.MustCompile(`^line (\d+): `)

// syntax reports an error of the YAML parser. What it says of the line is right for the errors of
// its scanner, one too little for those about brackets, and the line where the mapping began, or
// nothing, for the others. For these the line is the first with which the file has the error.
func syntax(r *report, data []byte, err error) {
	message := func(err error) string {
		return strings.TrimPrefix(err.Error(), "yaml: ")
	}
	text := message(err)
	line := 0
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	switch {
	case line > 0 && strings.Contains(text, "expected ','"):
		line++
	case line == 0 || strings.HasPrefix(text, "did not find expected"):
		lines := bytes.SplitAfter(data, []byte("\n"))
		ends := make([]int, 0, len(lines))
		for end, l := 0, 0; l < len(lines); l++ {
			end += len(lines[l])
			ends = append(ends, end)
		}
		line = 1 + sort.Search(len(lines)-1, func(i int) bool {
			var n yaml.Node
			err := yaml.Unmarshal(data[:ends[i]], &n)
			return err != nil && strings.HasSuffix(message(err), text)
		})
	}
	hint := ""
	switch {
	case strings.Contains(text, "tab character"), strings.Contains(text, "cannot start any token"):
		hint = "indent with spaces, and put quotes round what begins with @, ` or %"
	case strings.Contains(text, "mapping values"), strings.Contains(text, "expected key"):
		hint = "look at the indentation, and put quotes round text with a colon in it"
	case strings.Contains(text, "expected ','"):
		hint = "is a bracket or comma missing?"
	case strings.Contains(text, "end of stream"):
		hint = "is a quote missing?"
	}
	line = min(line, bytes.Count(data, []byte("\n"))+1) // it may be noticed behind the end
	r.fail(place{line: line, column: 1}, hint, "not YAML: %s", text)
}

// aliases makes sure that following all aliases of a document ends, and soon: a short file must
// not become a billion values, nor one that holds itself.
type aliases struct {
	active map[*yaml.Node]bool
	values int // inside aliases
}

const maxAliased = 100_000

func (a *aliases) check(r *report, n *yaml.Node, inside bool) bool {
	at := place{line: n.Line, column: n.Column}
	if inside {
		a.values++
	}
	switch target := resolve(n); {
	case a.values > maxAliased:
		r.fail(at, "", "aliases make more than %d values", maxAliased)
		return false
	case a.active[target]:
		r.fail(at, "", "*%s holds itself", n.Value)
		return false
	case target != n:
		return a.check(r, target, true)
	}
	a.active[n] = true
	defer delete(a.active, n)
	for _, c := range n.Content {
		if !a.check(r, c, inside) {
			return false
		}
	}
	return true
}
