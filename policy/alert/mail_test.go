package alert

import (
	"bytes"
	"context"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy/breach"
)

// posting runs a Dispatcher with a receiver of mail at a server, as if that were mail.example and not on this
// machine, and has it tell of an incident.
func posting(t *testing.T, b *letterbox, change func(*Receiver)) (*Dispatcher, *memory) {
	t.Helper()
	r := mailbox
	r.SMTP.To = slices.Clone(r.SMTP.To)
	if change != nil {
		change(&r)
	}
	outbox := newMemory()
	d, _ := run(t, Options{
		Config: Config{Receivers: []Receiver{r}}, Outbox: outbox, Roots: b.roots, Now: func() time.Time { return tenPast },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, b.address)
		},
	})
	must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Body: incidentBody(notice(nil), "", false)}))
	eventually(t, "settled", func() bool { return len(outbox.settled()) == 1 })
	return d, outbox
}

// saidText is what IT was told of.
func (d *Dispatcher) saidText() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(slices.Collect(maps.Keys(d.said)), "\n")
}

func TestAMailIsHandedInByTLSAndRead(t *testing.T) {
	b := newLetterbox(t, nil)
	_, outbox := posting(t, b, nil)
	if got := outbox.settled()[0].Outcome; got.State != breach.Delivered || got.Status != "SMTP 250" {
		t.Errorf("it is %+v", got)
	}
	if diff := cmp.Diff([]string{"EHLO", "STARTTLS"}, b.inClear); diff != "" {
		t.Error("what crossed the network in clear:", diff)
	}
	taken := b.letters()
	if len(taken) != 1 || taken[0].from != "schoolgate@school.example" || !slices.Equal(taken[0].to, mailbox.SMTP.To) {
		t.Fatalf("it took %+v", taken)
	}
	m, err := mail.ReadMessage(strings.NewReader(taken[0].text))
	must(t, err)
	if id := m.Header.Get("Message-Id"); id != "<msg_1@school.example>" {
		t.Errorf("its Message-ID is %s", id)
	}
	parts := partsOf(t, m)
	if text := parts["text/plain"]; !strings.HasPrefix(text, "A device in group year7 asked for Pornography 3 times at 10:14 (blocked).") {
		t.Errorf("its text is %q", text)
	}
	if page := parts["text/html"]; !strings.Contains(page, "asked for Pornography 3 times at 10:14") {
		t.Errorf("its page is %q", page)
	}
}

// partsOf reads the parts of a mail by their type.
func partsOf(t testing.TB, m *mail.Message) map[string]string {
	t.Helper()
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	must(t, err)
	if kind != "multipart/alternative" {
		t.Fatalf("it is %s", kind)
	}
	parts := map[string]string{}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF { //nolint:errorlint // multipart returns it as it is
			return parts
		}
		must(t, err)
		text, err := io.ReadAll(quotedprintable.NewReader(p))
		must(t, err)
		kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		must(t, err)
		parts[kind] = string(text)
	}
}

func TestHowAMailServerMayAnswer(t *testing.T) {
	const second = time.Second
	for what, c := range map[string]struct {
		server func(*letterbox)
		change func(*Receiver)
		state  breach.State
		status string
		tells  bool // IT at once
	}{
		"greylisted":               {func(b *letterbox) { b.rcpt = []string{"451 4.7.1 try again later"} }, nil, breach.Pending, "not taken for 2 of 2 addresses: SMTP 451", false},
		"no such mailbox":          {func(b *letterbox) { b.rcpt = []string{"550 who?"} }, nil, breach.Pending, "not taken for 2 of 2 addresses: SMTP 550", true},
		"the sender is refused":    {func(b *letterbox) { b.mail = "553 not yours" }, nil, breach.Pending, "SMTP 553", true},
		"the text is refused":      {func(b *letterbox) { b.data = "554 looks like spam: www.example.org" }, nil, breach.Pending, "SMTP 554", true},
		"its disk is full":         {func(b *letterbox) { b.data = "452 no space" }, nil, breach.Pending, "SMTP 452", false},
		"too busy":                 {func(b *letterbox) { b.greeting = "421 too many connections" }, nil, breach.Pending, "SMTP 421", false},
		"no STARTTLS":              {func(b *letterbox) { b.noTLS = true }, nil, breach.Pending, "the server offers no STARTTLS", false},
		"another's certificate":    {nil, func(r *Receiver) { r.SMTP.Server = "other.example:587" }, breach.Pending, "certificate is valid for mail.example, not other.example", false},
		"it closes at RCPT":        {func(b *letterbox) { b.cutAt = "RCPT" }, nil, breach.Pending, "EOF", false},
		"it closes after the text": {func(b *letterbox) { b.cutAt = "." }, nil, breach.Pending, "EOF", false},
		"it is no SMTP":            {func(b *letterbox) { b.greeting = "HTTP/1.1 400 Bad Request" }, nil, breach.Pending, "it is no SMTP", false},
		"a line without end":       {func(b *letterbox) { b.greeting = strings.Repeat("2", 1<<20) }, nil, breach.Pending, "the server says too much", false},
		"by PLAIN":                 {func(b *letterbox) { b.auth, b.password = "PLAIN LOGIN", "open sesame" }, signIn, breach.Delivered, "SMTP 250", false},
		"by LOGIN":                 {func(b *letterbox) { b.auth, b.password = "XOAUTH2 LOGIN", "open sesame" }, signIn, breach.Delivered, "SMTP 250", false},
		"TLS from the start":       {func(b *letterbox) { b.fromStart, b.auth, b.password = true, "PLAIN", "open sesame" }, onPort465, breach.Delivered, "SMTP 250", false},
		"in clear on its port":     {nil, onPort465, breach.Pending, "first record does not look like a TLS handshake", false},
		"a wrong password":         {func(b *letterbox) { b.auth, b.password = "PLAIN", "another" }, signIn, breach.Pending, "SMTP 535", true},
		"by nothing that we know":  {func(b *letterbox) { b.auth = "GSSAPI" }, signIn, breach.Pending, "neither PLAIN nor LOGIN", false},
		"in clear to loopback": {
			func(b *letterbox) { b.noTLS = true }, func(r *Receiver) { r.SMTP.Server = "127.0.0.1:25" }, breach.Delivered, "SMTP 250", false,
		},
	} {
		t.Run(what, func(t *testing.T) {
			d, outbox := posting(t, newLetterbox(t, c.server), c.change)
			got := outbox.settled()[0].Outcome
			if got.State != c.state || !strings.Contains(got.Status, c.status) {
				t.Errorf("it is %q, %q; want %q, %q", got.State, got.Status, c.state, c.status)
			}
			if strings.Contains(got.Status, "sesame") || strings.Contains(got.Status, "example.org") {
				t.Errorf("%q shows what the server repeated", got.Status)
			}
			if told := strings.Contains(d.saidText(), "does not take alerts"); told != c.tells {
				t.Errorf("IT is told at once: %v", told)
			}
			if wait := got.Next.Sub(tenPast); c.state == breach.Pending && (wait < 5*second || wait > 6*second) {
				t.Errorf("the next try is in %v", wait)
			}
		})
	}
}

