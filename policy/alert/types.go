package alert

import (
	"context"
	"slices"
	"time"

	"schoolgate/policy/breach"
)

// Config says who is told of what.
type Config struct {
	Site string
	// ConsoleURL is what links in alerts begin with, without a final slash; empty: no link.
	ConsoleURL string
	Receivers  []Receiver
	Routes     []Route
	// Zone is the school's clock, by which digests are sent; nil: UTC.
	Zone *time.Location
}

func (c *Config) zone() *time.Location {
	if c.Zone == nil {
		return time.UTC
	}
	return c.Zone
}

// TypeWebhook is the Type of a Receiver that takes Standard Webhooks.
const TypeWebhook = "webhook"

// Receiver is an endpoint that takes alerts.
type Receiver struct {
	Name   string
	Type   string // TypeWebhook; alerts for one of another type wait
	URL    string // https, or http to loopback
	Secret []byte // the key itself, decoded: 24 to 64 bytes
	Full   bool   // client and names in the body, for a trusted system
}

// AboutSystem is the Route.About of what IT must know.
const AboutSystem = "system"

// Route sends what it matches to its receivers. Every route that matches sends.
type Route struct {
	Severities []string // of incidents; empty: all
	About      string   // AboutSystem, or "" for incidents
	To         []string
	Digest     Times // gathered, not sent at once
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
	Settle(ctx context.Context, id string, o breach.Outcome) error
	Enqueue(ctx context.Context, alerts ...breach.Alert) error
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
