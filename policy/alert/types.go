package alert

import (
	"context"
	"slices"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Config says who is told of what.
type Config struct {
	Site string
	// ConsoleURL is what links in alerts begin with, without a final slash; empty: no link.
	ConsoleURL string
	// Calendar has the periods that routes name. Texts have its Zone's times.
	Calendar  policy.Calendar
	Receivers []Receiver
	Routes    []Route
}

// The types of a Receiver.
const (
	TypeWebhook      = "webhook"      // Standard Webhooks 1.0.0
	TypeTeams        = "teams"        // a Workflows URL of Microsoft Teams: an Adaptive Card
	TypeSlack        = "slack"        // an incoming webhook of Slack
	TypeGoogleChat   = "google_chat"  // a webhook of Google Chat: a card
	TypeEmail        = "email"        // SMTP
	TypeAlertmanager = "alertmanager" // Prometheus Alertmanager, API v2
)

// Types are all of them.
func Types() []string {
	return []string{TypeWebhook, TypeTeams, TypeSlack, TypeGoogleChat, TypeEmail, TypeAlertmanager}
}

// Receiver is an endpoint that takes alerts.
type Receiver struct {
	Name string
	Type string // one of Types; alerts for one of another type wait
	URL  string // https, or http to loopback; of an Alertmanager without /api/v2; not of TypeEmail
	// Secrets are, of a webhook, the keys that sign, decoded, 24 to 64 bytes each; of email the password
	// alone; of an Alertmanager, if any, user:password alone.
	Secrets  [][]byte
	SMTP     SMTP      // of TypeEmail
	Full     bool      // client and names are told, for a trusted system
	Template *Template // nil: the built-in text

	// Devices are whose incidents go to the receiver Deputy, and not to this one.
	Devices []policy.ClientPattern
	Deputy  string
}

// SMTP is a server that takes mail, and from whom to whom.
type SMTP struct {
	Server string // host:port. Port 465 is TLS from the start, another STARTTLS; in clear to loopback only
	From   string // an address, without a name
	To     []string
	User   string // empty: no authentication
}

// sameAddress reports whether two receivers are one endpoint under the same secrets: what one of them
// does not take the other does not either.
func (r *Receiver) sameAddress(o *Receiver) bool {
	return r.Type == o.Type && r.URL == o.URL && r.SMTP.Server == o.SMTP.Server && r.SMTP.From == o.SMTP.From &&
		r.SMTP.User == o.SMTP.User && slices.Equal(r.SMTP.To, o.SMTP.To) && slices.EqualFunc(r.Secrets, o.Secrets, slices.Equal)
}

// AboutSystem is the Route.About of what IT must know.
const AboutSystem = "system"

// Route sends what it matches to its receivers. Every route that matches sends. A field that is empty
// matches everything; only Severities to Outside can match an incident.
type Route struct {
	Severities []string
	Categories []string
	Groups     []string
	Sites      []string
	During     []string // periods: in one of them
	Outside    []string // periods: in none of them
	About      string   // AboutSystem, or "" for incidents
	To         []string
	Digest     Times // gathered, not sent at once
}

// zone is where the school's clock is.
func (c *Config) zone() *time.Location {
	if c.Calendar.Zone == nil {
		return time.UTC
	}
	return c.Calendar.Zone
}

// receiver returns the receiver of that name, or nil.
func (c *Config) receiver(name string) *Receiver {
	i := slices.IndexFunc(c.Receivers, func(r Receiver) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Receivers[i]
}

// Outbox is where alerts wait. *breach.Log is one, and documents the methods.
type Outbox interface {
	Due(ctx context.Context, receiver string, now time.Time, limit int) ([]breach.Alert, error)
	Settle(ctx context.Context, tries map[string]breach.Outcome) error
	Enqueue(ctx context.Context, alerts ...breach.Alert) error
	Revive(ctx context.Context, receiver string) error
	Queue(ctx context.Context) ([]breach.QueueState, error)
	Wake() <-chan struct{}
	Head() breach.Head
}

// TestResult is how a receiver took a test alert.
type TestResult struct {
	Receiver string `json:"receiver"`
	OK       bool   `json:"ok"`
	Status   string `json:"status"` // for people: "HTTP 204", "connection refused"
}
