package config

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
	"schoolgate/resolver"
)

// checker looks at what is right by itself and may be wrong together, and fills the Config.
type checker struct {
	*report
	*file
	machine   machine
	top       *source // the file that extends the others, or the only one
	base      *base   // what it extends; nil for nothing
	cfg       Config
	byName    map[string]*group
	helplines map[blocklist.Name]bool // nil before they are asked for
}

// check goes on after a problem, so that one run finds all. A value that could not be read is zero
// and has been reported; nothing more is said of it.
func (c *checker) check() {
	c.server()
	c.identity()
	c.listenOn()
	c.forward()
	c.answer()
	c.access()
	c.identities()
	c.apiTokens()
	c.guards()
	c.contents()
	c.calendarDays()
	c.people()
	c.exceptions()
	c.vain()
	c.alerting()
	c.trials()
	c.hold()
	c.idleIdentities()
}

func (c *checker) server() {
	c.cfg.Site = c.site.v
	if !c.site.written() {
		c.cfg.Site = c.machine.hostname
	}
	c.cfg.Policy.Site = c.cfg.Site
	c.cfg.Timezone = c.timezone.v
	if c.cfg.Timezone == nil {
		c.cfg.Timezone = time.UTC
	}
	c.cfg.Watch = c.watch.v
	c.cfg.DataDir = c.path(c.dataDir)
	if info, err := os.Stat(c.cfg.DataDir); err == nil && !info.IsDir() {
		c.fail(c.dataDir.place, "", "%q is not a directory", c.dataDir.v)
	}
	c.cfg.Retention = breach.Retention{Breaches: c.retention.breaches.v, Incidents: c.retention.incidents.v, Audit: c.retention.audit.v}
	c.cfg.ConsoleURL = c.consoleURL.v
	if c.store.kind.v == "postgres" {
		c.fail(c.store.kind.place, "use sqlite", "postgres comes in a later version")
	}
	c.cfg.QueryLog = querylog.Settings{
		Mode: c.queryLog.v, Retention: c.retention.queries.v, CountsRetention: c.retention.breaches.v, MaxBytes: int64(c.store.queryLogMB.v) << 20,
	}
	if c.queryLog.v == querylog.Full && !c.retention.queries.written() {
		c.warn(c.queryLog.place, "write retention.queries: 7d, or as the school's data-protection officer decides",
			"every question of every device is kept, and for how long is not written: %s", formatDuration(c.retention.queries.v))
	}
	first := map[string]place{}
	for _, u := range c.users {
		if other, again := first[u.name.v]; again && u.name.v != "" {
			c.fail(u.name.place, "first "+other.onLine(u.name.place), "the user %q is written twice", u.name.v)
		}
		first[u.name.v] = u.place
	}
}

// path makes a path absolute that a file has, or a default.
func (c *checker) path(p value[string]) string {
	if p.file == nil {
		return absolute(p.v, c.top.dir)
	}
	return absolute(p.v, p.file.dir)
}

// regularFile fails what stands at a path and is no regular file. That nothing stands there is for
// whoever reads it to say.
func (c *checker) regularFile(p value[string]) {
	if p.v == "" {
		return
	}
	path := c.path(p)
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	if err := regular(path, info); err != nil {
		c.fail(p.place, "", "%q %v", p.v, err)
	}
}

// forward fills the upstreams and the zones.
func (c *checker) forward() {
	bootstrap := c.bootstrap()
	c.cfg.Upstreams = resolver.Upstreams{
		Servers: c.servers(c.upstreams.servers, bootstrap), Bootstrap: bootstrap,
		Strategy: c.upstreams.strategy.v, Timeout: c.upstreams.timeout.v,
	}
	if len(c.upstreams.servers.all) == 0 && !c.failed(c.upstreams.servers.place) {
		c.systemUpstreams()
	}
	first := map[string]place{}
	for _, z := range c.zones {
		if len(z.names.all) == 0 && z.names.written() && !c.failed(z.names.place) {
			c.fail(z.names.place, "", "there is no name")
		}
		if len(z.servers.all) == 0 && z.servers.written() && !c.failed(z.servers.place) {
			c.fail(z.servers.place, "", "there is no server")
		}
		for _, n := range z.names.all {
			if other, again := first[string(n.v)]; again {
				c.fail(n.place, "first "+other.onLine(n.place), "%s is in two zones", n.v)
			}
			first[string(n.v)] = n.place
			if publicSuffix(n.v) {
				c.warn(n.place, "name the school's own domain", "nothing under %s is filtered", n.v)
			}
		}
		servers := c.cfg.Upstreams
		servers.Servers = c.servers(z.servers, bootstrap)
		c.cfg.Zones = append(c.cfg.Zones, servers)
	}
}

// bootstrap reads the servers that find others by their names.
func (c *checker) bootstrap() []resolver.Upstream {
	plain := c.upstreams.bootstrap
	plain.all = nil
	for _, s := range c.upstreams.bootstrap.all {
		if u, err := resolver.ParseUpstream(s.v); err == nil && u.Encrypted() {
			c.fail(s.place, "write an address, like udp://192.0.2.1", "%s is not a plain server", s.v)
		} else {
			plain.all = append(plain.all, s)
		}
	}
	return c.servers(plain, nil)
}

