package alert

import (
	"encoding/json"
	"time"

	"schoolgate/policy/breach"
)

const (
	// incidentLasts is how long an incident fires at Alertmanager after its last breach: then it rests.
	incidentLasts = time.Hour
	// systemLasts is how long a system message fires: it is sent again each day while it holds.
	systemLasts = 25 * time.Hour
	testLasts   = 5 * time.Minute
)

// alertmanagerAlert is an alert of the API v2. Alertmanager knows it again by its labels.
type alertmanagerAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alertmanagerAlerts is a letter as Alertmanager takes it, without client and names, whatever the letter
// has. What is sent late still fires: it ends after now.
func alertmanagerAlerts(l Letter, id string, now time.Time) []alertmanagerAlert {
	l = l.mapped(noAngles) // it may send on to chats
	a := alertmanagerAlert{
		Labels:      map[string]string{"site": l.Site},
		Annotations: map[string]string{"summary": l.Subject, "description": l.Summary, "record": l.Chain},
		StartsAt:    l.Time.UTC(), EndsAt: now.Add(systemLasts).UTC(), GeneratorURL: l.URL,
	}
	switch l.Type {
	case breach.IncidentOpened, breach.IncidentContinued:
		a.Labels["alertname"] = "SchoolgateIncident"
		a.Labels["incident"], a.Labels["severity"], a.Labels["category"] = l.Incident, l.Severity, l.Category
		a.Labels["group"], a.Labels["action"] = l.Group, l.Action
		a.StartsAt, a.EndsAt = l.First.UTC(), now.Add(incidentLasts).UTC()
		if end := l.Last.Add(incidentLasts).UTC(); end.After(a.EndsAt) {
			a.EndsAt = end
		}
	case typeTest:
		a.Labels["alertname"], a.Labels["severity"], a.EndsAt = "SchoolgateTest", "none", now.Add(testLasts).UTC()
	default:
		a.Labels["alertname"], a.Labels["severity"], a.Labels["message"] = "SchoolgateSystem", "warning", id
	}
	for label, value := range a.Labels {
		if value == "" {
			delete(a.Labels, label)
		}
	}
	return []alertmanagerAlert{a}
}

// encodeJSON writes what is made of texts, times and numbers, which can always be written. A receiver may show it on a
// terminal as it is.
func encodeJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return breach.Escaped(body)
}
