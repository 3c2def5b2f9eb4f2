package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"schoolgate/policy/breach"
)

// Timeout bounds one try, from connecting to the end of the answer.
const Timeout = 15 * time.Second

// maxAnswer is how much of a receiver's answer is read, so that the connection can serve again.
const maxAnswer = 64 << 10

// NewClient returns the HTTP client of a Dispatcher that is given none. It follows no redirect: a
// message is for the address that the configuration names, and for no other.
func NewClient() *http.Client {
	return &http.Client{
		Timeout: Timeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment, // loopback is left out by it
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is how a receiver took a message.
type answer struct {
	status     int           // of HTTP; 0: there was none
	retryAfter time.Duration // that the receiver asked for; 0: none
	err        error         // why there was no status
}

func (a answer) delivered() bool { return a.status >= 200 && a.status <= 299 }

// String says it for people, without the address, which may hold a token.
func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	if text := http.StatusText(a.status); text != "" {
		return fmt.Sprintf("HTTP %d %s", a.status, text)
	}
	return fmt.Sprintf("HTTP %d", a.status)
}

// post sends one message once.
func (d *Dispatcher) post(ctx context.Context, r *Receiver, m breach.Alert) answer {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(m.Body))
	if err != nil {
		return answer{err: plain(err)}
	}
	now := d.now()
	timestamp := strconv.FormatInt(now.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "schoolgate")
	req.Header.Set("webhook-id", m.ID)
	req.Header.Set("webhook-timestamp", timestamp)
	req.Header.Set("webhook-signature", sign(r.Secret, m.ID, timestamp, m.Body))
	resp, err := d.client.Do(req)
	if err != nil {
		return answer{err: plain(err)}
	}
	defer resp.Body.Close()
	// The status has been given; what follows it changes nothing.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	return answer{status: resp.StatusCode, retryAfter: retryAfter(resp.Header.Get("Retry-After"), now)}
}

// plain takes the URL out of an error of package http: it may hold a token.
func plain(err error) error {
	if e := new(url.Error); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// sign returns the signature of the Standard Webhooks specification.
func sign(secret []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// retryAfter reads the header of that name in both of its forms (RFC 9110 §10.2.3), at most as long as
// the longest pause of the schedule. What cannot be read is no wish.
func retryAfter(header string, now time.Time) time.Duration {
	wish := time.Duration(0)
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		wish = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wish = at.Sub(now)
	}
	return min(max(wish, 0), schedule[len(schedule)-1])
}
