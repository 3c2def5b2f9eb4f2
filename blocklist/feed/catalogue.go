package feed

import (
	"cmp"
	"slices"
	"strings"

	"schoolgate/blocklist"
)

// Listing is a public list that a configuration can name instead of writing its address.
type Listing struct {
	Name    string // "ut1:adult": the collection and the list's own name in it
	Title   string // a few words
	URL     string // https
	Member  string // as Spec.Member: set where URL is an archive
	Format  blocklist.Format
	Licence string // short: the SPDX name where it has one, else what the publisher's terms come to
	About   string // one sentence: what is in it
}

// Catalogue returns the public lists, sorted by name.
func Catalogue() []Listing {
	var all []Listing
	for _, c := range collections() {
		for _, e := range c.lists {
			file := cmp.Or(e.file, e.name)
			all = append(all, Listing{
				Name:    c.name + ":" + e.name,
				Title:   e.title,
				URL:     strings.ReplaceAll(c.url, "*", file),
				Member:  strings.ReplaceAll(c.member, "*", file),
				Format:  c.format,
				Licence: c.licence,
				About:   e.about,
			})
		}
	}
	slices.SortFunc(all, func(a, b Listing) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Lookup returns the public list of that name.
func Lookup(name string) (Listing, bool) {
	all := Catalogue()
	i := slices.IndexFunc(all, func(l Listing) bool { return l.Name == name })
	if i < 0 {
		return Listing{}, false
	}
	return all[i], true
}

// collection is what the lists of one publisher have in common.
type collection struct {
	name    string
	url     string // "*" stands for the list's file
	member  string // likewise
	format  blocklist.Format
	licence string
	lists   []entry
}

// entry is one list of a collection.
type entry struct {
	name, title, about string
	file               string // "": as the name
}
