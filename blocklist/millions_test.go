package blocklist

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// How many names the tests and benchmarks of large lists are about, and how many questions the
// comparison with a map asks. For what is promised of five million:
//
//	go test ./blocklist -run Millions -names 5000000 -probes 10000000 -v
//	go test ./blocklist -run - -bench Millions -names 5000000
var (
	nameCount  = flag.Int("names", 200_000, "names of the tests of large lists")
	probeCount = flag.Int("probes", 400_000, "questions of the comparison with a map")
)

// millions returns the text of a list of that many names, made from the names of the real lists: their
// top-level domains, their depths, halves of their labels put together anew. It is the same each time.
func millions(tb testing.TB, count int) []byte {
	tb.Helper()
	var labels, tlds, subs []string
	names := map[string]bool{}
	var out bytes.Buffer
	for _, src := range realSources(tb) {
		for n := range src.List.Names() {
			name := n.String()
			if names[name] || len(names) == count {
				continue
			}
			names[name] = true
			out.WriteString(name + "\n")
			parts := strings.Split(name, ".")
			tlds, labels = append(tlds, parts[len(parts)-1]), append(labels, parts[len(parts)-2])
			if len(parts) > 2 {
				subs = append(subs, parts[0])
			}
		}
	}
	random := rand.New(rand.NewPCG(2026, 9))
	one := func(from []string) string { return from[random.IntN(len(from))] }
	label := func() string {
		a, b := one(labels), one(labels)
		return a[:len(a)/2] + b[len(b)/2:]
	}
	hosters := make([]string, 200)
	for i := range hosters {
		hosters[i] = "blog" + one(labels) + "." + one(tlds)
	}
	for len(names) < count {
		name := label() + "." + one(tlds)
		switch r := random.Float64(); {
		case r > .8:
			name = label() + "." + one(hosters)
		case r > .55:
			name = one(subs) + "." + name
		}
		if !names[name] && len(name) < 200 {
			names[name] = true
			out.WriteString(name + "\n")
		}
	}
	return out.Bytes()
}

// compileMillions parses and compiles the list.
func compileMillions(tb testing.TB, text []byte) (*Part, time.Duration, time.Duration) {
	tb.Helper()
	start := time.Now()
	list, err := Parse(bytes.NewReader(text), Options{})
	if err != nil {
		tb.Fatal(err)
	}
	parsed := time.Now()
	p := CompilePart([]Member{{List: list}}, 1, nil)
	list.Release()
	return p, parsed.Sub(start), time.Since(parsed)
}

func TestMillionsOfNamesAreMatchedExactly(t *testing.T) {
	text := millions(t, *nameCount)
	part, parsing, compiling := compileMillions(t, text)
	s := NewSet([]Source{{ID: "millions", Category: 5}}, []Placed{{Part: part, Sources: []int{0}}})
	t.Logf("%d names kept, %d bytes, %.2f a name of the list; parsed in %v, compiled in %v",
		part.Names(), part.Bytes(), float64(part.Bytes())/float64(*nameCount), parsing, compiling)

	listed := map[string]bool{}
	list, err := Parse(bytes.NewReader(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []Name
	for n := range list.Names() {
		listed[string(n)] = true
		keys = append(keys, n)
	}
	random := rand.New(rand.NewPCG(3, 4))
	hits := 0
	for i := range *probeCount {
		n := near(random, keys[random.IntN(len(keys))], i%8)
		want := Categories(0)
		for up := n; up != ""; up = up.Parent() {
			if listed[string(up)] {
				want = want.With(5)
			}
		}
		if got := s.Match([]byte(n)); got != want {
			t.Fatalf("%s: %b, a map says %b", n, got, want)
		}
		if want != 0 {
			hits++
		}
	}
	t.Logf("%d questions, %d of listed names: no difference", *probeCount, hits)
}

// near returns a name: n, one below, one above, or one that only looks like it.
func near(random *rand.Rand, n Name, how int) Name {
	label, parent := n.split()
	changed := []byte(label)
	at := random.IntN(len(changed))
	other := "abcdefghijklmnopqrstuvwxyz0123456789-_\x00\xff"[random.IntN(40)]
	switch how {
	case 1:
		return "\x03www" + n
	case 2:
		return parent
	case 3: // one letter is another
		changed[at] = other
	case 4: // one more
		changed = slices.Insert(changed, at, other)
	case 5: // one less
		changed = slices.Delete(changed, at, at+1)
	case 6: // notexample.org for example.org
		changed = append([]byte("not"), changed...)
	case 7: // a name nobody has
		return Name("\x0a"+strconv.FormatUint(random.Uint64N(9e9)+1e9, 10)) + parent
	default:
		return n
	}
	if len(changed) == 0 || len(changed) > maxLabel || len(parent)+len(changed)+1 > maxName {
		return parent
	}
	return Name([]byte{byte(len(changed))}) + Name(changed) + parent
}

// residentKB is what the process has in memory.
func residentKB(tb testing.TB) int {
	tb.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		tb.Fatal(err)
	}
	return kb
}

func BenchmarkMillionsCompile(b *testing.B) {
	text := millions(b, *nameCount)
	before := residentKB(b)
	var p *Part
	for b.Loop() {
		p, _, _ = compileMillions(b, text)
	}
	b.ReportMetric(float64(p.Bytes())/float64(*nameCount), "B/name")
	b.ReportMetric(float64(residentKB(b)-before)*1024/float64(*nameCount), "resident-B/name")
	runtime.KeepAlive(p)
	runtime.KeepAlive(text)
}

func BenchmarkMillionsRead(b *testing.B) {
	p, _, _ := compileMillions(b, millions(b, *nameCount))
	var file bytes.Buffer
	if _, err := p.WriteTo(&file); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(file.Len()))
	for b.Loop() {
		if _, err := ReadPart(bytes.NewReader(file.Bytes())); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMillionsMatch asks in random order: of listed names, of names one and two labels below, of
// names in no list, and of popular ones as they are asked for.
func BenchmarkMillionsMatch(b *testing.B) {
	text := millions(b, *nameCount)
	p, _, _ := compileMillions(b, text)
	s := NewSet([]Source{{ID: "millions", Category: 5}}, []Placed{{Part: p, Sources: []int{0}}})
	list, err := Parse(bytes.NewReader(text), Options{})
	if err != nil {
		b.Fatal(err)
	}
	benchMatch(b, s, slices.Collect(list.Names()))
}
