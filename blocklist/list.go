package blocklist

import (
	"errors"
	"iter"
	"net/netip"
	"slices"
)

// Format is the form in which a list is written. The package comment shows an entry of each.
type Format string

// The formats that Parse reads.
const (
	FormatHosts    Format = "hosts"
	FormatDomains  Format = "domains"
	FormatWildcard Format = "wildcard"
	FormatAdblock  Format = "adblock"
	FormatDnsmasq  Format = "dnsmasq"
	FormatUnbound  Format = "unbound"
	FormatURLs     Format = "urls"
	FormatRPZ      Format = "rpz"
)

// Formats returns every format. Where two read a list equally well, the earlier one is its format.
func Formats() []Format {
	return []Format{
		FormatRPZ, FormatUnbound, FormatDnsmasq, FormatAdblock, FormatHosts, FormatDomains, FormatWildcard, FormatURLs,
	}
}

// ParseFormat returns the format of that name, as a configuration writes it.
func ParseFormat(s string) (Format, bool) {
	f := Format(s)
	return f, slices.Contains(Formats(), f)
}

// ErrNotList says that what was read is no list at all: an HTML page, binary data, or lines of which
// none is in a format that Parse knows.
var ErrNotList = errors.New("not a list")

// ErrEmpty says that a list has no usable line.
var ErrEmpty = errors.New("list without a usable line")

// List is one list as it was read. It is immutable.
type List struct {
	Format Format
	// Enforceable, Unenforceable and Exceptions count entries as they are written, those that are
	// written twice included. Unenforceable are entries that DNS cannot act on: URLs with a path,
	// addresses unless Options.Addresses, RPZ triggers other than names. Exceptions are entries that
	// let a name through: adblock's @@ and dnsmasq's server=/x/#, which have no effect, and RPZ's
	// passthru, which takes the name out of this list.
	Enforceable, Unenforceable, Exceptions int
	// Skipped counts the entries that were not taken. Problems says why, for the first 1000.
	Skipped int
	// TooBroad counts those of them that are names and would cover too much: everything, a top-level
	// domain, a public suffix, or a zone of the site.
	TooBroad int
	Problems []Problem
	// Warnings speak of what was taken, but deserves a look. At most 1000.
	Warnings []Problem

	names     names
	addresses []netip.Prefix
	passes    bool // some entry is an RPZ passthru
}

// Problem is one remark about a list.
type Problem struct {
	Line   int    // from 1; 0 where it is about the list as a whole
	Reason string // without any of the list's content
	// Text is the line, at most 120 bytes, printable ASCII, other bytes as \DDD. It is "" for the
	// lists of a confidential category that a Loader has read.
	Text string
}

// maxProblems bounds what a list of a million bad lines takes.
const maxProblems = 1000

// kind says what an entry does with its name, and with the names below it.
type kind uint8

const (
	blockSelf kind = 1 << iota
	blockBelow
	passSelf
	passBelow

	blockBoth = blockSelf | blockBelow
	passBoth  = passSelf | passBelow
)

// ListOf returns a list of names, each with all that lies below it, that needs no file: a rule's
// names, for example. Any name is taken, the root and public suffixes too.
func ListOf(names ...Name) *List {
	l := &List{Format: FormatDomains, Enforceable: len(names)}
	for _, n := range names {
		l.names.add(blockBoth, []byte(n))
	}
	return l
}

// Names returns the names of the entries that block, in the list's order, those written twice
// twice. There are none once the list has been released.
func (l *List) Names() iter.Seq[Name] {
	return func(yield func(Name) bool) {
		for k, path := range l.names.all() {
			if k&blockBoth != 0 && !yield(pathName(path)) {
				return
			}
		}
	}
}

// Holds reports whether the list blocks n: by an entry that is n or covers it, of which the most
// specific decides. It reads the whole list, which must not have been released.
func (l *List) Holds(n Name) (blocked bool) {
	var buf [maxName]byte
	want := appendPath(buf[:0], []byte(n))
	specific := -1 // bytes of the path of the entry that decides
	for k, path := range l.names.all() {
		block, pass := blockBelow, passBelow
		if len(path) == len(want) {
			block, pass = blockSelf, passSelf
		}
		if k&(block|pass) == 0 || len(path) < specific || len(path) > len(want) || string(path) != string(want[:len(path)]) {
			continue
		}
		// Of two entries of one name, the one that blocks.
		blocked = k&block != 0 || blocked && len(path) == specific
		specific = len(path)
	}
	return blocked
}

// Entries is how many entries with a name the list has, also once it has been released.
func (l *List) Entries() int { return l.names.count }

// Size is how many bytes the names of the list take, also once it has been released.
func (l *List) Size() int { return l.names.size }

// HasNames reports whether the names are there, and not only the counts.
func (l *List) HasNames() bool { return !l.names.released }

// Release gives the memory of the names back at once. The counts, the problems and the addresses
// stay. Nobody may be reading the names.
func (l *List) Release() { l.names.release() }

// stats returns the list without its names.
func (l *List) stats() *List {
	out := *l
	out.names = names{count: l.names.count, size: l.names.size, released: true}
	return &out
}
