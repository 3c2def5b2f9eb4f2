package policy

import (
	"slices"
	"time"

	"schoolgate/blocklist"
)

// categoryBypass is the category of ways round the filter, where the configuration has it.
const categoryBypass = "bypass"

// Bypassed judges a question whose shape says that it is part of a tunnel: as if a list of the category bypass had
// its name. v is the verdict so far, Passthru or Monitor; what comes back is it, or a graver one.
func (p *Policy) Bypassed(v Verdict, at time.Time) Verdict {
	i := slices.IndexFunc(p.spec.Categories, func(c Category) bool { return c.Name == categoryBypass })
	if i < 0 {
		return v
	}
	next := v
	if !v.Allowed {
		next = p.bypassed(v, blocklist.Category(i), at)
	}
	next = p.recheckHeld(v, next, false, func(base *Policy, v Verdict) Verdict { return base.Bypassed(v, at) })
	next.Tunnel = next != v
	return next
}

// bypassed is Bypassed for what nothing allows, without regard to a base.
func (p *Policy) bypassed(v Verdict, category blocklist.Category, at time.Time) Verdict {
	g, hit := p.asking(v.Group, at), blocklist.Categories(0).With(category)
	if hit&p.locked != 0 {
		return p.blocked(g, v, hit, hit, ViaName, nil, nil, false)
	}
	return p.recheckCategories(g, v, hit, ViaName)
}
