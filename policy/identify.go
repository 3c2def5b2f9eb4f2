package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"schoolgate/blocklist"
)

// A client is told by its MAC before its device name, by that before the name of this resolver by which it
// asks, and by that before its address, of which the longest range decides. All but the address are its own
// to choose. So they move it only into a group that blocks, at any time, at least what the group of its
// address blocks; or into one that says it trusts them. Which group takes whom from which is found once,
// when the policy is compiled.

// By is what of a client its group was found by.
type By uint8

// What a group may be found by.
const (
	ByDefault By = iota // nothing: a client that no group names
	ByAddress
	ByHost
	ByName
	ByMAC
)

// Known is what is known of a client beside its address, with the group that was last found for it. What is
// known does not change: where more is, another Known takes its place. Safe for concurrent use.
type Known struct {
	Client Client
	placed atomic.Uint64 // the generation of the policy that was asked last, and the group
}

// Group returns the client's group under p. No other policy may have its generation, which is not 0.
func (k *Known) Group(p *Policy, generation uint32) uint16 {
	if placed := k.placed.Load(); uint32(placed>>32) == generation {
		return uint16(placed)
	}
	group, _ := p.Place(&k.Client, "")
	k.placed.Store(uint64(generation)<<32 | uint64(group))
	return group
}

// devices finds groups by what clients say of themselves.
type devices struct {
	macs, names, hosts map[string]uint16
	patterns           []devicePattern // the most specific first
	// admits[to*n+from] says that a group takes clients out of another, of n groups.
	admits []bool
}

// devicePattern is a pattern of device names with * or ?.
type devicePattern struct {
	text  string
	group uint16
}

// specific is how many characters of a pattern stand for themselves.
func (d devicePattern) specific() int {
	return len(d.text) - strings.Count(d.text, "*") - strings.Count(d.text, "?")
}

// Identify returns the group of a client's address, an index for Group, and whether it may ask at
// all. The longest prefix wins. The address must not be a mapped IPv4 address.
func (p *Policy) Identify(client netip.Addr) (groupIndex uint16, mayAsk bool) {
	if !p.MayAsk(client) {
		return p.defaultGroup, false
	}
	return p.OfAddress(client), true
}

// OfAddress returns the group of a client that may ask, by its address alone.
func (p *Policy) OfAddress(client netip.Addr) (groupIndex uint16) {
	groupIndex, _ = p.ofAddress(client)
	return groupIndex
}

// MayAsk reports whether an address may ask at all.
func (p *Policy) MayAsk(client netip.Addr) bool { return p.access.Contains(client.WithZone("")) }

func (p *Policy) ofAddress(client netip.Addr) (uint16, By) {
	if g, ok := p.clients.Lookup(client.WithZone("")); ok {
		return g, ByAddress
	}
	return p.defaultGroup, ByDefault
}

// OfNetwork returns the group of all clients of a network: that of the longest range that holds the whole of it.
func (p *Policy) OfNetwork(network netip.Prefix) uint16 {
	if g, ok := p.clients.LookupPrefix(network); ok {
		return g
	}
	return p.defaultGroup
}

// Place returns the group of a client by all that is known of it, and by what it was found. host is by which name
// of this resolver it asks over encrypted DNS, in lower case; "" where there is none.
func (p *Policy) Place(c *Client, host string) (groupIndex uint16, by By) {
	groupIndex, by = p.ofAddress(c.Addr)
	return p.move(groupIndex, by, c, host)
}

// Move is Place for a client of whose address the group is known, and that asks by no name of this resolver.
func (p *Policy) Move(from uint16, c *Client) (groupIndex uint16) {
	groupIndex, _ = p.move(from, ByAddress, c, "")
	return groupIndex
}

func (p *Policy) move(from uint16, by By, c *Client, host string) (uint16, By) {
	for _, says := range [...]By{ByMAC, ByName, ByHost} {
		if to, ok := p.devices.find(says, c, host); ok && p.admits(to, from) {
			return to, says
		}
	}
	return from, by
}

// KnowsHosts reports whether a group names a name of this resolver.
func (p *Policy) KnowsHosts() bool { return len(p.devices.hosts) > 0 }

// find returns the group that names a client by one thing that it says of itself.
func (d *devices) find(by By, c *Client, host string) (group uint16, ok bool) {
	switch by {
	case ByMAC:
		group, ok = d.macs[c.MAC]
	case ByName:
		group, ok = d.byName(c.Name)
	case ByHost:
		group, ok = d.hosts[host]
	case ByAddress, ByDefault:
	}
	return group, ok
}

// byName finds the group of a device name: that of the name itself, else of the pattern with the most characters
// that stand for themselves. What has no dot is compared with the name's first label.
func (d *devices) byName(name string) (group uint16, ok bool) {
	if name == "" {
		return 0, false
	}
	short := firstLabel(name)
	for _, n := range [...]string{name, short} {
		if group, ok = d.names[n]; ok {
			return group, true
		}
	}
	for i := range d.patterns {
		pattern, against := &d.patterns[i], short
		if strings.Contains(pattern.text, ".") {
			against = name
		}
		if glob(pattern.text, against) {
			return pattern.group, true
		}
	}
	return 0, false
}

func firstLabel(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return label
}

// glob reports whether text is like pattern, in which * stands for any characters and ? for one.
func glob(pattern, text string) bool {
	star, after := -1, 0 // where the last * is, and up to where it has eaten
	i, j := 0, 0
	for j < len(text) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, after = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == text[j]):
			i++
			j++
		case star >= 0:
			after++
			i, j = star+1, after
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

