package blocklist

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// entry is an entry of a list as the model has it.
type entry struct {
	name Name
	kind kind
}

// listOfEntries makes a list without a file.
func listOfEntries(entries ...entry) *List {
	l := &List{}
	for _, e := range entries {
		l.names.add(e.kind, []byte(e.name))
		l.passes = l.passes || e.kind&passBoth != 0
	}
	return l
}

// model is a list as a plain map. It reads what the package comment says, word by word.
type model map[Name]kind

func modelOf(entries []entry) model {
	m := model{}
	for _, e := range entries {
		m[e.name] |= e.kind
	}
	return m
}

// below reports whether the list covers the names below n that say nothing themselves.
func (m model) below(n Name) bool {
	for ; n != ""; n = n.Parent() {
		switch {
		case m[n]&blockBelow != 0:
			return true
		case m[n]&passBelow != 0:
			return false
		}
	}
	return false
}

// covers reports whether the list covers n.
func (m model) covers(n Name) bool {
	switch {
	case m[n]&blockSelf != 0:
		return true
	case m[n]&passSelf != 0:
		return false
	}
	return m.below(n.Parent())
}

// entry returns the topmost name from which the list covers everything on the way down to n.
func (m model) entry(n Name) Name {
	top := n
	for up := n.Parent(); up != "" && m.below(up); up = up.Parent() {
		top = up
	}
	return top
}

// The labels of drawn names are few, so that names meet: one begins or ends with another, one has a
// dot, one a zero octet, one a length octet and the label behind it.
var drawnLabels = []string{"a", "b", "ab", "example", "notexample", "www", "org", "com", "a.b", "\x00", "\x01a", "\xff\xfe", strings.Repeat("l", 63)}

func drawName(t *rapid.T, label string) Name {
	from := drawnLabels
	if rapid.IntRange(0, 3).Draw(t, "few") > 0 {
		from = drawnLabels[:2]
	}
	labels := rapid.SliceOfN(rapid.SampledFrom(from), 1, 4).Draw(t, label)
	if rapid.IntRange(0, 40).Draw(t, "long") == 0 {
		labels = slices.Concat(slices.Repeat([]string{"a"}, 123), labels[:1])
	}
	n := Name(root)
	for _, l := range labels {
		if longer := Name([]byte{byte(len(l))}) + Name(l) + n; len(longer) <= maxName {
			n = longer
		}
	}
	return n
}

// drawBeside returns a name near n: itself, below, above, or one that only looks like it.
func drawBeside(t *rapid.T, n Name) Name {
	label, parent := n.split()
	near := n
	switch rapid.IntRange(0, 6).Draw(t, "beside") {
	case 1:
		near = "\x01x" + n
	case 2:
		near = "\x01a" + "\x03www" + n
	case 3:
		near = parent
	case 4: // notexample.org for example.org
		near = Name([]byte{byte(len(label) + 3)}) + "not" + label + parent
	case 5: // the last byte is another
		if len(label) > 0 {
			near = Name([]byte{byte(len(label))}) + label[:len(label)-1] + "\x80" + parent
		}
	case 6: // another name ends in it
		near = n[:len(n)-1] + "\x03com\x00"
	}
	if len(near) > maxName || near == "" || near[0] > maxLabel {
		return n
	}
	return near
}

