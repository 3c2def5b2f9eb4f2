package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// vain warns of what is written and does nothing: it is a mistake, or was forgotten. Only what is certain
// whatever the lists hold.
func (c *checker) vain() {
	c.vainRules()
	c.vainChanges()
	c.unusedPeriods()
	c.unusedCategories()
	c.emptyGroups()
}

// written is a name of a rule.
type written struct {
	value[blocklist.Name]
	allow    bool
	severity policy.Severity // of a block
	groups   string          // sorted, with spaces between; "": everybody
	expires  time.Time       // zero: never
}

// verb is what a rule does with its names.
func (w *written) verb() string {
	if w.allow {
		return "allowed"
	}
	return "blocked"
}

// writtenRules are the names of all rules that have not ended and are right by themselves.
func (c *checker) writtenRules() (all []written) {
	for i := range c.rules {
		r := &c.rules[i]
		expires := r.expires.v.end(c.cfg.Timezone)
		if c.failed(r.place) || r.expires.written() && !expires.After(c.machine.now) {
			continue
		}
		groups := map[string]bool{}
		for _, g := range r.groups.all {
			groups[g.v] = true
		}
		names := r.block.all
		if r.allow.written() {
			names = r.allow.all
		}
		for _, n := range names {
			w := written{value: n, allow: r.allow.written(), groups: strings.Join(slices.Sorted(maps.Keys(groups)), " "), expires: expires}
			if !w.allow {
				w.severity = r.severity.v
			}
			all = append(all, w)
		}
	}
	return all
}

// vainRules warns of names that are decided before the rules, or by another rule of the same scope alike.
func (c *checker) vainRules() {
	all := c.writtenRules()
	byName := map[blocklist.Name][]*written{}
	for i := range all {
		byName[all[i].v] = append(byName[all[i].v], &all[i])
	}
	zones := map[blocklist.Name]bool{}
	for _, z := range c.zones {
		for _, n := range z.names.all {
			zones[n.v] = true
		}
	}
	for i := range all {
		w := &all[i]
		switch zone, in := above(w.v, zones); {
		case w.allow && c.helpline(w.v):
			c.warn(w.place, "remove it", "%s is a help line, and those always pass: this has no effect", w.v)
		case c.helpline(w.v): // tooMuch says so
		case in:
			c.warn(w.place, "remove it, or see zones", "questions for %s are forwarded by the zone %s, before any rule", w.v, zone)
		case policy.IsSpecial(w.v):
			c.warn(w.place, "remove it", "%s is a special name, answered before any rule", w.v)
		default:
			c.covered(w, byName)
		}
	}
}

// above returns the one of some names that a name is, or is below.
func above(n blocklist.Name, names map[blocklist.Name]bool) (blocklist.Name, bool) {
	for ; n != ""; n = n.Parent() {
		if names[n] {
			return n, true
		}
	}
	return "", false
}

// covered warns of a name of a rule where the next wider one of the same sort of scope says the same for the
// same people, at least as long. Another scope's name in between may say something else, and then it is needed.
func (c *checker) covered(w *written, byName map[blocklist.Name][]*written) {
	for n := w.v; n != ""; n = n.Parent() {
		var found []*written
		for _, o := range byName[n] {
			if o != w && (o.groups == "") == (w.groups == "") && (n != w.v || before(o.place, w.place)) {
				found = append(found, o)
			}
		}
		if found == nil {
			continue
		}
		same := func(o *written) bool { return o.groups == w.groups && o.allow == w.allow && o.severity == w.severity }
		lasts := func(o *written) bool {
			return same(o) && (o.expires.IsZero() || !w.expires.IsZero() && !o.expires.Before(w.expires))
		}
		i := slices.IndexFunc(found, lasts)
		if i < 0 || slices.ContainsFunc(found, func(o *written) bool { return !same(o) }) {
			return
		}
		if n == w.v {
			c.warn(w.place, "remove one of the two", "%s is %s %s already", w.v, w.verb(), found[i].onLine(w.place))
		} else {
			c.warn(w.place, "remove one of the two", "%s is %s already: %s %s covers it", w.v, w.verb(), n, found[i].onLine(w.place))
		}
		return
	}
}

