package daemon

import (
	"fmt"
	"slices"

	"schoolgate/blocklist/feed"
	"schoolgate/config"
)

// SameLists reports whether two configurations have the same lists in the same categories.
func SameLists(a, b *config.Config) bool {
	return slices.EqualFunc(a.Lists, b.Lists, func(s, t feed.Spec) bool {
		return s.ID == t.ID && a.Policy.Categories[s.Category].Name == b.Policy.Categories[t.Category].Name
	})
}

// ListChanges says which lists f has and an older one has not, and the other way round.
func (f *Filter) ListChanges(older *Filter) (changes []config.Change) {
	has := func(f *Filter, category, id string) bool {
		return slices.ContainsFunc(f.Lists, func(l feed.Loaded) bool { return l.ID == id && f.category(l) == category })
	}
	names := func(l feed.Loaded) string {
		if l.List == nil {
			return "which is not there"
		}
		return Plural(l.List.Enforceable, "name", "names")
	}
	for _, l := range f.Lists {
		if c := f.category(l); !has(older, c, l.ID) {
			changes = append(changes, config.Change{Kind: "other", Category: c, Text: fmt.Sprintf("list %s of %s is new: %s", l.ID, c, names(l))})
		}
	}
	for _, l := range older.Lists {
		if c := older.category(l); !has(f, c, l.ID) {
			changes = append(changes, config.Change{Kind: "other", Category: c, Text: fmt.Sprintf("list %s of %s is no more: %s", l.ID, c, names(l))})
		}
	}
	return changes
}
