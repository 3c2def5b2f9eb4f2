package resolver

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"schoolgate/resolver/dnswire"
)

// DNS over HTTPS (RFC 8484), over HTTP/2, which http2Conn serves, and HTTP/1.1, which net/http does. Who asks is whoever the connection comes from:
// X-Forwarded-For and its like are anybody's to write, and are not looked at.

const (
	dohPath = "/dns-query"
	dohType = "application/dns-message"
	// maxHTTPHeader holds the longest query as a parameter, and what browsers send besides.
	maxHTTPHeader = 12 << 10
	// maxHTTPStreams is how many requests one HTTP/2 connection may have open; RFC 9113 §6.5.2 advises
	// against less.
	maxHTTPStreams = 100
)

type httpsListener struct {
	*streamListener
	server   *http.Server
	accepted handover
}

func listenHTTPS(r *Resolver, addr netip.AddrPort, config *tls.Config) (entrance, netip.AddrPort, error) {
	streams, err := listenTCP(r, addr, overHTTPS, config)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	l := &httpsListener{streamListener: streams, accepted: handover{
		conns: make(chan net.Conn), closed: make(chan struct{}), addr: streams.socket.Addr(),
	}}
	streams.serve = func(conn net.Conn, g *guest) {
		if state := conn.(*tls.Conn).ConnectionState(); state.NegotiatedProtocol == "h2" {
			l.serveHTTP2(conn, g, state.ServerName)
			return
		}
		l.accepted.take(conn)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	l.server = &http.Server{
		Handler: l, Protocols: protocols, DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout: queryTime, ReadTimeout: queryTime, IdleTimeout: tlsIdle, MaxHeaderBytes: maxHTTPHeader,
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug), // it names clients
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, guestKey{}, conn.(*tls.Conn).NetConn().(*guestConn).guest)
		},
	}
	return l, streams.addr(), nil
}

// guestKey is under which a request's context has its guest.
type guestKey struct{}

// handover is the net.Listener that the HTTP server has: of connections whose handshake is done.
type handover struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

func (h *handover) take(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		conn.Close()
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.addr }

func (l *httpsListener) run() {
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = l.server.Serve(&l.accepted) // http.ErrServerClosed
	})
	l.streamListener.run()
	l.crowd.requests.Wait() // nobody begins one any more
	// It waits for the responses to leave, or for close.
	_ = l.server.Shutdown(context.Background())
	serving.Wait()
}

// stopReading closes what asks nothing. The others are told to go once they have their answers.
func (l *httpsListener) stopReading() {
	// First of all nobody may begin a request: run waits for them once the socket is closed.
	l.crowd.stop(func(g *guest) {
		switch {
		case g.isIdle():
			g.shut()
		case g.pause != nil:
			g.pause()
		}
	})
	l.socket.Close()
	_ = l.accepted.Close()
}

func (l *httpsListener) close() {
	l.crowd.close()
	l.socket.Close()
	_ = l.accepted.Close()
	_ = l.server.Close()
}

// ServeHTTP answers one request.
func (l *httpsListener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g := r.Context().Value(guestKey{}).(*guest)
	if !g.begin() {
		w.Header().Set("Retry-After", "1")
		l.fail(w, http.StatusServiceUnavailable, "too much is asked at one time")
		return
	}
	defer g.end()
	q := queries.Get().(*query)
	q.reset()
	status, reason := q.readHTTP(r)
	if status != http.StatusOK {
		queries.Put(q)
		why := refusedMalformed
		if status == http.StatusRequestTimeout {
			why = refusedSlow
		}
		g.lost(why)
		l.fail(w, status, reason)
		return
	}
	q.from, q.transport, q.host = g.from, overHTTPS, r.TLS.ServerName
	response := l.resolver.settle(q)
	if response == nil {
		g.lost(refusedMalformed)
		l.fail(w, http.StatusBadRequest, noQuery)
		return
	}
	h := w.Header()
	h.Set("Content-Type", dohType)
	h.Set("Content-Length", strconv.Itoa(len(response)))
	// Never longer than the answer itself may be kept (RFC 8484 §5.1).
	h.Set("Cache-Control", "max-age="+strconv.FormatUint(uint64(dnswire.SmallestTTL(response)), 10))
	l.write(w, http.StatusOK, response)
}

