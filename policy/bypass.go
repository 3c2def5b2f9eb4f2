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
	if i < 0 || v.Allowed {
		return v
	}
	g, hit := p.asking(v.Group, at), blocklist.Categories(0).With(blocklist.Category(i))
	next := p.recheckCategories(g, v, hit, ViaName)
	if hit&p.locked != 0 {
		next = p.blocked(g, v, hit, hit, ViaName, nil, nil, false)
	}
	next.Tunnel = next != v
	return next
}
