package config

import (
	"fmt"
	"slices"

	"schoolgate/policy/alert"
	"schoolgate/policy/breach"
)

// alerting fills who is told of what.
func (c *checker) alerting() {
	a := &c.alerts
	c.cfg.Record = breach.Settings{
		Site: c.cfg.Site, Quiet: a.quiet.v,
		Escalation: breach.Escalation{Count: a.escalate.count.v, Within: a.escalate.within.v}, Seal: c.seal(),
	}
	c.cfg.Alerts.Site, c.cfg.Alerts.ConsoleURL = c.cfg.Site, c.cfg.ConsoleURL
	c.cfg.Alerts.Calendar = c.cfg.Policy.Calendar
	names := make([]string, 0, len(a.receivers))
	for i := range a.receivers {
		names = append(names, a.receivers[i].name.name)
		c.receiver(&a.receivers[i])
	}
	c.deputies(names)
	told := map[string]bool{} // severities, and "system", of which all that is to be said has been
	sure := c.cfg.Alerts      // as the file means it, with routes that were reported taken as right
	for i := range a.routes {
		w := &a.routes[i]
		r := c.route(w, names)
		if len(r.To) > 0 {
			c.cfg.Alerts.Routes = append(c.cfg.Alerts.Routes, r)
			sure.Routes = append(sure.Routes, r)
		}
		c.tells(w, r, told)
	}
	routes := a.below("routes")
	if c.misspelt(a.place) || len(a.routes) == 0 && c.failed(routes) {
		return // the routes may be what has been reported
	}
	if len(a.receivers) == 0 && len(a.routes) == 0 {
		routes.path = "alerts"
		c.warn(routes, "write a receiver and a route", "no one is alerted of a breach")
		return
	}
	c.everyoneTold(routes, &sure, told)
	if !told["system"] {
		c.warn(routes, "add {about: system, to: [...]}", "no one is told of a stale list or a dead upstream")
	}
}

// route reads a route.
func (c *checker) route(w *route, receivers []string) alert.Route {
	periods := make([]string, 0, len(c.calendar.periods))
	for _, p := range c.calendar.periods {
		periods = append(periods, p.name.name)
	}
	r := alert.Route{
		About: w.about.v, Digest: w.digest.v, To: c.known(w.to, "receiver", receivers),
		Severities: texts(w.severity), Sites: texts(w.site),
		Categories: c.known(w.category, "category", append(c.categoryNames(), "rule")),
		Groups:     c.known(w.group, "group", c.groupNames()),
		During:     c.known(w.during, "period", periods), Outside: c.known(w.outside, "period", periods),
	}
	conditions := []values[string]{w.severity, w.category, w.group, w.site, w.during, w.outside}
	for i, key := range []string{"severity", "category", "group", "site", "during", "outside"} {
		at := conditions[i].place
		switch {
		case !at.written():
		case r.About != "":
			c.fail(at, "make two routes of it", "what is about system has no %s", key)
		case len(conditions[i].all) == 0 && !c.failed(at):
			c.warn(at, "leave it out", "is empty: the route is for every %s", map[bool]string{true: key, false: "time"}[i < 4])
		}
	}
	return r
}

func texts(of values[string]) (all []string) {
	for _, v := range of.all {
		all = append(all, v.v)
	}
	return all
}

// tells notes what a route tells somebody of, wherever and whenever. One that is for what is grave and
// reaches no one is refused, and counts from then on: what is reported once need not be reported again.
func (c *checker) tells(w *route, r alert.Route, told map[string]bool) {
	covers := r.Severities
	switch {
	case c.failed(w.place):
		covers = []string{"critical", "high", "system"} // whatever was meant
	case r.About != "":
		covers = []string{r.About}
	case len(covers) == 0:
		covers = []string{"critical", "high"}
	}
	reported := true
	switch {
	case c.failed(w.place):
	case len(w.to.all) == 0:
		c.fail(w.to.place, "", "the route names no receiver")
	case r.Digest.Days != 0 && r.About != "":
		c.warn(w.digest.place, "leave digest out", "what is about system is sent at once")
	case r.Digest.Days != 0:
		c.takesDigest(w)
		reported = false
	default:
		reported = r.About != ""
	}
	for _, s := range covers {
		told[s] = told[s] || reported
	}
}

// takesDigest refuses a digest for a receiver that is sent none.
func (c *checker) takesDigest(w *route) {
	for _, to := range w.to.all {
		if slices.ContainsFunc(c.alerts.receivers, func(r receiver) bool { return r.name.name == to.v && r.kind.v == alert.TypeAlertmanager }) {
			c.fail(to.place, "leave digest out, or send it to another receiver", "an alertmanager is sent no digest: it is for what goes on")
		}
	}
}

// gap is a breach of which nobody would be told.
type gap struct{ category, group, when string }

func (g gap) String() string {
	text := "in " + g.category
	if g.group != "" {
		text += " by a device of group " + g.group
	}
	if g.when != "" {
		text += fmt.Sprintf(" at some times (%s is one)", g.when)
	}
	return text
}
