package feed

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"schoolgate/blocklist"
)

// guardRules are what a new version of a list is held to.
type guardRules struct {
	// Fetched says that somebody else made the list. IT's own file is held to its canaries alone: who
	// edits it may well cut it down.
	Fetched  bool
	MinShare int // as Spec.MinShare
	// Never are names that a fetched list may not cover.
	Never    []blocklist.Name
	Canaries []blocklist.Name
	// Confidential has the error count names and show none: what such a list covers is its content.
	Confidential bool
}

const (
	defaultMinShare = 70
	maxTooBroad     = 1 // per cent
)

// guard returns why a new version of a list must not replace the last good one; nil where it may.
// before is that last one, whose counts are enough; nil where there is none. The list's names must
// not have been released. The one error has all reasons. Of names it shows those of the rules only,
// and none where the list is confidential.
func guard(list, before *blocklist.List, r guardRules) error {
	var reasons []string
	refuse := func(format string, a ...any) { reasons = append(reasons, fmt.Sprintf(format, a...)) }
	entries := list.Enforceable + list.Unenforceable
	if r.Fetched {
		share := r.MinShare
		if share == 0 {
			share = defaultMinShare
		}
		if before != nil {
			if was := before.Enforceable + before.Unenforceable; 100*entries < share*was {
				refuse("it has %d entries, less than %d %% of the %d before (if the publisher did cut it down, lower min_share)", entries, share, was)
			}
		}
		if n := list.TooBroad; 100*n > maxTooBroad*(entries+n) {
			refuse("%d of its %d entries cover a public suffix, a top-level domain or the site's own zones, more than %d %%", n, entries+n, maxTooBroad)
		}
		if names := covered(list, r.Never); len(names) > 0 {
			refuse("it blocks %s", r.describe(names, "that must never be blocked"))
		}
	}
	there := covered(list, r.Canaries)
	missing := slices.DeleteFunc(slices.Clone(r.Canaries), func(n blocklist.Name) bool { return slices.Contains(there, n) })
	if len(missing) > 0 {
		refuse("it lacks %s", r.describe(missing, "written under canaries"))
	}
	if len(reasons) == 0 {
		return nil
	}
	return errors.New("refused: " + strings.Join(reasons, "; "))
}

// describe says which names, or of a confidential list how many.
func (r guardRules) describe(names []blocklist.Name, what string) string {
	const shown = 5
	count := fmt.Sprintf("%d names %s", len(names), what)
	if len(names) == 1 {
		count = "a name " + what
	}
	if r.Confidential {
		return count
	}
	var texts []string
	for _, n := range names[:min(len(names), shown)] {
		texts = append(texts, n.String())
	}
	if len(names) > shown {
		texts = append(texts, "…")
	}
	return count + ": " + strings.Join(texts, ", ")
}

// covered returns those of names that a list blocks, in their order. It reads the list once to see
// whether there can be any, which is seldom so: Holds reads it once for each name, and for eighty
// names that takes eight times as long (220 ns an entry against 30).
func covered(list *blocklist.List, names []blocklist.Name) []blocklist.Name {
	above := map[blocklist.Name]bool{} // the names and those above them
	for _, n := range names {
		for up := n; up != ""; up = up.Parent() {
			above[up] = true
		}
	}
	suspect := false
	for n := range list.Names() {
		if above[n] {
			suspect = true
			break
		}
	}
	if !suspect {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(names), func(n blocklist.Name) bool { return !list.Holds(n) })
}

//go:embed never.txt
var neverBlocked string

// NeverBlocked returns names whose blocking would bring any school to a stop: where people sign in and
// search, updates, certificates, the NHS and such. A fetched list that covers one is broken.
//
// The help lines are not among them. They are never blocked, whatever a list has, and good lists have
// some: refusing ut1:games for one would cost the school the whole list.
func NeverBlocked() []blocklist.Name {
	list, err := blocklist.Parse(strings.NewReader(neverBlocked), blocklist.Options{Format: blocklist.FormatDomains})
	if err != nil {
		panic(err) // the text is part of the program
	}
	return slices.Collect(list.Names())
}
