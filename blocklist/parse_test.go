package blocklist

import (
	"fmt"
	"io"
	"strings"
	"testing"

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
	for k, path := range l.names.all() {
		r.Entries = append(r.Entries, prefix[k]+pathName(path).String())
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
				`5: a character that a name does not hold`, "5: empty label",
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
				`5: a character that a name does not hold`, "6: neither ASCII nor UTF-8",
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

func TestNoReasonHoldsAnythingOfTheList(t *testing.T) {
	text := "ok.example\nhttps://\u0301zqxleak.example/\nzqx\u202eleak.example\na%zqx.example\nzqx..example\n\xff\xfezqx.example\n||zqx^$foo\n"
	for _, format := range Formats() {
		list, err := Parse(strings.NewReader(text), Options{Format: format})
		if err != nil {
			if strings.Contains(err.Error(), "zqx") {
				t.Errorf("%s: error %v", format, err)
			}
			continue
		}
		for _, p := range append(list.Problems, list.Warnings...) {
			if strings.Contains(p.Reason, "zqx") || strings.ContainsAny(p.Reason, "\u0301\u202e%") {
				t.Errorf("%s: line %d: %q", format, p.Line, p.Reason)
			}
		}
	}
}

func TestAPublicSuffixByAWildcardRuleIsSkipped(t *testing.T) {
	list, err := Parse(strings.NewReader("sch.uk\nkawasaki.jp\nhants.sch.uk\nwinchelsea.hants.sch.uk\n"), Options{Format: FormatDomains})
	if err != nil {
		t.Fatal(err)
	}
	if list.Enforceable != 1 || list.Skipped != 3 {
		t.Errorf("%d entries, %d skipped; want 1, the school's own name, and 3: %v", list.Enforceable, list.Skipped, list.Problems)
	}
}

func reader(text string) io.Reader { return strings.NewReader(text) }
