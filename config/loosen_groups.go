package config

import (
	"slices"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// ancestor is the group of the base that holds for one of the whole: of its name, or the nearest that it inherits from;
// nil for none.
func (c *checker) ancestor(w *group) *group {
	for _, a := range c.ancestry(w) {
		if b := c.base.check.byName[a.name.name]; b != nil {
			return b
		}
	}
	return nil
}

// marked reports whether a group, or one that it inherits from, says that it may be loosened.
func (c *checker) marked(g *group) bool {
	return g != nil && slices.ContainsFunc(c.ancestry(g), func(a *group) bool { return a.local.written() })
}

// groupsBelow holds each group to the one of the base.
func (c *checker) groupsBelow() {
	for i := range c.groups {
		w := &c.groups[i]
		own := c.base.check.byName[w.name.name]
		b := c.ancestor(w)
		switch {
		case b == nil && len(c.base.groups) > 0:
			if !c.failed(w.place) {
				c.fail(w.place, "write inherit: "+hintNames(c.base.check.groupNames()),
					"a group of one's own inherits from one of %s, so that it blocks no less", c.base.top.name)
			}
			continue
		case b == nil:
			c.contradicts(w)
			continue
		}
		c.contradicts(w)
		if own != nil && c.base.check.byName[own.inherit.v] == nil && own.inherit.v != "" {
			c.fail(own.inherit.place, "", "%s has no group %q to inherit from", c.base.top.name, own.inherit.v)
			continue
		}
		if c.base.check.marked(b) {
			c.lockedStay(w)
			continue
		}
		if own != nil && c.isOwn(w.inherit.place) && w.inherit.v != own.inherit.v {
			c.looser(w.inherit.place, "groups."+w.name.name, "%s is a group of %s, and what it inherits is for that to say", w.name.name, c.base.top.name)
		}
		c.looserBlocks(w, b)
		c.looserKeys(w, b)
	}
}

// contradicts fails what a file both blocks and unblocks.
func (c *checker) contradicts(w *group) {
	for _, u := range w.unblock.all {
		for _, b := range w.block.all {
			if b.v == u.v && b.file == u.file {
				c.fail(u.place, "remove one of the two", "%s is blocked %s", u.v, b.onLine(u.place))
			}
		}
		if c.isOwn(u.place) && !c.failed(u.place) && !c.wouldBlock(w, u.v) {
			c.warn(u.place, "remove it", "%s is not blocked for %s: this unblocks nothing", u.v, w.name.name)
		}
	}
}

// wouldBlock reports whether a group has or inherits a block of a category, whatever is unblocked.
func (c *checker) wouldBlock(w *group, category string) bool {
	return slices.ContainsFunc(c.ancestry(w), func(a *group) bool {
		return slices.ContainsFunc(a.block.all, func(b value[string]) bool { return b.v == category })
	})
}

// lockedStay fails an unblock of what nothing unblocks.
func (c *checker) lockedStay(w *group) {
	for _, u := range w.unblock.all {
		if i := slices.IndexFunc(c.cfg.Policy.Categories, func(p policy.Category) bool { return p.Name == u.v }); i >= 0 && c.cfg.Policy.Categories[i].Locked {
			c.fail(u.place, "remove it", "%s is locked: nothing unblocks it", u.v)
		}
	}
}

// looserBlocks fails what takes away from the categories that the base's group blocks.
func (c *checker) looserBlocks(w, b *group) {
	blocked := c.base.check.blocked(b)
	lifts := func(u value[string]) {
		if c.isOwn(u.place) && blocked[u.v] && !c.base.mayLoosen(u.v) && !c.failed(u.place) {
			c.looser(u.place, "categories."+u.v+" or groups."+b.name.name, "%s blocks %s for %s", c.base.check.blockedAt(b, u.v).where(), u.v, b.name.name)
		}
	}
	for _, u := range w.unblock.all {
		lifts(u)
	}
	for _, a := range c.ancestry(w) { // a parent's schedule holds for those that inherit it, whatever they block
		for _, s := range a.schedule {
			for _, u := range s.unblock.all {
				lifts(u)
			}
		}
	}
	c.lockedStay(w)
}

// blockedAt is where a group has the block of a category that it has or inherits.
func (c *checker) blockedAt(g *group, category string) place {
	for _, a := range c.ancestry(g) {
		for _, b := range a.block.all {
			if b.v == category {
				return b.place
			}
		}
	}
	return g.place
}

// looserKeys fails the other keys of a group that are weaker than what it has by the base.
func (c *checker) looserKeys(w, b *group) {
	section := "groups." + b.name.name
	line := c.base.check.ancestry(b)
	if i := slices.IndexFunc(line, func(a *group) bool { return a.only.written() }); i >= 0 {
		for _, n := range w.only.all {
			if c.isOwn(n.place) && !slices.ContainsFunc(line[i].only.all, func(o value[blocklist.Name]) bool { return o.v.Covers(n.v) }) {
				c.looser(n.place, section, "%s is not in the allow-list of %s", n.v, line[i].only.where())
			}
		}
	}
	var was safeSearch
	if i := slices.IndexFunc(line, func(a *group) bool { return a.safeSearch.written() }); i >= 0 {
		was = line[i].safeSearch
	}
	before, now := was.spec(), w.safeSearch.spec()
	for _, k := range []struct {
		isLess bool
		at     place
		key    string
		was    place
	}{
		{before.Search && !now.Search, w.safeSearch.search.place, "search", was.search.place},
		{before.YouTube > now.YouTube, w.safeSearch.youtube.place, "youtube", was.youtube.place},
	} {
		at := k.at
		if !at.written() {
			at = w.safeSearch.place
		}
		if w.safeSearch.written() && c.isOwn(at) && k.isLess {
			c.looser(at, section, "%s is less safe than by %s", k.key, k.was.where())
		}
	}
	turnsOn := func(v value[bool], of func(*group) value[bool], what string) {
		i := slices.IndexFunc(line, func(a *group) bool { return of(a).written() })
		if c.isOwn(v.place) && v.v && (i < 0 || !of(line[i]).v) {
			c.looser(v.place, section, "%s, which %s does not have so", what, c.base.top.name)
		}
	}
	turnsOn(w.shared, func(a *group) value[bool] { return a.shared }, "makes breaches those of nobody")
	turnsOn(w.trustIdentity, func(a *group) value[bool] { return a.trustIdentity }, "lets in devices that name themselves")
	c.redirected(w, line, section)
}

// redirected fails alerts that go past those whom the base has told.
func (c *checker) redirected(w *group, line []*group, section string) {
	if !slices.ContainsFunc(w.alertTo.all, func(r value[string]) bool { return c.isOwn(r.place) }) && !c.isOwn(w.alertTo.place) {
		return
	}
	i := slices.IndexFunc(line, func(a *group) bool { return a.alertTo.written() })
	if i < 0 {
		c.looser(w.alertTo.place, section, "breaches of %s would no longer be told to whom the routes of %s name", w.name.name, c.base.top.name)
		return
	}
	for _, r := range line[i].alertTo.all {
		if !slices.ContainsFunc(w.alertTo.all, func(now value[string]) bool { return now.v == r.v }) {
			c.looser(w.alertTo.place, section, "%s is no longer told, whom %s names", r.v, r.where())
		}
	}
}