// compileDevices finds which clients the groups name by what they say of themselves, and who may move where.
func (p *Policy) compileDevices() error {
	d := &p.devices
	d.macs, d.names, d.hosts = map[string]uint16{}, map[string]uint16{}, map[string]uint16{}
	patterns := map[string]uint16{}
	for i := range p.groups {
		g := &p.groups[i]
		add := func(to map[string]uint16, kind, text string) error {
			if other, taken := to[text]; taken && other != uint16(i) {
				return fmt.Errorf("groups %q and %q both have the clients %s:%s", p.groups[other].Name, g.Name, kind, text)
			}
			to[text] = uint16(i)
			return nil
		}
		for _, mac := range g.MACs {
			if err := add(d.macs, "mac", mac); err != nil {
				return err
			}
		}
		for _, host := range g.Hosts {
			if err := add(d.hosts, "host", host); err != nil {
				return err
			}
		}
		for _, name := range g.Devices {
			to := d.names
			if strings.ContainsAny(name, "*?") {
				to = patterns
				if _, again := patterns[name]; !again {
					d.patterns = append(d.patterns, devicePattern{name, uint16(i)})
				}
			}
			if err := add(to, "name", name); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(d.patterns, func(a, b devicePattern) int { return b.specific() - a.specific() })
	if len(d.macs)+len(d.names)+len(d.hosts)+len(d.patterns) == 0 {
		return nil
	}
	d.admits = make([]bool, len(p.groups)*len(p.groups))
	for to := range p.groups {
		for from := range p.groups {
			d.admits[to*len(p.groups)+from] = to == from || p.groups[to].TrustIdentity || p.blocksAtLeast(&p.groups[to], &p.groups[from], p.reached(&p.groups[to]))
		}
	}
	return nil
}

// admits reports whether a group takes clients out of another by what they say of themselves.
func (p *Policy) admits(to, from uint16) bool {
	return p.devices.admits[int(to)*len(p.groups)+int(from)]
}

// AdmitsNobody reports whether a group takes no client by what it says of itself: neither out of the default group
// nor out of any that has an address.
func (p *Policy) AdmitsNobody(groupIndex uint16) bool {
	for from := range p.groups {
		if uint16(from) != groupIndex && (uint16(from) == p.defaultGroup || len(p.groups[from].Clients) > 0) && p.admits(groupIndex, uint16(from)) {
			return false
		}
	}
	return len(p.groups) > 1
}

// blocksAtLeast reports whether a group blocks, whatever the time, all that another blocks: its categories,
// what is outside its allow-list, and the open forms of search engines. Rules and exceptions, which people decide
// name by name, do not count. reached are the categories that can be open to the group at all.
func (p *Policy) blocksAtLeast(g, other *group, reached blocklist.Categories) bool {
	if other.OnlySet && (!g.OnlySet || slices.ContainsFunc(g.Only, func(n blocklist.Name) bool { return !covered(n, other.Only) })) {
		return false
	}
	for category := range (reached &^ p.locked &^ p.trials).All() {
		if !always(g, other, category) {
			return false
		}
	}
	for i, e := range engines {
		if g.OnlySet && !slices.ContainsFunc(e.hosts, func(host string) bool {
			n, err := blocklist.ParseName(host)
			return err == nil && covered(n, g.Only)
		}) {
			continue
		}
		its, others := g.SafeSearch.safeForm(uint8(i+1)), other.SafeSearch.safeForm(uint8(i+1))
		if others != 0 && its != others && its%2 == 0 { // the odd ones are the strict ones
			return false
		}
	}
	return true
}

// reached are the categories that can be open to a group: of one with an allow-list, those that have a name of it.
func (p *Policy) reached(g *group) blocklist.Categories {
	if !g.OnlySet {
		return ^blocklist.Categories(0)
	}
	var reached blocklist.Categories
	for _, n := range g.Only {
		reached |= p.set.Match([]byte(n))
	}
	return reached
}

// BlocksAtLeast reports whether a group blocks all that another blocks, whatever the time and the lists; false for
// groups that there are not.
func (p *Policy) BlocksAtLeast(group, other string) bool {
	i, err := p.groupIndex(group)
	j, errOther := p.groupIndex(other)
	return err == nil && errOther == nil && p.blocksAtLeast(&p.groups[i], &p.groups[j], ^blocklist.Categories(0))
}

func covered(n blocklist.Name, by []blocklist.Name) bool {
	return slices.ContainsFunc(by, func(b blocklist.Name) bool { return b.Covers(n) })
}

// always reports whether g blocks a category whenever other does, whichever periods come together.
func always(g, other *group, category blocklist.Category) bool {
	blocks, unblocks := g.periods(category)
	otherBlocks, otherUnblocks := other.periods(category)
	// A moment at which g does not block: none of its blocks, and where it usually does one of its unblocks.
	opens := func(besides []*Period) bool {
		if !g.usual.block.Has(category) {
			return true
		}
		return slices.ContainsFunc(unblocks, func(p *Period) bool { return !slices.Contains(blocks, p) && !slices.Contains(besides, p) })
	}
	if other.usual.block.Has(category) && opens(otherUnblocks) {
		return false // other blocks as usual then
	}
	return !opens(nil) || !slices.ContainsFunc(otherBlocks, func(p *Period) bool { return !slices.Contains(blocks, p) })
}

// periods returns those that block a category for the group, and those that unblock it.
func (g *group) periods(category blocklist.Category) (block, unblock []*Period) {
	for _, c := range g.changes {
		if c.block.Has(category) {
			block = append(block, c.period)
		}
		if c.unblock.Has(category) {
			unblock = append(unblock, c.period)
		}
	}
	return block, unblock
}
