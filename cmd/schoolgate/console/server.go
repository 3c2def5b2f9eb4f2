// Package console serves listen.console: for now /api/v1, by which programs of the school's own speak to the running
// schoolgate. It holds no policy: what is asked for is asked of the parts that know.
//
// A request goes through
//
//  1. the listener: so many connections in all and of one address (listener.go), HTTPS off loopback;
//  2. the host: on loopback a page of any site could have its name lead here (DNS rebinding), so the request must be for
//     this machine by name or address, or for console_url;
//  3. the route, one row of the table in New: 404 for a path that is none, 405 for another method;
//  4. the token, which must have the route's role: 401, 403, and 429 for an address that has tried too many (token.go);
//  5. the route's handler. What it reads is bounded, and must be said to be JSON: 413, 415.
//
// Every error is a problem detail (RFC 9457). No other site's page may read or send anything: there is no CORS, and no
// cookie that a browser would send along.
package console

import (
	_ "embed" // the description of the API
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"schoolgate/config"
	"schoolgate/identity"
	"schoolgate/policy"
)

// Config is what a Server is made with and keeps for its life.
type Config struct {
	// InForce returns the configuration and the policy that are in force. Called for each request.
	InForce func() (*config.Config, *policy.Policy)
	// Identities takes the sign-ins.
	Identities *identity.Store
	Now        func() time.Time
	Logger     *slog.Logger
}

// Server answers what comes to listen.console.
type Server struct {
	inForce    func() (*config.Config, *policy.Policy)
	identities *identity.Store
	now        func() time.Time
	log        *slog.Logger
	failures   failures
	stats      struct{ taken, refused, unauthorised atomic.Uint64 }
	mux        *http.ServeMux
}

// route is a path of the API. An empty role is for everybody.
type route struct {
	method, path string
	role         config.Role
	serve        func(w http.ResponseWriter, r *http.Request, t config.Token)
}

// New makes a Server.
func New(c Config) *Server {
	s := &Server{inForce: c.InForce, identities: c.Identities, now: c.Now, log: c.Logger, mux: http.NewServeMux()}
	methods := map[string][]string{}
	for _, r := range s.routes() {
		methods[r.path] = append(methods[r.path], r.method)
		s.mux.HandleFunc(r.method+" "+r.path, s.guarded(r))
	}
	for path, allowed := range methods {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			problem{Status: http.StatusMethodNotAllowed, Detail: "use " + strings.Join(allowed, " or ")}.write(w)
		})
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem{Status: http.StatusNotFound, Detail: "there is nothing here; see /api/v1/openapi.json"}.write(w)
	})
	return s
}

// Stats counts what came since the start.
type Stats struct {
	Taken        uint64 `json:"logins_taken"`
	Refused      uint64 `json:"logins_refused"`
	Unauthorised uint64 `json:"unauthorised"` // requests with a token that is none of api.tokens
}

// Stats returns the present state.
func (s *Server) Stats() Stats {
	return Stats{s.stats.taken.Load(), s.stats.refused.Load(), s.stats.unauthorised.Load()}
}

// routes are all that is served. Each is described in openapi.json.
func (s *Server) routes() []route {
	return []route{
		{http.MethodGet, "/api/v1/openapi.json", "", s.describe},
		{http.MethodPost, "/api/v1/logins", config.RoleSignIn, s.logins},
	}
}

//go:embed openapi.json
var openAPI []byte

func (s *Server) describe(w http.ResponseWriter, _ *http.Request, _ config.Token) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // the reader hung up: there is nobody to tell
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	// No Strict-Transport-Security: a browser would take it to be for the host's block page too, which is plain HTTP.
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if r.TLS == nil && !s.isOurs(r.Host) {
		problem{Status: http.StatusMisdirectedRequest, Detail: "this is not served under that name: ask 127.0.0.1, or write console_url"}.write(w)
		return
	}
	// A path with dots in it is nothing here: the mux would answer with a redirection.
	if r.URL.Path == "" || r.URL.Path[0] != '/' || strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") {
		problem{Status: http.StatusNotFound, Detail: "there is nothing here; see /api/v1/openapi.json"}.write(w)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// isOurs reports whether a request over plain HTTP, which comes over loopback, is for this machine.
func (s *Server) isOurs(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().IsLoopback()
	}
	c, _ := s.inForce()
	console, err := url.Parse(c.ConsoleURL)
	return strings.EqualFold(name, "localhost") || err == nil && name != "" && strings.EqualFold(name, console.Hostname())
}

// guarded asks for a route's token.
func (s *Server) guarded(r route) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if r.role == "" {
			r.serve(w, req, config.Token{})
			return
		}
		token, refused := s.authorise(req, r.role)
		if refused != nil {
			refused.write(w)
			return
		}
		r.serve(w, req, token)
	}
}

// isJSON reports whether a request says that its body is JSON.
func isJSON(r *http.Request) bool {
	mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/json") && slices.Equal(r.Header.Values("Content-Encoding"), nil)
}
