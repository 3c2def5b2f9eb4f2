package dnswire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// What Unbound calls scrubbing: a client gets what it asked for, in the order in which it looks for it.
func TestAnAnswerHasNothingThatWasNotAskedFor(t *testing.T) {
	const (
		alias   = "a.example.	60	IN	CNAME	b.example."
		second  = "b.example.	60	IN	CNAME	c.example."
		address = "c.example.	60	IN	A	192.0.2.1"
		ours    = "a.example.	60	IN	A	192.0.2.2"
		signed  = "	60	IN	RRSIG	"
		rest    = " 13 2 60 20961002070640 20231114221320 1 example. AAAA"
	)
	for name, c := range map[string]struct {
		typ        uint16
		dnssec     bool
		came, kept []string
	}{
		"aliases come before that to which they lead": {dns.TypeA, false, []string{address, second, alias}, []string{alias, second, address}},
		"a record of another type is left out":        {dns.TypeAAAA, false, []string{ours, "a.example.	60	IN	AAAA	2001:db8::1"}, []string{"a.example.	60	IN	AAAA	2001:db8::1"}},
		"so is one of another class":                  {dns.TypeA, false, []string{"a.example.	60	CH	A	192.0.2.9", ours}, []string{ours}},
		"of two aliases of a name the first counts": {
			dns.TypeA, false,
			[]string{alias, "a.example.	60	IN	CNAME	other.example.", "other.example.	60	IN	A	192.0.2.3", second, address},
			[]string{alias, second, address},
		},
		"a loop ends": {dns.TypeA, false, []string{alias, "b.example.	60	IN	CNAME	a.example.", alias}, []string{alias, "b.example.	60	IN	CNAME	a.example."}},
		"who asks for the alias gets no more": {
			dns.TypeCNAME, false, []string{alias, second}, []string{alias},
		},
		"signatures go with what they sign, for those who want them": {
			dns.TypeA, true,
			[]string{
				alias, "a.example." + signed + "CNAME" + rest, "b.example.	60	IN	A	192.0.2.4", "b.example." + signed + "A" + rest, "b.example." + signed + "MX" + rest,
			},
			[]string{alias, "a.example." + signed + "CNAME" + rest, "b.example.	60	IN	A	192.0.2.4", "b.example." + signed + "A" + rest},
		},
		"others get none": {dns.TypeA, false, []string{ours, "a.example." + signed + "A" + rest}, []string{ours}},
		"unless they ask for signatures": {
			dns.TypeRRSIG, false,
			[]string{ours, "a.example." + signed + "A" + rest, "a.example." + signed + "MX" + rest},
			[]string{"a.example." + signed + "A" + rest, "a.example." + signed + "MX" + rest},
		},
		"a DNAME record comes with its signature, once": {
			dns.TypeA, true,
			[]string{
				"example.	60	IN	DNAME	example.", "example." + signed + "DNAME" + rest, alias, "b.example.	60	IN	A	192.0.2.4",
			},
			[]string{"example.	60	IN	DNAME	example.", "example." + signed + "DNAME" + rest, alias, "b.example.	60	IN	A	192.0.2.4"},
		},
	} {
		q := question("a.example", c.typ)
		if diff := cmp.Diff(c.kept, handedOn(t, response(t, q, rrs(t, c.came...), nil, nil), q, "\x01a\x07example\x00", c.dnssec)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
