package querylog

import (
	"net/netip"
	"strings"
)

// Confidential stands in the log for a name that must not be written down.
const Confidential = "(confidential)"

// Question is one question as the log has it: the JSON of `queries list`.
type Question struct {
	Time     string `json:"time"` // RFC 3339 with milliseconds and offset
	Client   Client `json:"client"`
	Group    string `json:"group"`
	Query    Query  `json:"query"`
	Outcome  string `json:"outcome"`  // as the label of schoolgate_queries_total
	Category string `json:"category"` // "" where none matched
}

// Client is the device that asked; what was not known is empty.
type Client struct {
	IP   string `json:"ip"`
	MAC  string `json:"mac"`
	Name string `json:"name"`
	User string `json:"user"`
}

// Query is what was asked, its name with a final dot and escaped as in RFC 1035 §5.1, or Confidential.
type Query struct {
	Name      string `json:"name"`
	Type      string `json:"type"` // "A", "TYPE65280"
	Transport string `json:"transport"`
}

// stored is a question as a block has it.
type stored struct {
	at       int64 // Unix milliseconds
	client   Client
	group    string
	category string
	name     string
	typ      uint16
	// The words of outcome and transport.
	outcome, transport string
}

// who selects clients by what a person calls one.
type who struct{ ip, mac, name, user string }

// parseWho reads an address, a MAC address, a device's name or a user's; mac:, name: or user: before it says
// which of them it is.
func parseWho(s string) who {
	kind, rest, found := strings.Cut(s, ":")
	if found {
		switch kind {
		case "mac":
			return who{mac: normalMAC(rest)}
		case "name":
			return who{name: normalName(rest)}
		case "user":
			return who{user: rest}
		}
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		return who{ip: addr.Unmap().WithZone("").String()}
	}
	return who{mac: normalMAC(s), name: normalName(s), user: s}
}

func normalMAC(s string) string  { return strings.ToLower(strings.ReplaceAll(s, "-", ":")) }
func normalName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// is reports whether a client is the one.
func (w who) is(c Client) bool {
	return w.ip != "" && w.ip == c.IP || w.mac != "" && w.mac == c.MAC || w.name != "" && w.name == c.Name ||
		w.user != "" && strings.EqualFold(w.user, c.User)
}
