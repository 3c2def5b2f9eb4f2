package blocklist

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// written returns a part's file.
func partFile(tb testing.TB, p *Part) []byte {
	tb.Helper()
	var file bytes.Buffer
	n, err := p.WriteTo(&file)
	if err != nil || n != int64(file.Len()) {
		tb.Fatalf("WriteTo: %d of %d bytes, %v", n, file.Len(), err)
	}
	return file.Bytes()
}

func mustRead(tb testing.TB, file []byte) *Part {
	tb.Helper()
	p, err := ReadPart(bytes.NewReader(file))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// smallPart is a part with something of everything.
func smallPart(tb testing.TB) *Part {
	tb.Helper()
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "host%d.example.org\nx%d.example\nwww.long-name-number-%d.of-a-site-that-has-many.example.net\n", i, i, i*i)
	}
	lists := []string{
		many.String() + "two words\n192.0.2.7\n\\000\\255.example.com\n",
		"example.com CNAME .\n*.example.com CNAME .\nopen.example.com CNAME rpz-passthru.\nonly.example CNAME .\n",
		"host7.example.org\nb.a.example.org\nco.uk\ngithub.io\n",
	}
	var members []Member
	for i, text := range lists {
		l, err := Parse(reader(text), Options{Addresses: i == 0})
		if err != nil {
			tb.Fatal(err)
		}
		members = append(members, Member{List: l, Category: Category(i % 2)})
	}
	return CompilePart(members, 7, nil)
}

func TestAPartIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	p := smallPart(t)
	file := partFile(t, p)
	again := mustRead(t, file)
	if !reflect.DeepEqual(p, again) {
		t.Errorf("%+v\nbecame\n%+v", p, again)
	}
	if !bytes.Equal(partFile(t, again), file) {
		t.Error("written again it is another file")
	}
	if l := again.Lists()[0]; l.HasNames() || l.Entries() != 601 || l.Skipped != 1 || len(l.Problems) != 1 || l.Enforceable != 602 {
		t.Errorf("the first list came back as %+v", l)
	}
}

func TestTheSameListsAndSeedGiveTheSamePart(t *testing.T) {
	t.Parallel()
	if !bytes.Equal(partFile(t, smallPart(t)), partFile(t, smallPart(t))) {
		t.Error("two compilations differ")
	}
}

func TestADamagedPartIsRefused(t *testing.T) {
	t.Parallel()
	file := partFile(t, smallPart(t))
	refused := func(what string, damaged []byte) {
		_, err := ReadPart(bytes.NewReader(damaged))
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrPartVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range file {
		damaged := bytes.Clone(file)
		damaged[i] ^= 1 << (i % 8)
		refused(fmt.Sprint("a bit of byte ", i), damaged)
		refused(fmt.Sprint("cut off at ", i), file[:i])
	}
	refused("a byte more", append(bytes.Clone(file), 0))
	refused("nothing", nil)
	refused("no line", bytes.Repeat([]byte("x"), 1<<20))
	_, err := ReadPart(bytes.NewReader(bytes.Replace(file, []byte("part "+PartVersion+" "), []byte("part 0 "), 1)))
	if !errors.Is(err, ErrPartVersion) {
		t.Errorf("another version: %v", err)
	}
	broken := errors.New("the disk is broken")
	if _, err := ReadPart(io.MultiReader(bytes.NewReader(file[:len(file)/2]), failing{broken})); !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
		t.Errorf("an error of the reader: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzReadPart reads files whose checksum is right and whose content is anything: what is taken must be
// safe to ask.
func FuzzReadPart(f *testing.F) {
	file := partFile(f, smallPart(f))
	_, body, _ := bytes.Cut(file, []byte("\n"))
	at := bytes.Index(body, []byte("}\x00"))
	if at < 0 {
		at = bytes.LastIndexByte(body[:len(body)/2], '}')
	}
	f.Add(body[:at+1], body[at+1:])
	empty := partFile(f, CompilePart(nil, 1, nil))
	_, body, _ = bytes.Cut(empty, []byte("\n"))
	f.Add(body[:len(body)-blockPadding], body[len(body)-blockPadding:])
	f.Fuzz(func(t *testing.T, description, block []byte) {
		sum := sha256.Sum256(append(bytes.Clone(description), block...))
		line := fmt.Sprintf("%s %s %d %d %x\n", partMagic, PartVersion, len(description), len(block), sum)
		p, err := ReadPart(io.MultiReader(strings.NewReader(line), bytes.NewReader(description), bytes.NewReader(block)))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		sources, places := []Source{}, []int{}
		for i := range p.Lists() {
			sources, places = append(sources, Source{Category: Category(p.group[i])}), append(places, i)
		}
		s := NewSet(sources, []Placed{{Part: p, Sources: places}})
		for _, text := range []string{".", "org", "host7.example.org", "a.b.a.example.org", "x9.example", `\000\255.example.com`, strings.Repeat("a.", 127)} {
			n := mustName(t, text)
			s.Match([]byte(n))
			s.OpenBelow([]byte(n), 1)
			s.Attribute(n, 0)
		}
	})
}

func TestNamesOfAnyBytesAreMatchedExactly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 63), func(b []byte) string { return string(lower(b)) })
		draw := func(what string) Name {
			n := Name(root)
			for _, l := range rapid.SliceOfN(label, 1, 6).Draw(t, what) {
				if longer := Name([]byte{byte(len(l))}) + Name(l) + n; len(longer) <= maxName {
					n = longer
				}
			}
			return n
		}
		listed := map[Name]bool{}
		var names []Name
		for range rapid.IntRange(1, 20).Draw(t, "names") {
			n := draw("listed")
			listed[n], names = true, append(names, n)
		}
		s := Build([]Source{{Category: 9, List: ListOf(names...)}})
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range 60 {
			n := near(random, names[i%len(names)], i%8)
			if n == root {
				continue
			}
			want := false
			for up := n; up != ""; up = up.Parent() {
				want = want || listed[up]
			}
			if got := s.Match([]byte(n)).Has(9); got != want {
				t.Fatalf("%s: %v, want %v", n, got, want)
			}
		}
	})
}

