package config

import (
	"fmt"
	"slices"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/alert"
)

// everyoneTold makes sure that whatever is grave reaches somebody: each category or rule of each severity, by
// each group that can have it, at each time. What the file itself grades so is an error; that iwf and ctiru are
// critical by themselves, a warning.
func (c *checker) everyoneTold(routes place, a *alert.Config, told map[string]bool) {
	const hint = "add a route that sends at once"
	moments := []time.Time{c.machine.now}
	if slices.ContainsFunc(a.Routes, func(r alert.Route) bool { return len(r.During)+len(r.Outside) > 0 }) {
		moments = a.Calendar.Moments(c.machine.now)
	}
	asked := map[string]bool{} // by what routes look at: whether somebody is told
	for _, s := range []policy.Severity{policy.SeverityCritical, policy.SeverityHigh} {
		if told[s.String()] {
			continue
		}
		var gaps, own, all int
		var first gap
		for _, b := range c.grave(s) {
			dark := 0
			var example time.Time
			for _, m := range moments {
				all++
				if c.reaches(a, b, m, asked) {
					continue
				}
				if dark++; dark == 1 {
					example = m
				}
			}
			gaps += dark
			if dark == 0 || !b.written {
				continue
			}
			if own += dark; own == dark {
				first = gap{category: b.category, group: b.group}
				if dark < len(moments) {
					first.when = example.Format("Mon 2 Jan 2006 at 15:04")
				}
			}
		}
		digest := c.onlyByDigest(s)
		switch {
		case gaps == 0:
		case gaps == all && digest.written():
			c.fail(digest, hint, "what is of severity %s would wait for the digest: no other route tells of it", s)
		case own == 0:
			c.warn(routes, hint, "no receiver is told of breaches in iwf and ctiru")
		case gaps == all:
			c.fail(routes, hint, "no receiver is told of breaches of severity %s", s)
		default:
			c.fail(routes, hint, "no receiver is told of a breach of severity %s %s", s, first)
		}
	}
}

// onlyByDigest returns where the first route is written that tells of a severity by a digest.
func (c *checker) onlyByDigest(s policy.Severity) (at place) {
	for i := range c.alerts.routes {
		w := &c.alerts.routes[i]
		if w.digest.v.Days != 0 && !w.about.written() && (len(w.severity.all) == 0 || slices.Contains(texts(w.severity), s.String())) {
			return w.digest.place
		}
	}
	return at
}

// breaching is a kind of breach: of a severity, by a group in a category.
type breaching struct {
	category, group string
	severity        policy.Severity
	alertTo         []string
	alertToSet      bool
	written         bool // by the file, not by schoolgate itself
}

// grave are the breaches of a severity that there can be, with those that grow so grave.
func (c *checker) grave(s policy.Severity) (all []breaching) {
	can := func(as policy.Severity) bool {
		return as == s || as+1 == s && as != policy.SeverityNone && c.alerts.escalate.count.v > 0
	}
	for _, p := range c.cfg.Policy.Categories {
		if !can(p.Severity) || p.TrialOf != "" {
			continue
		}
		written := slices.ContainsFunc(c.categories, func(w category) bool { return w.name.name == p.Name })
		all = append(all, c.byGroups(breaching{category: p.Name, severity: s, written: written}, func(g *group) bool {
			return p.Locked || c.enforces(g, p.Name)
		})...)
	}
	for _, r := range c.cfg.Policy.Rules {
		if r.Allow || !can(r.Severity) {
			continue
		}
		all = append(all, c.byGroups(breaching{category: "rule", severity: s, written: true}, func(g *group) bool {
			return len(r.Groups) == 0 || slices.ContainsFunc(c.ancestry(g), func(a *group) bool { return slices.Contains(r.Groups, a.name.name) })
		})...)
	}
	return all
}

// byGroups is a kind of breach by each group that can have it; by any group where it seems that none can.
func (c *checker) byGroups(b breaching, can func(*group) bool) (all []breaching) {
	for i := range c.groups {
		g := &c.groups[i]
		if !can(g) {
			continue
		}
		b.group, b.alertTo, b.alertToSet = g.name.name, nil, false
		for _, a := range c.ancestry(g) {
			if a.alertTo.written() {
				b.alertTo, b.alertToSet = texts(a.alertTo), true // what is wrong with it has been reported
				break
			}
		}
		all = append(all, b)
	}
	if len(all) == 0 {
		b.group, b.alertTo, b.alertToSet = "", nil, false
		all = append(all, b)
	}
	return all
}

// enforces reports whether a group blocks or monitors a category at any time.
func (c *checker) enforces(g *group, category string) bool {
	named := func(v value[string]) bool { return v.v == category }
	return slices.ContainsFunc(c.ancestry(g), func(a *group) bool {
		return slices.ContainsFunc(a.block.all, named) || slices.ContainsFunc(a.monitor.all, named) ||
			slices.ContainsFunc(a.schedule, func(s change) bool { return slices.ContainsFunc(s.block.all, named) })
	})
}

// reaches reports whether somebody is told of a kind of breach at a moment. asked remembers: categories and
// groups that no route names are all the same.
func (c *checker) reaches(a *alert.Config, b breaching, moment time.Time, asked map[string]bool) bool {
	category, group := "", ""
	for _, r := range a.Routes {
		if slices.Contains(r.Categories, b.category) {
			category = b.category
		}
		if slices.Contains(r.Groups, b.group) {
			group = b.group
		}
	}
	key := fmt.Sprint(b.severity, moment.Unix(), category, " ", group, " ", b.alertToSet, b.alertTo)
	if known, ok := asked[key]; ok {
		return known
	}
	receivers := a.Told(alert.Subject{
		Severity: b.severity.String(), Category: b.category, Group: b.group, Site: a.Site, Time: moment,
		AlertTo: b.alertTo, AlertToSet: b.alertToSet,
	})
	asked[key] = len(receivers) > 0
	return asked[key]
}
