package policy

import (
	"slices"
	"strconv"

	"schoolgate/blocklist"
)

// names indexes the names that the policy itself speaks of (rules, allow-lists, records, zones,
// special names, help lines): a hash map from key to node. A name's ancestors are in it too, so
// that a walk from the root ends at the first label that leads nowhere: for most names that is one
// look-up or two. The lists, of which there are millions, are in the blocklist.Set instead.
type names map[string]*node

type node struct {
	record  int32 // index of the local record's name, or -1
	zone    int32 // index of the zone, or -1
	special special
	inside  bool  // it and those below may have addresses of the site's own network
	engine  uint8 // index + 1 of the engine whose own name this is; 0: of none
	// helpline says that this name and those below it are never blocked, locked categories excepted.
	helpline bool
	rules    []int32  // rules that name this name, in the order of the file
	orders   uint8    // which orders they have: bit i for Rule.order i
	only     []uint16 // groups that have this name in their allow-list
	// Groups for which some name below this one is let through; everybody where belowAll is set.
	below    []uint16
	belowAll bool
}

// special is what is answered for a special name and those below it.
type special uint8

const (
	specialNone special = iota
	specialNXDomain
	specialUnused // the same, and nobody is served by it: where nothing else is said of the name
	specialSelf
	specialLocalhost
)

// specials are the names of step 4.
//
// RFC 6761 localhost, invalid and test; RFC 7686 onion; RFC 8375 home.arpa. RFC 6303 and RFC 7793:
// the reverse zones of private addresses, which nobody outside can answer. RFC 9462 resolver.arpa.
// Then the names by which Firefox and Apple's Private Relay ask whether a network filters. Not local
// (RFC 6762): many a school's Active Directory is named so, and its servers are the upstream.
var specials = func() map[string]special {
	m := map[string]special{
		"localhost": specialLocalhost, "resolver.arpa": specialSelf,
		"use-application-dns.net": specialNXDomain, "mask.icloud.com": specialNXDomain, "mask-h2.icloud.com": specialNXDomain,
	}
	for _, n := range []string{
		"invalid", "test", "onion", "home.arpa",
		"10.in-addr.arpa", "168.192.in-addr.arpa", "254.169.in-addr.arpa", "0.in-addr.arpa", "127.in-addr.arpa",
		"2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa", "113.0.203.in-addr.arpa", "255.255.255.255.in-addr.arpa",
		"0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
		"d.f.ip6.arpa", "8.e.f.ip6.arpa", "9.e.f.ip6.arpa", "a.e.f.ip6.arpa", "b.e.f.ip6.arpa", "8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		m[n] = specialUnused
	}
	for i := 16; i < 32; i++ {
		m[strconv.Itoa(i)+".172.in-addr.arpa"] = specialUnused
	}
	for i := 64; i < 128; i++ {
		m[strconv.Itoa(i)+".100.in-addr.arpa"] = specialUnused
	}
	return m
}()

// at returns the node of the name, with its ancestors' nodes.
func (ns names) at(name blocklist.Name) *node {
	key := string(name)
	n := ns[key]
	if n == nil {
		n = &node{record: -1, zone: -1}
		ns[key] = n
		if parent := name.Parent(); parent != "" {
			ns.at(parent)
		}
	}
	return n
}

// letThrough marks the ancestors of a name that is let through for the groups, or for everybody
// where groups is nil.
func (ns names) letThrough(name blocklist.Name, groups []uint16) {
	for parent := name.Parent(); parent != ""; parent = parent.Parent() {
		n := ns.at(parent)
		n.belowAll = n.belowAll || groups == nil
		for _, g := range groups {
			if !slices.Contains(n.below, g) {
				n.below = append(n.below, g)
			}
		}
	}
}

// maxLabels is the most labels that a name of 255 octets can have, the root not counted.
const maxLabels = 127

// walk appends the nodes of name and its ancestors to nodes, from the root down. whole says that the
// last one is the name's own.
func (ns names) walk(name []byte, nodes []*node) (path []*node, whole bool) {
	var starts [maxLabels + 1]uint8
	labels := 0
	for off := 0; name[off] != 0; off += int(name[off]) + 1 {
		starts[labels] = uint8(off)
		labels++
	}
	starts[labels] = uint8(len(name) - 1)
	for i := labels; i >= 0; i-- {
		n := ns[string(name[starts[i]:])]
		if n == nil {
			return nodes, false
		}
		nodes = append(nodes, n)
	}
	return nodes, true
}
