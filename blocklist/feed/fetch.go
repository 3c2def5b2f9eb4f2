package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// userAgent tells publishers who asks. 1 is of the way in which it asks: how old a school's filter
	// is is nobody's business.
	userAgent = "schoolgate/1 (DNS filter)"

	maxRedirects = 5
	maxHeader    = 64 << 10 // of an answer
	maxValidator = 512      // of an ETag or Last-Modified; a longer one is not kept

	handshakeTimeout = 30 * time.Second
	headerTimeout    = time.Minute      // from the request to the end of the answer's header
	fetchTimeout     = 15 * time.Minute // for all of it
)

// fetchLimits bound what one list may take, in bytes.
type fetchLimits struct {
	wire     int64 // as served
	archive  int64 // of an archive, which is held in memory: a list may be confidential, so no temporary file is
	unpacked int64
}

// fetcher gets lists from web servers. Safe for concurrent use.
type fetcher struct {
	resolver *net.Resolver // nil: the system's
	proxy    func(*http.Request) (*url.URL, error)
	roots    *x509.CertPool // nil: the system's
	limits   fetchLimits
	// dial connects instead of a dialer, where it is set: tests have no network under a synthetic clock.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func newFetcher(resolver *net.Resolver) *fetcher {
	return &fetcher{
		resolver: resolver,
		proxy:    http.ProxyFromEnvironment, // never for loopback
		limits:   fetchLimits{wire: 256 << 20, archive: 64 << 20, unpacked: maxFile},
	}
}

// fetchRequest says what to fetch.
type fetchRequest struct {
	URL string // http or https, without user name and password; its fragment is not sent
	// ETag and LastModified are what the last answer had, if its content is still there and was got
	// with the same SHA256 and Member; else "".
	ETag, LastModified string
	SHA256             string // lower-case hex, of the bytes as served; "": any
	Member             string // as Spec.Member; it counts only where an archive is served
	ShowNames          bool   // an error may name files of an archive: the list is not confidential
	// Progress, if there is one, hears after each read how many bytes have come, of how many; 0 where
	// the server does not say.
	Progress func(done, total int64)
}

// fetched is what came of it.
type fetched struct {
	Unchanged          bool // nothing was written: it is as it was when ETag and LastModified were current
	ETag, LastModified string
	Modified           time.Time // LastModified as a time; zero where there is none. As the server says it: it may be nonsense
	Wire               int64     // bytes of the answer's body
}

var (
	errFetchTime  = fmt.Errorf("not finished after %v", fetchTimeout)
	errProxy      = errors.New("the proxy")
	errNoAnswer   = errors.New("the server closed the connection without an answer")
	errNotHTTP    = fmt.Errorf("the server's answer is not HTTP, or its header is larger than %d KB", maxHeader>>10)
	errNoRedirect = errors.New("the server redirects to something that is not a URL")
)

// fetch asks for a list and writes its text, unpacked, to dst. Where it returns an error, dst may have got
// a part of it. Its errors hold nothing of what a server sent but numbers, the hosts of redirects and, with ShowNames,
// what files of an archive are called, and not the URL: the caller names the list.
func (f *fetcher) fetch(ctx context.Context, q fetchRequest, dst io.Writer) (fetched, error) {
	ctx, stop := context.WithTimeoutCause(ctx, fetchTimeout, errFetchTime)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	out, err := f.request(ctx, cancel, q, dst)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // what ended it, rather than what it ended
	}
	return out, err
}

// request is fetch, without the reason why ctx ended. It calls cancel when the server is too slow.
func (f *fetcher) request(ctx context.Context, cancel context.CancelCauseFunc, q fetchRequest, dst io.Writer) (fetched, error) {
	response, err := f.get(ctx, q)
	if err != nil {
		return fetched{}, err
	}
	defer response.Body.Close()

	out := fetched{ETag: validator(response.Header, "Etag"), LastModified: validator(response.Header, "Last-Modified")}
	switch conditional := q.ETag != "" || q.LastModified != ""; {
	case response.StatusCode == http.StatusNotModified && conditional:
		out.Unchanged = true
		out.ETag, out.LastModified = cmp.Or(out.ETag, q.ETag), cmp.Or(out.LastModified, q.LastModified)
	case response.StatusCode != http.StatusOK:
		// The number and what it stands for: the text on the wire is the server's to choose.
		return fetched{}, fmt.Errorf("the server answered %d %s", response.StatusCode, http.StatusText(response.StatusCode))
	}
	out.Modified, _ = http.ParseTime(out.LastModified) // the zero time where it is none
	if out.Unchanged {
		return out, nil
	}

	switch encoding := strings.ToLower(response.Header.Get("Content-Encoding")); encoding {
	case "", "identity", "gzip", "x-gzip":
		// Whether it is compressed is for unpack to see: servers say so of .tar.gz files as of text.
	default:
		return fetched{}, errors.New("the server answered in an encoding that it was not asked for")
	}
	if response.ContentLength > f.limits.wire {
		return fetched{}, tooLarge(f.limits.wire)
	}
	w := &wire{r: response.Body, sum: sha256.New(), limit: f.limits.wire, total: max(response.ContentLength, 0), progress: q.Progress}
	var watch sync.WaitGroup
	body, end := context.WithCancel(ctx)
	watch.Go(func() { w.watch(body, cancel) })
	err = w.unpack(ctx, q, f.limits, dst)
	end()
	watch.Wait()
	out.Wire = w.done.Load()
	if err != nil {
		return out, err
	}
	if response.ContentLength < 0 && response.TransferEncoding == nil && w.endsWithinLine() {
		return out, errors.New("the server did not say how long the list is, and it ends within a line: cut off?")
	}
	if got := hex.EncodeToString(w.sum.Sum(nil)); q.SHA256 != "" && got != q.SHA256 {
		return out, fmt.Errorf("its sha256 is %s, and the configuration wants %s", got, q.SHA256)
	}
	return out, nil
}

