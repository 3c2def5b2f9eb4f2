package blocklist

import (
	"bytes"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// realLists is where the public lists are that tests read, if they are there.
const realLists = "../../shared/lists"

// readRealLists returns the bytes of every real list by its path below realLists.
func readRealLists(tb testing.TB) map[string][]byte {
	tb.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(realLists, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".md" {
			return err
		}
		rel, err := filepath.Rel(realLists, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	})
	if os.IsNotExist(err) {
		tb.Skip("the real lists are not there")
	}
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// realSources returns the real lists without the popular names, each in a category of its own.
func realSources(tb testing.TB) []Source {
	tb.Helper()
	var sources []Source
	files := readRealLists(tb)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		data := files[path]
		if strings.HasPrefix(path, "popular/") {
			continue
		}
		list, err := Parse(bytes.NewReader(data), Options{})
		if err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		sources = append(sources, Source{ID: path, Category: Category(len(sources) % MaxCategories), List: list})
	}
	return sources
}

func BenchmarkParse(b *testing.B) {
	files := readRealLists(b)
	size := 0
	for _, data := range files {
		size += len(data)
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		for path, data := range files {
			if _, err := Parse(bytes.NewReader(data), Options{}); err != nil {
				b.Fatalf("%s: %v", path, err)
			}
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	sources := realSources(b)
	entries := 0
	distinct := map[Name]bool{}
	for _, s := range sources {
		for n := range s.List.Names() {
			entries++
			distinct[n] = true
		}
	}
	var s *Set
	for b.Loop() {
		s = Build(sources)
	}
	b.ReportMetric(float64(s.parts[0].Bytes())/float64(len(distinct)), "B/name")
	b.ReportMetric(float64(len(distinct)), "names")
}

// BenchmarkMatch looks up names in random order in a set of all real lists.
func BenchmarkMatch(b *testing.B) {
	sources := realSources(b)
	var listed []Name
	for _, src := range sources {
		listed = slices.AppendSeq(listed, src.List.Names())
	}
	benchMatch(b, Build(sources), listed)
}

func benchMatch(b *testing.B, s *Set, listed []Name) {
	b.Helper()
	list, err := Parse(bytes.NewReader(readRealLists(b)["popular/domains"]), Options{})
	if err != nil {
		b.Fatal(err)
	}
	popular := slices.Collect(list.Names())
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 10, uint64(len(popular)-1))
	one := func() Name { return listed[random.IntN(len(listed))] }
	for _, bench := range []struct {
		name string
		draw func() Name
	}{
		{"hit", one},
		{"below", func() Name { return "\x03www" + one() }},
		{"below2", func() Name { return "\x03www\x01x" + one() }},
		{"miss", func() Name { return near(random, one(), 3+random.IntN(4)) }},
		{"popular", func() Name { return popular[zipf.Uint64()] }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			keys := drawKeys(1<<20, bench.draw)
			b.ReportAllocs()
			i, hits := 0, 0
			for b.Loop() {
				if s.Match(keys[i&(len(keys)-1)]) != 0 {
					hits++
				}
				i++
			}
			b.ReportMetric(float64(hits)/float64(i)*100, "%hit")
		})
	}
}

// drawKeys returns keys that lie one behind the other: a packet's name is in the cache already.
func drawKeys(n int, draw func() Name) [][]byte {
	var all []byte
	ends := make([]int, n+1)
	for i := range n {
		all = append(all, draw()...)
		ends[i+1] = len(all)
	}
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = all[ends[i]:ends[i+1]]
	}
	return keys
}

func BenchmarkAttribute(b *testing.B) {
	sources := realSources(b)
	s := Build(sources)
	n := Name("\x03www\x0bpornography\x07example\x00")
	for first := range sources[0].List.Names() {
		n = "\x03www" + first
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Attribute(n, sources[0].Category)
	}
}
