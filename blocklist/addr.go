package blocklist

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// addresses finds the set of an address: each prefix has the sources of all prefixes that cover it.
type addresses struct {
	table *bart.Table[uint32]
}

// buildAddresses takes the addresses of the lists.
func buildAddresses(ss *sets, sources []Source) addresses {
	type entry struct {
		prefix netip.Prefix
		source uint32
	}
	var entries []entry
	for i, src := range sources {
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
	t := &bart.Table[uint32]{}
	for _, e := range entries {
		above, _ := t.LookupPrefix(e.prefix)
		o := []owned{{source: e.source, kind: blockSelf}}
		if set := ss.value(above, o, sources).selfSet; set != above {
			t.Insert(e.prefix, set)
		}
	}
	return addresses{table: t}
}

// match returns the number of the set of an address.
func (as addresses) match(a netip.Addr) uint32 {
	set, _ := as.table.Lookup(a.Unmap().WithZone(""))
	return set
}

// covering returns the prefixes that cover an address, the narrowest first.
func (as addresses) covering(a netip.Addr) iter.Seq2[netip.Prefix, uint32] {
	a = a.Unmap().WithZone("")
	return as.table.Supernets(netip.PrefixFrom(a, a.BitLen()))
}
