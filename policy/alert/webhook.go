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
)

// Timeout bounds one try, from connecting to the end of the answer.
const Timeout = 15 * time.Second

const (
	// maxAnswer is how much of an answer's body is read, and ignored, and how large its header may be.
	maxAnswer = 64 << 10
	// maxRetryAfter bounds what a receiver can ask for.
	maxRetryAfter = 24 * time.Hour
)

// newClient returns the client for all deliveries, over a transport, nil for its own. It follows no
// redirect: where an alert goes is for the configuration to say. Alerts are rare, so each has a
// connection of its own, and none fails because the receiver has closed an idle one.
func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment, // never for loopback
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxAnswer,
		}
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is how a receiver answered one try.
type answer struct {
	code       int    // HTTP status, 0 where there was none
	text       string // for people, without the URL, which may hold a token
	retryAfter time.Duration
}

func (a answer) ok() bool { return a.code >= 200 && a.code <= 299 }

// post tries once to deliver a body (Standard Webhooks 1.0.0).
func (d *Dispatcher) post(ctx context.Context, r *Receiver, id string, body []byte) answer {
	now := d.now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(body))
	if err != nil {
		return answer{text: reason(err)}
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "schoolgate")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", timestamp)
	request.Header.Set("Webhook-Signature", sign(r.Secret, id, timestamp, body))

	response, err := d.client.Do(request)
	if err != nil {
		return answer{text: reason(err)}
	}
	defer response.Body.Close()
	// The status says it all; what follows it, and whether that comes whole, does not matter.
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	a := answer{code: response.StatusCode, text: fmt.Sprintf("HTTP %d", response.StatusCode)}
	if a.code >= 300 && a.code <= 399 {
		a.text += " (a redirect is not followed)"
	}
	a.retryAfter = retryAfter(response.Header.Get("Retry-After"), now)
	return a
}

// sign returns the value of webhook-signature.
func sign(secret []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// reason returns why there was no answer, without the URL.
func reason(err error) string {
	if u := new(url.Error); errors.As(err, &u) {
		if u.Timeout() {
			return fmt.Sprintf("no answer within %v", Timeout)
		}
		return u.Err.Error()
	}
	return err.Error()
}

// retryAfter reads a Retry-After (RFC 9110 §10.2.3), seconds or a date, as the time from now on:
// between 0 and maxRetryAfter. What is neither is 0.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
