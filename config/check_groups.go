package config

import (
	"slices"
	"strings"

	"schoolgate/policy"
)

func (c *checker) groupNames() []string {
	names := make([]string, len(c.groups))
	for i := range c.groups {
		names[i] = c.groups[i].name.name
	}
	return names
}

// people fills the groups and the zones' groups.
func (c *checker) people() {
	names, categories := c.groupNames(), c.categoryNames()
	if len(names) == 0 && c.defaultGroup.written() && !c.failed(place{path: "groups"}) {
		c.fail(c.below("groups"), "", "there is no group")
	}
	receivers := make([]string, 0, len(c.alerts.receivers))
	for _, r := range c.alerts.receivers {
		receivers = append(receivers, r.name.name)
	}
	if c.defaultGroup.v != "" {
		c.known(values[string]{all: []value[string]{c.defaultGroup}}, "group", names)
		c.cfg.Policy.DefaultGroup = c.defaultGroup.v
	}
	c.byName = map[string]*group{}
	for i := range c.groups {
		c.byName[names[i]] = &c.groups[i]
	}
	taken := map[string]*group{}
	for i := range c.groups {
		w := &c.groups[i]
		g := policy.Group{
			Name: w.name.name, Inherit: w.inherit.v, MayLoosen: w.local.written(),
			Block: c.known(w.block, "category", categories), Monitor: c.known(w.monitor, "category", categories), Unblock: c.known(w.unblock, "category", categories),
			OnlySet: w.only.written(),
			AlertTo: c.alertTo(w, receivers), AlertToSet: w.alertTo.written(),
			SafeSearch: w.safeSearch.spec(), SafeSearchSet: w.safeSearch.written(),
			Shared: w.shared.v, SharedSet: w.shared.written(),
			TrustIdentity: w.trustIdentity.v, TrustIdentitySet: w.trustIdentity.written(),
		}
		for _, n := range w.only.all {
			g.Only = append(g.Only, n.v)
			if publicSuffix(n.v) {
				c.warn(n.place, "name the site", "every name under %s is allowed", n.v)
			}
		}
		c.addClients(w, &g, taken)
		c.parent(w, names)
		if c.base == nil && w.unblock.written() {
			c.fail(w.unblock.place, "take them out of block", "is for a file that extends another")
		}
		c.bothWays(w)
		g.Schedule = c.changes(w, categories)
		c.laxDefault(w)
		c.cfg.Policy.Groups = append(c.cfg.Policy.Groups, g)
	}
	c.idleDefault()
	for i := range c.zones {
		z := policy.Zone{Groups: c.known(c.zones[i].groups, "group", names)}
		for _, n := range c.zones[i].names.all {
			z.Names = append(z.Names, n.v)
		}
		c.cfg.Policy.Zones = append(c.cfg.Policy.Zones, z)
	}
}

// addClients fills the ranges of a group, each once. taken has those of all groups so far.
func (c *checker) addClients(w *group, g *policy.Group, taken map[string]*group) {
	for _, cl := range w.clients.all {
		key := cl.v.String()
		other, again := taken[key]
		switch {
		case again && other != w:
			c.fail(cl.place, "the other is "+other.onLine(cl.place), "%s is a client of %s too", key, other.name.name)
		case again:
		case cl.v.IsValid():
			c.tight(cl.place, cl.v.prefix)
			g.Clients = append(g.Clients, cl.v.Prefix)
		case cl.v.mac != "":
			g.MACs = append(g.MACs, cl.v.mac)
		case cl.v.name != "":
			g.Devices = append(g.Devices, cl.v.name)
		default:
			c.servesHost(cl)
			g.Hosts = append(g.Hosts, cl.v.host)
		}
		taken[key] = w
	}
}

// parent checks whom a group inherits from. A cycle is reported once, at its first group.
func (c *checker) parent(w *group, names []string) {
	if w.inherit.v == "" {
		return
	}
	if !slices.Contains(names, w.inherit.v) {
		c.known(values[string]{all: []value[string]{w.inherit}}, "group", names)
		return
	}
	line := c.ancestry(w)
	if last := line[len(line)-1]; last.inherit.v != w.name.name {
		return // ends, or runs into a cycle of others
	}
	chain := make([]string, 0, len(line)+1)
	for _, a := range line {
		if before(a.place, w.place) {
			return // reported there
		}
		chain = append(chain, a.name.name)
	}
	c.fail(w.inherit.place, strings.Join(append(chain, w.name.name), " -> "), "%s inherits from itself", w.name.name)
}

// bothWays warns of a category that a group says two things of.
func (c *checker) bothWays(w *group) {
	blocked := c.blocked(w)
	for _, m := range w.monitor.all {
		if blocked[m.v] {
			c.warn(m.place, "remove it from one of the two", "%s is blocked and monitored: it is blocked", m.v)
		}
	}
}

// changes returns a group's schedule.
func (c *checker) changes(w *group, categories []string) (schedule []policy.Change) {
	periods := make([]string, 0, len(c.calendar.periods))
	for _, p := range c.calendar.periods {
		periods = append(periods, p.name.name)
	}
	for i := range w.schedule {
		s := &w.schedule[i]
		if s.during.v != "" {
			c.known(values[string]{all: []value[string]{s.during}}, "period", periods)
		}
		if !s.block.written() && !s.unblock.written() && !c.failed(s.place) {
			c.fail(s.place, "write block or unblock", "changes nothing")
		}
		schedule = append(schedule, policy.Change{
			During: s.during.v, Block: c.known(s.block, "category", categories), Unblock: c.known(s.unblock, "category", categories),
		})
		for _, u := range s.unblock.all {
			if slices.ContainsFunc(c.cfg.Policy.Categories, func(p policy.Category) bool { return p.Name == u.v && p.Locked }) {
				c.warn(u.place, "remove it", "%s is locked: nothing unblocks it", u.v)
			}
		}
	}
	return schedule
}

// alertTo returns the receivers that a group's alerts go to instead, as far as they exist.
func (c *checker) alertTo(w *group, receivers []string) []string {
	if !w.alertTo.written() {
		return nil
	}
	to := c.known(w.alertTo, "receiver", receivers)
	if len(to) == 0 && !c.failed(w.alertTo.place) {
		c.fail(w.alertTo.place, "name a receiver", "no receiver is told of this group's breaches")
	}
	return to
}
