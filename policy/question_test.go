package policy_test

import (
	"testing"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

func TestANameIsWithheldWhereAConfidentialListHasItOrItTellsOne(t *testing.T) {
	name := func(s string) blocklist.Name {
		n, err := blocklist.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	p, err := policy.Compile(policy.Spec{
		Categories: []policy.Category{{Name: "gaming"}, {Name: "iwf", Locked: true, Confidential: true}},
		Groups:     []policy.Group{{Name: "all"}}, DefaultGroup: "all",
	}, blocklist.Build([]blocklist.Source{
		{ID: "a", Category: 0, List: blocklist.ListOf(name("games.example"))}, {ID: "b", Category: 1, List: blocklist.ListOf(name("secret.example"))},
	}), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		name   blocklist.Name
		listed blocklist.Categories
		want   bool
	}{
		{"the name", name("secret.example"), 0, true},
		{"a name below it", name("www.secret.example"), 0, true},
		{"it with the network's own domain behind it", name("secret.example.school.internal"), 0, true},
		{"one below it with one label behind it", name("a.b.secret.example.lan"), 0, true},
		{"another one whose answer leads to it", name("innocent.example"), blocklist.Categories(0).With(1), true},
		{"no name, whose answer leads to it", "", blocklist.Categories(0).With(1), true},
		{"the name above it", name("example"), 0, false},
		{"a part of it", name("secret"), 0, false},
		{"one that ends like it", name("notsecret.example"), 0, false},
		{"one on an ordinary list", name("games.example"), blocklist.Categories(0).With(0), false},
		{"the root", name("."), 0, false},
		{"no name", "", 0, false},
	} {
		if got := p.Withholds(c.name, c.listed); got != c.want {
			t.Errorf("%s: withheld %v, want %v", c.what, got, c.want)
		}
	}
}
