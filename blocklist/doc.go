// Package blocklist reads lists of names that others publish, and finds the categories of a name
// among hundreds of thousands of them.
//
// # The matching rule
//
// An entry covers its own name and every name below it, on label borders: example.org covers
// www.example.org and not notexample.org. "*.example.org" says the same, and covers example.org too.
// Names are compared as DNS compares them (RFC 4343: ASCII case does not count), in the one form that
// Name describes; names in other alphabets become punycode first.
//
// Only in an RPZ zone are a name and "*.name" two things: the name itself, and what is below it. There
// the most specific entry decides, as it does in the zone, and passthru takes a name out of that list;
// another list may still have it.
//
// A name is in a category when at least one list of the category covers it. Matching is exact: there
// are no false hits, and what a list skips stands in its Problems.
//
// # Formats
//
//	hosts     0.0.0.0 example.org www.example.com     an address that leads nowhere, then names
//	domains   example.org                             also .example.org
//	wildcard  *.example.org
//	adblock   ||example.org^                          $important, $all and $document only; @@ counted, not applied
//	dnsmasq   address=/example.org/0.0.0.0            also server=/example.org/ and local=/example.org/
//	unbound   local-zone: "example.org" always_nxdomain
//	urls      https://example.org/                    with a path or a query: not enforceable, DNS sees hosts only
//	rpz       example.org CNAME .                     zone file; QNAME triggers, every action but passthru blocks
//
// Parse finds the format out by reading the beginning in all of them. In each, addresses among the
// names count as not enforceable, unless Options.Addresses has them block the answers that hold them.
// Never taken are top-level domains, public suffixes under which registries sell names (co.uk), and
// entries that cover the site's own zones.
//
// # From file to answer
//
// Parse reads a list into memory of its own. CompilePart compiles one or several lists to a Part, after
// which their names can be given back (List.Release); a Part can be written to a file and read again,
// which is what a start does. A Set is of several Parts, and says which category each list is in.
// Set.Match asks each Part; Set.Attribute says afterwards which list and which entry it was. Neither a Part
// nor a Set ever changes: a new one replaces it whole. Which lists are compiled together is for the
// caller (package feed): one that changes costs compiling what it is compiled with, and each Part costs
// every look-up.
//
// All of it is pure: no input or output, no clock, no log.
//
// # How a name is kept
//
// Exactly, and hardly longer than what it says. A name is written as bits (code.go): a short code for its
// common suffix, and each further letter by a Huffman code that depends on the letter before. Names
// whose bits are equally many are a set of numbers (table.go); a one-to-one function keyed by a random
// seed spreads them evenly, so that of each only the lower part need be kept, and its upper part follows
// from where it stands. A look-up walks once over the name, from the top-level domain down, and at the
// end of each label asks one table, which costs two waits for memory. The tables are one block
// outside the collector's heap, in large pages where the system has them. It is read from the file
// and not mapped from it: a file that is cut off or overwritten later must not take the process with it, and
// as much memory is used either way.
//
// # Cost
//
// Measured on 2 virtual CPUs of an AMD EPYC, Go 1.26, 160 ns to its memory, with a list of five million
// names, of which 4.89 million are kept since no other covers them:
//
//	memory of the Part             5.8 bytes a name (6.5 for one made of other names; 7.3 for 444,000 real ones)
//	Match, a listed name           280 to 370 ns, in random order, no allocation; 390 to 500 where memory takes 200
//	Match, a name in no list       220 to 270 ns; 330 to 430
//	Parse                          0.35 us a name, half of it for the public suffix list
//	CompilePart                    0.9 us a name on one CPU, and 220 MB in all at its peak
//	ReadPart                       0.1 s
//
// Times are those of waiting for memory: where others use it they grow, and for a set that fits in the
// processor's caches they are a third.
//
// # What else was measured
//
// For the same list on another machine (134 ns to its memory), one byte of value a name, everything counted:
//
//	                                                  bytes a name   hit        miss
//	Go map of strings                                    69.7        446 ns     240 ns
//	bucket by the last two labels, 6-bit text            19.2        446        469
//	hash of (parent, label), labels as text              18.8        564        648
//	front-coded sorted names, Eytzinger index            11.8        1,214      1,261
//	minimal perfect hash, coded text to verify           10.7        570        459
//	one quotiented hash, order-2 codes                    8.2        436        382
//	the same with a dictionary of suffixes                6.4        342-362    326-343
//	marisa (LOUDS, three tries)                           6.3        1,659      –
//
// Tried with this one and left: names behind the marks of their own group, found through a directory of 2 or 4
// bytes a group, so that both can be waited for at once. A listed name took 5 % less, any other 10 % more,
// and most questions are for others.
//
// The last but one of the table is this one's ancestor. A table for each length of bits needs no length with each
// name, as a value of which there is only one needs no bits; with that, the letter before is context enough, where
// the two before would save 0.6 bytes and take a table of 256 KB in place of 10.
package blocklist
