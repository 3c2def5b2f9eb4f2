package config

import (
	"net"
	"regexp"
	"strings"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

type group struct {
	name
	clients       values[client]
	block         values[string]
	unblock       values[string]
	monitor       values[string]
	only          values[blocklist.Name]
	inherit       value[string]
	safeSearch    safeSearch
	schedule      []change
	shared        value[bool]
	trustIdentity value[bool]
	alertTo       values[string]
	local         value[string]
}

func (g *group) fields() []field {
	return []field{
		{
			key: "clients", kind: many(&g.clients, clientKind()),
			doc: "Addresses and ranges; the longest range that holds an address decides. Before them go `mac:00:11:22:33:44:55`, then `name:y7-ipad-*` (`*` any characters, `?` one; without a dot it is compared with the first label of the device's name), then `host:y7.dns.school.example`, the name of this resolver by which a device asks over encrypted DNS. What `identity` knows says which MAC and name a device has. These three are the device's own to choose: they move it only into a group that blocks at least what the group of its address blocks at any time, unless this one says `trust_identity`",
		},
		{key: "block", kind: many(&g.block, reference("category")), doc: "Categories that are blocked, beside those of the parent"},
		{
			key: "unblock", kind: many(&g.unblock, reference("category")),
			doc: "Categories that are not blocked after all, though the group has or inherits them. Only in a file that `extends` another, for what that marks `local: may_loosen`",
		},
		{key: "monitor", kind: many(&g.monitor, reference("category")), doc: "Categories that resolve and are recorded as a breach"},
		{key: "only", kind: many(&g.only, domain()), doc: "Nothing but these names and what is below them"},
		{
			key: "inherit", kind: one(&g.inherit, reference("group")), graded: true,
			doc: "The parent, of which the group takes all but its clients: `block`, `monitor` and `schedule` add, other keys replace",
		},
		{key: "safe_search", kind: mapping(&g.safeSearch), doc: "Search engines and YouTube in their safe form"},
		{key: "schedule", kind: sections(&g.schedule), doc: "What a period blocks or unblocks"},
		{
			key: "shared", kind: one(&g.shared, boolean()), graded: true,
			doc: "Many people behind one address: no rate limit, alerts say \"person unknown\", incidents go by name. False where it is neither written nor inherited",
		},
		{
			key: "trust_identity", kind: one(&g.trustIdentity, boolean()), graded: true,
			doc: "Let a device into this group by `mac:`, `name:` or `host:` even where the group of its address blocks more: whoever knows a MAC or a name of this group can then have it. False where it is neither written nor inherited",
		},
		{
			key: "alert_to", kind: many(&g.alertTo, reference("receiver")),
			doc: "Replaces the receivers of every breach route that matches",
		},
		{key: "local", kind: one(&g.local, localKind()), doc: "`may_loosen`: a file that extends this one may do as it likes with the group and those that inherit from it, locked categories excepted"},
	}
}

// client is how a group names its clients: exactly one of the fields is set.
type client struct {
	prefix
	mac  string
	name string
	host string
}

var clientName = regexp.MustCompile(`^[A-Za-z0-9*?_.-]+$`)

func clientKind() scalar[client] {
	return scalar[client]{
		words: "address, range, mac:MAC, name:PATTERN or host:NAME", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (client, error) {
			if text, ok := strings.CutPrefix(s, "mac:"); ok {
				mac, err := net.ParseMAC(text)
				if err != nil || len(mac) != 6 {
					return client{}, wrong("write mac:00:11:22:33:44:55", "%q is not a MAC address", text)
				}
				return client{mac: mac.String()}, nil
			}
			if text, ok := strings.CutPrefix(s, "name:"); ok {
				if !clientName.MatchString(text) {
					return client{}, wrong("letters, digits, - . _, and * and ? for any", "%q is not a pattern for device names", text)
				}
				return client{name: strings.ToLower(text)}, nil
			}
			if text, ok := strings.CutPrefix(s, "host:"); ok {
				name, err := blocklist.ParseName(text)
				if err != nil || strings.ContainsAny(text, "*?") {
					return client{}, wrong("write host:y7.dns.school.example", "%q is not the name of a host", text)
				}
				return client{host: strings.ToLower(name.String())}, nil
			}
			p, err := parsePrefix(s)
			return client{prefix: p}, err
		},
	}
}

func (c client) String() string {
	switch {
	case c.mac != "":
		return "mac:" + c.mac
	case c.name != "":
		return "name:" + c.name
	case c.host != "":
		return "host:" + c.host
	}
	return c.Prefix.String()
}

type safeSearch struct {
	place
	search  value[bool]
	youtube value[string]
}

func (s *safeSearch) fields() []field {
	return []field{
		{key: "search", kind: one(&s.search, boolean()), def: "false", graded: true, doc: "Search engines"},
		{key: "youtube", kind: one(&s.youtube, enum("off", "moderate", "strict")), def: "off", graded: true, doc: "YouTube's restricted mode"},
	}
}

func (s *safeSearch) spec() policy.SafeSearch {
	youtube, _ := policy.ParseYouTube(s.youtube.v)
	return policy.SafeSearch{Search: s.search.v, YouTube: youtube}
}

// change is what a period changes for a group.
type change struct {
	place
	during  value[string]
	block   values[string]
	unblock values[string]
}

func (c *change) fields() []field {
	return []field{
		{key: "during", kind: one(&c.during, reference("period")), need: true, doc: "The period, of `calendar.periods`"},
		{key: "block", kind: many(&c.block, reference("category")), doc: "Categories that are blocked then; wins over `unblock`"},
		{key: "unblock", kind: many(&c.unblock, reference("category")), doc: "Categories that are not blocked then"},
	}
}

type rule struct {
	place
	allow, block values[blocklist.Name]
	groups       values[string]
	reason       value[string]
	by           value[string]
	added        value[moment]
	expires      value[moment]
	severity     value[policy.Severity]
}

func (r *rule) fields() []field {
	return []field{
		{key: "allow", kind: many(&r.allow, domain()), doc: "Names that pass, with everything below them, unless a locked category holds them"},
		{key: "block", kind: many(&r.block, domain()), doc: "Names that are blocked, with everything below them"},
		{key: "groups", kind: many(&r.groups, reference("group")), def: "[]", doc: "For whom, with the groups that inherit from them. Empty: everybody"},
		{key: "reason", kind: one(&r.reason, text()), need: true, doc: "Why; for whoever asks later"},
		{key: "by", kind: one(&r.by, text()), doc: "Who decided it"},
		{key: "added", kind: one(&r.added, dateOrTime()), doc: "When"},
		{key: "expires", kind: one(&r.expires, dateOrTime()), doc: "When it ends: a time, or the last day"},
		{
			key: "severity", kind: one(&r.severity, severity("critical", "high", "medium", "low", "none")), def: "low",
			doc: "How grave a breach of a `block` rule is",
		},
	}
}