// get asks for a list, follows redirects, and returns the first answer that is none.
func (f *fetcher) get(ctx context.Context, q fetchRequest) (*http.Response, error) {
	configured, err := url.Parse(q.URL)
	if err != nil {
		return nil, errors.New("not a URL") // err quotes it
	}
	response, err := f.ask(ctx, q, configured, reach(configured))
	if err != nil {
		return nil, err
	}
	for u, redirects := configured, 0; ; redirects++ {
		switch response.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
			http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return response, nil
		}
		_ = response.Body.Close() // unread: the connection is for one request
		to, err := response.Location()
		if err != nil {
			return nil, errNoRedirect // err quotes it
		}
		site := to.Scheme + "://" + to.Host
		switch {
		case redirects == maxRedirects:
			return nil, fmt.Errorf("redirected more than %d times", maxRedirects)
		case u.Scheme == "https" && to.Scheme != "https":
			return nil, fmt.Errorf("redirected from https to %q: refused, since anybody on the way could change the list", site)
		}
		if response, err = f.ask(ctx, q, to, reachOfRedirect(configured, to)); err != nil {
			return nil, fmt.Errorf("redirected to %q: %w", site, err)
		}
		u = to
	}
}

// ask sends one request, over a connection of its own, to nothing beyond a place. No cookie, no
// credential and no Referer goes with it.
func (f *fetcher) ask(ctx context.Context, q fetchRequest, u *url.URL, furthest place) (*http.Response, error) {
	if err := checkURL(u); err != nil {
		return nil, err
	}
	// Before the connection, since a proxy would make that.
	if err := furthest.check(literalPlace(u.Hostname())); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("not a URL") // err quotes it
	}
	request.Header.Set("User-Agent", userAgent)
	if q.SHA256 == "" {
		request.Header.Set("Accept-Encoding", "gzip")
	} else { // the digest is the file's, not of how a server packs it today
		request.Header.Set("Accept-Encoding", "identity")
	}
	if q.ETag != "" {
		request.Header.Set("If-None-Match", q.ETag)
	}
	if q.LastModified != "" {
		request.Header.Set("If-Modified-Since", q.LastModified)
	}
	proxy, err := f.proxy(request)
	if err != nil {
		return nil, fmt.Errorf("%w of the environment cannot be used: set HTTPS_PROXY and HTTP_PROXY to a URL", errProxy) // err quotes it, password and all
	}
	if proxy != nil {
		furthest = local // a proxy's own address is the administrator's choice; what it connects to is in its hands
	}
	dial := f.dial
	if dial == nil {
		dial = dialer(furthest, f.resolver).DialContext
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyURL(proxy),
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: f.roots},
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true, // one request a day
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("%w answered %d %s", errProxy, answer.StatusCode, http.StatusText(answer.StatusCode))
			}
			return nil
		},
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, withoutContent(err)
	}
	return response, nil
}

// checkURL refuses what fetch does not ask for.
func checkURL(u *url.URL) error {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	_, err := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("not a URL that begins with http:// or https://")
	case host == "":
		return errors.New("a URL without a host")
	case u.User != nil:
		return errors.New("a URL with a user name or password: leave it out")
	case err != nil && (strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")):
		// 127.1, 0x7f.1 and 2130706433 are 127.0.0.1 for some resolvers and proxies.
		return errors.New("a URL whose host is a number, but not an IP address")
	}
	return nil
}

// validator returns a header's value, "" where it is not fit to be sent back.
func validator(h http.Header, name string) string {
	v := h.Get(name)
	if len(v) > maxValidator || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return v
}

// worded is an error in other words.
type worded struct {
	words string
	error
}

func (w worded) Error() string { return w.words }
func (w worded) Unwrap() error { return w.error }

// plain words an error of the network for people, where it is one that they meet.
func plain(op *net.OpError) error {
	if name := new(net.DNSError); errors.As(op, &name) {
		return worded{fmt.Sprintf("the name %s cannot be looked up: is this machine on the internet? (%v)", strings.TrimSuffix(name.Name, "."), name), op}
	}
	if errors.Is(op, syscall.ECONNREFUSED) && op.Addr != nil {
		return worded{fmt.Sprintf("%v takes no connection", op.Addr), op}
	}
	return op
}

// withoutContent returns an error that holds nothing of what the server sent: net/http quotes an answer that
// it cannot read, and that may be a line of the list. Kinds of errors that are known to be clean stay.
func withoutContent(err error) error {
	if errors.Is(err, errProxy) {
		return err
	}
	if op := new(net.OpError); errors.As(err, &op) {
		if op.Op == "proxyconnect" { // may wrap anything
			return fmt.Errorf("connect to %w: %w", errProxy, withoutContent(op.Err))
		}
		return plain(op)
	}
	if certificate := new(tls.CertificateVerificationError); errors.As(err, &certificate) {
		return certificate
	}
	if record := new(tls.RecordHeaderError); errors.As(err, record) {
		return errors.New("the server does not speak TLS on that port")
	}
	if wait := net.Error(nil); errors.As(err, &wait) && wait.Timeout() {
		return wait
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errNoAnswer
	}
	return errNotHTTP
}
