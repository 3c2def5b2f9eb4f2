package config

import (
	"slices"
	"strings"

	"schoolgate/policy"
	"schoolgate/policy/alert"
	"schoolgate/policy/breach"
)

// alerting fills who is told of what.
func (c *checker) alerting() {
	a := &c.alerts
	c.cfg.Record = breach.Settings{
		Site: c.cfg.Site, Quiet: a.quiet.v,
		Escalation: breach.Escalation{Count: a.escalate.count.v, Within: a.escalate.within.v},
	}
	c.cfg.Alerts.Site, c.cfg.Alerts.ConsoleURL, c.cfg.Alerts.Zone = c.cfg.Site, c.cfg.ConsoleURL, c.cfg.Timezone
	names := make([]string, 0, len(a.receivers))
	for i := range a.receivers {
		names = append(names, a.receivers[i].name.name)
		c.receiver(&a.receivers[i])
	}
	told := map[string]bool{}      // severities, and "system"
	gathered := map[string]place{} // severities of which a digest tells, and where that is written
	for i := range a.routes {
		w := &a.routes[i]
		r := alert.Route{About: w.about.v, To: c.webhooks(c.known(w.to, "receiver", names)), Digest: w.digest.v}
		for _, s := range w.severity.all {
			r.Severities = append(r.Severities, s.v)
		}
		if r.About != "" && w.severity.written() {
			c.fail(w.severity.place, "make two routes of it", "what is about system has no severity")
		}
		if len(r.To) > 0 {
			c.cfg.Alerts.Routes = append(c.cfg.Alerts.Routes, r)
		}
		c.tells(w, r, told, gathered)
	}
	routes := place{a.line, a.column, "alerts.routes"}
	if c.misspelt(a.place) || len(a.routes) == 0 && c.failed(routes) {
		return // the routes may be what has been reported
	}
	if len(a.receivers) == 0 && len(a.routes) == 0 {
		routes.path = "alerts"
		c.warn(routes, "write a receiver and a route", "no one is alerted of a breach")
		return
	}
	c.everyoneTold(routes, told, gathered)
}

// tells notes what a route tells somebody of. One that is for what is grave and reaches no one is
// refused, and counts from then on: what is reported once need not be reported again.
func (c *checker) tells(w *route, r alert.Route, told map[string]bool, gathered map[string]place) {
	covers := r.Severities
	switch {
	case c.failed(w.place):
		covers = []string{"critical", "high", "system"} // whatever was meant
	case r.About != "":
		covers = []string{r.About}
	case len(covers) == 0:
		covers = []string{"critical", "high"}
	}
	grave := slices.Contains(covers, "critical") || slices.Contains(covers, "high")
	switch {
	case c.failed(w.place):
	case len(w.to.all) == 0:
		c.fail(w.to.place, "", "the route names no receiver")
	case len(r.To) == 0 && !grave:
		return
	case len(r.To) == 0:
		c.fail(w.to.place, "send it to a webhook too; the other types come in a later version", "nothing of severity %s reaches a receiver", strings.Join(covers, ", "))
	case !w.digest.written():
	case r.About != "":
		c.warn(w.digest.place, "leave digest out", "what is about system is sent at once")
	case !c.failed(w.digest.place):
		for _, s := range covers {
			if _, already := gathered[s]; !already {
				gathered[s] = w.digest.place
			}
		}
		return
	}
	for _, s := range covers {
		told[s] = true
	}
}

// everyoneTold makes sure that whatever is grave reaches somebody. What the file itself grades so
// is an error; that iwf and ctiru are critical by themselves, a warning.
func (c *checker) everyoneTold(routes place, told map[string]bool, gathered map[string]place) {
	for _, s := range []policy.Severity{policy.SeverityCritical, policy.SeverityHigh} {
		const hint = "add a route that sends to a webhook at once"
		digest, waits := gathered[s.String()]
		switch {
		case told[s.String()]:
		case waits:
			c.fail(digest, hint, "what is of severity %s would wait for the digest: no other route tells of it", s)
		case c.grades(s):
			c.fail(routes, hint, "no receiver is told of breaches of severity %s", s)
		case s == policy.SeverityCritical:
			c.warn(routes, hint, "no receiver is told of breaches in iwf and ctiru")
		}
	}
	if !told["system"] {
		c.warn(routes, "add {about: system, to: [...]}", "no one is told of a stale list or a dead upstream")
	}
}

// grades reports whether the file has a category or rule of a severity.
func (c *checker) grades(s policy.Severity) bool {
	for _, w := range c.categories {
		if slices.ContainsFunc(c.cfg.Policy.Categories, func(p policy.Category) bool { return p.Name == w.name.name && p.Severity == s }) {
			return true
		}
	}
	return slices.ContainsFunc(c.cfg.Policy.Rules, func(r policy.Rule) bool { return !r.Allow && r.Severity == s })
}

// receiver fills an endpoint. Those of later versions are checked and left out. One whose type could
// not be read is taken for a webhook, but for what it lacks.
func (c *checker) receiver(w *receiver) {
	if w.secretFile.written() && w.secretEnv.written() {
		c.fail(w.secretEnv.place, needSecret, "has two secrets")
	}
	if w.kind.v != "webhook" && w.kind.v != "" {
		c.notYet(w.kind.place)
		return
	}
	whole := w.kind.v == "webhook" && !c.misspelt(w.place) // the misspelt key may be what is missed
	r := alert.Receiver{Name: w.name.name, Type: w.kind.v, Secret: []byte(c.secret(w, whole)), Full: w.detail.v == "full"}
	switch u := w.url.v; {
	case !w.url.written() && whole:
		c.fail(w.place, "write where alerts are posted to", "a webhook needs a url")
	case u == nil:
	case u.Scheme != "https" && !loopback(u):
		c.fail(w.url.place, "use https://", "alerts would cross the network in clear")
	default:
		r.URL = u.String()
	}
	c.cfg.Alerts.Receivers = append(c.cfg.Alerts.Receivers, r)
}

// secret reads the signing secret of a webhook, which must be written where need says so.
func (c *checker) secret(w *receiver, need bool) Secret {
	file, env := w.secretFile, w.secretEnv
	if need && !file.written() && !env.written() {
		c.fail(w.place, needSecret, "a webhook needs a secret")
	}
	text, at, ok := c.secretText(file, env)
	if !ok {
		return nil
	}
	secret, err := parseSecret(text)
	c.failSecret(at, err)
	return secret
}

// webhooks leaves out the receivers that this version does not send to. One whose type could not be
// read has been reported, and counts.
func (c *checker) webhooks(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool {
		return !slices.ContainsFunc(c.alerts.receivers, func(r receiver) bool {
			return r.name.name == n && (r.kind.v == "webhook" || r.kind.v == "")
		})
	})
}
