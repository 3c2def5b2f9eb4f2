package alert

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares what was made with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func london(t testing.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/London")
	must(t, err)
	return zone
}

// hostile is a device that tries every markup there is.
const hostile = "<!channel> <http://evil.example|ipad> <users/all> *b* _i_ ~s~ `c` [l](http://evil.example) # h & &lt; <b>x</b>\r\nBcc: all@school.example\u202e\u2066gpj\x00\x1b[31m"

// letters are a letter of each sort, by what it is of.
func letters(t testing.TB) map[string]Letter {
	t.Helper()
	of := func(full bool, change func(*breach.Notice)) Letter {
		return letter(incidentBody(notice(change), "https://console.example", full), london(t))
	}
	d := dispatcher(t, school())
	d.now = func() time.Time { return tenPast }
	return map[string]Letter{
		"opened": of(false, nil),
		"full":   of(true, func(n *breach.Notice) { n.Client.User = "a.pupil@school.example" }),
		"continued": of(false, func(n *breach.Notice) {
			n.Kind, n.Count, n.Last = breach.IncidentContinued, 43, tenPast.Add(20*time.Minute)
		}),
		"iwf": of(true, func(n *breach.Notice) {
			n.Attribution.Category, n.Attribution.Title, n.Attribution.Severity = "iwf", "Child sexual abuse (IWF list)", policy.SeverityCritical
			n.Attribution.Confidential, n.Count = true, 1
		}),
		"hostile": of(true, func(n *breach.Notice) {
			n.Site, n.Attribution.Title, n.Attribution.Group = hostile, hostile, hostile
			n.Client = policy.Client{Addr: pupil, Name: hostile, User: hostile}
			n.Names = nil
			for range 30 {
				n.Names = append(n.Names, breach.NameCount{Name: `\060\033channel\062.` + strings.Repeat("x", 63) + ".xn--e1afmkfd.example", Count: 2})
			}
			n.Names = append([]breach.NameCount{{Name: hostile, Count: 7}}, n.Names...)
		}),
		"digest":         digestLetter(t, false, "Gaming"),
		"digest_full":    digestLetter(t, true, "Gaming"),
		"digest_hostile": digestLetter(t, true, hostile),
		"system":         letter(d.textBody(typeSystem, "The list iwf is two days old: https://lists.example/iwf.txt does not answer."), london(t)),
		"test":           letter(d.textBody(typeTest, testMessage), london(t)),
	}
}

// form is a letter as a receiver of a type is sent it.
func form(t testing.TB, kind string, l Letter) []byte {
	t.Helper()
	var v any
	switch kind {
	case TypeSlack:
		v = slackMessage(l, "")
	case TypeTeams:
		v = teamsMessage(l, "")
	case TypeGoogleChat:
		v = googleChatMessage(l, "")
	case TypeAlertmanager:
		v = alertmanagerAlerts(l, "msg_1", tenPast)
	case TypeEmail:
		m, err := newMail(&mailbox, "msg_1", l, "", "", "")
		must(t, err)
		return m.bytes()
	}
	return encodeJSON(v)
}

// mailbox is a receiver of mail.
var mailbox = Receiver{Name: "dsl", Type: TypeEmail, SMTP: SMTP{
	Server: "mail.example:587", From: "schoolgate@school.example", To: []string{"dsl@school.example", "head@school.example"},
}}

func TestWhatEachReceiverIsSent(t *testing.T) {
	for what, l := range letters(t) {
		for _, kind := range Types()[1:] {
			t.Run(what+" by "+kind, func(t *testing.T) {
				got := form(t, kind, l)
				name := what + "." + kind
				if kind == TypeEmail {
					golden(t, name, bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")))
					m, err := newMail(&mailbox, "msg_1", l, "", "", "")
					must(t, err)
					golden(t, what+".html", []byte(m.webpage))
					return
				}
				var indented bytes.Buffer
				must(t, json.Indent(&indented, got, "", "  "))
				golden(t, name+".json", indented.Bytes())
			})
		}
	}
}

func TestOnlyFullNamesClientAndNamesAndNeverAlertmanager(t *testing.T) {
	all := letters(t)
	for _, kind := range Types()[1:] {
		for what, full := range map[string]bool{"opened": false, "continued": false, "full": true, "iwf": false} {
			got := string(form(t, kind, all[what]))
			if kind == TypeEmail {
				got = strings.ReplaceAll(got, "=\r\n", "")
			}
			want := full && kind != TypeAlertmanager
			if has := strings.Contains(got, "www[.]example[.]org"); has != want {
				t.Errorf("%s by %s: names what was asked for: %v", what, kind, has)
			}
			if has := strings.Contains(got, "y7-ipad-3"); has != want && what != "iwf" {
				t.Errorf("%s by %s: names the device: %v", what, kind, has)
			}
		}
	}
}
