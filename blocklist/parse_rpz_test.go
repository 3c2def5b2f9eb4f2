package blocklist

import (
	"strings"
	"testing"
)

func TestParseRPZ(t *testing.T) {
	checkParse(t, []parseCase{{
		what: "a zone as its publishers write it",
		text: `; comment
$TTL 2h
$ORIGIN rpz.publisher.example.
@	IN	SOA	localhost. root.localhost. (
		2026082001 ; serial
		1h 15m 30d 2h )
	IN	NS	localhost.
example.org	CNAME	.
*.example.org	CNAME	.
nodata.example	300 IN CNAME *.
drop.example	IN 300 CNAME rpz-drop.
tcp.example	CNAME rpz-tcp-only.
WALLED.example	A 192.0.2.1
	AAAA 2001:db8::1
	TXT "a ; ( quoted"
absolute.example.rpz.publisher.example. IN CNAME .
*.absolute.example.rpz.publisher.example. CNAME .
pass.example.org CNAME rpz-passthru.
*.pass.example.org CNAME rpz-passthru.
self.example.org CNAME self.example.org.
*.self.example.org CNAME *.self.example.org.
`,
		want: read{
			Format: FormatRPZ, Counts: [4]int{8, 0, 4, 0},
			Entries: []string{
				"only example.org", "below example.org", "only nodata.example", "only drop.example", "only tcp.example", "only walled.example",
				"only absolute.example", "below absolute.example", "pass pass.example.org", "pass below pass.example.org",
				"pass self.example.org", "pass below self.example.org",
			},
		},
	}, {
		what: "the SOA's owner is the zone, where no $ORIGIN is",
		text: "rpz.example. SOA a. b. 1 2 3 4 5\nrpz.example. NS a.\nexample.org CNAME .\nexample.net.rpz.example. CNAME .\n",
		want: read{Format: FormatRPZ, Counts: [4]int{2, 0, 0, 0}, Entries: []string{"only example.org", "only example.net"}},
	}, {
		what: "the SOA's owner is the zone, where $ORIGIN is above it",
		text: "$ORIGIN example.\nrpz SOA a. b. 1 2 3 4 5\nexample.org.rpz CNAME .\n$ORIGIN rpz\nexample.net CNAME .\n",
		want: read{Format: FormatRPZ, Counts: [4]int{2, 0, 0, 0}, Entries: []string{"only example.org", "only example.net"}},
	}, {
		what: "without either, names are triggers as they stand",
		text: "@ SOA a. b. 1 2 3 4 5\nexample.org CNAME .\nexample.net. CNAME .\n",
		want: read{Format: FormatRPZ, Counts: [4]int{2, 0, 0, 0}, Entries: []string{"only example.org", "only example.net"}},
	}, {
		what: "$ORIGIN moves, the zone stays",
		text: "$ORIGIN rpz.example.\n@ SOA a b 1 2 3 4 5\n$ORIGIN org\nexample CNAME .\n* CNAME rpz-passthru.\n@ CNAME .\n$ORIGIN net.rpz.example.\nexample CNAME .\n*.www CNAME .\n",
		want: read{
			Format: FormatRPZ, Counts: [4]int{3, 0, 0, 2}, Entries: []string{"only example.org", "only example.net", "below www.net"},
			Problems: []string{"5: covers a whole top-level domain", "6: covers a whole top-level domain"},
		},
	}, {
		what: "triggers other than names cannot be enforced",
		text: "example.org CNAME .\n24.0.2.0.192.rpz-ip CNAME .\n32.7.100.51.198.rpz-client-ip CNAME rpz-drop.\nns.example.rpz-nsdname CNAME .\n" +
			"48.zz.db8.2001.rpz-nsip CNAME .\n",
		want: read{Format: FormatRPZ, Counts: [4]int{1, 4, 0, 0}, Entries: []string{"only example.org"}},
	}, {
		what:    "but for addresses in the answer, where addresses are asked for",
		options: Options{Addresses: true},
		text: "24.0.2.0.192.rpz-ip CNAME .\n32.7.2.0.192.rpz-ip CNAME rpz-passthru.\n32.7.100.51.198.rpz-client-ip CNAME .\n128.57.zz.1.db8.2001.rpz-ip CNAME .\n" +
			"48.zz.db8.2001.rpz-ip A 192.0.2.1\n48.zz.db8.2001.rpz-ip AAAA 2001:db8::1\n128.8.7.6.5.4.3.db8.2001.rpz-ip CNAME .\n24.0.0.0.10.rpz-ip CNAME .\n" +
			"33.0.2.0.192.rpz-ip CNAME .\nrpz-ip CNAME .\n24.rpz-ip CNAME .\n*.2.0.192.rpz-ip CNAME .\n0.zz.rpz-ip CNAME .\n128.1.zz.rpz-ip CNAME .\n64.zz.2.zz.rpz-ip CNAME .\n",
		want: read{
			Format: FormatRPZ, Counts: [4]int{4, 2, 0, 8},
			Entries: []string{"192.0.2.0/24", "2001:db8:1::57/128", "2001:db8::/48", "2001:db8:3:4:5:6:7:8/128"},
			Problems: []string{
				"8: is no address of the public internet", "9: no address range in front of rpz-ip", "10: no address range in front of rpz-ip", "11: no address range in front of rpz-ip",
				"12: no address range in front of rpz-ip", "13: is no address of the public internet", "14: is no address of the public internet", "15: no address range in front of rpz-ip",
			},
		},
	}, {
		what: "a CNAME to somewhere else is a block, rpz-passthru without its dot too",
		text: "$ORIGIN rpz.example.\na.example CNAME walled.garden.example.\nb.example CNAME rpz-passthru\nc.example CNAME c.example\n",
		want: read{Format: FormatRPZ, Counts: [4]int{3, 0, 0, 0}, Entries: []string{"only a.example", "only b.example", "only c.example"}},
	}, {
		what: "records that say nothing of a name",
		text: "example.org CNAME .\nexample.org RRSIG CNAME 8 2 300 x\nsub.example.org NS ns.example.\nexample.net NSEC a.example CNAME\n",
		want: read{Format: FormatRPZ, Counts: [4]int{1, 0, 0, 0}, Entries: []string{"only example.org"}},
	}, {
		what: "what is wrong is a problem",
		text: " CNAME .\n$ORIGIN rpz.example.\nexample.org CNAME .\nexample.net\nexample.net CNAME\nexample.net 300 IN\nexample.net BOGUS x\nother.zone. CNAME .\n" +
			"a.*.example CNAME .\n* CNAME .\n*.com CNAME .\nco.uk CNAME .\n$INCLUDE other.zone\n$GENERATE 1-9 h$.example CNAME .\n$ORIGIN\n" +
			"b..example CNAME .\n CNAME .\n" + strings.Repeat("l.", 125) + "example CNAME .\n",
		want: read{
			Format: FormatRPZ, Counts: [4]int{1, 0, 0, 16}, Entries: []string{"only example.org"},
			Problems: []string{
				"1: no owner name", "4: no record type", "5: CNAME without a target", "6: no record type", "7: no record type", "8: outside of the zone",
				"9: '*' other than as the first label", "10: covers every name", "11: covers a whole top-level domain",
				"12: is a public suffix: covers the sites of everybody below it",
				"13: a directive that is not followed", "14: a directive that is not followed", "15: $ORIGIN without a name",
				"16: empty label", "17: no owner name", "18: name longer than 255 bytes",
			},
		},
	}, {
		what: "a parenthesis that is not closed costs a few records",
		text: "a.example CNAME .\nb.example TXT ( x\n" + strings.Repeat("filler.example CNAME .\n", 30) + "c.example CNAME .\nd.example CNAME ( .\n",
		want: read{
			Format: FormatRPZ, Counts: [4]int{3, 0, 0, 2},
			Entries:  []string{"only a.example", "only filler.example", "only c.example"},
			Problems: []string{"2: parenthesis that is not closed", "34: parenthesis that is not closed"},
		},
	}})
}
