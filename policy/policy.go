package policy

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"schoolgate/blocklist"
)

// Policy judges queries. It is immutable, but for the hours that it was last asked about, and safe for
// concurrent use.
type Policy struct {
	current      atomic.Pointer[hours]
	spec         Spec
	set          *blocklist.Set
	ready        bool
	groups       []group
	defaultGroup uint16
	access       bart.Table[struct{}]
	clients      bart.Table[uint16]
	devices      devices
	names        names
	locked       blocklist.Categories
	confidential blocklist.Categories
	trials       blocklist.Categories // those of lists on trial
	expiries     []time.Time          // of rules, ascending
	safeHosts    []blocklist.Name     // two of each engine

	base   *Policy // what the configuration extends, nil: nothing
	isBase bool
	heldBy []int32 // by group: which one of base holds for it, or holdsNothing
}

// group is a Group with its inheritance resolved.
type group struct {
	Group
	usual   mask // when no period changes it; without the lists on trial
	changes []change
	// ancestry is the group itself, its parent, that one's parent and so on.
	ancestry []uint16
}

// Compile makes a Policy of a Spec and the lists, which must have been built with the categories of
// the Spec. ready says that every required list has been loaded once; until then a query that gets as
// far as the rules is NotReady. The Spec is the Policy's from then on.
//
// An error means that the Spec contradicts itself (an unknown group or category, a cycle); package
// config finds the same with the place where it stands.
func Compile(spec Spec, set *blocklist.Set, ready bool) (*Policy, error) {
	if len(spec.Categories) > blocklist.MaxCategories {
		return nil, fmt.Errorf("%d categories: there can be %d", len(spec.Categories), blocklist.MaxCategories)
	}
	p := &Policy{spec: spec, set: set, ready: ready, names: names{}}
	if err := p.compile(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Policy) compile() error {
	if err := p.compileCategories(); err != nil {
		return err
	}
	for _, prefix := range p.spec.Access {
		p.access.Insert(prefix, struct{}{})
	}
	if err := p.compileGroups(); err != nil {
		return err
	}
	if err := p.compileDevices(); err != nil {
		return err
	}
	if err := p.compileNames(); err != nil {
		return err
	}
	p.current.Store(&hours{}) // of no moment
	return p.compileBase()
}

func (p *Policy) compileCategories() error {
	for i, c := range p.spec.Categories {
		of := blocklist.Category(i)
		if c.TrialOf != "" {
			var err error
			if of, err = p.category(c.TrialOf); err != nil {
				return fmt.Errorf("category %q: lists on trial of: %w", c.Name, err)
			}
			if c.Locked || p.spec.Categories[of].Locked {
				return fmt.Errorf("category %q: what is locked can't be on trial", c.Name)
			}
			p.trials = p.trials.With(blocklist.Category(i))
		}
		if c.Locked {
			p.locked = p.locked.With(blocklist.Category(i))
		}
		if c.Confidential || p.spec.Categories[of].Confidential {
			p.confidential = p.confidential.With(blocklist.Category(i))
		}
	}
	return nil
}

// category finds a category by its name. One of lists on trial has none that counts.
func (p *Policy) category(name string) (blocklist.Category, error) {
	i := slices.IndexFunc(p.spec.Categories, func(c Category) bool { return c.Name == name && c.TrialOf == "" })
	if i < 0 {
		return 0, fmt.Errorf("unknown category %q", name)
	}
	return blocklist.Category(i), nil
}

func (p *Policy) compileGroups() error {
	for i := range p.spec.Groups {
		g, err := p.inherit(uint16(i))
		if err != nil {
			return err
		}
		p.groups = append(p.groups, g)
		for _, prefix := range g.Clients {
			if other, ok := p.clients.Get(prefix.Masked()); ok {
				return fmt.Errorf("groups %q and %q both have the clients %v", p.spec.Groups[other].Name, g.Name, prefix)
			}
			p.clients.Insert(prefix.Masked(), uint16(i))
		}
	}
	var err error
	p.defaultGroup, err = p.groupIndex(p.spec.DefaultGroup)
	return err
}

func (p *Policy) groupIndex(name string) (uint16, error) {
	i := slices.IndexFunc(p.spec.Groups, func(g Group) bool { return g.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("unknown group %q", name)
	}
	return uint16(i), nil
}

// inherit resolves the inheritance of one group: all of the parent but its clients; block and
// monitor add, the other keys replace.
func (p *Policy) inherit(index uint16) (group, error) {
	g := group{Group: p.spec.Groups[index]}
	var unblocked blocklist.Categories // by those nearer than the one at hand
	for at := index; ; {
		from := p.spec.Groups[at]
		g.ancestry = append(g.ancestry, at)
		block, err := p.mask(from.Block)
		if err != nil {
			return g, fmt.Errorf("group %q: block: %w", from.Name, err)
		}
		monitor, err := p.mask(from.Monitor)
		if err != nil {
			return g, fmt.Errorf("group %q: monitor: %w", from.Name, err)
		}
		changes, err := p.compileChanges(&from)
		if err != nil {
			return g, fmt.Errorf("group %q: schedule: %w", from.Name, err)
		}
		unblock, err := p.mask(from.Unblock)
		if err != nil {
			return g, fmt.Errorf("group %q: unblock: %w", from.Name, err)
		}
		unblocked |= unblock
		g.usual.block |= block &^ unblocked
		g.usual.monitor |= monitor
		g.changes = append(g.changes, changes...)
		if !g.OnlySet && from.OnlySet {
			g.Only, g.OnlySet = from.Only, true
		}
		if !g.SafeSearchSet && from.SafeSearchSet {
			g.SafeSearch, g.SafeSearchSet = from.SafeSearch, true
		}
		if !g.AlertToSet && from.AlertToSet {
			g.AlertTo, g.AlertToSet = from.AlertTo, true
		}
		if !g.TrustIdentitySet && from.TrustIdentitySet {
			g.TrustIdentity, g.TrustIdentitySet = from.TrustIdentity, true
		}
		if !g.SharedSet && from.SharedSet {
			g.Shared, g.SharedSet = from.Shared, true
		}
		if from.Inherit == "" {
			return g, nil
		}
		if at, err = p.groupIndex(from.Inherit); err != nil {
			return g, fmt.Errorf("group %q: inherit: %w", from.Name, err)
		}
		if slices.Contains(g.ancestry, at) {
			return g, fmt.Errorf("group %q inherits from itself", from.Name)
		}
	}
}

func (p *Policy) mask(categories []string) (blocklist.Categories, error) {
	var mask blocklist.Categories
	for _, name := range categories {
		c, err := p.category(name)
		if err != nil {
			return 0, err
		}
		mask = mask.With(c)
	}
	return mask, nil
}

// trialsOf returns the categories of lists on trial that belong to categories.
func (p *Policy) trialsOf(categories blocklist.Categories) blocklist.Categories {
	var mask blocklist.Categories
	for trial := range p.trials.All() {
		if of, err := p.category(p.spec.Categories[trial].TrialOf); err == nil && categories.Has(of) {
			mask = mask.With(trial)
		}
	}
	return mask
}

func (p *Policy) compileNames() error {
	for text, kind := range specials {
		name, err := blocklist.ParseName(text)
		if err != nil {
			return err
		}
		p.names.at(name).special = kind
	}
	helplines, err := blocklist.Builtin("helplines")
	if err != nil {
		return err
	}
	for name := range helplines.Names() {
		p.names.at(name).helpline = true
		p.names.letThrough(name, nil)
	}
	for i, name := range p.spec.Records {
		if n := p.names.at(name); n.record < 0 {
			n.record = int32(i)
		}
		p.names.letThrough(name, nil)
	}
	for i, zone := range p.spec.Zones {
		groups, err := p.groupIndexes(zone.Groups)
		if err != nil {
			return fmt.Errorf("zone %v: %w", zone.Names, err)
		}
		for _, name := range zone.Names {
			if n := p.names.at(name); n.zone < 0 {
				n.zone = int32(i)
			}
			p.names.letThrough(name, groups)
		}
	}
	for _, name := range p.spec.RebindExempt {
		p.names.at(name).inside = true
	}
	for i := range p.groups {
		for _, name := range p.groups[i].Only {
			n := p.names.at(name)
			n.only = append(n.only, uint16(i))
			p.names.letThrough(name, []uint16{uint16(i)})
		}
	}
	if err := p.compileEngines(); err != nil {
		return err
	}
	return p.compileRules()
}

func (p *Policy) compileRules() error {
	for i, rule := range p.spec.Rules {
		groups, err := p.groupIndexes(rule.Groups)
		if err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
		for _, name := range rule.Names {
			n := p.names.at(name)
			n.rules = append(n.rules, int32(i))
			n.orders |= 1 << rule.order()
			if rule.Allow {
				p.names.letThrough(name, p.heirs(groups))
			}
		}
		if !rule.Expires.IsZero() {
			p.expiries = append(p.expiries, rule.Expires)
		}
	}
	slices.SortFunc(p.expiries, time.Time.Compare)
	return nil
}

// groupIndexes returns nil for no names: everybody.
func (p *Policy) groupIndexes(groupNames []string) ([]uint16, error) {
	var indexes []uint16
	for _, name := range groupNames {
		i, err := p.groupIndex(name)
		if err != nil {
			return nil, err
		}
		indexes = append(indexes, i)
	}
	return indexes, nil
}

// heirs returns the groups and all that inherit from them; nil stays nil.
func (p *Policy) heirs(groups []uint16) []uint16 {
	if groups == nil {
		return nil
	}
	var all []uint16
	for i := range p.groups {
		if slices.ContainsFunc(p.groups[i].ancestry, func(a uint16) bool { return slices.Contains(groups, a) }) {
			all = append(all, uint16(i))
		}
	}
	return all
}

// Decide judges the question for name, a key as in blocklist.Name, asked by a client of the group that nobody
// knows: steps 2 to 8 of the package comment.
func (p *Policy) Decide(groupIndex uint16, name []byte, at time.Time) Verdict {
	return p.DecideKnown(&Who{Group: groupIndex}, name, p.Facts(name), at)
}

// DecideKnown is Decide for whoever knows who asks and has the name's facts already.
func (p *Policy) DecideKnown(who *Who, name []byte, f Facts, at time.Time) Verdict {
	return p.decide(p.asking(who.Group, at), who, name, f, at)
}

func (p *Policy) decide(g asking, who *Who, name []byte, f Facts, at time.Time) Verdict {
	if p.passes(g, f) { // nearly all: not worth the frame of judge
		return Verdict{Group: who.Group, Category: CategoryNone, Rule: -1, Index: -1}
	}
	if p.base == nil {
		return p.judge(g, who, name, f, at)
	}
	v := p.judge(g, who, name, f, at)
	if v.Action == Block || p.ofSite(v) {
		return p.held(v, who, name, f, at)
	}
	return v
}

// judge is decide for what does not simply pass, without regard to a base.
func (p *Policy) judge(g asking, who *Who, name []byte, f Facts, at time.Time) Verdict {
	groupIndex, listed := who.Group, f.Listed
	v := Verdict{Group: groupIndex, Category: CategoryNone, Rule: -1, Index: -1}
	var buf [16]*node
	path, whole := buf[:0], false
	if f.Named { // else no node has a say
		path, whole = p.names.walk(name, path)
	}

	if listed&p.locked != 0 {
		return p.blocked(g, v, listed, p.locked|g.block, ViaName, name, path, whole)
	}
	if whole {
		if n := path[len(path)-1]; n.record >= 0 {
			v.Action, v.Index = LocalData, n.record
			return v
		}
	}
	for _, n := range slices.Backward(path) {
		if zone := n.zone; zone >= 0 {
			v.Action, v.Index = Forward, zone
			if !p.zoneOpen(zone, g.group) {
				v.Action, v.NoDataBelow = NXDomain, false
			}
			return v
		}
	}
	for _, n := range slices.Backward(path) {
		switch n.special {
		case specialNone:
			continue
		case specialUnused:
			if p.isBase {
				continue // a site may have such zones of its own
			}
			v.Action = NXDomain
		case specialNXDomain:
			v.Action = NXDomain
		case specialSelf:
			v.Action = SelfData
		case specialLocalhost:
			v.Action = Localhost
		}
		return v
	}
	if !p.ready {
		v.Action = NotReady
		return v
	}
	if slices.ContainsFunc(path, func(n *node) bool { return n.helpline }) {
		v.Allowed = true
		return v
	}
	v.Inside = slices.ContainsFunc(path, func(n *node) bool { return n.inside })
	if whole {
		v.Safe = g.SafeSearch.safeForm(path[len(path)-1].engine)
	}
	if rule := p.rule(path, g.group, &who.Client, at); rule >= 0 {
		v.Rule = rule
		if !p.spec.Rules[rule].Allow {
			return p.blockedByRule(v, ViaRule, path, whole)
		}
		v.Allowed = true
		return v
	}
	if g.OnlySet && !slices.ContainsFunc(path, func(n *node) bool { return slices.Contains(n.only, groupIndex) }) {
		v.Action, v.Category, v.Via, v.Safe = Block, CategoryOnly, ViaOnly, 0
		v.NoDataBelow = openBelow(path, whole, groupIndex)
		return v
	}
	if listed&g.block != 0 {
		return p.blocked(g, v, listed, g.block, ViaName, name, path, whole)
	}
	if listed&g.monitor != 0 {
		return p.monitored(g, v, listed, ViaName)
	}
	return v
}

// Recheck judges a name to which the answer of a question leads: locked categories, rules,
// categories. v is the question's verdict, Passthru or Monitor; what comes back is it, or a graver one. client, nil
// where it is not known, is who asked.
func (p *Policy) Recheck(v Verdict, client *Client, via Via, target []byte, at time.Time) Verdict {
	next, ofSite := p.recheck(v, client, via, target, at)
	return p.recheckHeld(v, next, ofSite, func(base *Policy, v Verdict) Verdict { return base.Recheck(v, client, via, target, at) })
}

// recheck is Recheck without regard to a base. It reports whether a rule had the say that the base does not have.
func (p *Policy) recheck(v Verdict, client *Client, via Via, target []byte, at time.Time) (next Verdict, ofSite bool) {
	g := p.asking(v.Group, at)
	listed := p.set.Match(target)
	var buf [16]*node
	path, _ := p.names.walk(target, buf[:0])
	if listed&p.locked != 0 {
		return p.blocked(g, v, listed, p.locked|g.block, via, nil, nil, false), false
	}
	if slices.ContainsFunc(path, func(n *node) bool { return n.helpline }) {
		return v, false
	}
	if rule := p.rule(path, g.group, client, at); rule >= 0 {
		ofSite = p.base != nil && int(rule) >= len(p.base.spec.Rules)
		if p.spec.Rules[rule].Allow {
			return v, ofSite
		}
		v.Rule = rule
		return p.blockedByRule(v, via, nil, false), ofSite
	}
	return p.recheckCategories(g, v, listed, via), false
}

// RecheckAddr judges an address of an answer, as Recheck does a name. Such a breach is low at most:
// an address is shared by many sites. name is the question's.
func (p *Policy) RecheckAddr(v Verdict, name []byte, addr netip.Addr, at time.Time) Verdict {
	next := p.recheckAddr(v, name, addr, at)
	return p.recheckHeld(v, next, false, func(base *Policy, v Verdict) Verdict { return base.RecheckAddr(v, name, addr, at) })
}

// recheckAddr is RecheckAddr without regard to a base.
func (p *Policy) recheckAddr(v Verdict, name []byte, addr netip.Addr, at time.Time) Verdict {
	g := p.asking(v.Group, at)
	listed := p.set.MatchAddr(addr)
	was := v
	if listed&p.locked != 0 {
		v = p.blocked(g, v, listed, p.locked|g.block, ViaAddress, nil, nil, false)
	} else if p.spec.Rebinding && isInside(addr) && !v.Inside && !v.Allowed && isPublic(name) {
		v.Action, v.Category, v.Via, v.Safe, v.Categories, v.Severity = Block, CategoryRebinding, ViaAddress, 0, 0, SeverityNone
		v.NoDataBelow = true // the name is there
		return v
	} else {
		v = p.recheckCategories(g, v, listed, ViaAddress)
	}
	if v != was {
		v.Severity = min(v.Severity, SeverityLow)
	}
	return v
}

func (p *Policy) recheckCategories(g asking, v Verdict, listed blocklist.Categories, via Via) Verdict {
	switch {
	case v.Allowed:
	case listed&g.block != 0:
		return p.blocked(g, v, listed, g.block, via, nil, nil, false)
	case listed&g.monitor != 0 && v.Action != Monitor,
		listed&g.monitor&^p.trials != 0 && v.Categories&p.trials != 0:
		return p.monitored(g, v, listed, via)
	}
	return v
}

// rule returns the rule that holds for a client, nil where it is not known, of the group and the path's name, or
// -1: exceptions before what the configuration has, and of each those for the client before those for
// the group before those for everybody, the longest name first, and of one name the heir's before the parent's and a
// block before an allow.
func (p *Policy) rule(path []*node, g *group, client *Client, at time.Time) int32 {
	var orders uint8
	for _, n := range path {
		orders |= n.orders
	}
	for ; orders != 0; orders &= orders - 1 {
		order := bits.TrailingZeros8(orders)
		for _, n := range slices.Backward(path) {
			if n.orders>>order&1 == 0 {
				continue
			}
			best, distance := int32(-1), len(g.ancestry)
			for _, index := range n.rules {
				r := &p.spec.Rules[index]
				if r.order() != order || !p.inForce(r, at) {
					continue
				}
				d := 0
				switch {
				case r.Client != nil && !r.Client.Matches(client):
					continue
				case len(r.Groups) > 0:
					d = slices.IndexFunc(g.ancestry, func(a uint16) bool { return slices.Contains(r.Groups, p.spec.Groups[a].Name) })
				}
				if d < 0 {
					continue
				}
				if best < 0 || d < distance || d == distance && !r.Allow {
					best, distance = index, d
				}
			}
			if best >= 0 {
				return best
			}
		}
	}
	return -1
}

// order says before which others a rule goes: exceptions before those of the configuration, and the narrower
// before the wider.
func (r *Rule) order() int {
	order := 0
	switch {
	case r.Client != nil:
	case len(r.Groups) > 0:
		order = 1
	default:
		order = 2
	}
	if r.ID == "" {
		order += 3
	}
	return order
}

func (p *Policy) zoneOpen(zone int32, g *group) bool {
	groups := p.spec.Zones[zone].Groups
	return len(groups) == 0 || slices.ContainsFunc(g.ancestry, func(a uint16) bool { return slices.Contains(groups, p.spec.Groups[a].Name) })
}

// blocked turns v into a block by those of the listed categories that are in mask, named by the most
// severe. Those that the group monitors are recorded too, but for lists on trial.
func (p *Policy) blocked(g asking, v Verdict, listed, mask blocklist.Categories, via Via, name []byte, path []*node, whole bool) Verdict {
	v = p.breach(v, listed&mask, via)
	v.Action, v.Rule, v.Allowed, v.Safe = Block, -1, false, 0
	v.NoDataBelow = openBelow(path, whole, v.Group) || name != nil && p.set.OpenBelow(name, v.Categories)
	v.Categories |= listed & g.monitor &^ p.trials
	return v
}

// monitored turns v into a breach by those of the listed categories that the group monitors. Lists on
// trial count only where there is no other.
func (p *Policy) monitored(g asking, v Verdict, listed blocklist.Categories, via Via) Verdict {
	hit := listed & g.monitor
	if others := hit &^ p.trials; others != 0 {
		hit = others
	}
	v = p.breach(v, hit, via)
	v.Action = Monitor
	return v
}

// breach notes the categories hit, of which the most severe names the breach.
func (p *Policy) breach(v Verdict, hit blocklist.Categories, via Via) Verdict {
	worst := -1
	for mask := uint64(hit); mask != 0; mask &= mask - 1 {
		if i := bits.TrailingZeros64(mask); worst < 0 || p.spec.Categories[i].Severity > p.spec.Categories[worst].Severity {
			worst = i
		}
	}
	v.Categories, v.Category, v.Severity, v.Via = hit, int16(worst), p.spec.Categories[worst].Severity, via
	return v
}

func (p *Policy) blockedByRule(v Verdict, via Via, path []*node, whole bool) Verdict {
	v.Action, v.Category, v.Via, v.Categories, v.Safe = Block, CategoryRule, via, 0, 0
	v.Severity = p.spec.Rules[v.Rule].Severity
	v.NoDataBelow = openBelow(path, whole, v.Group)
	return v
}

// openBelow reports whether a name below the one that path leads to is let through for the group.
func openBelow(path []*node, whole bool, group uint16) bool {
	if !whole || len(path) == 0 {
		return false
	}
	n := path[len(path)-1]
	return n.belowAll || slices.Contains(n.below, group)
}

// Ready reports what Compile was told.
func (p *Policy) Ready() bool { return p.ready }

// Site is the resolver's name on its records.
func (p *Policy) Site() string { return p.spec.Site }

// Groups returns the names of the groups; the index of one is its Verdict.Group. The slice is the
// caller's.
func (p *Policy) Groups() []string {
	all := make([]string, len(p.groups))
	for i := range p.groups {
		all[i] = p.groups[i].Name
	}
	return all
}

// Only returns the names outside of which everything is blocked for a group. set is false where it has none.
func (p *Policy) Only(group uint16) (names []blocklist.Name, set bool) {
	return p.groups[group].Only, p.groups[group].OnlySet
}

// Clients returns the address ranges of a group. The slice is the caller's.
func (p *Policy) Clients(group uint16) []netip.Prefix { return slices.Clone(p.groups[group].Clients) }

// Handles returns the categories that are blocked for a group at a moment, locked ones and what the base has it block
// with them, and those that are let through and recorded.
func (p *Policy) Handles(groupIndex uint16, at time.Time) (blocked, monitored blocklist.Categories) {
	g := p.asking(groupIndex, at)
	blocked, monitored = p.locked|g.block, g.monitor
	if p.base != nil && p.heldBy[groupIndex] != holdsNothing {
		more, watched := p.base.Handles(uint16(p.heldBy[groupIndex]), at)
		blocked, monitored = blocked|more, monitored|watched
	}
	return blocked, monitored &^ blocked
}

// Shared reports whether many people sit behind each address of a group.
func (p *Policy) Shared(group uint16) bool { return p.groups[group].Shared }

// Categories returns the categories; the index of one is its Verdict.Category. The slice must not be
// changed.
func (p *Policy) Categories() []Category { return p.spec.Categories }