func lower(b []byte) []byte {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

// longestHome returns the most names that any home of a part has.
func longestHome(p *Part) (longest int) {
	for i := range p.tables {
		t := &p.tables[i]
		if t.names == 0 {
			continue
		}
		for i := range t.countGroups() {
			group, run := p.block[t.groups+groupBytes*i:], 0
			for at := firstMark; at < 8*groupBytes; at++ {
				run++
				if group[at>>3]>>(at&7)&1 == 0 {
					run = 0
				}
				longest = max(longest, run)
			}
		}
	}
	return longest
}

func TestNoListFillsAHome(t *testing.T) {
	t.Parallel()
	t.Run("with names that are much alike", func(t *testing.T) {
		t.Parallel()
		var names []Name
		for i := range 100_000 {
			names = append(names, mustName(t, fmt.Sprintf("host%06d.example.org", i)))
		}
		if n := longestHome(CompilePart([]Member{{List: ListOf(names...)}}, 1, nil)); n > 20 {
			t.Errorf("a home has %d names", n)
		}
	})
	t.Run("with names chosen for another seed", func(t *testing.T) {
		t.Parallel()
		// All letters alike in number, so that every name has as many bits.
		random := rand.New(rand.NewPCG(1, 1))
		draw := func() Name {
			var b strings.Builder
			for range 14 {
				b.WriteByte("abcdefgh"[random.IntN(8)])
			}
			return mustName(t, b.String()+".org")
		}
		var all []Name
		for range 50_000 {
			all = append(all, draw())
		}
		known := CompilePart([]Member{{List: ListOf(all...)}}, 1, nil)
		var chosen []Name
		for _, n := range all {
			if home, ok := homeOf(known, n); ok && home < 1.0/64 {
				chosen = append(chosen, n)
			}
		}
		if len(chosen) < 500 {
			t.Fatalf("only %d names aim", len(chosen))
		}
		chosen = append(chosen, all[:2000]...)
		if n := longestHome(CompilePart([]Member{{List: ListOf(chosen...)}}, 2, nil)); n > 20 {
			t.Errorf("a home has %d names", n)
		}
	})
}

// homeOf returns where among the homes a name of two labels is, from 0 to 1.
func homeOf(p *Part, n Name) (float64, bool) {
	c := code{words: make([]uint64, maxBits/64+1)}
	label, parent := n.split()
	tld, _ := parent.split()
	at, ok := p.suffixes.child(0, []byte(tld))
	if !ok {
		return 0, false
	}
	start := p.suffixes.list[at].code
	c.add(uint64(start.bits), uint(start.length))
	c.addLabel(p.letters, []byte(label))
	return float64(number(&c, p.keys)) / float64(uint64(1)<<min(c.length, 63)), c.length < 64
}

func TestReleaseGivesTheNamesBackAndKeepsTheCounts(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 400_000 {
		fmt.Fprintf(&text, "host%d.example.org\n", i)
	}
	l := mustParse(t, text.String())
	size, entries := l.Size(), l.Entries()
	if entries != 400_000 || size < 400_000*len("host.example.org") || !l.HasNames() || !l.Holds(mustName(t, "www.host399999.example.org")) {
		t.Fatalf("%d entries of %d bytes", entries, size)
	}
	l.Release()
	l.Release()
	if l.HasNames() || l.Size() != size || l.Entries() != entries || l.Enforceable != entries {
		t.Errorf("after Release: %d entries of %d bytes", l.Entries(), l.Size())
	}
	for n := range l.Names() {
		t.Fatalf("after Release there is %s", n)
	}
}

func TestHoldsIsMatchWithoutASet(t *testing.T) {
	t.Parallel()
	l := mustParse(t, "example.org\nwww.example.net\n")
	for text, want := range map[string]bool{
		"example.org": true, "a.b.example.org": true, "notexample.org": false, "org": false,
		"example.net": false, "www.example.net": true, "x.www.example.net": true, ".": false,
	} {
		if l.Holds(mustName(t, text)) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
	zone, err := Parse(reader("*.example.org CNAME .\nopen.example.org CNAME rpz-passthru.\nboth.example.org CNAME rpz-passthru.\nboth.example.org CNAME .\n"), Options{Format: FormatRPZ})
	if err != nil {
		t.Fatal(err)
	}
	s := Build([]Source{{List: zone}})
	for _, text := range []string{"example.org", "a.example.org", "open.example.org", "a.open.example.org", "both.example.org"} {
		if got, want := zone.Holds(mustName(t, text)), s.Match([]byte(mustName(t, text))).Has(0); got != want {
			t.Errorf("%s: %v, matched %v", text, got, want)
		}
	}
}

func TestOpenBelowSaysWhetherSomethingBelowIsLetThrough(t *testing.T) {
	t.Parallel()
	l, err := Parse(reader("example.org CNAME .\n*.example.org CNAME .\nx.y.example.org CNAME rpz-passthru.\nonly.example CNAME .\n*.below.example CNAME .\nwhole.example CNAME .\n*.whole.example CNAME .\n"),
		Options{Format: FormatRPZ})
	if err != nil {
		t.Fatal(err)
	}
	s := Build([]Source{{Category: 4, List: l}})
	for text, want := range map[string]bool{
		"example.org": true, "y.example.org": true, "x.y.example.org": true, "z.example.org": false, "a.x.y.example.org": false,
		"only.example": true, "below.example": true, "a.below.example": false, "whole.example": false, "a.whole.example": false, "example.net": true,
	} {
		if got := s.OpenBelow([]byte(mustName(t, text)), 1<<4); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestCodesAreSound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint64Range(0, 1<<40), 1, 300).Draw(t, "weights")
		limit := rapid.IntRange(9, 24).Draw(t, "limit")
		lengths := codeLengths(weights, limit)
		words, ok := codewords(lengths)
		if !ok {
			t.Fatalf("lengths %v are of no code", lengths)
		}
		for i, a := range words {
			if (a.length == 0) != (weights[i] == 0) || int(a.length) > limit {
				t.Fatalf("weight %d has %d bits", weights[i], a.length)
			}
			for j, b := range words {
				if i != j && a.length > 0 && b.length >= a.length && b.bits&(1<<a.length-1) == a.bits {
					t.Fatalf("%b begins %b", a.bits, b.bits)
				}
			}
		}
	})
}

func TestBitsAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := make([]byte, 64)
		at := rapid.Uint64Range(0, 300).Draw(t, "at")
		n := rapid.UintRange(0, 64).Draw(t, "n")
		v := rapid.Uint64().Draw(t, "v")
		if n < 64 {
			v &= 1<<n - 1
		}
		putBits(b, at, v, n)
		if got := bitsAt(b, at); got != v {
			t.Fatalf("%x at %d is read as %x", v, at, got)
		}
		if n := bits.OnesCount64(v); n > 0 {
			k := rapid.IntRange(0, n-1).Draw(t, "k")
			rest := v
			for range k {
				rest &= rest - 1
			}
			want := bits.TrailingZeros64(rest)
			if got := selectBit(v, k); got != want {
				t.Fatalf("bit %d of %x is at %d, not at %d", k, v, want, got)
			}
		}
	})
}

func TestShuffleIsOneToOne(t *testing.T) {
	t.Parallel()
	for width := uint(1); width <= 16; width++ {
		seen := make([]bool, 1<<width)
		for v := range seen {
			got := shuffle(uint64(v), width, partKeys(uint64(width)))
			if got >= uint64(len(seen)) || seen[got] {
				t.Fatalf("width %d: %d twice, or too large", width, got)
			}
			seen[got] = true
		}
	}
}

func TestProgressGoesFromNothingToAll(t *testing.T) {
	t.Parallel()
	var told []float64
	CompilePart([]Member{{List: ListOf(mustName(t, "example.org"), mustName(t, "example.net"))}}, 1, func(done float64) { told = append(told, done) })
	if len(told) == 0 || !slices.IsSorted(told) || told[0] < 0 || told[len(told)-1] != 1 {
		t.Errorf("%v", told)
	}
}

func TestAGroupHasRoomForItsNamesOrSaysSo(t *testing.T) {
	t.Parallel()
	for _, perHome := range []int{1, 2, 3, 65} {
		// As many homes as names, of which the first have perHome each and the others none.
		const names = 127
		p := &Part{keys: partKeys(1)}
		tb := newTable(40, names, 0)
		p.setBlock(int(tb.place(0)))
		records := make([]record, names)
		most := map[uint64]int{}
		for i := range records {
			home := uint64(i / perHome)
			records[i].key = home<<tb.restBits | uint64(i)
			most[home/groupHomes]++
		}
		room := true
		for _, n := range most {
			room = room && n <= 8*groupBytes-firstMark-groupHomes
		}
		c := &compiler{part: p}
		if got := c.fill(&tb, records); got != room {
			t.Errorf("%d names in a home: %v", perHome, got)
		}
		if room && !tb.sound(p.block, 0, 1) {
			t.Errorf("%d names in a home: the table is not sound", perHome)
		}
	}
}
