package config

import (
	"schoolgate/blocklist"
	"schoolgate/policy"
)

// servesHost notes a name by which devices ask over encrypted DNS, which the certificate must be for.
func (c *checker) servesHost(cl value[client]) {
	if len(c.cfg.DoT)+len(c.cfg.DoH)+len(c.cfg.DoQ) == 0 {
		c.warn(cl.place, "write listen.dot, listen.doh or listen.doq", "nobody asks by %s: there is no encrypted DNS", cl.v.host)
	}
	c.cfg.TLS.Hosts = append(c.cfg.TLS.Hosts, HostName{cl.v.host, c.problem(cl.place, "", "")})
}

// idleIdentities warns of clients by MAC, device name or host name that no group would let go: to write them
// down looks as if it did something.
func (c *checker) idleIdentities() {
	if len(c.errors) > 0 {
		return
	}
	var p *policy.Policy
	for i := range c.groups {
		g := &c.cfg.Policy.Groups[i]
		if len(g.MACs)+len(g.Devices)+len(g.Hosts) == 0 {
			continue
		}
		if p == nil {
			var err error
			if p, err = policy.Compile(c.cfg.Policy, blocklist.Build(nil), false); err != nil {
				return // the daemon says so
			}
		}
		if !p.AdmitsNobody(uint16(i)) {
			continue
		}
		for _, cl := range c.groups[i].clients.all {
			if !cl.v.IsValid() {
				c.warn(cl.place, "block here what default_group blocks, or say trust_identity: true",
					"%s has no effect: every other group blocks something that %s does not, and a device chooses that by itself", cl.v, g.Name)
				break
			}
		}
	}
}
