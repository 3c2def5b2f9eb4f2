package alert

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
	"time"
)

//go:embed mail.html
var mailHTML string

// maxSubject is how many characters a subject has.
const maxSubject = 150

// mailing is a letter as a mail: a header, and the text as plain text and as HTML.
type mailing struct {
	from          string
	to            []string
	id, thread    string // what stands before the @ of Message-ID, and of that of the incident's mails in general
	date          time.Time
	subject       string
	important     bool
	text, webpage string
}

// newMail returns the mail of a letter. One letter makes the same mail each time, so that a server or a
// program knows it again.
func newMail(r *Receiver, id string, l Letter, subject, text, webpage string) (mailing, error) {
	m := mailing{
		from: r.SMTP.From, to: r.SMTP.To, id: id, date: l.Time, thread: l.Incident,
		subject: clean("[schoolgate] "+l.Subject, maxSubject), important: l.Severity == "critical" || l.Severity == "high",
		text: text, webpage: webpage,
	}
	if subject != "" {
		m.subject = clean(subject, maxSubject)
	}
	if text == "" {
		m.text = plainText(l)
	}
	if webpage != "" {
		return m, nil
	}
	page, err := template.New("mail").Parse(mailHTML)
	if err != nil {
		return m, err
	}
	var b strings.Builder
	if err := page.Execute(&b, l); err != nil {
		return m, err
	}
	m.webpage = b.String()
	return m, nil
}

// plainText is a letter as plain text.
func plainText(l Letter) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s\n", l.Summary)
	for _, f := range l.Facts {
		label := f.Label
		if label != "" {
			label += ":"
		}
		line("%-11s %s", label, f.Value)
	}
	if l.URL != "" {
		line("\n%s: %s", l.link(), l.URL)
	}
	for _, a := range l.Advice {
		line("\n%s", a)
	}
	if l.Chain != "" {
		line("\n--\nRecord %s", l.Chain)
	}
	return b.String()
}

// bytes writes the mail after RFC 5322, with lines that end in CRLF.
func (m *mailing) bytes() []byte {
	var b bytes.Buffer
	domain := m.from[strings.LastIndexByte(m.from, '@')+1:]
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", "schoolgate <"+m.from+">")
	header("To", strings.Join(m.to, ",\r\n "))
	header("Subject", mime.QEncoding.Encode("utf-8", m.subject))
	header("Date", m.date.Format(time.RFC1123Z))
	header("Message-ID", "<"+atom(m.id)+"@"+domain+">")
	if m.thread != "" {
		// All mails of an incident stand together.
		header("In-Reply-To", "<incident."+atom(m.thread)+"@"+domain+">")
		header("References", "<incident."+atom(m.thread)+"@"+domain+">")
	}
	if m.important {
		header("Importance", "high")
	}
	header("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	header("X-Auto-Response-Suppress", "All")
	header("MIME-Version", "1.0")
	parts := multipart.NewWriter(&b)
	// Made of the id, so that the mail is the same each time; no part holds it, for in quoted-printable = is followed by digits.
	if err := parts.SetBoundary("=_" + hex.EncodeToString([]byte(clip(m.id, 30)))); err != nil {
		panic(err)
	}
	header("Content-Type", `multipart/alternative; boundary="`+parts.Boundary()+`"`)
	b.WriteString("\r\n")
	for _, part := range []struct{ kind, text string }{{"text/plain", m.text}, {"text/html", m.webpage}} {
		w, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type": {part.kind + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"},
		})
		if err != nil {
			panic(err) // a buffer takes everything
		}
		q := quotedprintable.NewWriter(w)
		_, _ = q.Write([]byte(part.text))
		_ = q.Close()
	}
	_ = parts.Close()
	return b.Bytes()
}

// atom keeps of an id what may stand before an @ (RFC 5322 §3.2.3).
func atom(id string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			return c
		}
		return -1
	}, id)
}
