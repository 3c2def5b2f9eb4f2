package blocklist

import (
	"net/netip"
	"strings"
	"unsafe"

	"golang.org/x/net/publicsuffix"
)

// Why an entry is not taken, or is taken with a warning.
const (
	reasonTLD      = "covers a whole top-level domain"
	reasonICANN    = "is a public suffix: covers the sites of everybody below it"
	reasonPrivate  = "is a public suffix of the private part: covers the sites of all customers of one host"
	reasonOwn      = "covers one of the site's own zones"
	reasonStar     = "'*' other than as the first label"
	reasonNumber   = "ends in a number: neither a name nor an address"
	reasonAddress  = "is no address of the public internet"
	reasonNetwork  = "covers too many addresses"
	reasonWords    = "more than one word"
	reasonCosmetic = "rule on what a page shows"
	reasonRule     = "rule other than ||name^"
	reasonTarget   = "answers with an address instead of blocking"
)

// host takes an entry that is a name or an address.
func (p *parser) host(text string) {
	if prefix, ok := parsePrefix(text); ok {
		p.address(prefix)
		return
	}
	p.name(text)
}

// name takes an entry that covers its name and everything below. A "*." or a dot at its front, as
// Squid writes, says the same again.
func (p *parser) name(text string) {
	if rest, ok := strings.CutPrefix(text, "*."); ok {
		text = rest
	} else if len(text) > 1 {
		text = strings.TrimPrefix(text, ".")
	}
	var buf [2 * maxName]byte
	key, err := appendName(buf[:0], text)
	switch {
	case err == nil:
		p.accept(blockBoth, key)
	case strings.IndexByte(text, '*') >= 0:
		p.problem(reasonStar)
	default:
		p.problem(reasonOf(err))
	}
}

// accept takes the entry of a key, unless it covers too much or is no name.
func (p *parser) accept(k kind, key []byte) {
	l := p.list
	labels, last := 0, 0
	for i := 0; key[i] != 0; i += int(key[i]) + 1 {
		labels, last = labels+1, i
	}
	switch {
	case labels == 0:
		p.tooBroad("covers every name")
		return
	case labels == 1:
		p.tooBroad(reasonTLD)
		return
	case isNumber(key[last+1 : len(key)-1]):
		p.problem(reasonNumber)
		return
	}
	suffix, icann := p.publicSuffix(key)
	switch {
	case suffix && icann:
		p.recognised++
		p.tooBroad(reasonICANN)
		return
	case p.own[Name(key)]&k != 0:
		p.recognised++
		p.tooBroad(reasonOwn)
		return
	}
	p.recognised++
	if suffix {
		p.warning(reasonPrivate)
	}
	l.names.add(k, key)
	if k&passBoth != 0 {
		l.passes = true
		l.Exceptions++
		return
	}
	l.Enforceable++
}

// tooBroad is problem for a name that would cover too much.
func (p *parser) tooBroad(reason string) {
	p.list.TooBroad++
	p.problem(reason)
}

// publicSuffix reports whether the key's name is itself a suffix of the public suffix list, and of
// which part of it. The list's prevailing rule for unknown top-level domains does not count.
func (p *parser) publicSuffix(key []byte) (suffix, icann bool) {
	// Asked of a name just below, one that no rule spells out, the list says at once whether the name is a
	// suffix, and whether all that is just below it is: a rule *.sch.uk makes suffixes of that, and of
	// sch.uk itself none. In the ICANN part such rules stand below one label or two.
	p.below = appendText(append(p.below[:0], "*."...), key)
	below := unsafe.String(unsafe.SliceData(p.below), len(p.below)) //nolint:gosec // the list keeps nothing of it
	text := below[len("*."):]
	s, icann := publicsuffix.PublicSuffix(below)
	if len(s) == len(below) {
		if icann && strings.Count(text, ".") <= 1 {
			return true, true
		}
		s, icann = publicsuffix.PublicSuffix(text)
	}
	return len(s) == len(text) && strings.IndexByte(text, '.') >= 0, icann
}

func isNumber(label []byte) bool {
	for _, c := range label {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// parsePrefix reads an address, or a range of them in CIDR form.
func parsePrefix(text string) (netip.Prefix, bool) {
	if text == "" || !isDigit(text[len(text)-1]) && strings.IndexByte(text, ':') < 0 {
		return netip.Prefix{}, false // a name, as nearly always
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err == nil && !prefix.Addr().Is4In6()
}

// address takes an entry that is an address or a range of them.
func (p *parser) address(prefix netip.Prefix) {
	addr := prefix.Addr()
	switch {
	case isSink(addr):
		p.unusable(reasonAddress)
		return
	case addr.Is4() && prefix.Bits() < 8, addr.Is6() && prefix.Bits() < 20: // no registry gives one site that much
		p.unusable(reasonNetwork)
		return
	case !p.addresses:
		p.unenforceable()
		return
	}
	p.recognised++
	p.list.Enforceable++
	p.list.addresses = append(p.list.addresses, prefix)
}

// isSink reports whether an address is one that a list uses to say "nowhere": no site of the public
// internet has it.
func isSink(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsUnspecified() || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
