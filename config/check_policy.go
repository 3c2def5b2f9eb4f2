package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// private is what access.allow calls so, beside the networks that the machine is on.
var private = []string{
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // RFC 1918
	"100.64.0.0/10",               // RFC 6598
	"169.254.0.0/16", "fe80::/10", // link-local
	"fc00::/7", // RFC 4193
}

// access fills the ranges that may ask.
func (c *checker) access() {
	add := func(ranges ...string) {
		for _, r := range ranges {
			c.cfg.Policy.Access = append(c.cfg.Policy.Access, netip.MustParsePrefix(r))
		}
	}
	for _, a := range c.file.access.allow.all {
		switch a.v.word {
		case "loopback":
			add("127.0.0.0/8", "::1/128")
		case "any":
			add("0.0.0.0/0", "::/0")
		case "private":
			add(private...)
			for _, p := range c.machine.prefixes {
				if p.Bits() > 0 {
					c.cfg.Policy.Access = append(c.cfg.Policy.Access, p.Masked())
				}
			}
		case "":
			c.tight(a.place, a.v.prefix)
			c.cfg.Policy.Access = append(c.cfg.Policy.Access, a.v.Prefix)
		}
	}
	if len(c.file.access.allow.all) == 0 && !c.failed(place{path: "access.allow"}) {
		c.warn(c.file.access.allow.place, "write [loopback, private]", "nobody may ask")
	}
	for _, f := range c.file.access.trustedForwarders.all {
		c.tight(f.place, f.v)
	}
	limit := c.file.access.rateLimit
	if limit.written() && limit.perSecond.v > 0 {
		c.notYet(limit.place)
	}
}

// tight warns of a range that is larger than it looks.
func (c *checker) tight(p place, r prefix) {
	if r.loose {
		c.warn(p, fmt.Sprintf("write %s, or one address without /", r.Prefix), "%s means all of %s", r.text, r.Prefix)
	}
}

