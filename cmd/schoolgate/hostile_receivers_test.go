package main

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The school's own texts have no markup, so that any that is found comes from a name.
const (
	hostileTemplate = "{{.Subject}} {{.Site}} {{.Title}} {{.Group}} {{.Client.User}} {{.Client.Name}} {{.Summary}} {{range .Facts}}{{.Label}} {{.Value}} {{end}}" +
		"{{range .Names}} {{.Name}}{{end}}"
	hostileMailTemplate = `{{define "subject"}}{{.Type}} {{.Client.User}} {{range .Names}}{{.Name}} {{end}}{{end}}` +
		`{{define "text"}}{{.Site}} {{.Client.User}} {{range .Names}}{{.Name}} {{end}}{{end}}` +
		`{{define "html"}}<p>{{.Site}} <strong>{{.Client.User}}</strong> {{range .Names}}{{.Name}} {{end}}</p>{{end}}`
)

// receivers are one of each type, with the built-in texts and with the school's own, and one that answers rudely.
type receivers struct {
	t    *testing.T
	url  string
	mail string // the address of the mail server

	mu   sync.Mutex
	took map[string][]string // the bodies and mails, by receiver
}

func newReceivers(t *testing.T) *receivers {
	t.Helper()
	r := &receivers{t: t, took: map[string][]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
		r.take(name, string(body))
		if name == "rude" {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, strings.Join(hostileLabels(), " "))
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.mail = l.Addr().String()
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { r.serveMail(c) })
		}
	})
	t.Cleanup(func() { l.Close(); sessions.Wait() })
	return r
}

// all are the names of those that routes name.
func (r *receivers) all() []string {
	return []string{"hook", "teams", "slack", "google_chat", "email", "alertmanager", "own_teams", "own_slack", "own_google_chat", "own_email"}
}

func (r *receivers) yaml() string {
	var b strings.Builder
	b.WriteString("alerts:\n  quiet: 1s\n  receivers:\n")
	for _, name := range append(r.all(), "rude") {
		kind := strings.TrimPrefix(name, "own_")
		fmt.Fprintf(&b, "    %s: {", name)
		switch kind {
		case "hook", "rude":
			fmt.Fprintf(&b, "type: webhook, url: %q, secret_file: hook.secret", r.url+"/"+name)
		case "email":
			fmt.Fprintf(&b, "type: email, smtp: {server: %q, from: schoolgate@school.example, to: [%s@school.example]}", r.mail, name)
		default:
			fmt.Fprintf(&b, "type: %s, url: %q", kind, r.url+"/"+name)
		}
		if kind != "alertmanager" {
			b.WriteString(", detail: full")
		}
		if name == "own_email" {
			b.WriteString(", template_file: mail.template")
		} else if name != kind {
			b.WriteString(", template_file: chat.template")
		}
		b.WriteString("}\n")
	}
	digested := strings.Join(slices.DeleteFunc(r.all(), func(n string) bool { return n == "alertmanager" }), ", ")
	fmt.Fprintf(&b, "  routes:\n    - {severity: [critical, high], to: [%s]}\n    - {about: system, to: [%[1]s]}\n"+
		"    - {severity: [critical, high], to: [%s], digest: \"mon-sun 15:45\"}\n", strings.Join(r.all(), ", "), digested)
	return b.String()
}

func (r *receivers) take(name, body string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took[name] = append(r.took[name], body)
}

// serveMail takes mail (RFC 5321) in clear, as on this machine it may come.
func (r *receivers) serveMail(c net.Conn) {
	defer c.Close()
	lines, to := bufio.NewReader(c), ""
	say := func(what string) { fmt.Fprintf(c, "%s\r\n", what) }
	say("220 mail.example")
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		switch command, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " "); strings.ToUpper(command) {
		case "RCPT":
			to += strings.TrimSuffix(strings.TrimPrefix(rest, "TO:<"), "@school.example>")
			say("250 ok")
		case "DATA":
			say("354 go on")
			var text strings.Builder
			for {
				if line, err = lines.ReadString('\n'); err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			r.take(to, text.String())
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		case "EHLO", "MAIL":
			say("250 ok")
		default:
			say("502 what is " + command)
		}
	}
}

// hook is the body of a webhook, as the contract has it.
type hook struct {
	Type string
	Data struct {
		Client    struct{ IP, User string }
		Names     []struct{ Name string }
		Incidents []struct {
			Client struct{ User string }
			Names  []struct{ Name string }
		}
	}
}

// names are those that the webhook was told.
func (r *receivers) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := map[string]bool{}
	for _, body := range r.took["hook"] {
		var m hook
		decode(r.t, body, &m)
		for _, n := range m.Data.Names {
			told[n.Name] = true
		}
	}
	var names []string
	for n := range told {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// allDigested reports whether each receiver that has digests has had one, and nothing is on its way.
func (r *receivers) allDigested() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.all() {
		if name != "alertmanager" && !slices.ContainsFunc(r.took[name], isDigest) {
			return false
		}
	}
	return true
}

// isDigest tells a digest of any form: no other alert has the word.
func isDigest(body string) bool { return strings.Contains(strings.ToLower(body), "digest") }

