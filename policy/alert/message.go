package alert

import (
	"encoding/json"
	"slices"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// maxBody is below the 20 kB that the specification of webhooks asks for.
const maxBody = 19_000

// The types of messages that are not about an incident.
const (
	typeSystem = "system"
	typeTest   = "test"
)

// message is the body of an alert.
type message struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	Data      any    `json:"data"`
}

// incidentData is the data of a message about an incident.
type incidentData struct {
	Incident string      `json:"incident"`
	Site     string      `json:"site"`
	Severity string      `json:"severity"`
	Category string      `json:"category"`
	Title    string      `json:"title"`
	Group    string      `json:"group"`
	Action   string      `json:"action"`
	Count    int64       `json:"count"`
	First    string      `json:"first"`
	Last     string      `json:"last"`
	URL      string      `json:"url"`
	Chain    breach.Head `json:"chain"`
	// Person is "unknown" where many people share the address; else it is left out.
	Person string             `json:"person,omitempty"`
	Client *breach.Client     `json:"client,omitempty"`
	Names  []breach.NameCount `json:"names,omitempty"`
}

// textData is the data of a message in words.
type textData struct {
	Site    string `json:"site"`
	Message string `json:"message"`
}

// incidentBody says what a notice says, as much of it as the receiver may know.
func (c *Config) incidentBody(n breach.Notice, full bool) []byte {
	d := incidentData{
		Incident: n.Incident, Site: n.Site, Severity: n.Attribution.Severity.String(), Category: n.Attribution.Category,
		Title: n.Attribution.Title, Group: n.Attribution.Group, Action: n.Attribution.Action, Count: n.Count,
		First: stamp(n.First), Last: stamp(n.Last), Chain: n.Chain,
	}
	if c.ConsoleURL != "" {
		d.URL = c.ConsoleURL + "/incidents/" + n.Incident
	}
	if n.Attribution.Shared {
		d.Person = "unknown"
	}
	if full {
		d.Client = clientOf(n.Client)
		if !n.Attribution.Confidential {
			d.Names = n.Names
		}
	}
	body := encode(n.Kind, n.Time, d)
	for len(body) > maxBody && len(d.Names) > 0 {
		d.Names = d.Names[:len(d.Names)/2] // the ones asked for most stand first
		body = encode(n.Kind, n.Time, d)
	}
	return body
}

func clientOf(c policy.Client) *breach.Client {
	text := breach.Client{MAC: c.MAC, Name: c.Name, User: c.User}
	if c.Addr.IsValid() {
		text.IP = c.Addr.String()
	}
	return &text
}

// encode makes a body. Encoding plain strings and numbers cannot fail.
func encode(typ string, at time.Time, data any) []byte {
	body, err := json.Marshal(message{typ, stamp(at), data})
	if err != nil {
		panic(err)
	}
	return body
}

// stamp writes a time as the messages have it: UTC, milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Route returns the alerts that a notice calls for, one for each receiver, whichever routes lead to it.
// It implements breach.Router: it computes, and waits for nothing.
func (d *Dispatcher) Route(n breach.Notice) []breach.Alert {
	c := d.config.Load()
	var alerts []breach.Alert
	for _, name := range c.receiversOf(n) {
		r := c.receiver(name)
		if r == nil {
			continue
		}
		alerts = append(alerts, breach.Alert{
			Receiver: name, Type: n.Kind, Incident: n.Incident, Body: c.incidentBody(n, r.Full),
		})
	}
	return alerts
}

// receiversOf returns the names of those who are told at once, each once. A group's own receivers
// take the place of those of every route that matches.
func (c *Config) receiversOf(n breach.Notice) []string {
	var names []string
	severity := n.Attribution.Severity.String()
	for _, r := range c.Routes {
		if r.About != "" || r.Digest != "" || len(r.Severities) > 0 && !slices.Contains(r.Severities, severity) {
			continue
		}
		to := r.To
		if n.Attribution.AlertToSet {
			to = n.Attribution.AlertTo
		}
		for _, name := range to {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// receiver returns a receiver by its name, or nil.
func (c *Config) receiver(name string) *Receiver {
	i := slices.IndexFunc(c.Receivers, func(r Receiver) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Receivers[i]
}

// systemReceivers returns the names of those who are told what IT must know.
func (c *Config) systemReceivers() []string {
	var names []string
	for _, r := range c.Routes {
		if r.About != AboutSystem {
			continue
		}
		for _, name := range r.To {
			if !slices.Contains(names, name) && c.receiver(name) != nil {
				names = append(names, name)
			}
		}
	}
	return names
}
