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

// read is a List as a test writes it down.
type read struct {
	Format   Format
	Entries  []string // "example.org"; RPZ: "only x", "below x", "pass x", "pass below x"
	Counts   [4]int   // enforceable, unenforceable, exceptions, skipped
	Problems []string // "line: reason"
	Warnings []string
}

func written(l *List) read {
	r := read{Format: l.Format, Counts: [4]int{l.Enforceable, l.Unenforceable, l.Exceptions, l.Skipped}}
	prefix := map[kind]string{blockBoth: "", blockSelf: "only ", blockBelow: "below ", passSelf: "pass ", passBelow: "pass below "}
	for k, key := range l.entries() {
		r.Entries = append(r.Entries, prefix[k]+Name(key).String())
	}
	for _, p := range l.addresses {
		r.Entries = append(r.Entries, p.String())
	}
	for _, p := range l.Problems {
		r.Problems = append(r.Problems, fmt.Sprintf("%d: %s", p.Line, p.Reason))
	}
	for _, p := range l.Warnings {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d: %s", p.Line, p.Reason))
	}
	return r
}

// parseCase is a list, and what is read from it.
type parseCase struct {
	what    string
	text    string
	options Options
	want    read
}

func checkParse(t *testing.T, cases []parseCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.what, func(t *testing.T) {
			l, err := Parse(strings.NewReader(tt.text), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, written(l)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseHosts(t *testing.T) {
	checkParse(t, []parseCase{{
		what: "an address that leads nowhere, and names",
		text: "# a comment\n\n0.0.0.0 a.example.org\n127.0.0.1\tb.example.org c.example.org # both\n::1 d.example.org#e.example.org\n" +
			":: E.Example.ORG.\n10.0.0.1 f.example.org\n",
		want: read{
			Format: FormatHosts, Counts: [4]int{6, 0, 0, 0},
			Entries: []string{"a.example.org", "b.example.org", "c.example.org", "d.example.org", "e.example.org", "f.example.org"},
		},
	}, {
		what: "what every hosts file has is passed over",
		text: "127.0.0.1 localhost localhost.localdomain local\n255.255.255.255 broadcasthost\nfe80::1%lo0 localhost\n" +
			"ff02::1 ip6-allnodes\n::1 ip6-localhost ip6-loopback\n0.0.0.0 0.0.0.0\n0.0.0.0 example.org\n",
		want: read{Format: FormatHosts, Counts: [4]int{1, 0, 0, 0}, Entries: []string{"example.org"}},
	}, {
		what: "other lines are problems",
		text: "0.0.0.0 a.example.org\n0.0.0.0\nexample.org\n192.0.2.1 www.example.org\n0.0.0.0 b_c.example.org http://example.org d..example.org\n" +
			"0.0.0.0 198.51.100.7 com 1.2.3\n",
		want: read{
			Format: FormatHosts, Counts: [4]int{2, 1, 0, 7}, Entries: []string{"a.example.org", "b_c.example.org"},
			Problems: []string{
				"2: no name after the address", "3: no address before the names", "4: answers with an address instead of blocking",
				`5: character ':', which a name holds only as \058`, "5: empty label",
				"6: covers a whole top-level domain", "6: ends in a number: neither a name nor an address",
			},
		},
	}})
}

func TestParseDomains(t *testing.T) {
	checkParse(t, []parseCase{{
		what: "a name a line",
		text: "! comment\n; comment\nexample.org\n  WWW.Example.COM.  \nexample.net # why\n.squid.example\nbücher.example\nxn--bcher-kva.example\n",
		want: read{
			Format: FormatDomains, Counts: [4]int{6, 0, 0, 0},
			Entries: []string{"example.org", "www.example.com", "example.net", "squid.example", "xn--bcher-kva.example", "xn--bcher-kva.example"},
		},
	}, {
		what: "a wildcard covers the name itself as well",
		text: "*.example.org\n*.example.com\nexample.net\n",
		want: read{Format: FormatWildcard, Counts: [4]int{3, 0, 0, 0}, Entries: []string{"example.org", "example.com", "example.net"}},
	}, {
		what: "a few wildcards among names",
		text: "example.org\nexample.net\n*.example.com\n",
		want: read{Format: FormatDomains, Counts: [4]int{3, 0, 0, 0}, Entries: []string{"example.org", "example.net", "example.com"}},
	}, {
		what: "stars elsewhere are problems",
		text: "example.org\na.*.example\n*example.net\nexample.*\n*.*.example\n*\n",
		want: read{
			Format: FormatDomains, Counts: [4]int{1, 0, 0, 5}, Entries: []string{"example.org"},
			Problems: []string{
				"2: '*' other than as the first label", "3: '*' other than as the first label", "4: '*' other than as the first label",
				"5: '*' other than as the first label", "6: '*' other than as the first label",
			},
		},
	}, {
		what: "addresses are counted as not enforceable",
		text: "198.51.100.7\n2001:db8::7\n198.51.100.0/24\nexample.org\n",
		want: read{Format: FormatDomains, Counts: [4]int{1, 3, 0, 0}, Entries: []string{"example.org"}},
	}, {
		what:    "unless addresses are asked for",
		options: Options{Addresses: true},
		text:    "198.51.100.7\n2001:db8::7\n198.51.100.77/24\n::ffff:198.51.100.9\nexample.org\n",
		want: read{
			Format: FormatDomains, Counts: [4]int{5, 0, 0, 0},
			Entries: []string{"example.org", "198.51.100.7/32", "2001:db8::7/128", "198.51.100.0/24", "198.51.100.9/32"},
		},
	}, {
		what:    "addresses that no site of the internet has",
		options: Options{Addresses: true},
		text:    "198.51.100.7\n127.0.0.1\n10.1.2.3\n0.0.0.0/0\n64.0.0.0/2\n2000::/3\n300.1.2.3\n1.2.3\n",
		want: read{
			Format: FormatDomains, Counts: [4]int{1, 0, 0, 7}, Entries: []string{"198.51.100.7/32"},
			Problems: []string{
				"2: is no address of the public internet", "3: is no address of the public internet", "4: is no address of the public internet",
				"5: covers too many addresses", "6: covers too many addresses",
				"7: ends in a number: neither a name nor an address", "8: ends in a number: neither a name nor an address",
			},
		},
	}, {
		what: "a list of addresses alone is a list",
		text: "198.51.100.7\n198.51.100.8\n",
		want: read{Format: FormatDomains, Counts: [4]int{0, 2, 0, 0}},
	}, {
		what: "bad lines cost nothing but themselves",
		text: "example.org\ntwo words\n" + strings.Repeat("a", 64) + ".example\n" + strings.Repeat("long.", 60) + "example\n\x01.example\n\xff\xfe.example\nexample.net\n",
		want: read{
			Format: FormatDomains, Counts: [4]int{2, 0, 0, 5}, Entries: []string{"example.org", "example.net"},
			Problems: []string{
				"2: more than one word", "3: label longer than 63 bytes", "4: name longer than 255 bytes",
				`5: character '\x01', which a name holds only as \001`, "6: neither ASCII nor UTF-8",
			},
		},
	}})
}

func TestParseURLs(t *testing.T) {
	checkParse(t, []parseCase{{
		what: "a URL without a path covers its host",
		text: "http://a.example.org\nHTTPS://B.example.org/\nc.example.org/\nd.example.org\nhttps://user:pass@e.example.org:8443/\n" +
			"f.example.org:80\n//g.example.org/\nhttp://h.example.org/#top\nk.example.org#top\nhttp://i.example.org # why\nhttp://j.example.org.:80/\n",
		want: read{
			Format: FormatURLs, Counts: [4]int{11, 0, 0, 0},
			Entries: []string{
				"a.example.org", "b.example.org", "c.example.org", "d.example.org", "e.example.org",
				"f.example.org", "g.example.org", "h.example.org", "k.example.org", "i.example.org", "j.example.org",
			},
		},
	}, {
		what: "one with a path or a query blocks nothing",
		text: "http://a.example.org/x\nb.example.org/~user\nhttps://c.example.org/?q=1\nhttps://d.example.org?q=a@b\ne.example.org/*\n" +
			"198.51.100.7/x\nhttp://[2001:db8::1]:80/x\n2001:db8::1/x\n",
		want: read{Format: FormatURLs, Counts: [4]int{0, 8, 0, 0}},
	}, {
		what:    "a host that is an address",
		options: Options{Addresses: true},
		text:    "http://198.51.100.7/\nhttp://[2001:db8::1]/\nhttps://[2001:db8::2]:443\nhttp://a.example.org/x\n",
		want: read{
			Format: FormatURLs, Counts: [4]int{3, 1, 0, 0},
			Entries: []string{"198.51.100.7/32", "2001:db8::1/128", "2001:db8::2/128"},
		},
	}, {
		what:    "what is no URL is a problem",
		options: Options{Format: FormatURLs},
		text: "http://a.example.org/\nhttp:///x\nhttp://\nn/a\nhttp://b c/\nhttp://[::1/\nhttp://[2001:db8::1]x/\nhttp://a.example.org:http/\nhttp://exa%6dple.org/x\n" +
			"http://user@/x\nexample.org##.banner\n",
		want: read{
			Format: FormatURLs, Counts: [4]int{1, 0, 0, 10}, Entries: []string{"a.example.org"},
			Problems: []string{
				"2: no host and port", "3: no host and port", "4: no host before the path", "5: more than one word", "6: no host and port",
				"7: no host and port", "8: no host and port", "9: no host before the path", "10: no host and port", "11: rule on what a page shows",
			},
		},
	}})
}

func TestParseAdblock(t *testing.T) {
	checkParse(t, []parseCase{{
		what: "||name^ covers a name",
		text: "[Adblock Plus 2.0]\n! Title: x\n# comment\n||example.org^\n||www.Example.com^$important\n||example.net^$all\n" +
			"||a.example^$document,important\n||b.example^$doc\n||*.c.example^\n||198.51.100.7^\n",
		want: read{
			Format: FormatAdblock, Counts: [4]int{6, 1, 0, 0},
			Entries: []string{"example.org", "www.example.com", "example.net", "a.example", "b.example", "c.example"},
		},
	}, {
		what: "exceptions are counted, and have no effect",
		text: "||example.org^\n@@||www.example.org^\n@@||example.net^$important\n@@/regex/\n",
		want: read{Format: FormatAdblock, Counts: [4]int{1, 0, 3, 0}, Entries: []string{"example.org"}},
	}, {
		what: "what DNS cannot follow is a problem",
		text: "||example.org^\n##.banner\nexample.org##.banner\nexample.org#@#.banner\nexample.org#?#div:has(a)\nexample.org$$script[tag-content=\"x\"]\n" +
			"/banner[0-9]+/\n||example.org/banner^\n||example.org^path\n||example.org\n|http://example.org^\n||example.org^$third-party\n" +
			"||example.org^$script,domain=example.net\n||example.org^$dnsrewrite=192.0.2.1\n||ex*ple.org^\nexample.com\n-banner.\n",
		want: read{
			Format: FormatAdblock, Counts: [4]int{1, 0, 0, 16}, Entries: []string{"example.org"},
			Problems: []string{
				"2: rule on what a page shows", "3: rule on what a page shows", "4: rule on what a page shows",
				"5: rule on what a page shows", "6: rule on what a page shows", "7: regular expression",
				"8: rule other than ||name^", "9: rule other than ||name^", "10: rule other than ||name^", "11: rule other than ||name^",
				"12: modifier other than important, all and document", "13: modifier other than important, all and document",
				"14: modifier other than important, all and document", "15: '*' other than as the first label",
				"16: rule other than ||name^", "17: rule other than ||name^",
			},
		},
	}})
}

func TestParseDnsmasq(t *testing.T) {
	checkParse(t, []parseCase{{
		what: "names that are answered here",
		text: "# comment\naddress=/a.example.org/\naddress=/B.example.org/0.0.0.0\naddress=/c.example.org/d.example.org/::\naddress=/e.example.org/# # all\n" +
			"server=/f.example.org/\nlocal=/g.example.org/h.example.org/\nserver=/*.i.example.org/\n address = /j.example.org/127.0.0.1\n",
		want: read{
			Format: FormatDnsmasq, Counts: [4]int{10, 0, 0, 0},
			Entries: []string{
				"a.example.org", "b.example.org", "c.example.org", "d.example.org", "e.example.org",
				"f.example.org", "g.example.org", "h.example.org", "i.example.org", "j.example.org",
			},
		},
	}, {
		what: "lines that forward, rewrite or do something else",
		text: "server=/example.org/\nserver=/example.net/192.0.2.53\naddress=/example.com/192.0.2.1\nserver=/www.example.org/#\nserver=192.0.2.53\n" +
			"address=/#/0.0.0.0\nno-resolv\ncname=a.example,b.example\naddress=//0.0.0.0\naddress=/example.com/x.example\n",
		want: read{
			Format: FormatDnsmasq, Counts: [4]int{1, 0, 1, 8}, Entries: []string{"example.org"},
			Problems: []string{
				"2: forwards to a server instead of blocking", "3: answers with an address instead of blocking", "5: no name between slashes",
				"6: covers every name", "7: no address=, server= or local=", "8: no address=, server= or local=", "9: no name",
				"10: answers with an address instead of blocking",
			},
		},
	}})
}

func TestParseUnbound(t *testing.T) {
	checkParse(t, []parseCase{{
		what: "zones of a type that blocks",
		text: "server:\n  # comment\n  local-zone: \"a.example.org.\" always_nxdomain\n  local-zone: 'b.example.org' static # why\nlocal-zone: c.example.org redirect\n" +
			"local-data: \"c.example.org A 0.0.0.0\"\nlocal-zone: \"d.example.org\"   \"always_null\"\n",
		want: read{
			Format: FormatUnbound, Counts: [4]int{4, 0, 0, 0},
			Entries: []string{"a.example.org", "b.example.org", "c.example.org", "d.example.org"},
		},
	}, {
		what: "and other lines",
		text: "local-zone: \"example.org\" refuse\nlocal-zone: \"a.example\" transparent\nlocal-zone: \"b.example\"\nlocal-zone: \"\" static\nforward-zone:\n",
		want: read{
			Format: FormatUnbound, Counts: [4]int{1, 0, 0, 4}, Entries: []string{"example.org"},
			Problems: []string{
				"2: local-zone of a type that does not block", "3: local-zone of a type that does not block", "4: no name", "5: no local-zone",
			},
		},
	}})
}

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
		{what: "with a byte order mark", text: "\xef\xbb\xbfexample.org\nexample.net\n", want: want},
		{what: "with one where files were joined", text: "example.org\n\xef\xbb\xbfexample.net\n", want: want},
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
			Problems: []string{`2: character '/', which a name holds only as \047`},
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
		for k, key := range l.entries() {
			n := Name(key)
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
