package alert

// Config says who is told of what.
type Config struct {
	Site string
	// ConsoleURL is what links in alerts begin with, without a final slash; empty: no link.
	ConsoleURL string
	Receivers  []Receiver
	Routes     []Route
}

// Receiver is an endpoint that takes alerts.
type Receiver struct {
	Name   string
	Type   string // "webhook"
	URL    string // https, or http to loopback
	Secret []byte // the key itself, decoded: 24 to 64 bytes
	Full   bool   // client and names in the body, for a trusted system
}

// Route sends what it matches to its receivers. Every route that matches sends.
type Route struct {
	Severities []string // of incidents; empty: all
	About      string   // "system" for what IT must know, else ""
	To         []string
	Digest     string // "mon-fri 15:45": gathered, not sent at once
}

// AboutSystem is the Route.About of what IT must know.
const AboutSystem = "system"
