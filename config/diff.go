package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"schoolgate/blocklist"
)

// Change is one thing that a configuration does otherwise than another one, in words.
type Change struct {
	// Group is for whom; "" for everybody, or where it is for nobody in particular.
	Group string `json:"group"`
	// Kind is "blocks", "frees", "monitors", "ignores" (what was monitored resolves unseen), or "other".
	Kind     string `json:"kind"`
	Category string `json:"category"` // "" where it is about none
	Text     string `json:"text"`

	// Monitored says that what is blocked was monitored before.
	Monitored bool `json:"-"`
	// Names are those of a rule; nil where it is about none. Groups are those for which it is, with their heirs;
	// nil: everybody.
	Names  []blocklist.Name `json:"-"`
	Groups []string         `json:"-"`
}

// Concerns reports whether a question of a group for a name that was judged by a category is one to which the
// change makes a difference.
func (c *Change) Concerns(group, category string, name blocklist.Name) bool {
	switch {
	case c.Kind == "other":
		return false
	case c.Groups != nil && !slices.Contains(c.Groups, group):
		return false
	case c.Names != nil:
		return slices.ContainsFunc(c.Names, func(n blocklist.Name) bool { return n.Covers(name) })
	}
	return c.Category == category
}

// ParseBeside is Parse for an older or newer state of the configuration that stands at path: what it says of
// other files is relative to that, and messages call it name.
func ParseBeside(data []byte, name, path string) (*Config, error) {
	top, err := topSource(data, path)
	if err != nil {
		return nil, err
	}
	top.name = name
	return loadFiles(&report{file: name}, top, readFile, thisMachine())
}

// Diff says what a configuration does otherwise than an older one, for whom: group by group in the order of
// the file, then what is for everybody. Nothing of what it says hangs on the content of lists.
func Diff(older, newer *Config) []Change {
	d := differ{older: older, newer: newer, before: effects(older), after: effects(newer)}
	d.locks()
	for _, g := range newer.Policy.Groups {
		d.group(g.Name)
	}
	d.goneGroups()
	d.clients()
	d.devices()
	d.calendar()
	d.rules()
	d.exempt()
	d.queryLog()
	return d.changes
}

// differ compares two configurations.
type differ struct {
	older, newer  *Config
	before, after map[string]*effect // by group
	changes       []Change
}

func (d *differ) say(group, kind, category, format string, args ...any) {
	c := Change{Group: group, Kind: kind, Category: category, Text: fmt.Sprintf(format, args...)}
	if group != "" {
		c.Groups = []string{group}
	}
	d.changes = append(d.changes, c)
}

// group compares a group that is there now.
func (d *differ) group(name string) {
	after, before := d.after[name], d.before[name]
	if before == nil {
		var blocked []string
		for _, c := range d.newer.Policy.Categories {
			if after.does[c.Name] == "block" && !c.Locked {
				blocked = append(blocked, c.Name)
			}
		}
		d.say(name, "other", "", "is new, and blocks %s", orNothing(blocked))
		return
	}
	for _, c := range categoriesOf(d.newer, d.older) {
		was, is := before.does[c], after.does[c]
		switch {
		case was == is || d.lockChanged(c):
		case is == "block" && was == "monitor":
			d.say(name, "blocks", c, "blocks %s, which was monitored", c)
			d.changes[len(d.changes)-1].Monitored = true
		case is == "block":
			d.say(name, "blocks", c, "blocks %s", c)
		case was == "block" && is == "monitor":
			d.say(name, "frees", c, "no longer blocks %s, and monitors it", c)
		case was == "block":
			d.say(name, "frees", c, "no longer blocks %s", c)
		case is == "monitor":
			d.say(name, "monitors", c, "monitors %s", c)
		default:
			d.say(name, "ignores", c, "no longer monitors %s", c)
		}
	}
	for _, s := range missing(after.schedule, before.schedule) {
		d.say(name, "other", "", "%s, by its schedule", s)
	}
	for _, s := range missing(before.schedule, after.schedule) {
		d.say(name, "other", "", "no longer %s, by its schedule", s)
	}
	switch {
	case after.onlySet && !before.onlySet:
		d.say(name, "other", "", "is let through to %s and to nothing else", listed(after.only))
	case !after.onlySet && before.onlySet:
		d.say(name, "other", "", "is no longer kept to a list of names (only)")
	default:
		if more := missing(after.only, before.only); more != nil {
			d.say(name, "other", "", "is let through to %s too (only)", listed(more))
		}
		if fewer := missing(before.only, after.only); fewer != nil {
			d.say(name, "other", "", "is no longer let through to %s (only)", listed(fewer))
		}
	}
	if after.safe.Search != before.safe.Search {
		d.say(name, "other", "", "gets search engines %s", map[bool]string{true: "in their safe form", false: "no longer in their safe form"}[after.safe.Search])
	}
	if after.safe.YouTube != before.safe.YouTube {
		d.say(name, "other", "", "gets YouTube's restricted mode %s, before %s", youtubeText(after.safe.YouTube), youtubeText(before.safe.YouTube))
	}
	if !slices.Equal(after.alertTo, before.alertTo) {
		d.say(name, "other", "", "has its alerts sent to %s, before %s", orRoutes(after.alertTo), orRoutes(before.alertTo))
	}
	if after.trust != before.trust {
		d.say(name, "other", "", "%s", map[bool]string{
			true:  "takes devices by MAC and name from groups that block more too (trust_identity)",
			false: "no longer takes devices by MAC and name from groups that block more (trust_identity)",
		}[after.trust])
	}
	if after.shared != before.shared {
		d.say(name, "other", "", "is taken for %s", map[bool]string{true: "many people behind one address", false: "one person behind each address"}[after.shared])
	}
}

