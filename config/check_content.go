package config

import (
	"cmp"
	"fmt"
	"slices"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/policy"
)

// selfTest are the categories that always exist, with the lists that they always have.
var selfTest = []policy.Category{
	{Name: "iwf", Title: "Child sexual abuse (IWF list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
	{Name: "ctiru", Title: "Unlawful terrorist content (CTIRU list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
}

// fixed returns the one of selfTest that has the name.
func fixed(name string) (policy.Category, bool) {
	i := slices.IndexFunc(selfTest, func(s policy.Category) bool { return s.Name == name })
	if i < 0 {
		return policy.Category{}, false
	}
	return selfTest[i], true
}

// contents fills the categories and their lists.
func (c *checker) contents() {
	for _, always := range selfTest {
		if !slices.ContainsFunc(c.categories, func(w category) bool { return w.name.name == always.Name }) {
			c.add(&category{name: name{name: always.Name}}, always)
		}
	}
	own := 0
	for i := range c.categories {
		w := &c.categories[i]
		p := policy.Category{
			Name: w.name.name, Title: w.title.v, Severity: w.severity.v,
			Locked: w.locked.v, Confidential: w.confidential.v,
		}
		always, isFixed := fixed(p.Name)
		switch {
		case isFixed:
			c.keepFixed(w)
			p = always
			p.Title = cmp.Or(w.title.v, always.Title)
		case p.Name == "rule" || p.Name == "only" || p.Name == "none":
			c.fail(w.place, "choose another", "%q names the breaches of rules and of only", p.Name)
		case p.Name == "helplines":
			c.fail(w.place, "they are never blocked, recorded or alerted", "helplines can't be a category")
		default:
			p.Title = cmp.Or(p.Title, p.Name)
			if own++; own == mostCategories+1 {
				c.fail(w.place, "give one several lists", "there can be %d categories beside iwf and ctiru", mostCategories)
			}
		}
		c.add(w, p)
	}
}

// mostCategories leaves room for iwf, ctiru and helplines.
const mostCategories = blocklist.MaxCategories - 3

// keepFixed refuses a file that says of iwf or ctiru what it can't.
func (c *checker) keepFixed(w *category) {
	const hint = "leave it out: always locked, confidential and critical"
	if w.locked.written() && !w.locked.v {
		c.fail(w.locked.place, hint, "%s can't be unlocked", w.name.name)
	}
	if w.confidential.written() && !w.confidential.v {
		c.fail(w.confidential.place, hint, "%s can't be made public", w.name.name)
	}
	if w.severity.written() && w.severity.v != policy.SeverityCritical {
		c.fail(w.severity.place, hint, "%s can't be less than critical", w.name.name)
	}
}

// add adds a category and its lists. iwf and ctiru begin with their own self-test list, so that a
// match of a self-test name is never taken for one of the real list.
func (c *checker) add(w *category, p policy.Category) {
	base := feed.Spec{
		Category: blocklist.Category(len(c.cfg.Policy.Categories)), Confidential: p.Confidential, Locked: p.Locked,
		Line: max(w.line, 1), Column: max(w.column, 1),
	}
	c.cfg.Policy.Categories = append(c.cfg.Policy.Categories, p)
	_, isFixed := fixed(p.Name)
	if isFixed {
		s := base
		s.ID, s.Builtin = "builtin:"+p.Name, p.Name
		c.cfg.Lists = append(c.cfg.Lists, s)
	}
	first := map[string]int{}
	for i := range w.lists {
		l := &w.lists[i]
		s := base
		s.Line, s.Column = l.line, l.column
		if !c.source(l, &s) {
			continue
		}
		if line, again := first[s.ID]; again {
			c.fail(l.place, fmt.Sprintf("first on line %d", line), "%s is written twice in %s", s.ID, p.Name)
			continue
		}
		first[s.ID] = l.line
		if isFixed && s.Builtin == p.Name {
			continue // it has that already
		}
		s.Format = blocklist.Format(l.format.v) // "" where it is to be found out
		s.Addresses = l.addresses.v
		s.Required = l.required.v
		if !l.required.written() {
			s.Required = s.Path != "" && (p.Locked || p.Severity >= policy.SeverityHigh)
		}
		c.cfg.Lists = append(c.cfg.Lists, s)
	}
}

// source fills where a list comes from, and reports whether that is known.
func (c *checker) source(l *list, s *feed.Spec) bool {
	switch {
	case l.builtin.written():
		s.ID, s.Builtin = "builtin:"+l.builtin.v, l.builtin.v
		if l.builtin.v == "helplines" {
			c.fail(l.place, "remove it", "helplines are never blocked")
		} else if known := blocklist.Builtins(); !slices.Contains(known, l.builtin.v) {
			c.fail(l.place, nearest(l.builtin.v, known), "there is no builtin list %q", l.builtin.v)
		}
	case l.path.written() && l.url.written():
		c.fail(l.place, "make two lists of it", "has both path and url")
		return false
	case l.path.written():
		s.ID, s.Path = l.path.v, c.path(l.path.v)
		c.regularFile(l.path)
	case l.url.written():
		if l.url.v == nil {
			return false
		}
		s.ID, s.URL = l.url.v.String(), l.url.v.String()
		c.notYet(l.url.place)
		if l.required.v {
			c.fail(l.required.place, "fetch it to a file and write path", "a url list is not fetched yet, and can't be required")
		}
	default:
		if !c.failed(l.place) {
			c.fail(l.place, "write path, url, or builtin:NAME in place of the mapping", "has no source")
		}
		return false
	}
	return s.ID != ""
}

// calendarDays checks the calendar. Nothing acts upon it yet.
func (c *checker) calendarDays() {
	for _, t := range c.calendar.terms {
		if t.from.written() && t.to.written() && t.to.v.Before(t.from.v) && !c.failed(t.place) {
			c.fail(t.place, "", "the term ends before it begins")
		}
	}
	for _, p := range c.calendar.periods {
		if len(p.times) == 0 && !c.failed(p.place) {
			c.fail(p.place, "", "the period has no times")
		}
		for _, t := range p.times {
			switch {
			case !t.from.written() || !t.to.written() || c.failed(t.place):
			case t.from.v == t.to.v:
				c.fail(t.place, "00:00 to 24:00 is the whole day", "is empty")
			case t.from.v == 24*60:
				c.fail(t.from.place, "use 00:00", "a time span can't begin at 24:00")
			}
		}
	}
}
