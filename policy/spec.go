package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"schoolgate/blocklist"
)

// Spec is what a policy is compiled from: the configuration's categories, groups, rules, records
// and zones, checked and converted, without anything of its file format.
type Spec struct {
	// Site names this resolver on each record and alert.
	Site string
	// Access holds the prefixes that may ask. Everybody else is refused.
	Access []netip.Prefix
	// Categories are in the order of the file, which breaks ties between equally severe ones.
	// The index of one here is its blocklist.Category. At most blocklist.MaxCategories.
	Categories []Category
	// Groups may stand in any order. Inherit is resolved by Compile.
	Groups []Group
	// DefaultGroup is the group of a client that no other group names.
	DefaultGroup string
	// Rules are in the order of the file, and behind them the exceptions. Verdict.Rule counts in it.
	Rules []Rule
	// Records holds the owner names of the local records. Verdict.Index counts in it.
	Records []blocklist.Name
	// Zones are the forwarded zones. Verdict.Index counts in it.
	Zones []Zone
	// Rebinding refuses answers that lead a public name to an address of the site's own network, but for those
	// of RebindExempt, with all below them, and those that a rule allows.
	Rebinding    bool
	RebindExempt []blocklist.Name
	// Calendar has the periods of the groups' schedules.
	Calendar Calendar
	// Built is when this program was made; zero: unknown. A clock that shows an earlier time is wrong: then
	// nothing that depends on the time lets anything through.
	Built time.Time
	// Base, where it is not nil, is what the configuration extends: nothing here lets through what that blocks, but for
	// what it marks so (base.go). Its Rules, Records and Zones come first in those here, at the same places, and
	// its Categories are those here, but for what is locked since. Its groups block no category that a site may loosen. It may have a Base itself.
	Base *Spec
	// File is what messages call the file of a Base.
	File string
}

// Category is a kind of content, with what becomes of a name in it.
type Category struct {
	Name         string // as in the configuration: "pornography"
	Title        string // for people: "Pornography"
	Severity     Severity
	Locked       bool // blocked for everybody, always; nothing lifts it
	Confidential bool // its names appear in no record, log, alert or metric
	// TrialOf, where it is not "", is the Name of the category whose lists on trial this one holds.
	// Such a category stands after all others, has a Name of its own, "<name> (on trial)", which no
	// group speaks of and nobody is shown. What a group does with its category decides for it too; it is
	// Confidential where its category is, and neither is Locked. Its Title, "<title>: list on trial",
	// keeps its incidents apart. Its Severity is SeverityLow at most: a list that turns out to be wrong
	// must not make a child look worse.
	TrialOf string
}

// Group is a set of clients under one policy, as written: Inherit is not yet resolved.
type Group struct {
	Name    string
	Clients []netip.Prefix // masked
	// MACs, Devices and Hosts are clients by what they say of themselves (identify.go): MAC addresses in lower
	// case with colons, patterns for device names in lower case, and names of this resolver, in lower case without a
	// final dot, by which they ask over encrypted DNS.
	MACs, Devices, Hosts []string
	// TrustIdentity lets them in from any other group.
	TrustIdentity    bool
	TrustIdentitySet bool
	Block            []string // names of categories
	Monitor          []string // names of categories
	// Unblock are categories that the group does not block after all: of its own Block and of what it inherits.
	Unblock []string
	// MayLoosen, in a Base, lets a site do as it likes with the group and its heirs, locked categories excepted.
	MayLoosen bool
	// Schedule is what changes by the time of the day. It adds to the parent's.
	Schedule []Change
	// Only, where OnlySet, is the list of names outside of which everything is blocked.
	Only    []blocklist.Name
	OnlySet bool
	Inherit string // name of the parent, or ""
	// SafeSearch, where SafeSearchSet, replaces the parent's.
	SafeSearch    SafeSearch
	SafeSearchSet bool
	// AlertTo, where AlertToSet, replaces the receivers of every breach route that matches.
	AlertTo    []string
	AlertToSet bool
	// Shared says that many people sit behind one address: an incident is by name, not by client.
	Shared    bool
	SharedSet bool
}

// Rule is an exception, with its reason: one that lasts, which IT wrote into the configuration, or one for a
// time, which goes before it.
type Rule struct {
	// ID is that of an exception for a time; "" for a rule of the configuration.
	ID     string
	Allow  bool // else it blocks
	Names  []blocklist.Name
	Groups []string // empty: everybody
	// Client, where it is not nil, is the one for whom the exception is; Groups is empty then.
	Client   *ClientPattern
	Reason   string
	By       string
	Added    time.Time
	Expires  time.Time // zero: never
	Severity Severity  // of a breach by a blocking rule
	Line     int       // where it stands in the configuration
	File     string    // of a base; "" for the configuration's own
}

// ClientPattern names a client by what is written for it: exactly one field is set.
type ClientPattern struct {
	Addr netip.Addr
	MAC  string // lower case, with colons
	Name string // lower case
	User string
}

var macForm = regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`)

// ParseClientPattern reads an address, "mac:00:11:22:33:44:55", "name:y7-ipad-3" or "user:a.pupil".
func ParseClientPattern(s string) (ClientPattern, error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "mac":
		if mac := strings.ReplaceAll(strings.ToLower(rest), "-", ":"); macForm.MatchString(mac) {
			return ClientPattern{MAC: mac}, nil
		}
	case "name":
		if rest != "" {
			return ClientPattern{Name: strings.ToLower(rest)}, nil
		}
	case "user":
		if rest != "" {
			return ClientPattern{User: rest}, nil
		}
	default:
		if addr, err := netip.ParseAddr(s); err == nil {
			return ClientPattern{Addr: addr.Unmap().WithZone("")}, nil
		}
	}
	return ClientPattern{}, fmt.Errorf("%q is not a client: write an address, mac:MAC, name:NAME or user:USER", s)
}

// String is the text that ParseClientPattern reads.
func (c ClientPattern) String() string {
	switch {
	case c.MAC != "":
		return "mac:" + c.MAC
	case c.Name != "":
		return "name:" + c.Name
	case c.User != "":
		return "user:" + c.User
	}
	return c.Addr.String()
}

// Matches reports whether a client, nil where it is not known, is the one.
func (c ClientPattern) Matches(client *Client) bool {
	switch {
	case client == nil:
		return false
	case c.MAC != "":
		return client.MAC == c.MAC
	case c.Name != "":
		return client.Name == c.Name || client.Name != "" && !strings.Contains(c.Name, ".") && firstLabel(client.Name) == c.Name
	case c.User != "":
		return client.User == c.User
	}
	return client.Addr.WithZone("") == c.Addr
}

// Zone is a set of suffixes forwarded to the school's own servers, unfiltered.
type Zone struct {
	Names  []blocklist.Name
	Groups []string // who may ask; empty: all
}

// Severity grades a category. The zero value is SeverityNone: blocked and counted, but no breach.
type Severity uint8

// The severities, mildest first, so that a greater value is a more severe one.
const (
	SeverityNone Severity = iota
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

var severityNames = [...]string{"none", "low", "medium", "high", "critical"}

// String returns the word of the configuration: "none" to "critical".
func (s Severity) String() string { return severityNames[s] }

// ParseSeverity reads the word of the configuration.
func ParseSeverity(s string) (Severity, bool) {
	for i, n := range severityNames {
		if n == s {
			return Severity(i), true
		}
	}
	return 0, false
}
