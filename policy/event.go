package policy

import (
	"net/netip"
	"time"

	"schoolgate/blocklist"
)

// Event is one judged query that is a breach, as the data path hands it to the record. Only what
// the data path knows for nothing is in it; Attribution finds out the rest, off the data path.
type Event struct {
	Time      time.Time
	Client    Client
	Policy    *Policy // the one that judged
	Verdict   Verdict
	Name      blocklist.Name // the QNAME
	Type      uint16         // the QTYPE
	Transport string         // "udp", "tcp", "dot", "doh" or "doq"
	// Target is what matched where it is not the question: a CNAME, DNAME or SVCB target.
	Target blocklist.Name
	// Address is the address of an answer that matched, or the zero Addr.
	Address netip.Addr
}

// Who is who asks.
type Who struct {
	Group  uint16 // an index for Policy.Groups
	Client Client
}

// Client is the device that asked, as far as it is known.
type Client struct {
	Addr netip.Addr // never a mapped IPv4 address
	MAC  string     // lower case, with colons
	Name string     // the device's: lower case, without a final dot
	User string     // who signed in
}

// Attribution is what a breach record says of a decision, in words.
type Attribution struct {
	Group        string
	Category     string   // "rule" and "only" where no category decided
	Title        string   // the category's title, for people
	Categories   []string // all that matched
	Severity     Severity
	Action       string // "block" or "monitor"
	List         string // which list matched, or ""
	Entry        string // its entry, as text without a final dot; "" where confidential
	Via          Via
	Confidential bool // Name and Entry must not be written down
	Shared       bool // many people behind this address
	AlertTo      []string
	AlertToSet   bool
}
