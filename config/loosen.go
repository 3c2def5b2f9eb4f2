package config

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// mayLoosen is what a base says of what a file that extends it may make weaker.
const mayLoosen = "may_loosen"

func localKind() scalar[string] { return enum(mayLoosen) }

// base is what a file extends: all that the files under it say together.
type base struct {
	*file
	top   *source // the one that says last
	spec  *policy.Spec
	below *base
	check *checker
}

// newBase reads what the files up to s say together. What is wrong with it by itself shows when the whole is read: it
// need not be complete. Only what it loosens of the files under it is reported here.
func newBase(r *report, s *source, root *yaml.Node, below *base, m machine) *base {
	alone := &checker{report: &report{file: s.name}, file: new(file), machine: m, top: s, base: below}
	mapping(alone.file).read(alone.report, root, rootPlace(root, s))
	alone.check()
	alone.report = r
	alone.loosened()
	return &base{file: alone.file, top: s, spec: &alone.cfg.Policy, below: below, check: alone}
}

func (b *base) category(name string) *category {
	i := slices.IndexFunc(b.categories, func(c category) bool { return c.name.name == name })
	if i < 0 {
		return nil
	}
	return &b.categories[i]
}

// mayLoosen reports whether a category may be lifted.
func (b *base) mayLoosen(category string) bool {
	c := b.category(category)
	return c != nil && c.local.written()
}

// isOwn reports whether a place is in the file that says last, and not in what it extends.
func (c *checker) isOwn(p place) bool { return p.file == c.top }

// loosened fails what the file says last and may not, as it makes weaker what the base says.
func (c *checker) loosened() {
	if c.base == nil {
		return
	}
	c.marks()
	for i := range c.categories {
		c.looserCategory(&c.categories[i])
	}
	c.looserSections()
	c.looserCalendar()
	c.sharedRecords()
	c.groupsBelow()
	c.looserDefault()
}

// looser fails a key. what is what it does, and where the section that the base could mark.
func (c *checker) looser(p place, section, format string, args ...any) {
	c.fail(p, fmt.Sprintf("remove it, or have %s say local: %s in %s", c.base.top.name, mayLoosen, section), format, args...)
}

// said says where the base has a value, or that it is what holds where nothing is written.
func (c *checker) said(p place) string {
	if p.written() {
		return "of " + p.where()
	}
	return "that holds where " + c.base.top.name + " says nothing"
}

// marks fails marks on what is the base's: only who wrote it first can say that it may be loosened.
func (c *checker) marks() {
	mark := func(v value[string], first bool) {
		if v.written() && c.isOwn(v.place) && !first {
			c.fail(v.place, "remove it", "only %s can say so", c.base.top.name)
		}
	}
	for i := range c.categories {
		mark(c.categories[i].local, c.base.category(c.categories[i].name.name) == nil)
	}
	for i := range c.groups {
		mark(c.groups[i].local, c.base.check.byName[c.groups[i].name.name] == nil)
	}
	mark(c.file.calendar.local, false)
	mark(c.blocking.local, false)
	mark(c.guard.local, false)
}

func (c *checker) looserCategory(w *category) {
	b := c.base.category(w.name.name)
	if b == nil || b.local.written() {
		return
	}
	section := "categories." + w.name.name
	if s := w.severity; c.isOwn(s.place) && s.v < b.severity.v {
		c.looser(s.place, section, "%s is less than %s %s", s.v, b.severity.v, c.said(b.severity.place))
	}
	if l := w.locked; c.isOwn(l.place) && !l.v && b.locked.v {
		c.looser(l.place, section, "unlocks what is locked by %s", b.locked.where())
	}
	if k := w.confidential; c.isOwn(k.place) && k.v != b.confidential.v {
		c.looser(k.place, section, "is not the %t %s", b.confidential.v, c.said(b.confidential.place))
	}
}

// looserSections judges the keys of blocking and guard.
func (c *checker) looserSections() {
	off := func(is, was value[bool]) {
		if c.isOwn(is.place) && !is.v && was.v {
			c.looser(is.place, "blocking", "turns off what is on %s", c.onBy(was.place))
		}
	}
	if !c.base.blocking.local.written() {
		off(c.blocking.stripECH, c.base.blocking.stripECH)
		off(c.blocking.rebind, c.base.blocking.rebind)
		for _, n := range c.blocking.rebindExempt.all {
			if c.isOwn(n.place) && c.blocking.rebind.v {
				c.looser(n.place, "blocking", "%s is not exempt from rebind_protection in %s", n.v, c.base.top.name)
			}
		}
	}
	if c.base.guard.local.written() {
		return
	}
	if s, b := c.guard.minShare, c.base.guard.minShare; c.isOwn(s.place) && s.v < b.v {
		c.looser(s.place, "guard", "%d is less than the %d %s", s.v, b.v, c.said(b.place))
	}
	for _, n := range c.guard.never.all {
		if c.isOwn(n.place) {
			c.looser(n.place, "guard", "would refuse lists of %s that hold %s", c.base.top.name, n.v)
		}
	}
}

// onBy says by what something is on.
func (c *checker) onBy(p place) string {
	if p.written() {
		return "by " + p.where()
	}
	return "where " + c.base.top.name + " says nothing"
}