func TestTheTrieIsAMapWithParents(t *testing.T) {
	kinds := []kind{blockBoth, blockBoth, blockBoth, blockSelf, blockBelow, passSelf, passBelow}
	rapid.Check(t, func(t *rapid.T) {
		var sources []Source
		var models []model
		var names []Name
		for i := range rapid.IntRange(0, 5).Draw(t, "sources") {
			var entries []entry
			allowed := kinds
			if rapid.Bool().Draw(t, "plain") {
				allowed = kinds[:1] // a list without an RPZ's distinctions
			}
			for range rapid.IntRange(0, 12).Draw(t, "entries") {
				e := entry{drawName(t, "entry"), rapid.SampledFrom(allowed).Draw(t, "kind")}
				if len(names) > 0 && rapid.Bool().Draw(t, "near") {
					e.name = drawBeside(t, rapid.SampledFrom(names).Draw(t, "other"))
				}
				if e.name != root {
					entries, names = append(entries, e), append(names, e.name)
				}
			}
			c := Category(rapid.SampledFrom([]int{0, 1, 63}).Draw(t, "category"))
			sources = append(sources, Source{ID: fmt.Sprint("list ", i), Category: c, List: listOfEntries(entries...)})
			models = append(models, modelOf(entries))
		}
		s := Build(sources)
		names = append(names, root, drawName(t, "miss"))
		for range 10 {
			n := drawBeside(t, rapid.SampledFrom(names).Draw(t, "name"))
			checkAgainstModels(t, s, sources, models, n)
		}
	})
}

func checkAgainstModels(t *rapid.T, s *Set, sources []Source, models []model, n Name) {
	var want Categories
	for i, m := range models {
		if m.covers(n) {
			want = want.With(sources[i].Category)
		}
	}
	if got := s.Match([]byte(n)); got != want {
		t.Fatalf("%s: Match gives %b, want %b", n, got, want)
	}
	for _, c := range []Category{0, 1, 2, 63} {
		source, entry, ok := s.Attribute(n, c)
		if ok != want.Has(c) {
			t.Fatalf("%s: Attribute says %v of category %d, Match %v", n, ok, c, want.Has(c))
		}
		if !ok {
			continue
		}
		wantSource, wantEntry := "", Name("")
		for i, m := range models {
			if sources[i].Category != c || !m.covers(n) {
				continue
			}
			if top := m.entry(n); wantEntry == "" || len(top) < len(wantEntry) {
				wantSource, wantEntry = sources[i].ID, top
			}
		}
		if source != wantSource || entry != wantEntry {
			t.Fatalf("%s, category %d: Attribute gives %q, %s, want %q, %s", n, c, source, entry, wantSource, wantEntry)
		}
	}
}

