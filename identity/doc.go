// Package identity learns which device is at an address, and who has signed in there.
//
// What is known comes from
//
//   - the kernel's table of neighbours: the MAC addresses of devices on the networks that this machine is on;
//   - lease files of DHCP servers (ISC dhcpd, Kea, dnsmasq): MAC and name of a device;
//   - reverse look-ups in the school's own zones: the name of an address;
//   - sign-ins, told by RADIUS accounting (RFC 2866) or by another part of this program: who is at an address.
//
// All of it is joined into one table, anew whenever some of it changes, which is never written to again: the data
// path looks an address up in it, and takes no lock. What is not in the table is not waited for: the query is
// judged by the address alone, and where the name of the address can be asked for that is done meanwhile.
//
// Where two sources contradict each other the neighbour's MAC counts, for it is what is seen on the wire: a
// lease or a sign-in of another device at the same address says nothing of this one. An address of which nothing
// but the MAC is known, such as the temporary ones of IPv6, has the name and the sign-in of that MAC.
//
// None of this is proof: a device chooses its MAC and its name. The policy knows that (policy.Place).
package identity
