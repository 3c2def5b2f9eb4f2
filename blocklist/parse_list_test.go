package blocklist

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestParseKeepsOutWhatCoversTooMuch(t *testing.T) {
	own := []Name{mustName(t, "school.example.org"), mustName(t, "internal.example")}
	checkParse(t, []parseCase{{
		what: "public suffixes",
		text: "example.org\ncom\nco.uk\nCo.Uk.\n*.gov.uk\nexample.co.uk\ngithub.io\nwww.ck\n",
		want: read{
			Format: FormatDomains, Counts: [4]int{4, 0, 0, 4}, Entries: []string{"example.org", "example.co.uk", "github.io", "www.ck"},
			Problems: []string{
				"2: covers a whole top-level domain", "3: is a public suffix: covers the sites of everybody below it",
				"4: is a public suffix: covers the sites of everybody below it", "5: is a public suffix: covers the sites of everybody below it",
			},
			Warnings: []string{"7: is a public suffix of the private part: covers the sites of all customers of one host"},
		},
	}, {
		what:    "the site's own zones",
		options: Options{Own: own},
		text:    "example.org\nschool.example.org\nwww.school.example.org\nbeside.example.org\nnotschool.example.org\ninternal.example\n",
		want: read{
			Format: FormatDomains, Counts: [4]int{3, 0, 0, 3}, Entries: []string{"www.school.example.org", "beside.example.org", "notschool.example.org"},
			Problems: []string{
				"1: covers one of the site's own zones", "2: covers one of the site's own zones", "6: covers one of the site's own zones",
			},
		},
	}, {
		what:    "but not an RPZ trigger that leaves them out",
		options: Options{Own: own},
		text:    "example.org CNAME .\n*.example.org CNAME .\nschool.example.org CNAME .\n*.school.example.org CNAME .\n",
		want: read{
			Format: FormatRPZ, Counts: [4]int{2, 0, 0, 2}, Entries: []string{"only example.org", "below school.example.org"},
			Problems: []string{"2: covers one of the site's own zones", "3: covers one of the site's own zones"},
		},
	}})
}

