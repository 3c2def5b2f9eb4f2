package blocklist

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// addresses finds the lists of an address: each prefix has the sources of all prefixes that cover it.
type addresses struct {
	table *bart.Table[uint32] // number of a set
	sets  *sets
}

// buildAddresses takes the addresses of the lists.
func buildAddresses(sources []Source) addresses {
	type entry struct {
		prefix netip.Prefix
		source uint32
	}
	var entries []entry
	group := make([]uint8, len(sources))
	for i, src := range sources {
		group[i] = uint8(src.Category)
		if src.List == nil {
			continue
		}
		for _, p := range src.List.addresses {
			entries = append(entries, entry{p, uint32(i)})
		}
	}
	// The widest first: what a prefix adds to is then complete.
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.prefix.Bits(), b.prefix.Bits()), cmp.Compare(a.source, b.source))
	})
	as := addresses{table: &bart.Table[uint32]{}, sets: newSets(group, make([]bool, len(sources)))}
	for _, e := range entries {
		above, _ := as.table.LookupPrefix(e.prefix)
		if set, _ := as.sets.node(above, []owned{{member: e.source, kind: blockSelf}}); set != above {
			as.table.Insert(e.prefix, set)
		}
	}
	as.sets.index = nil
	return as
}

// match returns the categories of an address.
func (as addresses) match(a netip.Addr) Categories {
	set, _ := as.table.Lookup(a.Unmap().WithZone(""))
	return Categories(as.sets.masks[set])
}

// covering returns the prefixes that cover an address, the narrowest first, and the sources of each.
func (as addresses) covering(a netip.Addr) iter.Seq2[netip.Prefix, []uint32] {
	a = a.Unmap().WithZone("")
	return func(yield func(netip.Prefix, []uint32) bool) {
		for prefix, set := range as.table.Supernets(netip.PrefixFrom(a, a.BitLen())) {
			if !yield(prefix, as.sets.sets[set]) {
				return
			}
		}
	}
}
