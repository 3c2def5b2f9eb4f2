package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// Rehearsal judges questions by a configuration and its lists, for clients and for groups. Exceptions for a time
// have no part in it: what a test of the policy says holds today and tomorrow.
type Rehearsal struct {
	policy *policy.Policy
	groups map[string]netip.Addr // one client of each
}

// Rehearse makes a Rehearsal. A group is asked as by a client of its own, with an address that no network has
// (RFC 6666): what holds for a group must not hang on whether it has a range of addresses.
func (f *Filter) Rehearse() (*Rehearsal, error) {
	spec, discardOnly := f.Config.Policy, netip.MustParsePrefix("100::/64")
	spec.Access = append(slices.Clone(spec.Access), discardOnly)
	spec.Groups = slices.Clone(spec.Groups)
	r := &Rehearsal{groups: map[string]netip.Addr{}}
	client := discardOnly.Addr()
	for i := range spec.Groups {
		g := &spec.Groups[i]
		client = client.Next()
		r.groups[g.Name] = client
		g.Clients = append(slices.Clone(g.Clients), netip.PrefixFrom(client, client.BitLen()))
	}
	var err error
	if r.policy, err = policy.Compile(spec, f.set, len(f.waiting()) == 0); err != nil {
		return nil, fmt.Errorf("compile the policy: %w", err)
	}
	return r, nil
}

// Client judges a question of a client.
func (r *Rehearsal) Client(client netip.Addr, name blocklist.Name, at time.Time) policy.Explanation {
	return r.policy.Explain(client, name, at)
}

// Group judges a question of a client of a group, which must be one of the configuration.
func (r *Rehearsal) Group(group string, name blocklist.Name, at time.Time) policy.Explanation {
	ex := r.policy.Explain(r.groups[group], name, at)
	ex.Steps[0] = "1. access: asked as a client of group " + group
	return ex
}
