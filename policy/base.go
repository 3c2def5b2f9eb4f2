package policy

import (
	"fmt"
	"slices"
	"time"

	"schoolgate/blocklist"
)

// A configuration that extends another one, its base, can only add to it. Most of that package config sees to. What
// it can't see without the lists is decided here: whether a rule, an exception, a record, a zone or an allow-list of the
// site's own lets a name through that the base blocks, or a block of the site's own tells of it as something milder
// than what the base monitors. So where one of these had the say, and where a name is blocked, the question is judged
// again as the base alone judges it, and the graver verdict stands. All other questions, which are nearly all, cost
// nothing more.

// compileBase compiles the base, and finds which of its groups holds for each of p's: the group of the same name, else
// the nearest that it inherits from, else one that blocks nothing but what rules for everybody block.
func (p *Policy) compileBase() error {
	if p.spec.Base == nil {
		return nil
	}
	spec := *p.spec.Base
	spec.Built = p.spec.Built
	spec.Groups = append(slices.Clone(spec.Groups), Group{})
	spec.DefaultGroup = ""
	for i := range spec.Groups {
		g := &spec.Groups[i]
		g.Clients, g.MACs, g.Devices, g.Hosts = nil, nil, nil, nil // who is who is p's to say
	}
	base := &Policy{spec: spec, set: p.set, ready: p.ready, names: names{}, isBase: true}
	if err := base.compile(); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	for i := range p.groups {
		p.heldBy = append(p.heldBy, base.holding(p, uint16(i)))
	}
	p.base = base
	return nil
}

// holdsNothing stands in heldBy for no group.
const holdsNothing = -1

// holding returns the group of the base that holds for one of p's, holdsNothing where the base lets the site do as
// it likes with it.
func (p *Policy) holding(of *Policy, groupIndex uint16) int32 {
	for _, a := range of.groups[groupIndex].ancestry {
		i, err := p.groupIndex(of.groups[a].Name)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(p.groups[i].ancestry, func(b uint16) bool { return p.groups[b].MayLoosen }) {
			return holdsNothing
		}
		return int32(i)
	}
	return int32(p.defaultGroup)
}

// ofSite reports whether something had the say in a verdict that the base does not have. All that it has stands first
// in its kind.
func (p *Policy) ofSite(v Verdict) bool {
	base := &p.base.spec
	switch {
	case v.Rule >= 0:
		return int(v.Rule) >= len(base.Rules)
	case v.Action == LocalData:
		return int(v.Index) >= len(base.Records)
	case v.Action == Forward || v.Action == NXDomain:
		return int(v.Index) >= len(base.Zones)
	}
	return v.Category == CategoryOnly || v.Action == Block && v.Categories&p.locked&^p.base.locked != 0
}

// held returns the graver one of v, in which the site may have had the say, and the verdict of the base alone.
func (p *Policy) held(v Verdict, who *Who, name []byte, f Facts, at time.Time) Verdict {
	group := p.heldBy[v.Group]
	if group == holdsNothing {
		return v
	}
	inBase := *who
	inBase.Group = uint16(group)
	f.Named = true // p may not speak of a name that the base speaks of
	base := p.base.decide(p.base.asking(inBase.Group, at), &inBase, name, f, at)
	if base.monitorsGraver(v) {
		base.Group = v.Group
		return base.blockedAs(v)
	}
	if !base.graver(v) {
		v.Held = v.Allowed && (!base.Allowed || base.Held)
		return v
	}
	if base.Action != Block && v.Safe != 0 {
		base.Safe = v.Safe
	}
	base.Group = v.Group
	return base
}

// recheckHeld returns the graver one of next, which is what became of v, and what becomes of it by the base alone,
// where the site had the say: in the question, or in the target as ofSite says.
func (p *Policy) recheckHeld(v, next Verdict, ofSite bool, recheck func(base *Policy, v Verdict) Verdict) Verdict {
	if p.base == nil || !v.Held && !ofSite && next.Action != Block {
		return next
	}
	group := p.heldBy[v.Group]
	if group == holdsNothing {
		return next
	}
	inBase := v
	inBase.Group, inBase.Allowed, inBase.Held, inBase.Rule = uint16(group), v.Allowed && !v.Held, false, -1
	base := recheck(p.base, inBase)
	if base.monitorsGraver(next) {
		base.Group = v.Group
		return base.blockedAs(next)
	}
	if base == inBase || !base.graver(next) {
		return next
	}
	base.Group, base.Held = v.Group, v.Held
	base.Allowed = base.Action != Block && v.Allowed
	return base
}

// monitorsGraver reports whether v lets through, and tells of it as something worse than a block does.
func (v Verdict) monitorsGraver(block Verdict) bool {
	return v.Action == Monitor && block.Action == Block && v.Severity > block.Severity
}

// blockedAs returns v, which monitors, as a block that tells of what v tells of.
func (v Verdict) blockedAs(block Verdict) Verdict {
	v.Action, v.NoDataBelow, v.Safe = Block, block.NoDataBelow, 0
	return v
}

// graver reports whether v is to stand in place of other: it lets less through, or as much and tells of it as
// something worse. That there is no telling yet is as grave as a block.
func (v Verdict) graver(other Verdict) bool {
	if a, b := v.Action.gravity(), other.Action.gravity(); a != b {
		return a > b
	}
	return v.Severity > other.Severity
}

func (a Action) gravity() int {
	switch a {
	case Passthru, LocalData, Forward:
		return 0
	case Monitor:
		return 1
	case Block, NXDomain, SelfData, Localhost, Refuse, NotReady:
	}
	return 2
}

// HeldBack returns the groups, of those named and their heirs (none: of all), for which an allow rule or exception of
// the site's own has no effect on a name at a moment, as the base blocks or monitors it for them.
func (p *Policy) HeldBack(groupNames []string, name blocklist.Name, at time.Time) []string {
	if p.base == nil {
		return nil
	}
	whom, err := p.groupIndexes(groupNames)
	if err != nil {
		return nil
	}
	var held []string
	facts := p.Facts([]byte(name))
	for i := range p.groups {
		g := uint16(i)
		if p.heldBy[g] == holdsNothing || whom != nil && !slices.Contains(p.heirs(whom), g) {
			continue
		}
		allowed := Verdict{Group: g, Rule: int32(len(p.spec.Rules)), Allowed: true, Category: CategoryNone, Index: -1}
		if v := p.held(allowed, &Who{Group: g}, []byte(name), facts, at); v.Action == Block || v.Action == Monitor {
			held = append(held, p.groups[i].Name)
		}
	}
	return held
}
