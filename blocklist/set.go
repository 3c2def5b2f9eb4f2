package blocklist

import (
	"net/netip"
	"slices"
)

// Source is a list in its place: under a category, with the name by which records speak of it.
type Source struct {
	// ID is what a record's rule.list shows: "builtin:pornography", or the path or URL as the
	// configuration has it.
	ID       string
	Category Category // below MaxCategories
	List     *List    // nil counts as empty
}

// Set answers which categories a name or an address is in. It is immutable, and safe for use by any
// number of goroutines. Build makes it.
type Set struct {
	trie      trie
	addresses addresses
	sets      sets
	sources   []Source // without their lists
}

// Match returns the categories of a name: those of each list with an entry that covers it. key is
// the name's key: wire form, lower case, ending in a zero octet. It is only read. Match takes no lock
// and allocates nothing.
func (s *Set) Match(key []byte) Categories { return s.trie.match(key) }

// OpenBelow reports whether some name below this one is in none of the categories cs, as an RPZ zone
// may have it: an answer for the name must then not say that nothing is below it (RFC 8020). It may
// report so too where names below are in different ones of cs. key is as for Match.
func (s *Set) OpenBelow(key []byte, cs Categories) bool { return s.trie.matchAll(key)&cs == 0 }

// MatchAddr returns the categories of an address, by the lists with Options.Addresses.
func (s *Set) MatchAddr(a netip.Addr) Categories { return s.sets.masks[s.addresses.match(a)] }

// HasAddresses reports whether any list holds addresses: where none does, no answer need be looked
// at for them.
func (s *Set) HasAddresses() bool { return s.addresses.table.Size() > 0 }

// Attribute says which list put a name into category c, and with which entry: the one with the
// fewest labels, and of equal ones that of the first list. ok is exactly Match's answer for c. An
// entry that covers only what is below its name ("*.x" in an RPZ zone) is given as x.
func (s *Set) Attribute(n Name, c Category) (source string, entry Name, ok bool) {
	path := s.trie.path(n)
	if len(path) == 0 {
		return "", "", false
	}
	// The entry is at the topmost node from which one and the same list has the name in c all the way
	// down. Where a list lets go in between (passthru), what it says above counts no more.
	var found []uint32
	for i, step := range slices.Backward(path) {
		here := s.ofCategory(step.set, c)
		if found != nil {
			here = slices.DeleteFunc(here, func(id uint32) bool { return !slices.Contains(found, id) })
		}
		if len(here) == 0 {
			break
		}
		found, entry = here, path[i].name
	}
	if len(found) == 0 {
		return "", "", false
	}
	return s.sources[found[0]].ID, entry, true
}

// AttributeAddr says which list put an address into category c, and with which entry: the widest
// range, as an address where it is only one, and of equal ones that of the first list.
func (s *Set) AttributeAddr(a netip.Addr, c Category) (source, entry string, ok bool) {
	for prefix, id := range s.addresses.covering(a) {
		ids := s.ofCategory(id, c)
		if len(ids) == 0 {
			continue
		}
		source, ok = s.sources[ids[0]].ID, true
		entry = prefix.String()
		if prefix.IsSingleIP() {
			entry = prefix.Addr().String()
		}
	}
	return source, entry, ok
}

// ofCategory returns the sources of category c in a set, first one first.
func (s *Set) ofCategory(set uint32, c Category) []uint32 {
	var ids []uint32
	for _, id := range s.sets.members[set] {
		if s.sources[id].Category == c {
			ids = append(ids, id)
		}
	}
	return ids
}

// sets numbers the sets of sources that occur. There are few: as many as there are combinations of
// lists that some name is in. Number 0 is the empty set.
type sets struct {
	members [][]uint32   // by number: sources, ascending
	masks   []Categories // by number: their categories
	index   map[string]uint32
}
