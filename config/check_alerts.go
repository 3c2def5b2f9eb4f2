package config

import (
	"slices"
	"strings"

	"schoolgate/policy"
	"schoolgate/policy/alert"
)

// alerting fills who is told of what.
func (c *checker) alerting() {
	a := &c.alerts
	c.cfg.Quiet = a.quiet.v
	c.cfg.Alerts.Site, c.cfg.Alerts.ConsoleURL = c.cfg.Site, c.cfg.ConsoleURL
	names := make([]string, 0, len(a.receivers))
	for i := range a.receivers {
		names = append(names, a.receivers[i].name.name)
		c.receiver(&a.receivers[i])
	}
	told := map[string]bool{} // severities, and "system"
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
		c.tells(w, r, told)
	}
	if len(a.receivers) == 0 && len(a.routes) == 0 {
		c.warn(place{a.line, a.column, "alerts"}, "write a receiver and a route", "no one is alerted of a breach")
		return
	}
	c.everyoneTold(told)
}

// tells notes what a route tells somebody of. One that is for what is grave and reaches no one is
// refused.
func (c *checker) tells(w *route, r alert.Route, told map[string]bool) {
	covers := r.Severities
	switch {
	case r.About != "":
		covers = []string{r.About}
	case len(covers) == 0:
		covers = []string{"critical", "high"}
	}
	// A digest is not sent at once, and by this version not at all.
	if len(r.To) > 0 && r.Digest == "" {
		for _, s := range covers {
			told[s] = true
		}
		return
	}
	if c.failed(w.place) || !w.to.written() {
		return
	}
	switch grave := slices.Contains(covers, "critical") || slices.Contains(covers, "high"); {
	case len(w.to.all) == 0:
		c.fail(w.to.place, "", "the route names no receiver")
	case grave && len(r.To) == 0:
		c.fail(w.to.place, "send it to a webhook too; the other types come in a later version", "nothing of severity %s reaches a receiver", strings.Join(covers, ", "))
	}
}

// everyoneTold makes sure that whatever is grave reaches somebody. What the file itself grades so
// is an error; that iwf and ctiru are critical by themselves, a warning.
func (c *checker) everyoneTold(told map[string]bool) {
	a := &c.alerts
	if c.failed(place{path: "alerts"}) {
		return // the route may be the one that has been reported
	}
	p := place{a.line, a.column, "alerts.routes"}
	for _, s := range []policy.Severity{policy.SeverityCritical, policy.SeverityHigh} {
		const hint = "add a route that sends to a webhook at once"
		switch {
		case told[s.String()]:
		case c.grades(s):
			c.fail(p, hint, "no receiver is told of breaches of severity %s", s)
		case s == policy.SeverityCritical:
			c.warn(p, hint, "no receiver is told of breaches in iwf and ctiru")
		}
	}
	if !told["system"] {
		c.warn(p, "add {about: system, to: [...]}", "no one is told of a stale list or a dead upstream")
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

// receiver fills an endpoint. Those of later versions are checked and left out.
func (c *checker) receiver(w *receiver) {
	misspelt := c.failed(w.place) // perhaps the key that is missed below
	secret := c.secret(w, misspelt)
	if w.kind.v != "webhook" {
		if w.kind.v != "" {
			c.notYet(w.kind.place)
		}
		return
	}
	r := alert.Receiver{Name: w.name.name, Type: w.kind.v, Secret: []byte(secret), Full: w.detail.v == "full"}
	switch u := w.url.v; {
	case misspelt && !w.url.written():
	case !w.url.written():
		c.fail(w.place, "write where alerts are posted to", "a webhook needs a url")
	case u == nil:
	case u.Scheme != "https" && !loopback(u):
		c.fail(w.url.place, "use https://", "alerts would cross the network in clear")
	default:
		r.URL = u.String()
	}
	c.cfg.Alerts.Receivers = append(c.cfg.Alerts.Receivers, r)
}

// secret reads the signing secret of a webhook.
func (c *checker) secret(w *receiver, misspelt bool) Secret {
	const hint = "write secret_file or secret_env"
	file, env := w.secretFile, w.secretEnv
	switch {
	case file.written() && env.written():
		c.fail(env.place, hint, "has two secrets")
		return nil
	case w.kind.v != "webhook", misspelt && !file.written() && !env.written():
		return nil
	case !file.written() && !env.written():
		c.fail(w.place, hint, "a webhook needs a secret")
		return nil
	}
	at := file.place
	var text string
	switch {
	case env.v != "":
		at, text = env.place, c.machine.getenv(env.v)
		if text == "" {
			c.fail(at, "", "the environment variable %s is not set", env.v)
			return nil
		}
	case file.v != "":
		data, err := readFile(c.path(file.v))
		if err != nil {
			c.fail(at, "", "%q: %v", file.v, err)
			return nil
		}
		text = string(data)
	default:
		return nil
	}
	secret, err := parseSecret(text)
	if f, ok := err.(failure); ok { //nolint:errorlint // parseSecret wraps nothing
		c.fail(at, f.hint, "%s", strings.TrimPrefix(f.what, "the secret "))
	}
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
