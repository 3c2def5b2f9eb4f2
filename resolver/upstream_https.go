package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"time"
)

// The bounds on a server of DNS over HTTPS.
const (
	httpsPing       = 2 * time.Second // silence on a connection after which it is tried with a ping, and the time for that
	maxHTTPSHeader  = 16 << 10
	dnsMessageType  = "application/dns-message"
	httpsUserAgent  = "schoolgate" // says neither version nor site
	httpsRetryLimit = 2
)

// httpsUpstream asks a server of DNS over HTTPS by POST (RFC 8484 §4.1): the question stands in no log of
// addresses. Over HTTP/2 the questions share a connection. No proxy, no cookies, no redirects: it is
// that server which was written, or none.
type httpsUpstream struct {
	place     *place
	url       string
	transport *http.Transport
	client    http.Client

	ctx    context.Context //nolint:containedctx // ends with close, for connecting outlives the question
	cancel context.CancelFunc
}

func newOverHTTPS(p *place) *httpsUpstream {
	u := p.upstream
	authority := u
	if u.name != "" { // what the server calls itself, though its address be written
		authority.addr = netip.AddrPortFrom(netip.Addr{}, u.addr.Port())
	}
	h := &httpsUpstream{url: "https://" + authority.authority() + u.path, place: p}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.transport = &http.Transport{
		DialTLSContext:    h.dial,
		ForceAttemptHTTP2: true, MaxConnsPerHost: maxPipes, MaxIdleConnsPerHost: maxPipes, IdleConnTimeout: pipeIdle,
		DisableCompression: true, MaxResponseHeaderBytes: maxHTTPSHeader,
		HTTP2: &http.HTTP2Config{SendPingTimeout: httpsPing, PingTimeout: httpsPing},
	}
	h.client = http.Client{
		Transport:     h.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h
}

// dial connects. It takes no notice of the request's context: connecting outlives it, for the next one.
func (h *httpsUpstream) dial(context.Context, string, string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(h.ctx, connectTime)
	defer cancel()
	return h.place.dial(ctx)
}

// exchange asks; once more where a connection that was there already broke, as the server may have
// closed it as idle.
func (h *httpsUpstream) exchange(ctx context.Context, query []byte) ([]byte, error) {
	for try := 1; ; try++ {
		reused := false
		response, err := h.post(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
		}), query)
		_, answered := errors.AsType[*httpsError](err)
		if err == nil || answered || !reused || ctx.Err() != nil || try == httpsRetryLimit {
			return response, err
		}
	}
}

// httpsError is what a server answered that is no DNS message.
type httpsError struct{ what string }

func (e *httpsError) Error() string { return "answer over HTTPS: " + e.what }

func (h *httpsUpstream) post(ctx context.Context, query []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", dnsMessageType)
	req.Header.Set("Accept", dnsMessageType)
	req.Header.Set("User-Agent", httpsUserAgent)
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &httpsError{"status " + resp.Status}
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != dnsMessageType {
		return nil, &httpsError{fmt.Sprintf("content type %q", resp.Header.Get("Content-Type"))}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTCPMessage+1))
	if err != nil {
		return nil, fmt.Errorf("receive over HTTPS: %w", err)
	}
	if len(body) > maxTCPMessage {
		return nil, &httpsError{"longer than a DNS message"}
	}
	return body, nil
}

func (h *httpsUpstream) close() {
	h.cancel()
	h.transport.CloseIdleConnections()
}
