package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"schoolgate/policy"
	"schoolgate/policy/alert"
)

// receiver fills an endpoint. One whose type could not be read is taken for a webhook, but for what it
// lacks.
func (c *checker) receiver(w *receiver) {
	r := alert.Receiver{Name: w.name.name, Type: w.kind.v, Full: w.detail.v == "full"}
	whole := w.kind.v != "" && !c.misspelt(w.place) // the misspelt key may be what is missed
	secrets := c.secrets(w)
	switch w.kind.v {
	case alert.TypeEmail:
		c.email(w, &r, whole, secrets)
	case alert.TypeTeams, alert.TypeSlack, alert.TypeGoogleChat:
		c.chat(w, &r, whole, secrets)
	case alert.TypeAlertmanager:
		r.URL = strings.TrimRight(c.endpoint(w, whole), "/")
		r.Secrets = c.one(w, secrets)
		if len(r.Secrets) > 0 && !strings.Contains(string(r.Secrets[0]), ":") {
			c.fail(secrets[0].place, "user:password", "has no colon")
		}
		if r.Full {
			c.fail(w.detail.place, "leave it out", "whoever looks at Alertmanager would see it: it is told neither clients nor names")
		}
	default:
		r.URL = c.endpoint(w, whole)
		if whole && !w.secretFile.written() && !w.secretEnv.written() {
			c.fail(w.place, needSecret, "a webhook needs a secret")
		}
		if len(secrets) > 2 {
			c.fail(secrets[2].place, "two are enough to replace one by the other", "has %d secrets", len(secrets))
		}
		for _, s := range secrets {
			key, err := parseSecret(s.v)
			c.failSecret(s.place, err)
			r.Secrets = append(r.Secrets, key)
		}
	}
	if w.kind.v != alert.TypeEmail && w.smtp.written() {
		c.fail(w.smtp.place, "type: email", "only email has it")
	}
	r.Template = c.template(w)
	r.Devices = c.ownDevices(w)
	r.Deputy = w.deputy.v
	c.cfg.Alerts.Receivers = append(c.cfg.Alerts.Receivers, r)
}

// secrets reads the secrets of a receiver, each with the place where it is written.
func (c *checker) secrets(w *receiver) (texts []value[string]) {
	if w.secretFile.written() && w.secretEnv.written() {
		c.fail(w.secretEnv.place, needSecret, "has two secrets")
	}
	for _, env := range w.secretEnv.all {
		if text, at, ok := c.secretText(value[string]{}, env); ok {
			texts = append(texts, value[string]{at, text})
		}
	}
	if len(w.secretEnv.all) > 0 {
		return texts
	}
	for _, file := range w.secretFile.all {
		if text, at, ok := c.secretText(file, value[string]{}); ok {
			texts = append(texts, value[string]{at, text})
		}
	}
	return texts
}

// one is the secret of a receiver that has one at most, as a line.
func (c *checker) one(w *receiver, secrets []value[string]) [][]byte {
	if len(secrets) == 0 {
		return nil
	}
	if len(secrets) > 1 {
		c.fail(secrets[1].place, "write one", "a receiver of type %s has one secret", w.kind.v)
	}
	line := strings.TrimRight(secrets[0].v, "\r\n")
	if line == "" || strings.ContainsAny(line, "\r\n\x00") {
		c.fail(secrets[0].place, "write it on one line", "is not one line")
		return nil
	}
	return [][]byte{[]byte(line)}
}

// endpoint is where alerts are posted to, "" where that is not known.
func (c *checker) endpoint(w *receiver, need bool) string {
	switch u := w.url.v; {
	case !w.url.written() && need:
		c.fail(w.place, "write where alerts are posted to", "a receiver of type %s needs a url", w.kind.v)
	case u == nil:
	case !c.isSafe(u):
		c.fail(w.url.place, "use https://", "alerts would cross the network in clear")
	default:
		return u.String()
	}
	return ""
}

func (c *checker) isSafe(u *url.URL) bool { return u.Scheme == "https" || loopback(u) }

// chat fills a receiver of which the URL is the secret.
func (c *checker) chat(w *receiver, r *alert.Receiver, whole bool, secrets []value[string]) {
	if r.Full {
		c.warn(w.detail.place, "thin is enough to make somebody look", "a chat is a poor home for who asked for what: it is kept there, searched and shown on locked screens")
	}
	if w.url.written() {
		if len(secrets) > 0 {
			c.fail(w.url.place, "write one of the two", "has two URLs: the secret is one")
		}
		if r.URL = c.endpoint(w, whole); r.URL != "" && !loopback(w.url.v) {
			c.warn(w.url.place, "move it into a file, and write secret_file", "whoever reads this URL can post in your name")
		}
		return
	}
	line := c.one(w, secrets)
	switch {
	case line == nil && whole && !c.failed(w.place):
		c.fail(w.place, "write secret_file with the URL in it", "a receiver of type %s needs a url", w.kind.v)
	case line == nil:
	default:
		u, err := webURL().parse(strings.TrimSpace(string(line[0])))
		c.failSecret(secrets[0].place, err)
		if err == nil && !c.isSafe(u) {
			c.fail(secrets[0].place, "use https://", "alerts would cross the network in clear")
		} else if err == nil {
			r.URL = u.String()
		}
	}
}