// judge reads each alert as its receiver does.
func (r *receivers) judge(want []string) {
	t := r.t
	if diff := cmp.Diff(want, r.names()); diff != "" {
		t.Errorf("the webhook's names (-want +got):\n%s", diff)
	}
	for _, name := range append(r.all(), "rude") {
		if len(r.took[name]) == 0 {
			t.Errorf("%s was told nothing", name)
		}
		shownNames := map[string]bool{}
		for _, body := range r.took[name] {
			if strings.HasSuffix(name, "email") {
				r.judgeMail(name, body, shownNames)
				continue
			}
			inertText(t, name, body)
			var v any
			decode(t, body, &v)
			r.judgeTexts(name, "", v, shownNames)
		}
		for _, n := range want {
			switch shown := strings.ReplaceAll(n, ".", "[.]"); {
			case name == "alertmanager" || name == "rude" || name == "hook":
			case len(shown) > 110: // it is cut
			case !strings.HasPrefix(name, "own_") && !shownNames[shown]:
				t.Errorf("%s does not show %s", name, shown)
			}
		}
	}
	for _, body := range r.took["hook"] {
		var m hook
		decode(t, body, &m)
		if user := m.Data.Client.User; m.Data.Client.IP != "" && user != "" && !slices.Contains(hostileUsers(), user) {
			t.Errorf("the webhook was told of a user %q", user)
		}
	}
}

var (
	escapedMarkdown = regexp.MustCompile(`\\[^\pL\pN\s]`)
	entity          = regexp.MustCompile(`&(amp|lt|gt|#34|#39);`)
	cardTag         = regexp.MustCompile(`</?[bi]>|<br>`)
	aName           = regexp.MustCompile(`\S+\[\.\]bad\[\.\]example`)
)

// judgeTexts looks at each text in JSON for what the receiver would do with it.
func (r *receivers) judgeTexts(name, key string, v any, shown map[string]bool) {
	t := r.t
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			r.judgeTexts(name, key, e, shown)
		}
	case map[string]any:
		kind, _ := v["type"].(string)
		for k, e := range v {
			if kind == "mrkdwn" || kind == "TextBlock" {
				k = kind
			} else if v["link_names"] != nil && k == "text" {
				k = "mrkdwn"
			}
			r.judgeTexts(name, k, e, shown)
		}
	case string:
		for _, n := range aName.FindAllString(cardTag.ReplaceAllString(v, " "), -1) {
			shown[n] = true
		}
		bad := ""
		own := strings.HasPrefix(name, "own_")
		switch kind := strings.TrimPrefix(name, "own_"); {
		case kind == "hook" || kind == "rude":
			return // a program's
		case key == "url" || key == "generatorURL":
			if !strings.HasPrefix(v, "https://console.example/incidents") {
				bad = "a link"
			}
		case key == "$schema" || key == "contentType" || key == "type" || key == "startsAt" || key == "endsAt":
		case kind == "slack" && key == "mrkdwn":
			if v != "mrkdwn" && strings.ContainsAny(entity.ReplaceAllString(v, ""), "<>&") || own && strings.ContainsAny(v, "*_~`") {
				bad = "markup"
			}
		case kind == "teams" && key == "TextBlock":
			if v != "TextBlock" && strings.ContainsAny(escapedMarkdown.ReplaceAllString(v, ""), "\\`*_{}[]()#+-.!|~<>&") {
				bad = "markup"
			}
		case kind == "google_chat" && key == "text":
			text := v
			if !own {
				text = entity.ReplaceAllString(cardTag.ReplaceAllString(v, ""), "")
			}
			if strings.ContainsAny(text, "<>") || !own && strings.Contains(text, "&") || own && strings.ContainsAny(text, "*_~`") {
				bad = "markup"
			}
		default:
			if strings.ContainsAny(v, "<>") {
				bad = "a mention"
			}
		}
		if bad != "" {
			t.Errorf("%s: %s can be %s: %q", name, key, bad, v)
		}
		if name == "alertmanager" && (strings.Contains(v, "example") && !strings.HasPrefix(v, "https://console.example/") && !strings.Contains(v, "http[:]//evil") || strings.Contains(v, "calc")) {
			t.Errorf("Alertmanager is told %q", v)
		}
	}
}

// judgeMail reads a mail as a program for mail does.
func (r *receivers) judgeMail(name, data string, shownNames map[string]bool) {
	t := r.t
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Errorf("%s: %v: %q", name, err, data)
		return
	}
	for header := range m.Header {
		if len(m.Header[header]) != 1 || !slices.Contains([]string{
			"From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Importance", "Auto-Submitted",
			"X-Auto-Response-Suppress", "Mime-Version", "Content-Type",
		}, header) {
			t.Errorf("%s: there is a header %s: %q", name, header, m.Header[header])
		}
	}
	if to, err := m.Header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != name+"@school.example" {
		t.Errorf("%s: it goes to %v: %v", name, to, err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		t.Error(err)
	}
	inertText(t, name+": subject", subject)
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for n := 0; ; n++ {
		p, err := parts.NextRawPart()
		if err == io.EOF { //nolint:errorlint // it is that
			if n != 2 {
				t.Errorf("%s has %d parts", name, n)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Error(err)
		}
		text := strings.ReplaceAll(string(body), "\r\n", "\n")
		inertText(t, name, text)
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			text = shown(inertHTML(t, name, text, links(m)...))
		}
		for _, n := range aName.FindAllString(text, -1) {
			shownNames[n] = true
		}
	}
}

// links are those that a mail may have: its incident's, and that of all.
func links(m *mail.Message) []string {
	out := []string{"https://console.example/incidents"}
	if id := regexp.MustCompile(`<incident\.([0-9A-Z]{26})@`).FindStringSubmatch(m.Header.Get("References")); id != nil {
		out = append(out, "https://console.example/incidents/"+id[1])
	}
	return out
}
