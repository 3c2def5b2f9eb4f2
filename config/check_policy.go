package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
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
		c.cfg.Access.TrustedForwarders = append(c.cfg.Access.TrustedForwarders, f.v.Prefix)
	}
	for _, f := range c.file.access.proxies.all {
		c.tight(f.place, f.v)
		if f.v.Bits() == 0 {
			c.fail(f.place, "name the load balancers", "%s lets anybody pretend to be anybody", f.v.text)
		}
		c.cfg.Access.Proxies = append(c.cfg.Access.Proxies, f.v.Prefix)
	}
	limit := c.file.access.rateLimit
	if limit.perSecond.v == 0 {
		return
	}
	if limit.burst.v == 0 && !c.failed(limit.burst.place) {
		c.fail(limit.burst.place, "write queries_per_second: 0 for no limit", "with a burst of 0 nobody could ask anything")
	}
	c.cfg.Access.RateLimit = resolver.RateLimit{Every: time.Second / time.Duration(limit.perSecond.v), Burst: limit.burst.v}
}

// tight warns of a range that is larger than it looks.
func (c *checker) tight(p place, r prefix) {
	if r.loose {
		c.warn(p, fmt.Sprintf("write %s, or one address without /", r.Prefix), "%s means all of %s", r.text, r.Prefix)
	}
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
	if what == "group" && len(names) == 0 {
		return nil // that there is no group has been reported
	}
	for _, r := range refs.all {
		if !slices.Contains(names, r.v) {
			c.fail(r.place, nearest(r.v, names), "there is no %s %q", what, r.v)
		} else if !slices.Contains(texts, r.v) {
			texts = append(texts, r.v)
		}
	}
	return texts
}

// exceptions fills the rules, and refuses two that contradict each other.
func (c *checker) exceptions() {
	type scope struct {
		group string // "": everybody
		name  blocklist.Name
	}
	type entry struct {
		allow bool
		at    place
	}
	seen := map[scope]entry{}
	groups := c.groupNames()
	for i := range c.rules {
		w := &c.rules[i]
		names, allow := w.block.all, w.allow.written()
		if allow {
			names = w.allow.all
		}
		whom := c.known(w.groups, "group", groups)
		switch {
		case allow && w.block.written():
			c.fail(w.place, "make two rules of it", "has both allow and block")
			continue
		case !allow && !w.block.written():
			c.fail(w.place, "write allow or block", "a rule allows or blocks")
			continue
		case len(names) == 0 && !c.failed(w.place):
			c.fail(w.place, "", "the rule has no name")
		}
		r := policy.Rule{
			Allow: allow, Groups: whom, Reason: w.reason.v, By: w.by.v,
			Added: w.added.v.start(c.cfg.Timezone), Expires: w.expires.v.end(c.cfg.Timezone),
			Severity: w.severity.v, Line: w.line, File: c.fileOf(w.place),
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
			c.tooMuch(n, allow)
			for _, g := range scopes {
				if over {
					continue
				}
				other, again := seen[scope{g, n.v}]
				if again && other.allow != allow {
					c.fail(n.place, "remove one of the two", "%s", contradiction(n, g, allow, other.at))
					continue
				}
				seen[scope{g, n.v}] = entry{allow, n.place}
			}
		}
		c.cfg.Policy.Rules = append(c.cfg.Policy.Rules, r)
	}
}

// tooMuch warns of a name of a rule that covers more, or does less, than it looks.
func (c *checker) tooMuch(n value[blocklist.Name], allow bool) {
	switch {
	case allow && publicSuffix(n.v):
		c.warn(n.place, "name the site", "every name under %s is allowed", n.v)
	case allow:
	case publicSuffix(n.v):
		c.warn(n.place, "name the site", "every name under %s is blocked", n.v)
	case c.helpline(n.v):
		c.warn(n.place, "remove it", "%s is a help line, and those are never blocked: this has no effect", n.v)
	}
}

// helpline reports whether a name is a help line, or below one: no rule blocks that.
func (c *checker) helpline(n blocklist.Name) bool {
	if c.helplines == nil {
		c.helplines = map[blocklist.Name]bool{}
		list, err := blocklist.Builtin("helplines")
		if err != nil {
			panic(err) // it is part of the program
		}
		for n := range list.Names() {
			c.helplines[n] = true
		}
	}
	for ; n != ""; n = n.Parent() {
		if c.helplines[n] {
			return true
		}
	}
	return false
}

func contradiction(n value[blocklist.Name], group string, allow bool, other place) string {
	whom := "everybody"
	if group != "" {
		whom = group
	}
	is, was := "blocked", "allowed"
	if allow {
		is, was = was, is
	}
	return fmt.Sprintf("%s is %s on line %d and %s %s for %s", n.v, is, n.line, was, other.onLine(n.place), whom)
}

// blocked are the categories that a group blocks, its parents' included.
func (c *checker) blocked(g *group) map[string]bool {
	all, not := map[string]bool{}, map[string]bool{}
	for _, a := range c.ancestry(g) {
		for _, u := range a.unblock.all {
			not[u.v] = true
		}
		for _, b := range a.block.all {
			if !not[b.v] {
				all[b.v] = true
			}
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

// idleDefault warns of a default group that leaves unknown devices unfiltered.
func (c *checker) idleDefault() {
	def := c.byName[c.defaultGroup.v]
	if def == nil || c.hasOnly(def) {
		return
	}
	blocked := c.blocked(def)
	for _, p := range c.cfg.Policy.Categories {
		if p.Locked {
			delete(blocked, p.Name)
		}
	}
	if len(blocked) == 0 {
		c.warn(c.defaultGroup.place, "let it block categories, or make the strictest group the default", "default_group %s blocks nothing but locked categories: unknown devices are not filtered", def.name.name)
	}
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