// servers reads upstreams and refuses this resolver itself: it would ask itself for ever. One with a host
// name needs bootstrap servers.
func (c *checker) servers(written values[string], bootstrap []resolver.Upstream) []resolver.Upstream {
	var servers []resolver.Upstream
	first := map[string]place{}
	for _, s := range written.all {
		u, err := resolver.ParseUpstream(s.v)
		switch other, again := first[u.String()]; {
		case err != nil:
			c.fail(s.place, "", "%v", err)
		case c.isItself(u.AddrPort()):
			c.fail(s.place, "schoolgate listens there", "%s is this resolver itself", s.v)
		case again:
			c.fail(s.place, "first "+other.onLine(s.place), "%s is written twice", s.v)
		case u.Host() != "" && len(bootstrap) == 0 && !c.failed(place{path: "upstreams.bootstrap"}):
			c.fail(s.place, "write upstreams.bootstrap: [192.0.2.1], or the server's address", "%s is a host name, and no bootstrap server says where it is", u.Host())
		default:
			servers = append(servers, u)
			first[u.String()] = s.place
		}
	}
	return servers
}

func (c *checker) isItself(a netip.AddrPort) bool {
	if !a.Addr().IsValid() {
		return false // a name: whether it leads back shows when it is asked
	}
	return slices.ContainsFunc(c.cfg.Listen, func(l netip.AddrPort) bool {
		everywhere := l.Addr().IsUnspecified() && l.Addr().Is4() == a.Addr().Is4() && c.machine.isOwn(a.Addr())
		return l.Port() == a.Port() && (everywhere || l.Addr() == a.Addr().WithZone(""))
	})
}

// systemUpstreams takes the servers of resolv.conf that are not this resolver.
func (c *checker) systemUpstreams() {
	for _, a := range c.machine.nameservers() {
		u, err := resolver.ParseUpstream("udp://" + netip.AddrPortFrom(a, 53).String())
		if err == nil && !c.isItself(u.AddrPort()) && !slices.Contains(c.cfg.Upstreams.Servers, u) {
			c.cfg.Upstreams.Servers = append(c.cfg.Upstreams.Servers, u)
		}
	}
	if len(c.cfg.Upstreams.Servers) == 0 {
		p := c.upstreams.servers.place
		p.path = "upstreams.servers"
		c.warn(p, "write one: [\"udp://192.0.2.1\"]", "there is no upstream: %s names none that is not this resolver", c.machine.resolvConf)
	}
}

// answer fills what schoolgate answers by itself.
func (c *checker) answer() {
	c.cfg.CacheEntries = c.cache.entries.v
	if c.queryLog.v != "none" {
		c.cfg.KeepClients = c.retention.queries.v
	}
	c.cfg.Cache = resolver.CacheTimes{
		MinTTL: c.cache.minTTL.v, MaxTTL: c.cache.maxTTL.v,
		ClientTTL: c.cache.clientTTL.v, NegativeTTL: c.cache.negativeTTL.v,
		ServeStale: c.cache.stale.v, Prefetch: c.cache.prefetch.v,
	}
	if c.cache.minTTL.v > c.cache.maxTTL.v && !c.failed(place{path: "cache"}) {
		c.fail(c.cache.minTTL.place, "", "is more than cache.max_ttl, %s", formatDuration(c.cache.maxTTL.v))
	}
	b := &c.blocking
	c.cfg.Blocking = resolver.Blocking{
		Answer: b.answer.v, TTL: b.ttl.v, PageIPv4: b.page.ipv4.v, PageIPv6: b.page.ipv6.v, StripECH: b.stripECH.v,
	}
	if b.page.contact.v != noContact {
		c.cfg.PageContact = b.page.contact.v
	}
	c.cfg.Policy.Rebinding = b.rebind.v
	for _, n := range b.rebindExempt.all {
		c.cfg.Policy.RebindExempt = append(c.cfg.Policy.RebindExempt, n.v)
	}
	if b.answer.v == "page" && !b.page.ipv4.v.IsValid() && !b.page.ipv6.v.IsValid() && !c.failed(place{path: "blocking.page"}) {
		c.fail(b.answer.place, "write blocking.page.ipv4 or ipv6", "there is no address of a page")
	}
	c.structuredErrors()
	c.answerRecords()
}

// structuredErrors fills what blocked answers say to who asks for it.
func (c *checker) structuredErrors() {
	code := c.blocking.structured
	if code.v == 0 {
		return
	}
	contact := c.cfg.PageContact
	scheme, _, _ := strings.Cut(contact, ":")
	switch {
	case !resolver.FreeOption(uint16(code.v)):
		c.fail(code.place, "take one for local use: 65100", "the EDNS option %d means something else", code.v)
	case scheme != "mailto" && scheme != "tel":
		c.fail(code.place, `write blocking.page.contact: "mailto:…" or "tel:…"`, "there is nobody to ask")
	case len(c.listen.dot.all)+len(c.listen.doh.all)+len(c.listen.doq.all) == 0:
		c.warn(code.place, "write listen.dot, listen.doh or listen.doq", "nobody is told: there is no encrypted DNS")
	}
	c.cfg.Blocking.StructuredErrors = resolver.StructuredErrors{Option: uint16(code.v), Contact: contact}
}

// answerRecords fills the local records. A name with a CNAME has nothing else (RFC 1034 §3.6.2).
func (c *checker) answerRecords() {
	first := map[string]record{}
	for _, w := range c.records {
		if w.name.v == "" || w.kind.v == "" || w.value.v == "" {
			continue
		}
		r, err := resolver.ParseRecord(w.name.v, w.kind.v, w.value.v, w.ttl.v)
		if err != nil {
			c.fail(w.place, "", "%v", err)
			continue
		}
		if other, again := first[string(r.Name())]; !again {
			first[string(r.Name())] = w
		} else if w.kind.v == "CNAME" || other.kind.v == "CNAME" {
			c.fail(w.place, "the other is "+other.onLine(w.place), "%s has a CNAME and another record", w.name.v)
		}
		c.cfg.Records = append(c.cfg.Records, r)
		c.cfg.Policy.Records = append(c.cfg.Policy.Records, r.Name())
	}
}
