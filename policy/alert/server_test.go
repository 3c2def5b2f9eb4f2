package alert

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// letterbox is a mail server that can be made to fail.
type letterbox struct {
	certificate tls.Certificate
	roots       *x509.CertPool
	noTLS       bool     // it offers no STARTTLS
	fromStart   bool     // it speaks TLS from the start
	auth        string   // the mechanisms that it offers over TLS, "PLAIN LOGIN"
	password    string   // that it takes, of the user schoolgate
	greeting    string   // in place of its own
	mail, data  string   // answers to MAIL and to the end of DATA, in place of 250
	rcpt        []string // answers to each RCPT in turn, in place of 250; the last one stays
	silentAt    string   // the command at which it says nothing more
	cutAt       string   // the command at which it closes the connection

	mu       sync.Mutex
	taken    []letterTaken
	sessions int
	inClear  []string // the commands that came before TLS
	address  string
}

// letterTaken is a mail that the server has taken.
type letterTaken struct {
	from string
	to   []string
	text string
}

// newLetterbox starts a mail server on loopback, with a certificate for mail.example.
func newLetterbox(t testing.TB, change func(*letterbox)) *letterbox {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example"}, DNSNames: []string{"mail.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	b := &letterbox{certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots: x509.NewCertPool()}
	b.roots.AddCert(leaf)
	if change != nil {
		change(b)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	b.address = l.Addr().String()
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		sessions.Wait()
	})
	return b
}

// serve speaks SMTP (RFC 5321) to one client.
func (b *letterbox) serve(c net.Conn) {
	defer func() { c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if b.fromStart {
		c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{b.certificate}, MinVersion: tls.VersionTLS12})
	}
	r, secure := bufio.NewReader(c), b.fromStart
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	b.mu.Lock()
	b.sessions++
	b.mu.Unlock()
	if b.silentAt == "connect" {
		_, _ = io.Copy(io.Discard, r)
		return
	}
	say("%s", orElse(b.greeting, "220 mail.example ESMTP"))
	var m letterTaken
	for n := 0; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		command, rest, _ := strings.Cut(line, " ")
		if !secure {
			b.mu.Lock()
			b.inClear = append(b.inClear, command)
			b.mu.Unlock()
		}
		switch command {
		case b.silentAt:
			_, _ = io.Copy(io.Discard, r)
			return
		case b.cutAt:
			return
		}
		switch command {
		case "EHLO":
			offers := []string{"mail.example", "8BITMIME"}
			if !secure && !b.noTLS {
				offers = append(offers, "STARTTLS")
			}
			if secure && b.auth != "" {
				offers = append(offers, "AUTH "+b.auth)
			}
			for i, o := range offers {
				say("250%s%s", map[bool]string{true: " ", false: "-"}[i == len(offers)-1], o)
			}
		case "STARTTLS":
			say("220 go on")
			secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{b.certificate}, MinVersion: tls.VersionTLS12})
			if secured.Handshake() != nil {
				return
			}
			c, r, secure = secured, bufio.NewReader(secured), true
		case "AUTH":
			b.authenticate(rest, r, say)
		case "MAIL":
			m = letterTaken{from: between(rest)}
			say("%s", orElse(b.mail, "250 ok"))
		case "RCPT":
			answer := "250 ok"
			if len(b.rcpt) > 0 {
				answer = b.rcpt[min(n, len(b.rcpt)-1)]
			}
			n++
			if strings.HasPrefix(answer, "250") {
				m.to = append(m.to, between(rest))
			}
			say("%s", answer)
		case "DATA":
			say("354 go on")
			var text strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			if b.cutAt == "." {
				return
			}
			if b.data == "" {
				m.text = text.String()
				b.mu.Lock()
				b.taken = append(b.taken, m)
				b.mu.Unlock()
			}
			say("%s", orElse(b.data, "250 queued"))
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

// authenticate asks for the password, by PLAIN or LOGIN.
func (b *letterbox) authenticate(rest string, r *bufio.Reader, say func(string, ...any)) {
	decode := func(s string) string {
		text, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
		return string(text)
	}
	ask := func(question string) string {
		say("334 %s", base64.StdEncoding.EncodeToString([]byte(question)))
		line, _ := r.ReadString('\n')
		return decode(line)
	}
	var user, password string
	switch mechanism, initial, _ := strings.Cut(rest, " "); mechanism {
	case "PLAIN":
		if parts := strings.Split(decode(initial), "\x00"); len(parts) == 3 {
			user, password = parts[1], parts[2]
		}
	case "LOGIN":
		user, password = ask("Username:"), ask("Password:")
	}
	if user == "schoolgate" && password == b.password {
		say("235 welcome")
		return
	}
	say("535 %s is not the password of %s", password, user)
}

func (b *letterbox) letters() []letterTaken {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]letterTaken(nil), b.taken...)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func between(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
