package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"schoolgate/policy/breach"
)

// The types of messages that are not about an incident.
const (
	typeSystem = "system"
	typeDigest = "digest"
	typeTest   = "test"
)

// maxBody is the size of a body in bytes: Standard Webhooks asks for less than 20 kB.
const maxBody = 20_000 - 1

// maxText is how many bytes of a text from the configuration or a device go into a body, maxMessage how
// many of a message in words.
const maxText, maxMessage = 256, 2000

// personUnknown is said of a client that many people share.
const personUnknown = "person unknown: many people share this address"

// message is the body of an alert, as in contract part 5. The outbox has every message in this form, and a
// receiver of another type is sent it in words of its own when its turn comes: so what waits follows a
// receiver that becomes one of another type, and a retry says the same.
type message struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	Data      any    `json:"data"`
}

// incidentData is what a message about an incident says.
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
	URL      string      `json:"url,omitempty"`
	Chain    breach.Head `json:"chain"`
	Note     string      `json:"note,omitempty"`
	// Only in full:
	Client *breach.Client     `json:"client,omitempty"`
	Names  []breach.NameCount `json:"names,omitempty"`
}

// textData is what a system or test message says.
type textData struct {
	Site    string      `json:"site"`
	Message string      `json:"message"`
	Chain   breach.Head `json:"chain"`
}

// Route returns the alerts that an incident calls for, one for each whom Config.Told names. A receiver that
// the configuration does not have is given a thin one, to be kept until there is such a receiver. It
// implements breach.Router: it waits for nothing.
func (d *Dispatcher) Route(n breach.Notice) []breach.Alert {
	config := d.config.Load()
	var alerts []breach.Alert
	var thin, full []byte
	for _, name := range config.Told(subject(n)) {
		body := &thin
		if r := config.receiver(name); r != nil && r.Full {
			body = &full
		}
		if *body == nil {
			*body = incidentBody(n, config.ConsoleURL, body == &full)
		}
		alerts = append(alerts, breach.Alert{Receiver: name, Type: n.Kind, Incident: n.Incident, Body: *body})
	}
	return alerts
}

// incidentBody says what a notice says, as much of it as the receiver may know.
func incidentBody(n breach.Notice, consoleURL string, full bool) []byte {
	a := n.Attribution
	data := incidentData{
		Incident: n.Incident, Site: clip(n.Site, maxText), Severity: a.Severity.String(), Category: clip(a.Category, maxText),
		Title: clip(a.Title, maxText), Group: clip(a.Group, maxText), Action: a.Action, Count: n.Count,
		First: stamp(n.First), Last: stamp(n.Last), Chain: n.Chain,
	}
	if consoleURL != "" {
		data.URL = consoleURL + "/incidents/" + n.Incident
	}
	if a.Shared {
		data.Note = personUnknown
	}
	if full {
		data.Client = &breach.Client{
			MAC: clip(n.Client.MAC, maxText), Name: clip(n.Client.Name, maxText), User: clip(n.Client.User, maxText),
		}
		if n.Client.Addr.IsValid() {
			data.Client.IP = n.Client.Addr.String()
		}
		if !a.Confidential {
			data.Names = n.Names
		}
	}
	for {
		body := encode(message{n.Kind, stamp(n.Time), data})
		if len(body) <= maxBody || len(data.Names) == 0 {
			return body
		}
		data.Names = data.Names[:len(data.Names)*3/4] // those asked for least go
	}
}

// textBody is the body of a system or test message.
func (d *Dispatcher) textBody(kind, text string) []byte {
	data := textData{Site: clip(d.config.Load().Site, maxText), Message: clip(text, maxMessage)}
	if d.outbox != nil {
		data.Chain = d.outbox.Head()
	}
	return encode(message{kind, stamp(d.now()), data})
}

// encode writes a message.
func encode(m message) []byte { return encodeJSON(m) }

// systemID is the id of a system message: the same for one text, receiver and day, so that a
// schoolgate that restarts again and again says it once.
func systemID(text, receiver string, now time.Time) string {
	sum := sha256.Sum256([]byte(now.UTC().Format(time.DateOnly) + "\x00" + receiver + "\x00" + text))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// clip returns the beginning of a text, at most n bytes of it.
func clip(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// stamp writes a time as RFC 3339 in UTC with milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