func TestMatch(t *testing.T) {
	const (
		games Category = iota
		ads
		trial
		rest
	)
	zone := "$ORIGIN rpz.example.\n@ SOA a b 1 2 3 4 5\n" +
		"only.example.org CNAME .\n" +
		"*.below.example.org CNAME .\n" +
		"*.hole.example.org CNAME .\nlet.hole.example.org CNAME rpz-passthru.\n*.let.hole.example.org CNAME rpz-passthru.\n"
	s := Build([]Source{
		{ID: "a", Category: games, List: mustParse(t, "example.org\nwww.example.com\n")},
		{ID: "b", Category: games, List: mustParse(t, "www.example.org\nexample.net\n")},
		{ID: "c", Category: ads, List: mustParse(t, "ads.example.org\nexample.net\n")},
		{ID: "d", Category: trial, List: mustParse(t, zone)},
		{ID: "not there", Category: trial, List: nil},
		{ID: "e", Category: rest, List: mustParse(t, "*.example.com CNAME .\n*.b.a.example.com CNAME rpz-passthru.\n")},
		{ID: "f", Category: rest, List: mustParse(t, "a.example.com\n")},
	})
	type answer struct {
		In     []Category
		Source string // of the first category
		Entry  string
	}
	for _, tt := range []struct {
		what, name string
		want       answer
	}{
		{"a listed name", "example.org", answer{[]Category{games}, "a", "example.org"}},
		{"below a listed name", "x.y.example.org", answer{[]Category{games}, "a", "example.org"}},
		{"beside a listed name", "notexample.org", answer{}},
		{"above a listed name", "org", answer{}},
		{"the root", ".", answer{}},
		{"the widest entry is the one named", "www.example.org", answer{[]Category{games}, "a", "example.org"}},
		{"categories of the names above add up", "x.ads.example.org", answer{[]Category{games, ads}, "a", "example.org"}},
		{"two categories of one name", "example.net", answer{[]Category{games, ads}, "b", "example.net"}},
		{"a name above a listed one", "example.com", answer{}},
		{"an RPZ name is that name", "only.example.org", answer{[]Category{games, trial}, "a", "example.org"}},
		{"and not what is below", "x.only.example.org", answer{[]Category{games}, "a", "example.org"}},
		{"an RPZ wildcard is not its own name", "below.example.org", answer{[]Category{games}, "a", "example.org"}},
		{"but what is below", "x.y.below.example.org", answer{[]Category{games, trial}, "a", "example.org"}},
		{"passthru takes out of its list only", "let.hole.example.org", answer{[]Category{games}, "a", "example.org"}},
		{"with what is below", "x.let.hole.example.org", answer{[]Category{games}, "a", "example.org"}},
		{"where one list lets go, another of the category still holds", "c.b.a.example.com", answer{[]Category{rest}, "f", "a.example.com"}},
		{"and nothing beside", "notlet.hole.example.org", answer{[]Category{games, trial}, "a", "example.org"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			n := mustName(t, tt.name)
			got := answer{In: slices.Collect(s.Match([]byte(n)).All())}
			if len(got.In) > 0 {
				source, entry, _ := s.Attribute(n, got.In[0])
				got.Source, got.Entry = source, entry.String()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func mustParse(tb testing.TB, text string) *List {
	tb.Helper()
	l, err := Parse(strings.NewReader(text), Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func TestMatchTakesAnyBytes(t *testing.T) {
	s := Build([]Source{{ID: "a", List: mustParse(t, "example.org\n")}})
	for _, key := range []string{
		"", "\x00", "\x03", "\x03org", "\x07example\x03org", "\xff", "\x00\x00", "\x07example\x03org\x05", strings.Repeat("\x01a", 200) + "\x00",
		strings.Repeat("\x01", 300), strings.Repeat("\x01a", 127), strings.Repeat("\x01a", 128) + "\x00",
	} {
		if got := s.Match([]byte(key)); got != 0 {
			t.Errorf("%x: Match gives %b", key, got)
		}
		if _, _, ok := s.Attribute(Name(key), 0); ok {
			t.Errorf("%x: Attribute finds something", key)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	s := Build([]Source{{ID: "a", List: mustParse(t, "example.org\na.b.c.example.com\n")}})
	for _, text := range []string{"example.org", "www.example.org", "notexample.org", "x.a.b.c.example.com", "example"} {
		key := []byte(mustName(t, text))
		if n := testing.AllocsPerRun(100, func() { s.Match(key) }); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

func TestAnEntryThatAParentCoversCostsNothing(t *testing.T) {
	var covered strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&covered, "host%d.example.org\n", i)
	}
	alone := Build([]Source{{ID: "a", List: mustParse(t, "example.org\n")}})
	both := Build([]Source{
		{ID: "a", List: mustParse(t, "example.org\n"+covered.String())},
		{ID: "b", List: mustParse(t, covered.String())},
	})
	if alone.parts[0].Names() != both.parts[0].Names() {
		t.Errorf("%d bytes, where the parent alone takes %d", both.parts[0].Names(), alone.parts[0].Names())
	}
}

func TestTheNamesOfListOfAreTakenAsTheyAre(t *testing.T) {
	s := Build([]Source{{ID: "rules", Category: 3, List: ListOf(mustName(t, "internal"), mustName(t, "co.uk"))}})
	for name, want := range map[string]bool{"printer.internal": true, "internal": true, "example.co.uk": true, "uk": false} {
		if got := s.Match([]byte(mustName(t, name))).Has(3); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestCategoriesAllGivesTheLowestFirst(t *testing.T) {
	got := slices.Collect(Categories(0).With(63).With(0).With(17).All())
	if diff := cmp.Diff([]Category{0, 17, 63}, got); diff != "" {
		t.Error(diff)
	}
}
