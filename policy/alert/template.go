package alert

import (
	"bytes"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Template is a text of the school's own in place of the built-in one. It is executed with a Letter.
//
// For a chat it is the text of the message, in the chat's own markup (text/template). For mail it is a file
// with any of the blocks "subject", "text" (text/template) and "html" (html/template). Where it yields
// nothing, the built-in one is sent.
type Template struct {
	source string
	text   *texttemplate.Template
	html   *htmltemplate.Template // of mail
}

// maxOwn is how many bytes a template may make of a message for a chat or of a part of a mail. Chats have
// limits of 3000 characters (Slack), 4096 (Google Chat) and 28 kB (Teams).
const maxOwn = 3000

// maxOwnMail is the same for a part of a mail.
const maxOwnMail = 200_000

// blocks are those of a mail.
func blocks() []string { return []string{"subject", "text", "html"} }

// ParseTemplate reads a template for receivers of a type, and tries it on a message of each kind.
func ParseTemplate(kind, source string) (*Template, error) {
	t := &Template{source: source}
	var err error
	switch kind {
	case TypeTeams, TypeSlack, TypeGoogleChat:
		if t.text, err = texttemplate.New("text").Parse(source); err != nil {
			return nil, err
		}
	case TypeEmail:
		if t.text, err = texttemplate.New("mail").Parse(source); err != nil {
			return nil, err
		}
		if t.html, err = htmltemplate.New("mail").Parse(source); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(blocks(), t.has) {
			return nil, errors.New(`defines none of the blocks "subject", "text" and "html"`)
		}
	default:
		return nil, fmt.Errorf("a receiver of type %s takes no template", kind)
	}
	for _, l := range examples() {
		for _, block := range blocks() {
			if _, err := t.execute(kind, block, l); err != nil {
				return nil, fmt.Errorf("with an example of %s: %w", l.Type, err)
			}
		}
	}
	return t, nil
}

// Equal reports whether two are the same text.
func (t *Template) Equal(o *Template) bool {
	return t == o || t != nil && o != nil && t.source == o.source
}

func (t *Template) has(block string) bool { return t.text.Lookup(block) != nil }

// execute returns what a block makes of a letter, "" where there is no such block. A chat's is "text".
func (t *Template) execute(kind, block string, l Letter) (string, error) {
	if t == nil || !t.has(block) {
		return "", nil
	}
	w := limited{most: maxOwn}
	var err error
	switch kind {
	case TypeSlack:
		err = t.text.Execute(&w, l.mapped(slackText))
	case TypeTeams:
		err = t.text.Execute(&w, l.mapped(markdownText))
	case TypeGoogleChat:
		err = t.text.Execute(&w, l.mapped(googleChatText))
	default:
		w.most = maxOwnMail
		if block == "html" {
			err = t.html.ExecuteTemplate(&w, block, l)
		} else {
			err = t.text.ExecuteTemplate(&w, block, l)
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(w.made.String(), "�")), err
}

// limited takes so many bytes and no more.
type limited struct {
	made bytes.Buffer
	most int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.made.Len()+len(p) > l.most {
		return 0, fmt.Errorf("makes more than %d bytes", l.most)
	}
	return l.made.Write(p)
}

// examples are letters of each kind, as templates are tried on them.
func examples() (all []Letter) {
	at := time.Date(2026, 11, 20, 10, 14, 3, 0, time.UTC)
	for _, kind := range []string{breach.IncidentOpened, breach.IncidentContinued} {
		for _, full := range []bool{false, true} {
			n := breach.Notice{
				Kind: kind, Time: at, Incident: "01JD3V5M8Z4B6C7D8E9F0G1H2J", Site: "winchelsea",
				Attribution: policy.Attribution{Group: "year7", Category: "pornography", Title: "Pornography", Severity: policy.SeverityHigh, Action: "block"},
				Client:      policy.Client{Name: "y7-ipad-3", User: "a.pupil"}, Count: 3, First: at, Last: at.Add(time.Minute),
				Names: []breach.NameCount{{Name: "www.example.org", Count: 3}}, Chain: breach.Head{Seq: 42, Hash: "5f70"},
			}
			all = append(all, letter(incidentBody(n, "https://console.example", full), time.UTC))
		}
	}
	digest := digestData{
		Site: "winchelsea", From: stamp(at.AddDate(0, 0, -1)), To: stamp(at), Message: "From Thu 19 Nov 10:14 to Fri 20 Nov 10:14 nothing new came.",
		Chain: breach.Head{Seq: 42, Hash: "5f70"},
	}
	all = append(all, letter(encode(message{typeDigest, stamp(at), digest}), time.UTC))
	for _, kind := range []string{typeSystem, typeTest} {
		text := textData{Site: "winchelsea", Message: "The list iwf is two days old.", Chain: breach.Head{Seq: 42, Hash: "5f70"}}
		all = append(all, letter(encode(message{kind, stamp(at), text}), time.UTC))
	}
	return all
}
