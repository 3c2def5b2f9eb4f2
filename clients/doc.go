// Package clients keeps who asks and how much, to tell IT three things that no single question shows: an address that
// asks like many devices, a device that asked and asks no more, and a group that asks far less than it usually does.
// The last two may have found another resolver, which no DNS filter sees (a VPN, DNS over HTTPS, a phone's own network).
// None of it is a breach.
//
// The data path notes questions in a Tally, of which each reader of a socket has its own: of packets that were read
// together one in the name of all, so that it costs next to nothing when there are many, and is exact when there are
// few. Once a minute the tallies are emptied into the Register. It knows of each client its address and MAC, its group,
// when it asked first and last, how much in each hour of the last day, and about how many names in the last hour: no
// name, ever. It is bounded, written to a file now and then, and forgets a client after a week.
package clients
