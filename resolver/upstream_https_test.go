package resolver_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// startHTTPS answers over DNS over HTTPS, at /dns-query.
func startHTTPS(t testing.TB, config *tls.Config, handle http.HandlerFunc) *encrypted {
	t.Helper()
	e := &encrypted{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, _ := io.ReadAll(r.Body)
		e.came(query, *r.TLS)
		if handle != nil {
			handle(w, r)
			return
		}
		if r.Method != http.MethodPost || r.URL.Path != "/dns-query" || r.ProtoMajor != 2 ||
			r.Header.Get("Content-Type") != "application/dns-message" || r.UserAgent() != "schoolgate" || len(r.Cookies()) > 0 {
			t.Errorf("request %s %s %s %v", r.Proto, r.Method, r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "application/dns-message")
		w.Header().Set("Set-Cookie", "pupil=1")
		_, _ = w.Write(answered(query))
	}))
	s.EnableHTTP2 = true
	s.TLS = config
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	e.text = "https://" + s.Listener.Addr().String() + "/dns-query"
	return e
}

func TestAnAnswerOverHTTPSThatIsNoneIsNotTaken(t *testing.T) {
	ca := newAuthority(t)
	var elsewhere atomic.Int64
	other := startHTTPS(t, ca.config(t, ""), func(w http.ResponseWriter, _ *http.Request) { elsewhere.Add(1) })
	message := func(w http.ResponseWriter, body []byte) {
		w.Header().Set("Content-Type", "application/dns-message")
		_, _ = w.Write(body)
	}
	forged := func(change func(m *dns.Msg)) []byte {
		m := answerTo(ask("a.example", dns.TypeA))
		m.Id = 0
		change(m)
		packed, _ := m.Pack()
		return packed
	}
	for name, handle := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) },
		"a page":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>sign in</html>") },
		"no type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = w.Write(forged(func(*dns.Msg) {}))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.text, http.StatusTemporaryRedirect)
		},
		"too long":   func(w http.ResponseWriter, _ *http.Request) { message(w, make([]byte, 1<<20)) },
		"nothing":    func(w http.ResponseWriter, _ *http.Request) { message(w, nil) },
		"garbage":    func(w http.ResponseWriter, _ *http.Request) { message(w, bytes.Repeat([]byte("garbage "), 9)) },
		"another id": func(w http.ResponseWriter, _ *http.Request) { message(w, forged(func(m *dns.Msg) { m.Id = 7 })) },
		"another question": func(w http.ResponseWriter, _ *http.Request) {
			message(w, forged(func(m *dns.Msg) { m.Question[0].Name = "b.example." }))
		},
		"a truncated answer": func(w http.ResponseWriter, _ *http.Request) {
			message(w, forged(func(m *dns.Msg) { m.Truncated = true }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, to(t, ca.roots, startHTTPS(t, ca.config(t, ""), handle).text))
			if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) {
				t.Errorf("got %v", r)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests to where a redirect led", n)
	}
}

func TestAProxyOfTheEnvironmentIsNotAsked(t *testing.T) {
	ca := newAuthority(t)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	s := start(t, to(t, ca.roots, startHTTPS(t, ca.config(t, "dns.example"), nil).text+"#dns.example"))
	if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("got %v", r)
	}
}

func TestOverHTTPSAConnectionThatTheServerClosedIsReplaced(t *testing.T) {
	ca := newAuthority(t)
	e, closeAll := startHTTPSClosing(t, ca.config(t, ""), true)
	s := start(t, to(t, ca.roots, e.text))
	for _, host := range []string{"a.example", "b.example", "c.example"} {
		if r := s.exchange(t, ask(host, dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Errorf("%s: %v", host, r)
		}
		closeAll()
	}
}

func TestAServerOfHTTPSWithoutHTTP2IsAskedAllTheSame(t *testing.T) {
	ca := newAuthority(t)
	e, _ := startHTTPSClosing(t, ca.config(t, ""), false)
	s := start(t, to(t, ca.roots, e.text))
	if n := s.askAll(t, "a", 20); n != 20 {
		t.Errorf("%d of 20 answered", n)
	}
}

// startHTTPSClosing is a server whose connections can be closed, with HTTP/2 or without.
func startHTTPSClosing(t testing.TB, config *tls.Config, http2 bool) (e *encrypted, closeAll func()) {
	t.Helper()
	e = &encrypted{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/dns-message")
		_, _ = w.Write(answered(query))
	}))
	s.EnableHTTP2, s.TLS = http2, config
	s.StartTLS()
	t.Cleanup(s.Close)
	e.text = "https://" + s.Listener.Addr().String() + "/dns-query"
	return e, s.CloseClientConnections
}
