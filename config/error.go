package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one problem of a configuration, at the place where it stands.
type Error struct {
	File    string `json:"file"`   // as it was given on the command line
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1, in characters
	Path    string `json:"path"`   // of the key: "groups.year7.block[2]"; "" for the whole file
	Problem string `json:"problem"`
	Hint    string `json:"hint"` // what to do, or ""
}

// Error returns "file:line:column: path: problem (hint)", without what is empty.
func (e Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Problem)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Errors are the problems of a file in the order of their lines, and behind them those of the files that it extends.
type Errors []Error

// Error returns the problems, one a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// sort sorts by the order of the files, then by line.
func (es Errors) sort(files []*source) {
	order := map[string]int{}
	for i, f := range files {
		order[f.name] = i
	}
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// place is where a value stands in the file. That of a default has line 0.
type place struct {
	line, column int
	path         string
	file         *source // nil: the one file that there is
}

func (p place) written() bool { return p.line > 0 }

// where says where p is, as somebody is told who edits its file or one that extends it.
func (p place) where() string { return fmt.Sprintf("%s:%d:%d", p.file.name, p.line, p.column) }

// onLine says where p is to whoever looks at another place: "on line 12", or "in trust.yaml:12".
func (p place) onLine(from place) string {
	if p.file != from.file {
		return fmt.Sprintf("in %s:%d", p.file.name, p.line)
	}
	return fmt.Sprintf("on line %d", p.line)
}

// report gathers what is wrong with a file, what to warn of, and what is not acted upon yet.
type report struct {
	file     string
	errors   Errors
	warnings Errors
	later    []place
	broken   map[string]bool // the paths of errors, and all above them
	unknown  map[string]bool // the paths of mappings with a key that is not known
}

func (r *report) fail(p place, hint, format string, args ...any) {
	r.errors = append(r.errors, r.problem(p, hint, format, args...))
	if r.broken == nil {
		r.broken = map[string]bool{}
	}
	for path := p.path; !r.broken[path]; path = path[:max(strings.LastIndexAny(path, ".["), 0)] {
		r.broken[path] = true
	}
}

// failed reports whether something at or below p has been reported, so that what follows from it is
// not reported too.
func (r *report) failed(p place) bool { return r.broken[p.path] }

// misspelt reports whether the mapping at p has a key that is not known: it may be the one that is
// missed.
func (r *report) misspelt(p place) bool { return r.unknown[p.path] }

// failKey fails a key of the mapping at p that is none of the known ones.
func (r *report) failKey(p place, key place, word string, known []string) {
	if r.unknown == nil {
		r.unknown = map[string]bool{}
	}
	r.unknown[p.path] = true
	var elsewhere []string
	for _, k := range known {
		if k == word+"_file" || k == word+"_env" {
			elsewhere = append(elsewhere, k)
		}
	}
	if len(elsewhere) > 0 {
		r.fail(key, "use "+strings.Join(elsewhere, " or "), "a secret is never written here")
		return
	}
	r.fail(key, nearest(word, known), "unknown key")
}

func (r *report) warn(p place, hint, format string, args ...any) {
	r.warnings = append(r.warnings, r.problem(p, hint, format, args...))
}

func (r *report) problem(p place, hint, format string, args ...any) Error {
	file := r.file
	if p.file != nil {
		file = p.file.name
	}
	return Error{
		File: file, Line: max(p.line, 1), Column: max(p.column, 1), Path: p.path,
		Problem: fmt.Sprintf(format, args...), Hint: hint,
	}
}

// notYet notes a key that asks for something which this version does not do.
func (r *report) notYet(p place) {
	r.later = append(r.later, p)
}

// laterPaths are the paths of those keys in the order of the file.
func (r *report) laterPaths() []string {
	slices.SortStableFunc(r.later, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	paths := make([]string, 0, len(r.later))
	for _, p := range r.later {
		paths = append(paths, p.path)
	}
	return paths
}

// failure is an error of a value, with a hint. The readers of scalars return it.
type failure struct{ what, hint string }

func (f failure) Error() string {
	if f.hint == "" {
		return f.what
	}
	return f.what + " (" + f.hint + ")"
}

func wrong(hint, format string, args ...any) error {
	return failure{fmt.Sprintf(format, args...), hint}
}

// nearest returns a hint that names the known word which is most like word.
func nearest(word string, known []string) string {
	if len(known) == 0 {
		return "none is written"
	}
	// By the share of letters that differ, or short words would be near to everything.
	share := func(s string) float64 { return float64(distance(word, s)) / float64(max(len(word), len(s))) }
	best := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(share(a), share(b)) })
	return fmt.Sprintf("the nearest is %q", best)
}

// distance is the number of letters to insert, drop, replace or swap with the next one that turns
// a into b, whatever their case.
func distance(a, b string) int {
	s, t := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	// A key longer than this is like none; the table stays small whatever the file holds.
	const longest = 64
	s, t = s[:min(len(s), longest)], t[:min(len(t), longest)]
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
		for j := 1; j <= len(t); j++ {
			if i == 0 {
				rows[i][j] = j
				continue
			}
			replaced := rows[i-1][j-1]
			if s[i-1] != t[j-1] {
				replaced++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replaced)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(s)][len(t)]
}