// email fills a receiver of mail.
func (c *checker) email(w *receiver, r *alert.Receiver, whole bool, secrets []value[string]) {
	s := &w.smtp
	r.SMTP = alert.SMTP{Server: s.server.v, From: s.from.v, User: s.user.v}
	for _, to := range s.to.all {
		if !slices.Contains(r.SMTP.To, to.v) {
			r.SMTP.To = append(r.SMTP.To, to.v)
		}
	}
	r.Secrets = c.one(w, secrets)
	if r.Full {
		c.warn(w.detail.place, "thin is enough to make somebody look", "a mailbox is a poor home for who asked for what: it is kept, forwarded and shown on locked screens")
	}
	if w.url.written() {
		c.fail(w.url.place, "write smtp", "mail has no url")
	}
	if !whole || s.written() && (c.failed(s.place) || c.misspelt(s.place)) {
		return
	}
	missing := []string{}
	for key, written := range map[string]bool{"server": s.server.v != "", "from": s.from.v != "", "to": len(s.to.all) > 0} {
		if !written {
			missing = append(missing, key)
		}
	}
	slices.Sort(missing)
	at := s.place
	if !s.written() {
		at = w.place
	}
	switch {
	case len(missing) > 0:
		c.fail(at, "smtp: {server: smtp.school.example, from: schoolgate@school.example, to: [dsl@school.example]}", "email needs smtp with %s", strings.Join(missing, ", "))
	case s.user.v != "" && r.Secrets == nil && !c.failed(w.place):
		c.fail(s.user.place, needSecret, "there is no password for %s", s.user.v)
	case s.user.v == "" && r.Secrets != nil:
		c.fail(secrets[0].place, "write smtp.user", "a password without a user")
	}
	if host, port, _ := net.SplitHostPort(r.SMTP.Server); port == "25" && !onLoopback(host) {
		c.warn(s.server.place, "most take it at 587", "port 25 is for servers: many networks let no other mail through")
	}
}

func onLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// template reads the text of a receiver's own, and tries it.
func (c *checker) template(w *receiver) *alert.Template {
	if w.template.v == "" || w.kind.v == "" {
		return nil
	}
	text, err := readFile(c.path(w.template))
	if err != nil {
		c.fail(w.template.place, "", "%q: %v", w.template.v, err)
		return nil
	}
	t, err := alert.ParseTemplate(w.kind.v, string(text))
	if err != nil {
		c.fail(w.template.place, "docs/alerts.md lists what a template is given", "%q: %v", w.template.v, err)
	}
	return t
}

// ownDevices reads whose incidents go to a receiver's deputy.
func (c *checker) ownDevices(w *receiver) (devices []policy.ClientPattern) {
	for _, d := range w.devices.all {
		p, err := policy.ParseClientPattern(d.v)
		if err != nil {
			c.fail(d.place, "10.1.0.5, mac:00:11:22:33:44:55, name:dsl-laptop or user:dsl", "%q is not a device", d.v)
			continue
		}
		devices = append(devices, p)
	}
	switch {
	case c.failed(w.place) || c.misspelt(w.place):
	case len(w.devices.all) > 0 && !w.deputy.written():
		c.fail(w.devices.place, "write deputy: and who is told instead", "nobody would be told of what concerns these devices")
	case w.deputy.written() && len(w.devices.all) == 0:
		c.warn(w.deputy.place, "write devices, or remove it", "a deputy is told of nothing: there are no devices")
	}
	return devices
}

// deputies makes sure that each leads to somebody else.
func (c *checker) deputies(names []string) {
	byName := map[string]*receiver{}
	for i := range c.alerts.receivers {
		byName[c.alerts.receivers[i].name.name] = &c.alerts.receivers[i]
	}
	filled := func(name string) *alert.Receiver {
		i := slices.IndexFunc(c.cfg.Alerts.Receivers, func(r alert.Receiver) bool { return r.Name == name })
		return &c.cfg.Alerts.Receivers[i]
	}
	for i := range c.alerts.receivers {
		w := &c.alerts.receivers[i]
		if w.deputy.v == "" || len(c.known(values[string]{all: []value[string]{w.deputy}}, "receiver", names)) == 0 {
			continue
		}
		chain := []string{w.name.name}
		for at := byName[w.deputy.v]; at != nil; at = byName[at.deputy.v] {
			chain = append(chain, at.name.name)
			if at == w {
				c.fail(w.deputy.place, strings.Join(chain, " -> "), "the deputies lead back to %s: nobody else would be told", w.name.name)
				break
			}
			if len(chain) > len(names) {
				break // into a circle of others, which is reported there
			}
		}
		if me, other := filled(w.name.name), filled(w.deputy.v); me != other && sameReader(me, other) {
			c.fail(w.deputy.place, "name one that others read", "%s and %s are the same address", w.name.name, w.deputy.v)
		}
	}
}

// sameReader reports whether one of two receivers tells nobody whom the other does not tell.
func sameReader(a, b *alert.Receiver) bool {
	if a.Type == alert.TypeEmail && b.Type == alert.TypeEmail {
		return len(b.SMTP.To) > 0 && !slices.ContainsFunc(b.SMTP.To, func(to string) bool {
			return !slices.ContainsFunc(a.SMTP.To, func(mine string) bool { return strings.EqualFold(mine, to) })
		})
	}
	return a.URL != "" && a.URL == b.URL
}
