package blocklist

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMatchAddr(t *testing.T) {
	const (
		games Category = iota
		malware
	)
	parse := func(text string) *List {
		l, err := Parse(reader(text), Options{Addresses: true})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	s := Build([]Source{
		{ID: "a", Category: games, List: parse("198.51.100.7\n203.0.113.0/24\nexample.org\n")},
		{ID: "b", Category: games, List: parse("203.0.113.9\n198.51.100.0/28\n")},
		{ID: "c", Category: malware, List: parse("203.0.113.9\n2001:db8:1::/48\n2001:db8:1::7\n")},
	})
	type answer struct {
		In            []Category
		Source, Entry string // of the first category
	}
	for _, tt := range []struct {
		what, address string
		want          answer
	}{
		{"a listed address, by the wider entry", "198.51.100.7", answer{[]Category{games}, "b", "198.51.100.0/28"}},
		{"beside it", "198.51.100.16", answer{}},
		{"in a listed range", "203.0.113.1", answer{[]Category{games}, "a", "203.0.113.0/24"}},
		{"in two lists", "203.0.113.9", answer{[]Category{games, malware}, "a", "203.0.113.0/24"}},
		{"mapped into IPv6", "::ffff:203.0.113.9", answer{[]Category{games, malware}, "a", "203.0.113.0/24"}},
		{"IPv6", "2001:db8:1::7", answer{[]Category{malware}, "c", "2001:db8:1::/48"}},
		{"with a zone", "2001:db8:1::7%eth0", answer{[]Category{malware}, "c", "2001:db8:1::/48"}},
		{"no list's", "2001:db8:2::7", answer{}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			a := netip.MustParseAddr(tt.address)
			got := answer{In: slices.Collect(s.MatchAddr(a).All())}
			if len(got.In) > 0 {
				got.Source, got.Entry, _ = s.AttributeAddr(a, got.In[0])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a lone address is the entry as an address", func(t *testing.T) {
		_, entry, ok := s.AttributeAddr(netip.MustParseAddr("203.0.113.9"), malware)
		if entry != "203.0.113.9" || !ok {
			t.Errorf("%q, %v", entry, ok)
		}
	})
	t.Run("no address is in no list", func(t *testing.T) {
		if _, _, ok := s.AttributeAddr(netip.Addr{}, games); ok || s.MatchAddr(netip.Addr{}) != 0 {
			t.Error("the zero address is listed")
		}
	})
}

func TestHasAddressesOnlyWhereAListBlocksThem(t *testing.T) {
	text := "198.51.100.7\nexample.org\n"
	for _, enforced := range []bool{false, true} {
		l, err := Parse(reader(text), Options{Addresses: enforced})
		if err != nil {
			t.Fatal(err)
		}
		s := Build([]Source{{List: nil}, {ID: "a", List: l}})
		if s.HasAddresses() != enforced || s.MatchAddr(netip.MustParseAddr("198.51.100.7")).Has(0) != enforced {
			t.Errorf("addresses: %v, HasAddresses: %v", enforced, s.HasAddresses())
		}
	}
}

func TestAddressesAreAListOfPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawAddr := func(label string) netip.Addr {
			b := [4]byte{198, 51, byte(rapid.IntRange(0, 1).Draw(t, label)), byte(rapid.IntRange(0, 7).Draw(t, label))}
			return netip.AddrFrom4(b)
		}
		var sources []Source
		for i := range rapid.IntRange(0, 4).Draw(t, "sources") {
			l := &List{}
			for range rapid.IntRange(0, 6).Draw(t, "prefixes") {
				p := netip.PrefixFrom(drawAddr("prefix"), rapid.IntRange(8, 32).Draw(t, "bits")).Masked()
				l.addresses = append(l.addresses, p)
			}
			c := Category(rapid.IntRange(0, 1).Draw(t, "category"))
			sources = append(sources, Source{ID: string(rune('a' + i)), Category: c, List: l})
		}
		s := Build(sources)
		a := drawAddr("address")
		for c := range Category(2) {
			widest, source := netip.Prefix{}, ""
			for _, src := range sources {
				for _, p := range src.List.addresses {
					if src.Category == c && p.Contains(a) && (source == "" || p.Bits() < widest.Bits()) {
						widest, source = p, src.ID
					}
				}
			}
			entry := widest.String()
			if widest.IsSingleIP() {
				entry = widest.Addr().String()
			}
			gotSource, gotEntry, ok := s.AttributeAddr(a, c)
			if ok != (source != "") || ok != s.MatchAddr(a).Has(c) || ok && (gotSource != source || gotEntry != entry) {
				t.Fatalf("%s, category %d: %q, %q, %v, want %q, %q", a, c, gotSource, gotEntry, ok, source, entry)
			}
		}
	})
}
