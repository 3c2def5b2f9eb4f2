package alert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// portTLS is the port on which mail servers speak TLS from the start (RFC 8314 §3.3).
const portTLS = "465"

// sendMail tries once to hand a mail to a server for those of m.to whom taken does not name yet, and adds to
// taken whom it took it for. It is delivered when it took it for all.
func (d *Dispatcher) sendMail(ctx context.Context, r *Receiver, m *mailing, taken map[string]bool) answer {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	c, err := d.dialSMTP(ctx, r)
	if err != nil {
		return answer{text: smtpReason(ctx, err), lasting: lasting(err)}
	}
	defer c.Close()
	if err := c.Mail("<" + r.SMTP.From + ">"); err != nil {
		return answer{text: smtpReason(ctx, err), lasting: lasting(err)}
	}
	var accepted []string
	var refusal error
	refused := 0
	for _, to := range r.SMTP.To {
		if taken[to] {
			continue
		}
		if err := c.Rcpt("<" + to + ">"); err != nil {
			refusal = err
			refused++
			continue
		}
		accepted = append(accepted, to)
	}
	if len(accepted) > 0 {
		if err := sendData(c, m.bytes()); err != nil {
			return answer{text: smtpReason(ctx, err), lasting: lasting(err)}
		}
	}
	for _, to := range accepted {
		taken[to] = true
	}
	_ = c.Quit() // it has the mail, whatever it answers
	if refused > 0 {
		return answer{
			text:    fmt.Sprintf("not taken for %d of %d addresses: %s", refused, len(r.SMTP.To), smtpReason(ctx, refusal)),
			lasting: lasting(refusal),
		}
	}
	return answer{delivered: true, text: "SMTP 250"}
}

func sendData(c *smtp.Client, data []byte) error {
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}

// dialSMTP connects to a receiver's server, and authenticates where there is a user. Off loopback nothing
// is sent in clear: a server that offers no STARTTLS, or a certificate of another, ends it.
func (d *Dispatcher) dialSMTP(ctx context.Context, r *Receiver) (client *smtp.Client, err error) {
	host, port, err := net.SplitHostPort(r.SMTP.Server)
	if err != nil {
		return nil, err
	}
	conn, err := d.dial(ctx, "tcp", r.SMTP.Server)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	// A stop breaks the try off, and so does the end of its time.
	plain := conn
	context.AfterFunc(ctx, func() { _ = plain.SetDeadline(time.Unix(1, 0)) })
	conn = &bounded{conn, maxConversation}
	config := &tls.Config{ServerName: host, RootCAs: d.roots, MinVersion: tls.VersionTLS12}
	secure := port == portTLS
	if secure {
		conn = tls.Client(conn, config)
	}
	if client, err = smtp.NewClient(conn, host); err != nil {
		return nil, err
	}
	if err = client.Hello(greeting(conn)); err != nil {
		return nil, err
	}
	if offered, _ := client.Extension("STARTTLS"); offered && !secure && !isLoopback(host) {
		if err = client.StartTLS(config); err != nil {
			return nil, err
		}
		secure = true
	}
	if !secure && !isLoopback(host) {
		err = errors.New("the server offers no STARTTLS: alerts would cross the network in clear")
		return nil, err
	}
	if r.SMTP.User != "" && len(r.Secrets) > 0 {
		err = client.Auth(&login{user: r.SMTP.User, password: string(r.Secrets[0])})
	}
	return client, err
}

// maxConversation is how many bytes a mail server may say in one session: its lines may have any length.
const maxConversation = 256 << 10

// bounded is a connection of which so many bytes are read and no more.
type bounded struct {
	net.Conn
	left int
}

// Read implements net.Conn.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the server says too much")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// greeting is what this host calls itself: its address, which is true everywhere (RFC 5321 §4.1.3).
func greeting(conn net.Conn) string {
	a, err := netip.ParseAddrPort(conn.LocalAddr().String())
	switch {
	case err != nil:
		return "localhost"
	case a.Addr().Unmap().Is4():
		return "[" + a.Addr().Unmap().String() + "]"
	}
	return "[IPv6:" + a.Addr().WithZone("").String() + "]"
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// login authenticates by PLAIN (RFC 4616), or by LOGIN where the server has only that, as that of Microsoft
// 365. The connection must be one on which a password may be said.
type login struct{ user, password string }

// Start implements smtp.Auth.
func (l *login) Start(server *smtp.ServerInfo) (string, []byte, error) {
	switch {
	case slices.Contains(server.Auth, "PLAIN"):
		return "PLAIN", []byte("\x00" + l.user + "\x00" + l.password), nil
	case slices.Contains(server.Auth, "LOGIN"):
		return "LOGIN", nil, nil
	}
	return "", nil, fmt.Errorf("the server authenticates by neither PLAIN nor LOGIN (%s)", clean(strings.Join(server.Auth, " "), maxShown))
}

// Next implements smtp.Auth.
func (l *login) Next(said []byte, more bool) ([]byte, error) {
	switch question := strings.ToLower(strings.TrimRight(string(said), ": ")); {
	case !more:
		return nil, nil
	case strings.HasPrefix(question, "user"):
		return []byte(l.user), nil
	case strings.HasPrefix(question, "pass"):
		return []byte(l.password), nil
	}
	return nil, errors.New("the server asks for what is neither user nor password")
}

// smtpReason says why a mail was not taken, without what the server repeats of it: its code is enough.
func smtpReason(ctx context.Context, err error) string {
	var said *textproto.Error
	var timeout net.Error
	switch {
	case errors.As(err, &said):
		return fmt.Sprintf("SMTP %d", said.Code)
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("no answer within %v", Timeout)
	case strings.HasPrefix(err.Error(), "textproto: "), strings.HasPrefix(err.Error(), "short response"):
		return "it is no SMTP"
	}
	return clean(err.Error(), 2*maxShown)
}

// lasting reports whether a server says that trying again is in vain (RFC 5321 §4.2.1). It is tried again
// all the same, for what it depends on may be put right; but somebody must be told at once.
func lasting(err error) bool {
	var said *textproto.Error
	return errors.As(err, &said) && said.Code >= 500
}
