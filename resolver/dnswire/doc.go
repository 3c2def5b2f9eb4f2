// Package dnswire reads and writes DNS messages as bytes (RFC 1035 §4, RFC 6891), as far as a
// forwarder needs it: the question of a query, an upstream's answer, and the records of answers of our
// own. A query is read and an answer of our own is written without an allocation; an upstream's answer is
// checked and written anew once, when it comes.
//
// Every function takes untrusted bytes, stays inside them and ends: a compression pointer must point
// backwards, and a name has at most 255 octets. What is wrong is an error, never a panic.
//
// A name's key is its wire form in lower case, uncompressed, ending in the zero octet, as
// schoolgate/blocklist defines it; testdata there holds both packages to it.
package dnswire
