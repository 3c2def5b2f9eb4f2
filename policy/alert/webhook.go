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
	"strings"
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
	delivered  bool
	code       int    // HTTP status, 0 where there was none
	text       string // for people, without the URL, which may hold a token
	said       string // what an endpoint of HTTP said of its refusal: it may repeat what it was sent
	retryAfter time.Duration
	lasting    bool // it will not do, unless something is put right
}

// throttles reports whether the receiver, or what stands before it, asks for fewer requests, or is too busy
// to say so (Standard Webhooks 1.0.0).
func (a answer) throttles() bool {
	switch a.code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// outgoing is one request: a body of JSON to an URL.
type outgoing struct {
	url    string
	header map[string]string
	body   []byte
}

// webhook is an alert as a request after Standard Webhooks 1.0.0, signed by each of the receiver's secrets,
// so that one can be replaced by another while both hold.
func (r *Receiver) webhook(id string, body []byte, now time.Time) outgoing {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, secret := range r.Secrets {
		signatures = append(signatures, sign(secret, id, timestamp, body))
	}
	return outgoing{r.URL, map[string]string{
		"Webhook-Id": id, "Webhook-Timestamp": timestamp, "Webhook-Signature": strings.Join(signatures, " "),
	}, body}
}

// post tries once to deliver by HTTP.
func (d *Dispatcher) post(ctx context.Context, o outgoing) answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(o.body))
	if err != nil {
		return answer{text: reason(err)}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "schoolgate")
	for name, value := range o.header {
		request.Header.Set(name, value)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return answer{text: reason(err)}
	}
	defer response.Body.Close()
	// The status says it all; what follows it, and whether that comes whole, does not matter.
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	a := answer{
		code: response.StatusCode, text: fmt.Sprintf("HTTP %d", response.StatusCode),
		delivered: response.StatusCode >= 200 && response.StatusCode <= 299,
	}
	if a.code >= 300 && a.code <= 399 {
		a.text += " (a redirect is not followed)"
	}
	if !a.delivered {
		a.said = clean(string(said[:min(len(said), 4*maxShown)]), maxShown)
	}
	a.retryAfter = retryAfter(response.Header.Get("Retry-After"), d.now())
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
