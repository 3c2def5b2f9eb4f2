package daemon

import (
	"fmt"
	"slices"

	"schoolgate/blocklist/feed"
	"schoolgate/config"
)

// SameLists reports whether two configurations have the same lists in the same categories, on trial alike.
func SameLists(a, b *config.Config) bool {
	return slices.EqualFunc(a.Lists, b.Lists, func(s, t feed.Spec) bool {
		return s.ID == t.ID && s.Trial == t.Trial && a.Policy.Categories[s.Category].Name == b.Policy.Categories[t.Category].Name
	})
}

// ListChanges says which lists f has and an older one has not, and the other way round, and whose trial is another.
func (f *Filter) ListChanges(older *Filter) (changes []config.Change) {
	find := func(f *Filter, category, id string) *feed.Loaded {
		i := slices.IndexFunc(f.Lists, func(l feed.Loaded) bool { return l.ID == id && f.category(l) == category })
		if i < 0 {
			return nil
		}
		return &f.Lists[i]
	}
	say := func(category, format string, args ...any) {
		changes = append(changes, config.Change{Kind: "other", Category: category, Text: fmt.Sprintf(format, args...)})
	}
	names := func(l feed.Loaded) string {
		if l.List == nil {
			return "which is not there"
		}
		return Plural(l.List.Enforceable, "name", "names")
	}
	for _, l := range f.Lists {
		c := f.category(l)
		before := find(older, c, l.ID)
		switch {
		case before == nil && l.Trial > 0:
			say(c, "list %s of %s is new: %s, on trial for %s, in which it blocks nothing", l.ID, c, names(l), span(l.Trial))
		case before == nil:
			say(c, "list %s of %s is new: %s", l.ID, c, names(l))
		case before.Trial == 0 && l.Trial > 0:
			say(c, "list %s of %s goes on trial for %s, in which it blocks nothing: %s", l.ID, c, span(l.Trial), names(l))
		case before.Trial > 0 && l.Trial == 0:
			say(c, "list %s of %s has no trial any more, and blocks: %s", l.ID, c, names(l))
		case before.Trial != l.Trial:
			say(c, "list %s of %s is on trial for %s, before for %s", l.ID, c, span(l.Trial), span(before.Trial))
		}
	}
	for _, l := range older.Lists {
		if c := older.category(l); find(f, c, l.ID) == nil {
			say(c, "list %s of %s is no more: %s", l.ID, c, names(l))
		}
	}
	return changes
}