// goneGroups tells of groups that are no more. Where their clients went is for clients to say.
func (d *differ) goneGroups() {
	for _, g := range d.older.Policy.Groups {
		if d.after[g.Name] == nil {
			d.say(g.Name, "other", "", "is no more")
		}
	}
	if was, is := d.older.Policy.DefaultGroup, d.newer.Policy.DefaultGroup; was != is {
		d.say("", "other", "", "unknown devices are in group %s, before in %s%s", is, was, d.moved(was, is))
	}
}

// clients tells of ranges of addresses that are in another group now.
func (d *differ) clients() {
	var ranges []netip.Prefix
	for _, cfg := range []*Config{d.newer, d.older} {
		for _, g := range cfg.Policy.Groups {
			for _, p := range g.Clients {
				if !slices.Contains(ranges, p) {
					ranges = append(ranges, p)
				}
			}
		}
	}
	for _, p := range ranges {
		was, wasListed := owner(d.older, p)
		is, isListed := owner(d.newer, p)
		if was == is || !wasListed && !isListed {
			continue
		}
		d.say("", "other", "", "clients %v are in group %s, before in %s%s", p, is, was, d.moved(was, is))
	}
}

// owner is the group of a range of addresses, and whether one lists it or a wider one.
func owner(cfg *Config, p netip.Prefix) (group string, isListed bool) {
	group, best := cfg.Policy.DefaultGroup, -1
	for _, g := range cfg.Policy.Groups {
		for _, own := range g.Clients {
			if own.Bits() <= p.Bits() && own.Contains(p.Addr()) && own.Bits() > best {
				group, best = g.Name, own.Bits()
			}
		}
	}
	return group, best >= 0
}

// moved says what becomes of the categories for a client that goes from one group to another.
func (d *differ) moved(from, to string) string {
	was, is := d.before[from], d.after[to]
	if was == nil || is == nil {
		return ""
	}
	var blocked, freed []string
	for _, c := range categoriesOf(d.newer, d.older) {
		switch {
		case was.does[c] != "block" && is.does[c] == "block":
			blocked = append(blocked, c)
		case was.does[c] == "block" && is.does[c] != "block":
			freed = append(freed, c)
		}
	}
	var said []string
	if blocked != nil {
		said = append(said, "that blocks "+listed(blocked))
	}
	if freed != nil {
		said = append(said, "that frees "+listed(freed))
	}
	if said == nil {
		return ""
	}
	return ": " + strings.Join(said, ", and ")
}

// devices tells of clients that are told by what they say of themselves, and are named by another group now.
func (d *differ) devices() {
	was, is := clientsNamed(d.older), clientsNamed(d.newer)
	for _, who := range missing(slices.Concat(is.order, was.order), nil) {
		before, after := was.group[who], is.group[who]
		switch {
		case before == after:
		case before == "":
			d.say("", "other", "", "clients %s are in group %s, before in that of their address", who, after)
		case after == "":
			d.say("", "other", "", "clients %s are in the group of their address, before in %s", who, before)
		default:
			d.say("", "other", "", "clients %s are in group %s, before in %s%s", who, after, before, d.moved(before, after))
		}
	}
}

// namedClients are clients as a file has them, and the group of each.
type namedClients struct {
	group map[string]string
	order []string
}

func clientsNamed(cfg *Config) namedClients {
	all := namedClients{group: map[string]string{}}
	for _, g := range cfg.Policy.Groups {
		for kind, clients := range map[string][]string{"mac:": g.MACs, "name:": g.Devices, "host:": g.Hosts} {
			for _, c := range clients {
				all.group[kind+c] = g.Name
				all.order = append(all.order, kind+c)
			}
		}
	}
	slices.Sort(all.order) // kinds come in any order
	return all
}
