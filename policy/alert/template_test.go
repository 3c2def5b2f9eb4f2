package alert

import (
	"strings"
	"testing"
	"time"

	"schoolgate/policy/breach"
)

func TestATemplateTakesThePlaceOfTheText(t *testing.T) {
	l := letters(t)["hostile"]
	const text = `*{{.Severity}}* {{.Title}}: {{.Count}} by {{.Client.Name}}{{range .Names}} {{.Name}}{{end}} {{.First.Format "15:04"}} {{.URL}}`
	for kind, c := range map[string]struct{ want, never string }{
		TypeSlack:      {`*high* ‹!channel› ‹http[:]//evil.example|ipad›`, "<>`~_"},
		TypeTeams:      {`*high* ‹\!channel› ‹http\[:\]//evil\.example\|ipad›`, "<>"},
		TypeGoogleChat: {`*high* ‹!channel› ‹http[:]//evil.example|ipad›`, "<>`~_"},
	} {
		tp, err := ParseTemplate(kind, text)
		must(t, err)
		got, err := tp.execute(kind, "text", l)
		must(t, err)
		if !strings.HasPrefix(got, c.want) || strings.ContainsAny(got, c.never) || !strings.Contains(got, " 10:14 https://console.example/incidents/01JD3") {
			t.Errorf("%s: %q", kind, got)
		}
	}
	tp, err := ParseTemplate(TypeEmail, `{{define "subject"}}{{.Title}}{{end}}{{define "html"}}<p title="{{.Title}}">{{.Title}}</p>{{end}}`)
	must(t, err)
	r := mailbox
	r.Template = tp
	d := dispatcher(t, Config{Receivers: []Receiver{r}})
	m, err := newMail(&r, "msg_1", l, d.own(&r, "subject", l), d.own(&r, "text", l), d.own(&r, "html", l))
	must(t, err)
	if !strings.HasPrefix(m.subject, "<!channel> <http[:]//evil.example|ipad>") || strings.ContainsAny(m.subject, "\r\n") {
		t.Errorf("the subject is %q", m.subject)
	}
	if !strings.HasPrefix(m.webpage, `<p title="&lt;!channel&gt; &lt;http[:]//evil.example|ipad&gt;`) || strings.Contains(m.webpage, "<b>") {
		t.Errorf("the page is %q", m.webpage)
	}
	if !strings.HasPrefix(m.text, "A device in group") {
		t.Errorf("a block that is not there is not the built-in one: %q", m.text)
	}
}

func TestATemplateThatFailsKeepsNobodyFromBeingTold(t *testing.T) {
	// It is right by the examples, which have one name.
	tp, err := ParseTemplate(TypeSlack, `{{if .Names}}{{if gt (len .Names) 1}}{{index .Names 99}}{{end}}{{end}}mine`)
	must(t, err)
	r := Receiver{Name: "chat", Type: TypeSlack, Template: tp}
	d := dispatcher(t, Config{Receivers: []Receiver{r}})
	if got := d.own(&r, "text", letters(t)["opened"]); got != "mine" {
		t.Errorf("it makes %q", got)
	}
	if got := d.own(&r, "text", letters(t)["hostile"]); got != "" {
		t.Errorf("it makes %q", got)
	}
	problems := d.Problems()
	if len(problems) != 1 || !strings.HasPrefix(problems[0], `alerts: the template of the receiver "chat" fails, and the built-in text is sent: template: text:1:`) {
		t.Errorf("problems are %q", problems)
	}
	d.Apply(Config{Receivers: []Receiver{r}})
	if got := d.Problems(); got != nil {
		t.Errorf("after a reload problems are %q", got)
	}
}

func TestWhichTemplatesAreRefused(t *testing.T) {
	for text, c := range map[string]struct{ kind, want string }{
		"{{.Nmes}}": {TypeSlack, "with an example of incident.opened: "},
		"{{":        {TypeTeams, "unclosed action"},
		"{{define \"html\"}}<a href={{.URL}}{{end}}": {TypeEmail, "html/template"},
		"plain": {TypeEmail, `defines none of the blocks "subject", "text" and "html"`},
		"any":   {TypeWebhook, "a receiver of type webhook takes no template"},
		"{{range .Facts}}{{range $.Facts}}{{range $.Facts}}{{range $.Facts}}{{.Value}}{{end}}{{end}}{{end}}{{end}}": {TypeGoogleChat, "makes more than 3000 bytes"},
	} {
		if _, err := ParseTemplate(c.kind, text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %s: %v, want %q", text, c.kind, err, c.want)
		}
	}
}

func TestALetterOfWhatIsNoMessageSaysSo(t *testing.T) {
	for _, body := range []string{"", "{}", "null", `{"type":"later","data":{}}`, `{"type":"system","data":[]}`, `{"type":"` + breach.IncidentOpened + `","data":7}`} {
		if l := letter([]byte(body), time.UTC); l.Subject == "" || !strings.Contains(l.Summary, "cannot be shown") {
			t.Errorf("%q: %+v", body, l)
		}
	}
}