// onPort465 is a receiver whose server speaks TLS from the start.
func onPort465(r *Receiver) {
	signIn(r)
	r.SMTP.Server = "mail.example:465"
}

// signIn is a receiver that authenticates.
func signIn(r *Receiver) { r.SMTP.User, r.Secrets = "schoolgate", [][]byte{[]byte("open sesame")} }

func TestAMailServerThatHangsIsLeft(t *testing.T) {
	for _, at := range []string{"connect", "EHLO", "MAIL", "QUIT"} {
		t.Run(at, func(t *testing.T) {
			b := newLetterbox(t, func(b *letterbox) { b.silentAt = at })
			r := mailbox
			d, err := New(Options{Config: Config{Receivers: []Receiver{r}}, Roots: b.roots, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, b.address)
			}})
			must(t, err)
			m, err := newMail(&r, "msg_1", letters(t)["opened"], "", "", "")
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // in place of Timeout
			defer cancel()
			got := d.sendMail(ctx, &r, &m, map[string]bool{})
			if at == "QUIT" != got.delivered || !got.delivered && got.text != "no answer within 15s" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestAnAddressThatHasAMailGetsItOnce(t *testing.T) {
	b := newLetterbox(t, func(b *letterbox) { b.rcpt = []string{"250 ok", "451 later", "250 ok"} })
	outbox := newMemory()
	at := tenPast
	d, err := New(Options{
		Config: Config{Receivers: []Receiver{mailbox}}, Outbox: outbox, Roots: b.roots, Now: func() time.Time { return at },
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, b.address)
		},
	})
	must(t, err)
	must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Body: incidentBody(notice(nil), "", false)}))
	w := d.workers["dsl"]
	w.turn(t.Context())
	if got := outbox.settled(); len(got) != 1 || got[0].Outcome.Status != "not taken for 1 of 2 addresses: SMTP 451" {
		t.Fatalf("got %+v", got)
	}
	b.rcpt = []string{"250 ok"}
	at = at.Add(10 * time.Second)
	w.turn(t.Context())
	taken := b.letters()
	if len(taken) != 2 || !slices.Equal(taken[0].to, mailbox.SMTP.To[:1]) || !slices.Equal(taken[1].to, mailbox.SMTP.To[1:]) {
		t.Fatalf("it took %+v", taken)
	}
	if taken[0].text != taken[1].text {
		t.Error("the second try is another mail")
	}
	if got := outbox.settled(); len(got) != 2 || got[1].Outcome.State != breach.Delivered || len(w.taken) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestNoTextGetsIntoAMailsHeader(t *testing.T) {
	l := letters(t)["hostile"]
	m, err := newMail(&mailbox, "msg_1\r\nBcc: x@y.example", l, "Subject\r\nBcc: all@school.example\r\n\r\nbody", "", "")
	must(t, err)
	read, err := mail.ReadMessage(bytes.NewReader(m.bytes()))
	must(t, err)
	if len(read.Header["Bcc"]) > 0 || len(read.Header) != 12 {
		t.Errorf("the header is %v", read.Header)
	}
	if got := read.Header.Get("Subject"); got != "Subject Bcc: all@school.example body" {
		t.Errorf("the subject is %q", got)
	}
}
