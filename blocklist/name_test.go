package blocklist

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is a line of testdata/names.txt, which package dnswire is held to as well.
type vector struct {
	text      string
	key       Name
	canonical bool // text is what String gives
}

func readVectors(tb testing.TB) []vector {
	tb.Helper()
	data, err := os.ReadFile("testdata/names.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var vs []vector
	canonical := true
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			canonical = !strings.HasPrefix(line, "# Other")
			continue
		}
		text, digits, ok := strings.Cut(line, " ")
		key, err := hex.DecodeString(digits)
		if !ok || err != nil {
			tb.Fatalf("names.txt: %q: %v", line, err)
		}
		vs = append(vs, vector{text, Name(key), canonical})
	}
	if len(vs) < 40 {
		tb.Fatalf("names.txt has %d names only", len(vs))
	}
	return vs
}

func TestParseNameGivesTheKeyOfTheVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		got, err := ParseName(v.text)
		if err != nil || got != v.key {
			t.Errorf("ParseName(%q) = %x, %v, want %x", v.text, string(got), err, string(v.key))
		}
		if v.canonical && v.key.String() != v.text {
			t.Errorf("%x: String gives %q, want %q", string(v.key), v.key.String(), v.text)
		}
		if again, err := ParseName(v.key.String()); err != nil || again != v.key {
			t.Errorf("%q: its String %q reads as %x, %v", v.text, v.key.String(), string(again), err)
		}
	}
}

func TestParseNameRefuses(t *testing.T) {
	for _, tt := range []struct{ what, text, want string }{
		{"nothing", "", `name "": no name`},
		{"two dots", "a..example", `name "a..example": empty label`},
		{"only dots", "..", `name "..": empty label`},
		{"a dot at the front", ".example", `name ".example": empty label`},
		{"a space", "a b.example", `name "a b.example": character ' ', which a name holds only as \032`},
		{"a URL", "http://a.example", `name "http://a.example": character ':', which a name holds only as \058`},
		{"a wildcard", "*.example", `name "*.example": character '*', which a name holds only as \042`},
		{"a control character", "a\nb", `name "a\nb": character '\n', which a name holds only as \010`},
		{"an escape that is too large", `\256.example`, `name "\\256.example": a backslash that is neither \DDD nor \X`},
		{"an escape that is cut off", `a.\12`, `name "a.\\12": a backslash that is neither \DDD nor \X`},
		{"a lone backslash", `a.example\`, `name "a.example\\": a backslash that is neither \DDD nor \X`},
		{"escapes beside other alphabets", `ü\065.example`, `name "ü\\065.example": escapes beside characters outside ASCII`},
		{"a label of 64 bytes", strings.Repeat("a", 64) + ".example", `name "` + strings.Repeat("a", 64) + `.example": label longer than 63 bytes`},
		{"a name of 256 bytes", strings.Repeat("a.", 126) + "bb", `name "` + strings.Repeat("a.", 126) + `bb": name longer than 255 bytes`},
	} {
		t.Run(tt.what, func(t *testing.T) {
			n, err := ParseName(tt.text)
			if err == nil {
				t.Fatalf("taken as %q", n)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, text := range []string{"a\xff.example", "a\u200e.example", "a\ufffd.example", "ü/.example"} {
		if n, err := ParseName(text); err == nil {
			t.Errorf("ParseName(%q) = %q, want an error", text, n)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		name, sub string
		want      bool
	}{
		{"example.org", "example.org", true},
		{"example.org", "www.example.org", true},
		{"example.org", "a.b.c.example.org", true},
		{"example.org", "notexample.org", false},
		{"example.org", "org", false},
		{"example.org", "example.org.example", false},
		{".", "example.org", true},
		{".", ".", true},
		{"example.org", ".", false},
		// The bytes of the longer name end in those of the shorter one, but inside a label.
		{"b.example", `\001b.example`, false},
		{"b.example", `x\001b.example`, false},
	} {
		if got := mustName(t, tt.name).Covers(mustName(t, tt.sub)); got != tt.want {
			t.Errorf("%s covers %s: %v, want %v", tt.name, tt.sub, got, tt.want)
		}
	}
	if Name("").Covers("\x00") || Name("\x00").Covers("") {
		t.Error("no name covers, or is covered by, the root")
	}
}

func TestParentLeadsToTheRootAndEndsThere(t *testing.T) {
	var got []string
	for n := mustName(t, `a\.b.www.example.org`); n != ""; n = n.Parent() {
		got = append(got, n.String())
	}
	want := []string{`a\046b.www.example.org`, "www.example.org", "example.org", "org", "."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func mustName(tb testing.TB, text string) Name {
	tb.Helper()
	n, err := ParseName(text)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func FuzzParseName(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.text)
	}
	f.Add(`\999`)
	f.Add("a..b")
	f.Add("\u3002")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseName(text)
		if err != nil {
			if n != "" {
				t.Errorf("%q: a name beside an error: %x", text, string(n))
			}
			return
		}
		checkKey(t, n)
		again, err := ParseName(n.String())
		if err != nil || again != n {
			t.Errorf("%q: String %q reads as %x, %v, want %x", text, n.String(), string(again), err, string(n))
		}
		if !n.Covers(n) || !Name(root).Covers(n) {
			t.Errorf("%q is not covered by itself and the root", text)
		}
	})
}

// checkKey fails the test where a name is no key.
func checkKey(tb testing.TB, n Name) {
	tb.Helper()
	i := 0
	for i < len(n) && n[i] != 0 {
		size := int(n[i])
		if size > 63 {
			tb.Fatalf("%x: a label of %d bytes", string(n), size)
		}
		i += size + 1
	}
	if i != len(n)-1 || len(n) > 255 {
		tb.Fatalf("%x: is no name", string(n))
	}
	if strings.ContainsAny(n.String(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		tb.Fatalf("%x: has upper case", string(n))
	}
}

func TestALongTextIsNoNameBeforeItCostsAnything(t *testing.T) {
	for _, text := range []string{strings.Repeat("ü", 30_000), strings.Repeat(`\255`, 30_000), strings.Repeat("a.", 30_000)} {
		if _, err := ParseName(text); !errors.Is(err, errNameLong) {
			t.Errorf("%.20s…: %v", text, err)
		}
		if allocated := testing.AllocsPerRun(5, func() { _, _ = appendName(nil, text) }); allocated > 0 {
			t.Errorf("%.20s…: %v allocations", text, allocated)
		}
	}
	if _, err := ParseName(strings.Repeat(strings.Repeat(`\255`, 31)+".", 7) + strings.Repeat(`\255`, 28)); err != nil {
		t.Errorf("a name of 253 escaped octets: %v", err)
	}
}
