package breach

import (
	"time"

	"schoolgate/policy"
)

// Confidential stands in a record for a name that must not be written down.
const Confidential = "(confidential)"

// Breach is one attempt as it is exported: the JSON of contract part 5. Its repeats are folded into
// Count and Last.
type Breach struct {
	ID         string   `json:"id"` // ULID
	Seq        int64    `json:"seq"`
	Time       string   `json:"time"` // RFC 3339 with milliseconds and offset
	Site       string   `json:"site"`
	Client     Client   `json:"client"`
	Group      string   `json:"group"`
	Query      Query    `json:"query"`
	Category   string   `json:"category"`
	Categories []string `json:"categories"`
	Severity   string   `json:"severity"`
	Action     string   `json:"action"`
	Rule       Rule     `json:"rule"`
	Count      int64    `json:"count"`
	Last       string   `json:"last"`
	Incident   string   `json:"incident"` // ULID
}

// Client is the device that asked; what is not known is empty.
type Client struct {
	IP   string `json:"ip"`
	MAC  string `json:"mac"`
	Name string `json:"name"`
	User string `json:"user"`
}

// Query is the question, its name with a final dot and escaped as in RFC 1035 §5.1.
type Query struct {
	Name      string `json:"name"`
	Type      string `json:"type"` // "A", "TYPE65280"
	Transport string `json:"transport"`
}

// Rule is what matched.
type Rule struct {
	List  string `json:"list"`
	Entry string `json:"entry"`
	Via   string `json:"via"`
}

// Incident is the breaches of one client in one category, gathered while they came.
type Incident struct {
	ID       string      `json:"id"` // ULID
	State    string      `json:"state"`
	Severity string      `json:"severity"`
	Category string      `json:"category"`
	Title    string      `json:"title"` // of the category, for people
	Group    string      `json:"group"`
	Action   string      `json:"action"`
	Client   Client      `json:"client"`
	Count    int64       `json:"count"`
	First    string      `json:"first"` // RFC 3339 with milliseconds and offset
	Last     string      `json:"last"`
	Names    []NameCount `json:"names"`   // as in Notice
	Notes    []Note      `json:"notes"`   // oldest first
	Outcome  string      `json:"outcome"` // "" until it is closed
	// Confidential says that its names are written down nowhere, Shared that many people are behind the client.
	Confidential bool `json:"confidential"`
	Shared       bool `json:"shared"`
}

// The kinds of Notice, and the types of the alerts that come of them.
const (
	IncidentOpened    = "incident.opened"
	IncidentContinued = "incident.continued"
)

// Notice is an incident at a moment that may be worth an alert, as a Router sees it.
type Notice struct {
	Kind     string // IncidentOpened or IncidentContinued
	Time     time.Time
	Incident string // ULID
	Site     string
	// Attribution is that of the incident's newest breach, but Severity is the highest so far.
	Attribution policy.Attribution
	Client      policy.Client
	Count       int64
	First, Last time.Time
	// Names are the names asked for with their counts, most asked first, at most 50, as text without
	// a final dot. Empty for a confidential category.
	Names []NameCount
	Chain Head
}

// NameCount is a name and how often it was asked for.
type NameCount struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Head is the newest link of the chain.
type Head struct {
	Seq  int64  `json:"seq"`  // 0: the record is empty
	Hash string `json:"hash"` // SHA-256, lower-case hexadecimal
}

// Alert is one message to one receiver, ready to be signed and sent.
type Alert struct {
	ID       string // the webhook-id: the same at each try; the record gives one where it is empty
	Receiver string
	Type     string // "incident.opened", "incident.continued", "system", "test"
	Incident string // or ""
	Body     []byte // JSON
	Created  time.Time
	Attempts int       // tries so far
	Next     time.Time // when the next try is due; zero: at once
}

// Router turns a notice into the alerts that it calls for. It must not wait: the writer calls it
// inside the transaction that stores the breach.
type Router interface {
	Route(Notice) []Alert
}

// RouterFunc is a function as a Router.
type RouterFunc func(Notice) []Alert

// Route calls f.
func (f RouterFunc) Route(n Notice) []Alert { return f(n) }

// Filter selects breaches, or incidents. Zero fields select everything.
type Filter struct {
	From, To time.Time // From inclusive, To exclusive; of an incident: its last breach
	Group    string
	Category string
	Severity string
	Client   string // as policy.ParseClientPattern reads it
	State    string // of incidents; StateOpen: all that are not closed
	ID       string // of an incident
	// Newest bounds how many breaches are selected: so many of the newest. 0 is no bound.
	Newest int
	// Zone is in which times are written; nil: UTC.
	Zone *time.Location
}

// Act is something that a person or schoolgate did and that has to be answered for.
type Act struct {
	Who    string
	What   string // the kind of act, of a closed set: "config.reload"
	Why    string
	Detail string
}