// looserCalendar keeps the times by which the base's schedules go.
func (c *checker) looserCalendar() {
	if c.base.calendar.local.written() {
		return
	}
	if z := c.timezone; c.isOwn(z.place) && z.v != nil && c.base.timezone.v != nil && z.v.String() != c.base.timezone.v.String() {
		c.looser(z.place, "calendar", "is not the %s %s", c.base.timezone.v, c.said(c.base.timezone.place))
	}
	used := map[string]place{}
	for i := range c.base.groups {
		for _, s := range c.base.groups[i].schedule {
			if _, again := used[s.during.v]; !again {
				used[s.during.v] = s.during.place
			}
		}
	}
	for _, p := range c.file.calendar.periods {
		at, isUsed := used[p.name.name]
		for _, t := range p.times {
			if isUsed && c.isOwn(t.place) {
				c.looser(t.place, "calendar", "changes the period by which %s goes", at.where())
			}
		}
	}
	if len(used) == 0 {
		return
	}
	const what = "changes the days by which the schedules of %s go"
	for _, t := range c.file.calendar.terms {
		if c.isOwn(t.place) {
			c.looser(t.place, "calendar", what, c.base.top.name)
		}
	}
	for _, d := range c.file.calendar.closed.all {
		if c.isOwn(d.place) {
			c.looser(d.place, "calendar", what, c.base.top.name)
		}
	}
}

// sharedRecords keeps a name that the base has records of to those.
func (c *checker) sharedRecords() {
	first := map[blocklist.Name]place{}
	for _, r := range c.records {
		name, err := blocklist.ParseName(r.name.v)
		if err != nil {
			continue
		}
		other, again := first[name]
		switch {
		case !again && !c.isOwn(r.place):
			first[name] = r.place
		case again && c.isOwn(r.place):
			c.fail(r.place, "remove it", "%s has records of %s, and those stand alone", other.where(), name)
		}
	}
}

// looserDefault holds the group of unknown devices to that of each file that is extended.
func (c *checker) looserDefault() {
	if !c.isOwn(c.defaultGroup.place) || len(c.errors) > 0 {
		return
	}
	var p *policy.Policy
	for b := c.base; b != nil; b = b.below {
		was := b.defaultGroup
		if was.v == "" || was.v == c.defaultGroup.v || b.check.marked(b.check.byName[was.v]) {
			continue
		}
		if p == nil {
			var err error
			if p, err = policy.Compile(c.cfg.Policy, blocklist.Build(nil), false); err != nil {
				return // the daemon says so
			}
		}
		if !p.BlocksAtLeast(c.defaultGroup.v, was.v) {
			c.fail(c.defaultGroup.place, "remove it, or name a group that blocks all that "+was.v+" does",
				"%s does not block all that %s blocks, the default_group of %s", c.defaultGroup.v, was.v, was.where())
			return
		}
	}
}

// hold tells the policy what it extends.
func (c *checker) hold() {
	if c.base == nil {
		return
	}
	above := &c.cfg.Policy
	for b := c.base; b != nil; b = b.below {
		spec := *b.spec
		spec.File, spec.Categories = b.top.name, slices.Clone(c.cfg.Policy.Categories)
		for i := range spec.Categories {
			own := find(&b.check.cfg, spec.Categories[i].Name)
			spec.Categories[i].Locked = own != nil && own.Locked
		}
		if b.calendar.local.written() {
			spec.Calendar = c.cfg.Policy.Calendar
		}
		if b.blocking.local.written() {
			spec.Rebinding = false
		}
		spec.Groups = heldGroups(b)
		spec.Rules, spec.Zones = heldRules(b, above.Rules), heldZones(b, above.Zones)
		above.Base, above = &spec, &spec
	}
}

// heldGroups are those of a base without the categories that may be loosened.
func heldGroups(b *base) []policy.Group {
	held := func(categories []string) []string {
		return slices.DeleteFunc(slices.Clone(categories), b.mayLoosen)
	}
	groups := slices.Clone(b.spec.Groups)
	for i := range groups {
		g := &groups[i]
		g.Block, g.Monitor = held(g.Block), held(g.Monitor)
		g.Schedule = slices.Clone(g.Schedule)
		for j := range g.Schedule {
			g.Schedule[j].Block, g.Schedule[j].Unblock = held(g.Schedule[j].Block), held(g.Schedule[j].Unblock)
		}
	}
	return groups
}

// heldRules are the rules of a base at the places that they have in the whole. One that is only for groups which the
// base does not have is there without a name.
func heldRules(b *base, all []policy.Rule) []policy.Rule {
	rules := slices.Clone(all[:min(len(b.spec.Rules), len(all))])
	for i := range rules {
		if groups, some := b.having(rules[i].Groups); some {
			rules[i].Groups = groups
		} else {
			rules[i].Names = nil
		}
	}
	return rules
}

func heldZones(b *base, all []policy.Zone) []policy.Zone {
	zones := slices.Clone(all[:min(len(b.spec.Zones), len(all))])
	for i := range zones {
		if groups, some := b.having(zones[i].Groups); some {
			zones[i].Groups = groups
		} else {
			zones[i].Names = nil
		}
	}
	return zones
}

// having returns those of some groups that the base has. some is false where that makes nobody of somebody.
func (b *base) having(groups []string) (has []string, some bool) {
	for _, g := range groups {
		if b.check.byName[g] != nil {
			has = append(has, g)
		}
	}
	return has, len(has) > 0 || len(groups) == 0
}

// hintNames joins some.
func hintNames(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " …"
	}
	return strings.Join(names, ", ")
}
