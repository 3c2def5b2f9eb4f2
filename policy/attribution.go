package policy

import (
	"slices"

	"schoolgate/blocklist"
)

// SelfTest ends the title of a category whose name was one with which schools test their filter.
const SelfTest = ": self-test name"

// The category of a breach that no category decided.
const (
	CategoryNameRule = "rule"
	categoryOnly     = "only"
	// No breach: whoever asks is the victim.
	categoryRebinding = "rebinding"
)

// Attribution says in words what an event's verdict means and which list and entry it rests on. It
// walks the lists again, so it is for the record and for people, not for the data path.
func (p *Policy) Attribution(e Event) Attribution {
	v := e.Verdict
	g := &p.groups[v.Group]
	a := Attribution{
		Group: g.Name, Severity: v.Severity, Via: v.Via, Shared: g.Shared,
		AlertTo: g.AlertTo, AlertToSet: g.AlertToSet, Action: "block",
	}
	if v.Action == Monitor {
		a.Action = "monitor"
	}
	a.Confidential = p.isConfidential(e)
	a.Categories = p.categoryNames(v.Categories)
	a.Category, a.Title = p.categoryName(v.Category)
	if a.Categories == nil {
		a.Categories = []string{a.Category}
	}
	name := e.Name
	if e.Target != "" {
		name = e.Target
	}
	switch {
	case v.Rule >= 0:
		a.List = "rules"
		if p.spec.Rules[v.Rule].ID != "" {
			a.List = "exceptions"
		}
		if i := slices.IndexFunc(p.spec.Rules[v.Rule].Names, func(n blocklist.Name) bool { return n.Covers(name) }); i >= 0 {
			a.Entry = p.spec.Rules[v.Rule].Names[i].String()
		}
	case v.Category < 0:
	case v.Tunnel:
		a.List, a.Entry = "shape:tunnel", name.String()
	case e.Address.IsValid():
		a.List, a.Entry, _ = p.set.AttributeAddr(e.Address, blocklist.Category(v.Category))
	default:
		var entry blocklist.Name
		a.List, entry, _ = p.set.Attribute(name, blocklist.Category(v.Category))
		a.Entry = entry.String()
	}
	if a.Confidential {
		a.Entry = ""
	}
	if a.List == "builtin:iwf" || a.List == "builtin:ctiru" {
		// They hold the public names with which schools test their filter, and nothing else.
		a.Title += SelfTest
	}
	return a
}

// isConfidential reports whether any confidential list holds what was asked for or what matched,
// whatever decided: a name on such a list is written down nowhere.
func (p *Policy) isConfidential(e Event) bool {
	if p.confidential == 0 {
		return false
	}
	hit := e.Verdict.Categories | p.set.Match([]byte(e.Name))
	if e.Target != "" {
		hit |= p.set.Match([]byte(e.Target))
	}
	if e.Address.IsValid() {
		hit |= p.set.MatchAddr(e.Address)
	}
	return hit&p.confidential != 0
}

// Confidential reports whether any confidential list holds the name, so that it must be written down nowhere.
func (p *Policy) Confidential(name blocklist.Name) bool {
	return p.set.Match([]byte(name))&p.confidential != 0
}

// Locked reports whether the name is in a locked category: nothing can open it.
func (p *Policy) Locked(name blocklist.Name) bool { return p.set.Match([]byte(name))&p.locked != 0 }

// TitleOf returns the title of a category, or of what stands in its place, by the name that Explain and records
// have: for people.
func (p *Policy) TitleOf(category string) string {
	for i := CategoryRebinding; int(i) < len(p.spec.Categories); i++ {
		if name, title := p.categoryName(i); name == category {
			return title
		}
	}
	return category
}

// categoryName returns a verdict's category as the record and as people know it.
func (p *Policy) categoryName(category int16) (name, title string) {
	switch category {
	case CategoryNone:
		return "", ""
	case CategoryRule:
		return CategoryNameRule, "Blocked by a rule of the school"
	case CategoryRebinding:
		return categoryRebinding, "A public name that leads to the school's own network"
	case CategoryOnly:
		return categoryOnly, "Outside the allowed sites"
	}
	c := p.spec.Categories[category]
	if c.TrialOf != "" {
		return c.TrialOf, c.Title
	}
	return c.Name, c.Title
}

// categoryNames returns the names of categories in their order, nil for none.
func (p *Policy) categoryNames(of blocklist.Categories) (names []string) {
	for c := range of.All() {
		names = append(names, p.CategoryName(int16(c)))
	}
	return names
}

// CategoryName returns the category of a verdict as metrics and records have it: "" where nothing
// matched. That of a list on trial is the one for which it is tried.
func (p *Policy) CategoryName(category int16) string {
	name, _ := p.categoryName(category)
	return name
}

// CategoryTitle returns the category of a verdict as people know it: "" where nothing matched.
func (p *Policy) CategoryTitle(category int16) string {
	_, title := p.categoryName(category)
	return title
}