// selfTest are the categories that always exist, with the lists that they always have.
var selfTest = []policy.Category{
	{Name: "iwf", Title: "Child sexual abuse (IWF list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
	{Name: "ctiru", Title: "Unlawful terrorist content (CTIRU list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
}

// contents fills the categories and their lists.
func (c *checker) contents() {
	isWritten := func(name string) bool {
		return slices.ContainsFunc(c.categories, func(w category) bool { return w.name.name == name })
	}
	own := 0
	for _, always := range selfTest {
		if !isWritten(always.Name) {
			c.cfg.Policy.Categories = append(c.cfg.Policy.Categories, always)
			c.addLists(&category{name: name{name: always.Name}}, always)
		}
	}
	for i := range c.categories {
		w := &c.categories[i]
		p := policy.Category{
			Name: w.name.name, Title: w.title.v, Severity: w.severity.v,
			Locked: w.locked.v, Confidential: w.confidential.v,
		}
		if p.Title == "" {
			p.Title = p.Name
		}
		fixed := slices.IndexFunc(selfTest, func(s policy.Category) bool { return s.Name == p.Name })
		switch {
		case fixed >= 0:
			c.fixed(w)
			p.Severity, p.Locked, p.Confidential = policy.SeverityCritical, true, true
			if !w.title.written() {
				p.Title = selfTest[fixed].Title
			}
		case p.Name == "rule" || p.Name == "only" || p.Name == "none":
			c.fail(w.place, "choose another", "%q names the breaches of rules and of only", p.Name)
		case p.Name == "helplines":
			c.fail(w.place, "they are never blocked, recorded or alerted", "helplines can't be a category")
		default:
			own++
		}
		c.cfg.Policy.Categories = append(c.cfg.Policy.Categories, p)
		if own == mostCategories+1 && fixed < 0 {
			c.fail(w.place, "give one several lists", "there can be %d categories beside iwf and ctiru", mostCategories)
		}
		c.addLists(w, p)
	}
}

// mostCategories leaves room for iwf, ctiru and helplines.
const mostCategories = blocklist.MaxCategories - 3

// fixed refuses a file that says of iwf or ctiru what it can't.
func (c *checker) fixed(w *category) {
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

// addLists fills the lists of a category. iwf and ctiru begin with their own self-test list, so
// that a match of a self-test name is never taken for one of the real list.
func (c *checker) addLists(w *category, p policy.Category) {
	number := blocklist.Category(len(c.cfg.Policy.Categories) - 1)
	base := blocklist.Spec{Category: number, Confidential: p.Confidential, Line: max(w.line, 1), Column: max(w.column, 1)}
	if slices.ContainsFunc(selfTest, func(s policy.Category) bool { return s.Name == p.Name }) {
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
		if l.format.v != "" {
			s.Format, _ = blocklist.ParseFormat(l.format.v)
		}
		s.Addresses = l.addresses.v
		s.Required = l.required.v
		if !l.required.written() {
			s.Required = s.Path != "" && (p.Locked || p.Severity >= policy.SeverityHigh)
		}
		if s.Builtin != p.Name || w.line == 0 || !slices.ContainsFunc(selfTest, func(f policy.Category) bool { return f.Name == p.Name }) {
			c.cfg.Lists = append(c.cfg.Lists, s)
		}
	}
}

// source fills where a list comes from, and reports whether that is known.
func (c *checker) source(l *list, s *blocklist.Spec) bool {
	switch {
	case l.builtin.written():
		s.ID, s.Builtin = "builtin:"+l.builtin.v, l.builtin.v
		if l.builtin.v == "helplines" {
			c.fail(l.place, "", "helplines are never blocked")
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

func (c *checker) categoryNames() []string {
	names := make([]string, len(c.cfg.Policy.Categories))
	for i, p := range c.cfg.Policy.Categories {
		names[i] = p.Name
	}
	return names
}

// known fails the references of a list that name nothing, and returns the others as text, each
// once.
func (c *checker) known(refs values[string], what string, names []string) []string {
	var texts []string
	for _, r := range refs.all {
		if !slices.Contains(names, r.v) {
			c.fail(r.place, nearest(r.v, names), "there is no %s %q", what, r.v)
		} else if !slices.Contains(texts, r.v) {
			texts = append(texts, r.v)
		}
	}
	return texts
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

// exceptions fills the rules, and refuses two that contradict each other.
func (c *checker) exceptions() {
	type scope struct {
		group string // "": everybody
		name  blocklist.Name
	}
	type entry struct {
		allow bool
		line  int
	}
	seen := map[scope]entry{}
	groups := c.groupNames()
	for i := range c.rules {
		w := &c.rules[i]
		names, allow := w.block.all, w.allow.written()
		if allow {
			names = w.allow.all
		}
		switch {
		case allow == w.block.written():
			c.fail(w.place, "write allow or block", "a rule allows or blocks")
			continue
		case len(names) == 0 && !c.failed(w.place):
			c.fail(w.place, "", "the rule has no name")
		}
		r := policy.Rule{
			Allow: allow, Groups: c.known(w.groups, "group", groups), Reason: w.reason.v, By: w.by.v,
			Added: w.added.v.start(c.cfg.Timezone), Expires: w.expires.v.end(c.cfg.Timezone),
			Severity: w.severity.v, Line: w.line,
		}
		if allow && w.severity.written() {
			c.warn(w.severity.place, "leave it out", "what is allowed is no breach")
		}
		over := w.expires.written() && !r.Expires.After(c.machine.now)
		if over {
			c.warn(w.expires.place, "remove the rule, or renew it", "the rule has expired")
		}
		scopes := r.Groups
		if len(w.groups.all) == 0 {
			scopes = []string{""}
		}
		for _, n := range names {
			r.Names = append(r.Names, n.v)
			if allow && publicSuffix(n.v) {
				c.warn(n.place, "name the site", "every name under %s is allowed", n.v)
			}
			for _, g := range scopes {
				if over {
					continue
				}
				other, again := seen[scope{g, n.v}]
				if again && other.allow != allow {
					c.fail(n.place, "remove one of the two", "%s", contradiction(n.v, g, allow, n.line, other.line))
					continue
				}
				seen[scope{g, n.v}] = entry{allow, n.line}
			}
		}
		c.cfg.Policy.Rules = append(c.cfg.Policy.Rules, r)
	}
}

func contradiction(n blocklist.Name, group string, allow bool, line, other int) string {
	whom := "everybody"
	if group != "" {
		whom = group
	}
	if allow {
		return fmt.Sprintf("%s is allowed on line %d and blocked on line %d for %s", n, line, other, whom)
	}
	return fmt.Sprintf("%s is blocked on line %d and allowed on line %d for %s", n, line, other, whom)
}

// blocked are the categories that a group blocks, its parents' included.
func (c *checker) blocked(g *group) map[string]bool {
	all := map[string]bool{}
	for _, a := range c.ancestry(g) {
		for _, b := range a.block.all {
			all[b.v] = true
		}
	}
	return all
}

// ancestry is a group, its parent, that one's parent and so on, each once.
func (c *checker) ancestry(g *group) []*group {
	var line []*group
	for seen := map[*group]bool{}; g != nil && !seen[g]; g = c.byName[g.inherit.v] {
		seen[g] = true
		line = append(line, g)
	}
	return line
}

func (c *checker) hasOnly(g *group) bool {
	return slices.ContainsFunc(c.ancestry(g), func(a *group) bool { return a.only.written() })
}

// laxDefault warns of what an unknown client gets and a known one doesn't.
func (c *checker) laxDefault(g *group) {
	def := c.byName[c.defaultGroup.v]
	if def == nil || def == g || c.hasOnly(g) || c.hasOnly(def) {
		return
	}
	more := c.blocked(g)
	for b := range c.blocked(def) {
		delete(more, b)
	}
	for _, p := range c.cfg.Policy.Categories {
		if p.Locked {
			delete(more, p.Name)
		}
	}
	if len(more) == 0 {
		return
	}
	p := g.place
	if g.block.written() {
		p = g.block.place
	}
	c.warn(p, "make the strictest group the default", "%s blocks %s, and default_group %s does not: a device that is not known gets through",
		g.name.name, strings.Join(slices.Sorted(maps.Keys(more)), ", "), def.name.name)
}
