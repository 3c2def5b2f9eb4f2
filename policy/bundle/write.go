package bundle

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // the README
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"schoolgate/policy/breach"
)

// Options is what a bundle says beside the case.
type Options struct {
	Site    string // the school's
	Version string // of schoolgate
}

// file is one of the bundle.
type file struct {
	name    string
	content []byte
}

// sealedDir is where the sealed names are.
const sealedDir = "sealed/"

// Write writes the bundle of a case.
func Write(w io.Writer, c *breach.Case, o Options) error {
	files, err := filesOf(c, o)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	out := zip.NewWriter(w)
	for _, f := range files {
		entry, err := out.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate}) // no time: it would differ
		if err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		if _, err := entry.Write(f.content); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}

// filesOf returns the files of a bundle in the order of their names, the checksums last.
func filesOf(c *breach.Case, o Options) ([]file, error) {
	var errs []error
	add := func(content []byte, err error) []byte { errs = append(errs, err); return content }
	breaches := make([]breach.Breach, 0, len(c.Timeline))
	for _, e := range c.Timeline {
		breaches = append(breaches, e.Breach)
	}
	files := []file{
		{"README.txt", add(readme(c, o))},
		{"anchor.txt", fmt.Appendf(nil, "%d:%s\n", c.Head.Seq, c.Head.Hash)},
		{"audit.jsonl", add(lines(c.Acts))},
		{"breaches.csv", add(table(breaches))},
		{"breaches.jsonl", add(lines(breaches))},
		{"chain.jsonl", add(lines(c.Links))},
		{"incident.html", add(page(c, o))},
		{"incident.json", add(indented(c.Whole))},
		{"notes.jsonl", add(lines(c.Notes))},
	}
	if len(c.Around) > 0 {
		files = append(files, file{"around.jsonl", add(lines(c.Around))})
	}
	if c.Questions != nil {
		files = append(files, file{"questions.jsonl", add(lines(c.Questions))})
	}
	for _, s := range c.Sealed {
		files = append(files, file{fmt.Sprintf("%s%d.age", sealedDir, s.Seq), s.Ciphertext})
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	var sums bytes.Buffer // as sha256sum reads them
	for _, f := range files {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(f.content), f.name)
	}
	return append(files, file{"SHA256SUMS", sums.Bytes()}), nil
}

// lines writes one JSON document a line.
func lines[T any](all []T) ([]byte, error) {
	var b bytes.Buffer
	for _, one := range all {
		if err := breach.WriteLine(&b, one); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func indented(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(breach.Escaped(b), '\n'), err
}

// table writes breaches as CSV, for a case system that takes no JSON.
func table(breaches []breach.Breach) ([]byte, error) {
	var b bytes.Buffer
	w, err := breach.NewCSVWriter(&b)
	for _, one := range breaches {
		if err == nil {
			err = w.Write(one)
		}
	}
	if err == nil {
		err = w.Flush()
	}
	return b.Bytes(), err
}

//go:embed README.txt
var readmeText string

// readme says what is what, and how it is checked.
func readme(c *breach.Case, o Options) ([]byte, error) {
	t, err := template.New("README.txt").Parse(readmeText)
	if err != nil {
		return nil, err
	}
	var persons []string
	for _, s := range c.Sealed {
		if p := oneLine(s.Person) + ", key " + s.Recipient; !slices.Contains(persons, p) {
			persons = append(persons, p)
		}
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		ID, Site, Version, Anchor string
		Persons                   string
		LeftOut                   int64
		Around, Questions         bool
	}{
		c.ID, oneLine(o.Site), o.Version, fmt.Sprintf("%d:%s", c.Head.Seq, c.Head.Hash), strings.Join(persons, "\n        "), c.TimelineLeftOut,
		len(c.Around) > 0, c.Questions != nil,
	})
	return b.Bytes(), err
}
