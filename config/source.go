package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// SourceFile is one of the files that a configuration was read from.
type SourceFile struct {
	Path string // absolute
	Data []byte // its content, which must not be changed
	Hash string // the SHA-256 of Data, lower-case hexadecimal
}

// source is a file while it is read.
type source struct {
	name    string // what messages call it
	path    string // absolute
	dir     string // where its relative paths begin
	called  string // what messages call dir
	rank    int    // how many files extend it, one the other
	data    []byte
	root    *yaml.Node
	origins map[*yaml.Node]origin // of all files together
}

// origin says which file a node is of, where that is another one than its parent's, and which entry of its list
// it is there.
type origin struct {
	file  *source
	index int
}

// of returns the file that a node is of whose parent is of s, and its entry.
func (s *source) of(n *yaml.Node, index int) (*source, int) {
	if s == nil {
		return nil, index
	}
	if o, ok := s.origins[n]; ok {
		return o.file, o.index
	}
	return s, index
}

// mostFiles bounds how many files extend one another: a trust, a region, a site.
const mostFiles = 4

// opener reads a file that another one extends.
type opener func(path string) ([]byte, error)

// gather reads a file and those that it extends, the farthest one last. What can't be read is reported, and ends it.
func gather(r *report, top *source, open opener) []*source {
	top.origins = map[*yaml.Node]origin{}
	files := []*source{top}
	for {
		last := files[len(files)-1]
		within := &report{file: last.name}
		last.root = parse(within, slices.Clone(last.data))
		r.errors = append(r.errors, within.errors...)
		if last.root == nil {
			return files
		}
		extends, at := extended(last)
		if extends == "" {
			return files
		}
		next := &source{path: absolute(extends, last.dir), origins: top.origins}
		next.dir, next.name, next.rank = filepath.Dir(next.path), absolute(extends, last.called), len(files)
		next.called = filepath.Dir(next.name)
		if slices.ContainsFunc(files, func(s *source) bool { return s.path == next.path }) {
			var chain []string
			for _, s := range append(files, next) {
				chain = append(chain, s.name)
			}
			r.fail(at, strings.Join(chain, " -> "), "the files extend each other in a circle")
			return files
		}
		if len(files) == mostFiles {
			r.fail(at, "put some of them together", "more than %d files extend each other", mostFiles)
			return files
		}
		var err error
		if next.data, err = open(next.path); err != nil {
			r.fail(at, "put it there", "%q: %v", extends, err)
			return append(files, next)
		}
		files = append(files, next)
	}
}

// extended returns what a file extends, and where it says so; "" for nothing, and for what is no text, which is
// reported when the file is read as a whole.
func extended(s *source) (path string, at place) {
	root := s.root
	for i := 0; root.Kind == yaml.MappingNode && i+1 < len(root.Content); i += 2 {
		key, v := resolve(root.Content[i]), resolve(root.Content[i+1])
		if key.Value == "extends" && v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			return v.Value, place{line: root.Line, column: root.Column, file: s}.key(v, "extends")
		}
	}
	return "", place{}
}

// absolute makes a path absolute that is relative to a directory.
func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// sourceFiles are the files as the daemon keeps them.
func sourceFiles(files []*source) []SourceFile {
	all := make([]SourceFile, len(files))
	for i, s := range files {
		all[i] = SourceFile{Path: s.path, Data: s.data, Hash: hashOf(s.data)}
	}
	return all
}

// HashFiles is what Config.Hash is of these files: of one its SHA-256, of several that of a text with a line for each
// one's, all in lower-case hexadecimal.
func HashFiles(files []SourceFile) string {
	if len(files) == 1 {
		return files[0].Hash
	}
	var b strings.Builder
	for _, f := range files {
		b.WriteString(f.Hash + "\n")
	}
	return hashOf([]byte(b.String()))
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Files reads the configuration file at path and those that it extends, as far as they can be read, without a look at
// what else they say. Those that cannot are there without Data.
func Files(path string) ([]SourceFile, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	top, err := topSource(data, path)
	if err != nil {
		return nil, err
	}
	return sourceFiles(gather(new(report), top, readFile)), nil
}

func topSource(data []byte, path string) (*source, error) {
	p, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &source{name: path, path: p, dir: filepath.Dir(p), called: filepath.Dir(path), data: data}, nil
}
