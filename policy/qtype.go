package policy

import "strconv"

// TypeName returns the name of a QTYPE as zone files have it, "TYPE65280" where it has none here
// (RFC 3597 §5).
func TypeName(t uint16) string {
	if name, ok := queryTypes[t]; ok {
		return name
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// queryTypes are those of the IANA registry that a device may well ask for.
var queryTypes = map[uint16]string{
	1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA",
	29: "LOC", 33: "SRV", 35: "NAPTR", 37: "CERT", 39: "DNAME", 43: "DS", 44: "SSHFP", 46: "RRSIG",
	47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 61: "OPENPGPKEY",
	64: "SVCB", 65: "HTTPS", 99: "SPF", 249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 255: "ANY",
	256: "URI", 257: "CAA",
}