func TestParseTakesFilesAsTheyCome(t *testing.T) {
	want := read{Format: FormatDomains, Counts: [4]int{2, 0, 0, 0}, Entries: []string{"example.org", "example.net"}}
	checkParse(t, []parseCase{
		{what: "with a byte order mark", text: "\xef\xbb\xbf# a comment\nexample.org\nexample.net\n", want: want},
		{what: "with one where files were joined", text: "example.org\n\xef\xbb\xbf# a comment\nexample.net\n", want: want},
		{what: "with the line ends of Windows", text: "example.org\r\nexample.net\r\n", want: want},
		{what: "without an end to the last line", text: "example.org\nexample.net", want: want},
		{what: "with blanks and tabs", text: "\t example.org \t\n \n\texample.net\n\n", want: want},
		{what: "after long comments", text: strings.Repeat("# comment\n", 20000) + "example.org\nexample.net\n", want: want},
	})
	t.Run("with a line that never ends", func(t *testing.T) {
		for _, size := range []int{maxLine + 1, headSize, 3*headSize + 17} {
			l, err := Parse(strings.NewReader("example.org\n"+strings.Repeat("a", size)+"\nexample.net\n"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := want
			want.Counts[3], want.Problems = 1, []string{"2: line longer than 64 KiB"}
			if diff := cmp.Diff(want, written(l)); diff != "" {
				t.Error(diff)
			}
			if len(l.Problems[0].Text) != maxText {
				t.Errorf("the problem shows %d bytes of it", len(l.Problems[0].Text))
			}
		}
	})
	t.Run("in pieces", func(t *testing.T) {
		l, err := Parse(iotest.OneByteReader(strings.NewReader("example.org\r\nexample.net")), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, written(l)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("told in another format than they look like", func(t *testing.T) {
		l, err := Parse(strings.NewReader("example.org\nexample.net/\n"), Options{Format: FormatDomains})
		if err != nil {
			t.Fatal(err)
		}
		want := read{
			Format: FormatDomains, Counts: [4]int{1, 0, 0, 1}, Entries: []string{"example.org"},
			Problems: []string{`2: a character that a name does not hold`},
		}
		if diff := cmp.Diff(want, written(l)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		what, text string
		format     Format
		is         error
		want       string
	}{
		{"nothing", "", "", ErrEmpty, "list without a usable line: nothing in it"},
		{"blank lines", "\n \n\r\n", "", ErrEmpty, "list without a usable line: nothing in it"},
		{"comments only", "# a\n! b\n; c\n", "", ErrEmpty, "list without a usable line: nothing but comments"},
		{"a page", "<!DOCTYPE html>\n<html><body>Sign in</body></html>", "", ErrNotList, "not a list: HTML or XML"},
		{"a page in a told format", "\n <html>\nexample.org\n", FormatDomains, ErrNotList, "not a list: HTML or XML"},
		{"a list that turns into a page", "example.org\nexample.net\n  <HTML><head>\n", "", ErrNotList, "not a list: HTML in line 3"},
		{"zeros where the disk had nothing", "example.org\nexample.net\n\x00\x00\x00\x00", "", ErrNotList, "not a list: binary data in line 3"},
		{"zeros in a long line", "example.org\n" + strings.Repeat("\x00", 2*headSize), "", ErrNotList, "not a list: binary data in line 2"},
		{"a packed file", "\x1f\x8b\x08\x00example.org\n", "", ErrNotList, "not a list: compressed with gzip"},
		{"an archive", "PK\x03\x04", FormatHosts, ErrNotList, "not a list: a zip archive"},
		{"Windows' Unicode", "\xff\xfee\x00x\x00", "", ErrNotList, "not a list: UTF-16, save it as UTF-8"},
		{"a text", "Forbidden.\nYou may not read this.\n", "", ErrNotList, "not a list: none of its first 2 lines is in a known format"},
		{"JSON", "{\n\"error\": \"no such list\"\n}\n", "", ErrNotList, "not a list: none of its first 3 lines is in a known format"},
		{"nothing but public suffixes", "co.uk\norg.uk\n", "", ErrEmpty, "list without a usable line: read as domains, 2 skipped, 0 exceptions"},
		{
			"a list for browsers of which DNS can use nothing", "example.org##.banner\nexample.net##.banner\n", "", ErrEmpty,
			"list without a usable line: read as adblock, 2 skipped, 0 exceptions",
		},
		{"nothing but exceptions", "@@||example.org^\n", "", ErrEmpty, "list without a usable line: read as adblock, 0 skipped, 1 exceptions"},
		{
			"another format than told", "||example.org^\n||example.net^\n", FormatHosts, ErrEmpty,
			"list without a usable line: read as hosts, but looks like adblock, 2 skipped, 0 exceptions",
		},
	} {
		t.Run(tt.what, func(t *testing.T) {
			l, err := Parse(strings.NewReader(tt.text), Options{Format: tt.format})
			if l != nil || !errors.Is(err, tt.is) {
				t.Fatalf("Parse gives %v, %v, want %v", l, err, tt.is)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("what cannot be read to its end", func(t *testing.T) {
		broken := errors.New("the disk is gone")
		for _, text := range []string{"", "example.org\n", strings.Repeat("example.org\n", headSize)} {
			_, err := Parse(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), Options{})
			if !errors.Is(err, broken) {
				t.Errorf("after %d bytes: %v", len(text), err)
			}
		}
	})
}

func TestAListThatIsShorterThanItSaysIsTakenWithAWarning(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Entries: 1,000\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "host%d.example.org\n", i)
	}
	whole := b.String()
	for _, tt := range []struct {
		text string
		want []string
	}{
		{whole, nil},
		{whole[:len(whole)/2], []string{"1: says that it has 1000 entries, and has 503: cut off?"}},
		{strings.Replace(whole, "Entries", "Number of entries", 1)[:60], []string{"1: says that it has 1000 entries, and has 2: cut off?"}},
		{strings.Replace(whole, "Entries", "Remarks", 1)[:60], nil},
	} {
		l := mustParse(t, tt.text)
		if diff := cmp.Diff(tt.want, written(l).Warnings); diff != "" {
			t.Error(diff)
		}
	}
}

func TestProblemsShowTheLineAsPrintableASCII(t *testing.T) {
	l := mustParse(t, "example.org\na\x1b[31m \xe2\x80\xae \\ \u00fc\n"+strings.Repeat("word ", 50)+"\n")
	var got []Problem
	got = append(got, l.Problems...)
	want := []Problem{
		{Line: 2, Reason: "more than one word", Text: `a\027[31m \226\128\174 \\ \195\188`},
		{Line: 3, Reason: "more than one word", Text: strings.Repeat("word ", 50)[:117] + "..."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProblemsAreBoundedAndCounted(t *testing.T) {
	l := mustParse(t, "example.org\n"+strings.Repeat("two words\n", 5000)+strings.Repeat("github.io\n", 5000))
	if l.Skipped != 5000 || len(l.Problems) != maxProblems || len(l.Warnings) != maxProblems {
		t.Errorf("%d skipped, %d problems, %d warnings", l.Skipped, len(l.Problems), len(l.Warnings))
	}
}

func TestFormatsHaveNames(t *testing.T) {
	for _, f := range Formats() {
		if got, ok := ParseFormat(string(f)); !ok || got != f {
			t.Errorf("ParseFormat(%q) = %q, %v", f, got, ok)
		}
	}
	for _, s := range []string{"", "Hosts", "host", "csv"} {
		if _, ok := ParseFormat(s); ok {
			t.Errorf("%q is taken for a format", s)
		}
	}
	if len(Formats()) != 8 || len(slices.Compact(slices.Sorted(slices.Values(Formats())))) != 8 {
		t.Error("there are eight formats")
	}
}

func FuzzParse(f *testing.F) {
	seeds := map[Format]string{
		FormatHosts:    "0.0.0.0 example.org www.example.org # c\n127.0.0.1 localhost\n",
		FormatDomains:  "example.org\n198.51.100.7\nbücher.example\n",
		FormatWildcard: "*.example.org\n",
		FormatAdblock:  "! c\n||example.org^$important\n@@||example.net^\nexample.org##.x\n",
		FormatDnsmasq:  "address=/example.org/example.net/0.0.0.0\nserver=/example.com/\n",
		FormatUnbound:  "server:\nlocal-zone: \"example.org.\" static\n",
		FormatURLs:     "http://u:p@example.org:80/x?y#z\nhttp://[2001:db8::1]:80/\n",
		FormatRPZ:      "$TTL 1h\n$ORIGIN rpz.example.\n@ IN SOA a b (1 2\n3 4 5) ; c\n*.example.org 300 IN CNAME .\n TXT \"a ; b\"\n",
	}
	for format, text := range seeds {
		f.Add(string(format), []byte(text), true)
		f.Add("", []byte(text), false)
	}
	f.Fuzz(func(t *testing.T, format string, data []byte, addresses bool) {
		told, _ := ParseFormat(format)
		if !slices.Contains(Formats(), told) {
			told = ""
		}
		own := Name("\x06school\x07example\x00")
		l, err := Parse(strings.NewReader(string(data)), Options{Format: told, Addresses: addresses, Own: []Name{own}})
		if err != nil {
			if l != nil || !errors.Is(err, ErrNotList) && !errors.Is(err, ErrEmpty) {
				t.Fatalf("Parse gives %v, %v", l, err)
			}
			return
		}
		if told != "" && l.Format != told {
			t.Fatalf("told %s, read as %s", told, l.Format)
		}
		s := Build([]Source{{ID: "fuzz", Category: 5, List: l}})
		blocking, passing := len(l.addresses), 0
		for k, path := range l.names.all() {
			n := pathName(path)
			key := []byte(n)
			checkKey(t, n)
			if n == root || n.Parent() == root {
				t.Errorf("%s covers a top-level domain", n)
			}
			if k&passBoth != 0 {
				passing++
				continue
			}
			blocking++
			if k == blockBoth && (!s.Match(key).Has(5) || len(n) < 250 && !s.Match([]byte("\x01x"+n)).Has(5)) {
				t.Errorf("%s is listed, and not matched", n)
			}
		}
		if s.Match([]byte(own)) != 0 {
			t.Errorf("the list blocks the site's own zone")
		}
		if l.Enforceable != blocking || l.Exceptions < passing || l.Enforceable+l.Unenforceable == 0 {
			t.Errorf("counts %+v, of %d entries that block", written(l).Counts, blocking)
		}
		for _, p := range slices.Concat(l.Problems, l.Warnings) {
			if p.Line < 1 || p.Reason == "" || len(p.Text) > maxText || strings.ContainsFunc(p.Text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("a problem that cannot be shown: %+v", p)
			}
		}
	})
}
