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

// Placed is a part in its place: Sources has, for each member, its index among the sources of a set.
// Members that share a category when they were compiled share one here.
type Placed struct {
	Part    *Part
	Sources []int
}

// Set answers which categories a name or an address is in. It is immutable, and safe for use by any
// number of goroutines.
type Set struct {
	parts     []placed
	addresses addresses
	sources   []Source
	// uneven says that some name is in other categories than all below it, as an RPZ zone may have it.
	uneven bool
}

// placed is a part with what its values mean in a set.
type placed struct {
	*Part
	sources []int
	values  []value // as the part's
}

// value is a part's value, in categories.
type value struct{ self, below, all Categories }

// NewSet returns the set of sources, whose names are in the parts. The sources' own names are not
// looked at.
func NewSet(sources []Source, parts []Placed) *Set {
	s := &Set{sources: sources, addresses: buildAddresses(sources)}
	for _, in := range parts {
		p := placed{Part: in.Part, sources: in.Sources, values: make([]value, len(in.Part.values))}
		var category [MaxCategories]Category // of each group
		for m, group := range in.Part.group {
			category[group] = sources[in.Sources[m]].Category
		}
		for i, v := range in.Part.values {
			for group := range Categories(v.All).All() {
				p.values[i].all = p.values[i].all.With(category[group])
			}
			p.values[i].self, p.values[i].below = p.categories(sources, v.Self), p.categories(sources, v.Below)
			s.uneven = s.uneven || p.values[i].self != p.values[i].all || p.values[i].below != p.values[i].all
		}
		s.parts = append(s.parts, p)
	}
	return s
}

func (p *placed) categories(sources []Source, set uint32) (cs Categories) {
	for _, m := range p.sets[set] {
		cs = cs.With(sources[p.sources[m]].Category)
	}
	return cs
}

// Build compiles lists to a set, in the order in which they are to be named by Attribute.
func Build(sources []Source) *Set {
	var members []Member
	var places []int
	for i, src := range sources {
		if src.List != nil {
			members = append(members, Member{List: src.List, Category: src.Category})
			places = append(places, i)
		}
	}
	return NewSet(sources, []Placed{{Part: CompilePart(members, NewSeed(), nil), Sources: places}})
}

// Match returns the categories of a name: those of each list with an entry that covers it. key is
// the name's key: wire form, lower case, ending in a zero octet. It is only read. Match takes no lock
// and allocates nothing.
func (s *Set) Match(key []byte) (cs Categories) {
	var labels [maxLabels]uint8
	n := labelStarts(key, &labels)
	for i := range s.parts {
		p := &s.parts[i]
		switch v, own := p.deepest(key, &labels, n); {
		case v == noValue:
		case own:
			cs |= p.values[v].self
		default:
			cs |= p.values[v].below
		}
	}
	return cs
}

// OpenBelow reports whether some name below this one, which Match finds in some of cs, is in none of the
// categories cs, as an RPZ zone may have it: an answer for the name must then not say that nothing is below it (RFC 8020). It may
// report so too where names below are in different ones of cs. key is as for Match.
func (s *Set) OpenBelow(key []byte, cs Categories) bool {
	if !s.uneven {
		return false
	}
	var labels [maxLabels]uint8
	n := labelStarts(key, &labels)
	var all Categories
	for i := range s.parts {
		p := &s.parts[i]
		switch v, own := p.deepest(key, &labels, n); {
		case v == noValue:
		case own:
			all |= p.values[v].all
		default:
			all |= p.values[v].below
		}
	}
	return all&cs == 0
}

// MatchAddr returns the categories of an address, by the lists with Options.Addresses.
func (s *Set) MatchAddr(a netip.Addr) Categories { return s.addresses.match(a) }

// HasAddresses reports whether any list holds addresses: where none does, no answer need be looked
// at for them.
func (s *Set) HasAddresses() bool { return s.addresses.table.Size() > 0 }

// Names is how many names the set keeps: those that no other of the same category covers.
func (s *Set) Names() (n int) {
	for _, p := range s.parts {
		n += p.Names()
	}
	return n
}

// Bytes is how much memory the names of the set take.
func (s *Set) Bytes() (n int) {
	for _, p := range s.parts {
		n += p.Bytes()
	}
	return n
}

// Attribute says which list put a name into category c, and with which entry: the one with the
// fewest labels, and of equal ones that of the first list. ok is exactly Match's answer for c. An
// entry that covers only what is below its name ("*.x" in an RPZ zone) is given as x.
func (s *Set) Attribute(n Name, c Category) (source string, entry Name, ok bool) {
	first := 0
	for i := range s.parts {
		src, name, found := s.attribute(&s.parts[i], n, c)
		if found && (!ok || len(name) < len(entry) || len(name) == len(entry) && src < first) {
			first, entry, ok = src, name, true
		}
	}
	if !ok {
		return "", "", false
	}
	return s.sources[first].ID, entry, true
}

// attribute is Attribute for one part, with the source's index.
func (s *Set) attribute(p *placed, n Name, c Category) (source int, entry Name, ok bool) {
	// The entry is at the topmost node from which one and the same list has the name in c all the way
	// down. Where a list lets go in between (passthru), what it says above counts no more.
	var found []int
	last := uint32(noValue)
	for name := n; name != ""; name = name.Parent() { // from the name up: each node on the way is some name's own
		v, own := p.value(name)
		if !own {
			continue
		}
		set := p.Part.values[v].Below
		if last == noValue && name == n {
			set = p.Part.values[v].Self
		}
		last = v
		here := p.ofCategory(s.sources, set, c)
		if found != nil {
			here = slices.DeleteFunc(here, func(src int) bool { return !slices.Contains(found, src) })
		}
		if len(here) == 0 {
			break
		}
		found, entry = here, name
	}
	if len(found) == 0 {
		return 0, "", false
	}
	return found[0], entry, true
}

// value is deepest for a Name.
func (p *placed) value(n Name) (v uint32, own bool) {
	var labels [maxLabels]uint8
	key := []byte(n)
	return p.deepest(key, &labels, labelStarts(key, &labels))
}

// AttributeAddr says which list put an address into category c, and with which entry: the widest
// range, as an address where it is only one, and of equal ones that of the first list.
func (s *Set) AttributeAddr(a netip.Addr, c Category) (source, entry string, ok bool) {
	for prefix, ids := range s.addresses.covering(a) {
		i := slices.IndexFunc(ids, func(id uint32) bool { return s.sources[id].Category == c })
		if i < 0 {
			continue
		}
		source, ok = s.sources[ids[i]].ID, true
		entry = prefix.String()
		if prefix.IsSingleIP() {
			entry = prefix.Addr().String()
		}
	}
	return source, entry, ok
}

// ofCategory returns the sources of category c in a set, first one first.
func (p *placed) ofCategory(sources []Source, set uint32, c Category) (out []int) {
	for _, m := range p.sets[set] {
		if src := p.sources[m]; sources[src].Category == c {
			out = append(out, src)
		}
	}
	slices.Sort(out)
	return out
}

// labelStarts notes where each label of a key begins, and returns how many there are: -1 where the key is
// no name.
func labelStarts(key []byte, starts *[maxLabels]uint8) int {
	if len(key) > maxName {
		return -1
	}
	n := 0
	for i := 0; ; {
		if i >= len(key) {
			return -1
		}
		size := int(key[i])
		if size == 0 {
			return n
		}
		if n == maxLabels {
			return -1
		}
		starts[n] = uint8(i)
		n++
		i += size + 1
	}
}
