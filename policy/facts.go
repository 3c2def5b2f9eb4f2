package policy

import (
	"net/netip"
	"slices"
	"time"

	"schoolgate/blocklist"
)

// Facts is what a policy says of a name before it is known who asks: small enough to be kept with a
// cached answer, so that a name which concerns nobody who asks for it is looked up in the lists once and not
// at each question. It is no verdict, and of use only with the Policy that made it.
type Facts struct {
	// Listed holds every category that has the name.
	Listed blocklist.Categories
	// Named says that the configuration speaks of the name, or of one above it, or lets one below it through.
	Named bool
	// Inside says that it is an address of the site's own network, where such answers are refused.
	Inside bool
}

// And returns the facts of two names together.
func (f Facts) And(other Facts) Facts {
	return Facts{Listed: f.Listed | other.Listed, Named: f.Named || other.Named, Inside: f.Inside || other.Inside}
}

// Facts returns those of a question's name, a key as in blocklist.Name.
func (p *Policy) Facts(name []byte) Facts {
	var buf [16]*node
	path, whole := p.names.walk(name, buf[:0])
	named := slices.ContainsFunc(path, (*node).decides)
	if last := len(path) - 1; whole && last >= 0 {
		named = named || path[last].opensBelow() || path[last].engine > 0
	}
	return Facts{Listed: p.set.Match(name), Named: named}
}

// TargetFacts returns those of a name to which an answer leads: of what the configuration says of it,
// only rules count (Recheck).
func (p *Policy) TargetFacts(target []byte) Facts {
	var buf [16]*node
	path, _ := p.names.walk(target, buf[:0])
	return Facts{Listed: p.set.Match(target), Named: slices.ContainsFunc(path, func(n *node) bool { return len(n.rules) > 0 })}
}

// AddrFacts returns those of an address to which an answer leads.
func (p *Policy) AddrFacts(addr netip.Addr) Facts {
	return Facts{Listed: p.set.MatchAddr(addr), Inside: p.spec.Rebinding && isInside(addr)}
}

// passes reports whether Decide lets a question with these facts through for the group, without a breach.
func (p *Policy) passes(g asking, f Facts) bool { return p.ready && !g.OnlySet && !p.concerns(g, f) }

// Concerns reports whether Recheck or RecheckAddr may change the verdict of a question that the group asked at
// a moment, for an answer whose targets have these facts together. Where it reports false, no target need be judged.
func (p *Policy) Concerns(groupIndex uint16, f Facts, at time.Time) bool {
	return p.concerns(p.asking(groupIndex, at), f)
}

func (p *Policy) concerns(g asking, f Facts) bool {
	return f.Named || f.Inside || f.Listed&(p.locked|g.block|g.monitor) != 0
}

// decides reports whether Decide looks at what the node says: a node may also be there for those below.
func (n *node) decides() bool {
	return n.inside || n.record >= 0 || n.zone >= 0 || n.special != specialNone || n.helpline || len(n.rules) > 0 || len(n.only) > 0
}

// opensBelow reports whether a name below the node's is let through, for anybody.
func (n *node) opensBelow() bool { return n.belowAll || len(n.below) > 0 }