// fail answers with an error of HTTP. What is wrong with a query in itself is told by DNS.
func (l *httpsListener) fail(w http.ResponseWriter, status int, reason string) {
	h := w.Header()
	h.Set("Content-Type", textType)
	h.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", allowed)
	case http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close") // rather than read the rest
	}
	l.write(w, status, []byte(reason+"\n"))
}

func (l *httpsListener) write(w http.ResponseWriter, status int, body []byte) {
	// It fails only on a closed connection, and then the write does too.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // a DNS message or our own text, and both say that they are no HTML
}

// request is what matters of a request, in every version of HTTP.
type request struct {
	method, path string // path with what stands behind "?"
	kind         string // the content type
	length       int64  // of the content; -1: not said
}

// check looks at a request (RFC 8484 §4.1). Where the status is 200, a GET's query is in q, a POST's in the body;
// otherwise there is none, and reason says why.
func (r *request) check(q *query) (status int, reason string) {
	path, parameters, _ := strings.Cut(r.path, "?")
	switch {
	case path != dohPath:
		return http.StatusNotFound, "DNS is at " + dohPath
	case r.method == http.MethodGet:
		return q.readGET(parameters)
	case r.method != http.MethodPost:
		return http.StatusMethodNotAllowed, "use GET or POST"
	}
	if r.kind != dohType {
		if kind, _, err := mime.ParseMediaType(r.kind); err != nil || kind != dohType {
			return http.StatusUnsupportedMediaType, "the content must be " + dohType
		}
	}
	if r.length > maxQuery {
		return http.StatusRequestEntityTooLarge, tooLarge
	}
	return http.StatusOK, ""
}

// readHTTP reads the query out of a request. Where the status is not 200 there is none, and reason says why.
func (q *query) readHTTP(r *http.Request) (status int, reason string) {
	what := request{method: r.Method, path: r.URL.RequestURI(), kind: r.Header.Get("Content-Type"), length: r.ContentLength}
	if status, reason := what.check(q); status != http.StatusOK || r.Method == http.MethodGet {
		return status, reason
	}
	n, err := io.ReadFull(r.Body, q.buf[:])
	switch {
	case err == nil && !atEnd(r.Body):
		return http.StatusRequestEntityTooLarge, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, tooSlow
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return http.StatusBadRequest, brokeOff
	}
	q.in = q.buf[:n]
	return http.StatusOK, ""
}

// What several refusals say.
const (
	tooLarge = "the query is too large"
	tooSlow  = "the query did not arrive in time"
	brokeOff = "the query broke off"
	noQuery  = "this is no DNS query"
	textType = "text/plain; charset=utf-8"
	allowed  = "GET, POST"
)

// atEnd reports whether nothing is left of a body.
func atEnd(body io.Reader) bool {
	var more [1]byte
	n, err := io.ReadFull(body, more[:])
	return n == 0 && errors.Is(err, io.EOF)
}

func (q *query) readGET(parameters string) (status int, reason string) {
	params, err := url.ParseQuery(parameters)
	if err != nil || len(params["dns"]) != 1 {
		return http.StatusBadRequest, "one parameter dns is needed"
	}
	// base64url without padding (RFC 8484 §6).
	encoded, encoding := params["dns"][0], base64.RawURLEncoding.Strict()
	if encoding.DecodedLen(len(encoded)) > maxQuery {
		return http.StatusRequestURITooLong, tooLarge
	}
	n, err := encoding.Decode(q.buf[:], []byte(encoded))
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // which Decode passes over
		return http.StatusBadRequest, "the parameter dns is not base64url"
	}
	q.in = q.buf[:n]
	return http.StatusOK, ""
}