// before reports whether a place is before another: in the file, or in one that it extends.
func before(a, b place) bool {
	if a.file != b.file {
		return a.file.rank > b.file.rank
	}
	return a.line < b.line || a.line == b.line && a.column < b.column
}

// vainChanges warns of what a schedule says and changes nothing, for its group and all that inherit it.
func (c *checker) vainChanges() {
	locked := map[string]bool{}
	for _, p := range c.cfg.Policy.Categories {
		locked[p.Name] = p.Locked
	}
	for i := range c.groups {
		w := &c.groups[i]
		usually, unblocked := map[string]bool{}, map[string]bool{} // by any of them
		for j := range c.groups {
			heir := &c.groups[j]
			line := c.ancestry(heir)
			if !slices.Contains(line, w) {
				continue
			}
			maps.Copy(usually, c.blocked(heir))
			for _, a := range line {
				for _, change := range a.schedule {
					for _, u := range change.unblock.all {
						unblocked[u.v] = true
					}
				}
			}
		}
		own := c.blocked(w)
		for _, change := range w.schedule {
			for _, u := range change.unblock.all {
				if !usually[u.v] && !locked[u.v] && !c.failed(u.place) {
					c.warn(u.place, "remove it", "%s is not blocked for %s: this unblocks nothing", u.v, w.name.name)
				}
			}
			for _, b := range change.block.all {
				if (own[b.v] && !unblocked[b.v] || locked[b.v]) && !c.failed(b.place) {
					c.warn(b.place, "remove it", "%s is always blocked for %s: this blocks nothing more", b.v, w.name.name)
				}
			}
		}
	}
}

// unusedPeriods warns of periods of which no schedule and no route speaks.
func (c *checker) unusedPeriods() {
	used := map[string]bool{}
	for _, r := range c.alerts.routes {
		for _, p := range slices.Concat(r.during.all, r.outside.all) {
			used[p.v] = true
		}
	}
	for i := range c.groups {
		for _, change := range c.groups[i].schedule {
			used[change.during.v] = true
		}
	}
	for _, p := range c.calendar.periods {
		if !used[p.name.name] && c.isOwn(p.place) && !c.failed(p.place) {
			c.warn(p.place, "remove it, or write it into a group's schedule", "no group's schedule uses the period")
		}
	}
}

// unusedCategories warns of categories that concern nobody.
func (c *checker) unusedCategories() {
	used := map[string]bool{}
	for i := range c.groups {
		g := &c.groups[i]
		refs := slices.Concat(g.block.all, g.monitor.all)
		for _, change := range g.schedule {
			refs = append(refs, change.block.all...)
		}
		for _, r := range refs {
			used[r.v] = true
		}
	}
	for i := range c.categories {
		w := &c.categories[i]
		_, fixed := fixed(w.name.name)
		if used[w.name.name] || fixed || w.locked.v || !c.isOwn(w.place) || c.failed(w.place) || len(c.groups) == 0 {
			continue
		}
		if len(w.lists) > 0 {
			c.warn(w.place, "write it into a group's block or monitor", "no group blocks or monitors it: its lists are used by nobody")
		} else {
			c.warn(w.place, "write it into a group's block or monitor", "no group blocks or monitors it")
		}
	}
}

// emptyGroups warns of groups that nobody is in.
func (c *checker) emptyGroups() {
	inherited := map[string]bool{}
	for i := range c.groups {
		inherited[c.groups[i].inherit.v] = true
	}
	for i := range c.groups {
		w := &c.groups[i]
		name := w.name.name
		if !w.clients.written() && c.isOwn(w.place) && name != c.defaultGroup.v && !inherited[name] && !c.failed(w.place) {
			c.warn(w.place, "write clients, or remove it", "nobody is in this group: it has no clients, is not the default, and none inherits from it")
		}
	}
}
