package alert

import (
	"iter"
	"slices"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Subject is what routes look at.
type Subject struct {
	Severity, Category, Group, Site string
	Time                            time.Time
	Client                          policy.Client
	// AlertTo is in place of the receivers of every route that matches, where AlertToSet says so.
	AlertTo    []string
	AlertToSet bool
}

// subject is what routes look at of a notice.
func subject(n breach.Notice) Subject {
	a := n.Attribution
	return Subject{
		Severity: a.Severity.String(), Category: a.Category, Group: a.Group, Site: n.Site, Time: n.Time, Client: n.Client,
		AlertTo: a.AlertTo, AlertToSet: a.AlertToSet,
	}
}

// Told returns the names of those who are told of an incident at once, each once: those of the routes
// that match, or in their place those of its group's alert_to; and in place of each whose own device it is,
// the deputy. Routes with a digest send nothing at once.
func (c *Config) Told(s Subject) []string {
	return c.told(s, func(yield func(*Route) bool) {
		for i := range c.Routes {
			if c.Routes[i].Digest.Days == 0 && !yield(&c.Routes[i]) {
				return
			}
		}
	})
}

// told is Told by some routes.
func (c *Config) told(s Subject, routes iter.Seq[*Route]) (told []string) {
	var names []string
	for r := range routes {
		if c.matches(r, s) {
			if s.AlertToSet {
				names = appendNew(nil, s.AlertTo)
				break
			}
			names = appendNew(names, r.To)
		}
	}
	for _, name := range names {
		if name = c.inStead(name, &s.Client); name != "" {
			told = appendNew(told, []string{name})
		}
	}
	return told
}

// matches reports whether a route is about a subject, whenever it then sends.
func (c *Config) matches(r *Route, s Subject) bool {
	among := func(words []string, word string) bool { return len(words) == 0 || slices.Contains(words, word) }
	now := func(period string) bool { return c.Calendar.During(period, s.Time) }
	return r.About == "" && among(r.Severities, s.Severity) && among(r.Categories, s.Category) &&
		among(r.Groups, s.Group) && among(r.Sites, s.Site) &&
		(len(r.During) == 0 || slices.ContainsFunc(r.During, now)) && !slices.ContainsFunc(r.Outside, now)
}

// inStead returns who is told of a client in place of a receiver: itself, unless the device is its own,
// else its deputy, or that one's. "" where there is none: config lets no such through.
func (c *Config) inStead(name string, client *policy.Client) string {
	for range len(c.Receivers) + 1 {
		r := c.receiver(name)
		own := func(p policy.ClientPattern) bool { return p.Matches(client) }
		if r == nil || !slices.ContainsFunc(r.Devices, own) {
			return name
		}
		name = r.Deputy
	}
	return ""
}

// systemReceivers returns the names of those who are told what IT must know, each once, without one. Where
// no other is left, everybody else is: that alerts do not arrive must reach somebody.
func (c *Config) systemReceivers(except string) (names []string) {
	for _, r := range c.Routes {
		if r.About == AboutSystem {
			names = appendNew(names, r.To)
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == except })
	if except == "" || len(names) > 0 {
		return names
	}
	for _, r := range c.Receivers {
		if r.Name != except {
			names = append(names, r.Name)
		}
	}
	return names
}

// appendNew appends the names that are not there yet.
func appendNew(all, more []string) []string {
	for _, name := range more {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
