package alert

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

var pupil = netip.MustParseAddr("10.20.3.4")

// school is a configuration with a thin and a full receiver.
func school() Config {
	trusted := webhook("dsl", "http://127.0.0.1:9/dsl")
	trusted.Full = true
	return Config{
		Site: "winchelsea", ConsoleURL: "https://console.example",
		Receivers: []Receiver{trusted, webhook("headteacher", "http://127.0.0.1:9/head"), webhook("it", "http://127.0.0.1:9/it")},
		Routes: []Route{
			{Severities: []string{"critical", "high"}, To: []string{"dsl"}},
			{Severities: []string{"medium", "low"}, To: []string{"dsl"}, Digest: schoolDays},
			{Severities: []string{"critical"}, To: []string{"headteacher", "dsl"}},
			{About: AboutSystem, To: []string{"it"}},
		},
	}
}

func dispatcher(t testing.TB, c Config) *Dispatcher {
	t.Helper()
	d, err := New(Options{Config: c, Outbox: newMemory()})
	must(t, err)
	return d
}

func TestWhatAnAlertSays(t *testing.T) {
	const head = `{"type":"incident.opened","timestamp":"2026-11-20T10:14:03.218Z","data":{` +
		`"incident":"01JD3V5M8ZAAAAAAAAAAAAAAAA","site":"winchelsea","severity":"high","category":"pornography",` +
		`"title":"Pornography","group":"year7","action":"block","count":3,` +
		`"first":"2026-11-20T10:14:03.218Z","last":"2026-11-20T10:14:09.001Z"`
	const url = `,"url":"https://console.example/incidents/01JD3V5M8ZAAAAAAAAAAAAAAAA"`
	const chain = `,"chain":{"seq":42,"hash":"abc"}`
	const client = `,"client":{"ip":"10.20.3.4","mac":"","name":"y7-ipad-3","user":""}`
	const names = `,"names":[{"name":"www.example.org","count":2},{"name":"example.org","count":1}]`

	for what, c := range map[string]struct {
		full   bool
		config func(*Config)
		notice func(*breach.Notice)
		want   string
	}{
		"thin: no client, no names":            {false, nil, nil, head + url + chain + "}}"},
		"full: both":                           {true, nil, nil, head + url + chain + client + names + "}}"},
		"without a console there is no link":   {false, func(c *Config) { c.ConsoleURL = "" }, nil, head + chain + "}}"},
		"confidential: no names, also in full": {true, nil, func(n *breach.Notice) { n.Attribution.Confidential = true }, head + url + chain + client + "}}"},
		"a shared address is no person": {
			true, nil, func(n *breach.Notice) { n.Attribution.Shared = true },
			head + url + chain + `,"note":"person unknown: many people share this address"` + client + names + "}}",
		},
		"texts are inert": {
			false, nil, func(n *breach.Notice) { n.Attribution.Title = "<!channel>\n\x00\xff" },
			strings.Replace(head, `"title":"Pornography"`, `"title":"\u003c!channel\u003e\n\u0000"`, 1) + url + chain + "}}",
		},
	} {
		t.Run(what, func(t *testing.T) {
			config := school()
			config.Receivers[0].Full = c.full
			if c.config != nil {
				c.config(&config)
			}
			got := dispatcher(t, config).Route(notice(c.notice))
			want := []breach.Alert{{
				Receiver: "dsl", Type: "incident.opened", Incident: "01JD3V5M8ZAAAAAAAAAAAAAAAA", Body: []byte(c.want),
			}}
			if diff := cmp.Diff(want, got, cmp.Transformer("text", func(b []byte) string { return string(b) })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestABodyIsSmallAndWhole(t *testing.T) {
	long := strings.Repeat(`"\`, 5000)
	n := notice(func(n *breach.Notice) {
		n.Site, n.Attribution.Title, n.Attribution.Group, n.Attribution.Category = long, long, long, long
		n.Client = policy.Client{Addr: pupil, MAC: long, Name: long, User: long}
		n.Names = nil
		for range 50 {
			n.Names = append(n.Names, breach.NameCount{Name: strings.Repeat(`\007`, 253), Count: 7})
		}
	})
	body := dispatcher(t, school()).Route(n)[0].Body
	if len(body) >= 20_000 {
		t.Errorf("the body has %d bytes", len(body))
	}
	var got struct{ Data incidentData }
	must(t, json.Unmarshal(body, &got))
	if len(got.Data.Names) < 5 {
		t.Errorf("there are only %d names left", len(got.Data.Names))
	}
}

func TestWhoIsTold(t *testing.T) {
	for what, c := range map[string]struct {
		severity policy.Severity
		alertTo  []string // nil: not set
		want     []string
	}{
		"those of the routes for the severity":              {policy.SeverityHigh, nil, []string{"dsl"}},
		"every route that matches, each receiver once":      {policy.SeverityCritical, nil, []string{"dsl", "headteacher"}},
		"a digest sends nothing at once":                    {policy.SeverityLow, nil, nil},
		"alert_to replaces the receivers":                   {policy.SeverityHigh, []string{"headteacher"}, []string{"headteacher"}},
		"alert_to of every route, but each receiver once":   {policy.SeverityCritical, []string{"headteacher", "it", "it"}, []string{"headteacher", "it"}},
		"alert_to reaches nobody where no route matches":    {policy.SeverityLow, []string{"headteacher"}, nil},
		"an empty alert_to tells nobody":                    {policy.SeverityHigh, []string{}, nil},
		"an alert for a receiver that is not there is kept": {policy.SeverityHigh, []string{"gone"}, []string{"gone"}},
	} {
		t.Run(what, func(t *testing.T) {
			n := notice(func(n *breach.Notice) {
				n.Attribution.Severity, n.Attribution.AlertTo, n.Attribution.AlertToSet = c.severity, c.alertTo, c.alertTo != nil
			})
			var got []string
			for _, a := range dispatcher(t, school()).Route(n) {
				got = append(got, a.Receiver)
				if full := strings.Contains(string(a.Body), "www.example.org"); full != (a.Receiver == "dsl") {
					t.Errorf("the alert for %s has names: %v", a.Receiver, full)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
