package resolver_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"

	"schoolgate/resolver"
)

// encrypted is a server of one encrypted transport, which keeps each query as it came.
type encrypted struct {
	text string // as it is written in a configuration

	mu      sync.Mutex
	queries [][]byte
	states  []tls.ConnectionState
}

func (e *encrypted) came(query []byte, state tls.ConnectionState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queries, e.states = append(e.queries, bytes.Clone(query)), append(e.states, state)
}

// answered is what a server sends for a query: padding and an option that nobody knows are in it.
func answered(packed []byte) []byte {
	q := new(dns.Msg)
	if q.Unpack(packed) != nil {
		return nil
	}
	m := answerTo(q)
	if o := m.IsEdns0(); o != nil {
		o.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65400, Data: []byte("x")}, &dns.EDNS0_PADDING{Padding: make([]byte, 300)}}
	}
	out, _ := m.Pack()
	return out
}

// startTLS answers over DNS over TLS; with once, it closes after each answer.
func startTLS(t testing.TB, config *tls.Config, once bool) *encrypted {
	t.Helper()
	e := &encrypted{}
	e.text = "tls://" + startStreams(t, config, func(_ int, conn net.Conn) {
		for {
			var size [2]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			e.came(query, conn.(*tls.Conn).ConnectionState())
			m := answered(query)
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
			if once {
				return
			}
		}
	}).addr
	return e
}

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

// startQUIC answers over DNS over QUIC; with once, it ends a connection at the second question on it.
func startQUIC(t testing.TB, config *tls.Config, addr string, once bool) *encrypted {
	t.Helper()
	socket, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: socket}
	l, err := transport.Listen(config, &quic.Config{Allow0RTT: true})
	if err != nil {
		t.Fatal(err)
	}
	e := &encrypted{text: "quic://" + socket.LocalAddr().String()}
	ctx := contextOf(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept(ctx)
			if err != nil {
				return
			}
			running.Go(func() {
				for n := 1; ; n++ {
					stream, err := conn.AcceptStream(ctx)
					if err != nil {
						return
					}
					if once && n > 1 {
						_ = conn.CloseWithError(0, "")
						return
					}
					all, _ := io.ReadAll(stream) // the end of the stream is part of the protocol
					if len(all) < 2 || int(binary.BigEndian.Uint16(all)) != len(all)-2 {
						t.Errorf("%d octets on a stream", len(all))
						continue
					}
					state := conn.ConnectionState()
					if state.Used0RTT {
						t.Error("a question was sent before the handshake was done")
					}
					e.came(all[2:], state.TLS)
					m := answered(all[2:])
					_, _ = stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
					_ = stream.Close()
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = transport.Close()
		socket.Close()
		running.Wait()
	})
	return e
}

func TestAnEncryptedQueryIsAnsweredAndTellsLittle(t *testing.T) {
	ca := newAuthority(t)
	for name, e := range map[string]*encrypted{
		"tls":   startTLS(t, ca.config(t, "dns.example", "dot"), false),
		"https": startHTTPS(t, ca.config(t, "dns.example"), nil),
		"quic":  startQUIC(t, ca.config(t, "dns.example", "doq"), "127.0.0.1:0", false),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, to(t, ca.roots, e.text+"#dns.example"))
			for _, host := range []string{"a.example", "a-much-longer-name-of-a-host-that-takes-more-room.example"} {
				q := ask(host, dns.TypeA)
				q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 32, Address: net.IPv4(10, 1, 2, 3).To4()}}
				if r := s.exchange(t, q, "udp", ""); len(r.Answer) != 1 {
					t.Errorf("got %v", r)
				}
			}
			if n := s.askAll(t, "n", 50); n != 50 {
				t.Errorf("%d of 50 questions answered", n)
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			if len(e.queries) != 52 {
				t.Errorf("%d queries came", len(e.queries))
			}
			for _, query := range e.queries {
				checkEncryptedQuery(t, query)
				if id := binary.BigEndian.Uint16(query); name != "tls" && id != 0 {
					t.Errorf("id %d, want 0 (RFC 8484 §4.1, RFC 9250 §4.2.1)", id)
				}
			}
			want := map[string]string{"tls": "dot", "https": "h2", "quic": "doq"}[name]
			if got := e.states[0].NegotiatedProtocol; got != want {
				t.Errorf("protocol %q, want %q", got, want)
			}
			if stats := s.Stats().Upstreams[0]; stats.Failures != 0 || stats.RTT <= 0 {
				t.Errorf("stats %+v", stats)
			}
		})
	}
}

func TestAServerWithTheWrongCertificateIsAskedNothing(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	for name, certificate := range map[string]struct {
		config *tls.Config
		name   string
	}{
		"for another name":       {ca.config(t, "other.example", "dot", "doq", "h2"), "#dns.example"},
		"that has expired":       {ca.expired(t, "dns.example", "dot", "doq", "h2"), "#dns.example"},
		"by a stranger":          {stranger.config(t, "dns.example", "dot", "doq", "h2"), "#dns.example"},
		"for a name, not for it": {ca.config(t, "dns.example", "dot", "doq", "h2"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, e := range []*encrypted{
				startTLS(t, certificate.config.Clone(), false), startHTTPS(t, certificate.config.Clone(), nil),
				startQUIC(t, certificate.config.Clone(), "127.0.0.1:0", false),
			} {
				s := start(t, to(t, ca.roots, e.text+certificate.name))
				if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) {
					t.Errorf("%s: got %v", e.text, r)
				}
				e.mu.Lock()
				if len(e.queries) != 0 {
					t.Errorf("%s: asked all the same", e.text)
				}
				e.mu.Unlock()
				if stats := s.Stats().Upstreams[0]; stats.Failures != 1 {
					t.Errorf("%s: stats %+v", e.text, stats)
				}
			}
		})
	}
}

func TestWithoutANameTheCertificateIsForTheAddress(t *testing.T) {
	ca := newAuthority(t)
	for _, e := range []*encrypted{
		startTLS(t, ca.config(t, "", "dot"), false), startHTTPS(t, ca.config(t, ""), nil), startQUIC(t, ca.config(t, "", "doq"), "127.0.0.1:0", false),
	} {
		s := start(t, to(t, ca.roots, e.text))
		if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Errorf("%s: got %v", e.text, r)
		}
	}
}

func TestAnEncryptedServerIsNeverAskedInClear(t *testing.T) {
	ca := newAuthority(t)
	plain := startUpstream(t, records("a.example. 300 IN A 192.0.2.1")) // takes clear text over UDP and TCP
	for _, scheme := range []string{"tls://%", "https://%/dns-query", "quic://%"} {
		text := string(bytes.ReplaceAll([]byte(scheme), []byte("%"), []byte(plain.addr)))
		s := start(t, func(c *resolver.Config) {
			to(t, ca.roots, text)(c)
			c.Settings.Upstreams.Timeout = 300 * time.Millisecond
		})
		if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); !isFailure(r) {
			t.Errorf("%s: got %v", text, r)
		}
	}
	if n := plain.asked.Load(); n != 0 {
		t.Errorf("%d questions in clear text", n)
	}
}

func TestSessionsAreResumed(t *testing.T) {
	ca := newAuthority(t)
	for name, e := range map[string]*encrypted{
		"tls":  startTLS(t, ca.config(t, "dns.example", "dot"), true),
		"quic": startQUIC(t, ca.config(t, "dns.example", "doq"), "127.0.0.1:0", true),
	} {
		s := start(t, to(t, ca.roots, e.text+"#dns.example"))
		for _, host := range []string{"a.example", "b.example", "c.example", "d.example"} {
			if r := s.exchange(t, ask(host, dns.TypeA), "udp", ""); len(r.Answer) != 1 {
				t.Errorf("%s: %s: %v", name, host, r)
			}
		}
		e.mu.Lock()
		if last := e.states[len(e.states)-1]; !last.DidResume {
			t.Errorf("%s: the last of %d connections began anew", name, len(e.states))
		}
		e.mu.Unlock()
	}
}

func TestAConnectionOverQUICThatDiedIsReplaced(t *testing.T) {
	ca := newAuthority(t)
	config := ca.config(t, "dns.example", "doq")
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := socket.LocalAddr().String()
	socket.Close()
	var s *server
	t.Run("the first", func(t2 *testing.T) {
		startQUIC(t2, config, addr, false)
		s = start(t, func(c *resolver.Config) {
			to(t, ca.roots, "quic://"+addr+"#dns.example")(c)
			c.Settings.Upstreams.Timeout = 4 * time.Second
		})
		if r := s.exchange(t2, ask("a.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t2.Errorf("got %v", r)
		}
	})
	startQUIC(t, config, addr, false) // knows nothing of the connection that was
	// As a rule the first question is asked again in time. Not where the last packets of the server that was
	// came just behind it, and looked like life.
	s.exchange(t, ask("b.example", dns.TypeA), "udp", "")
	if r := s.exchange(t, ask("c.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("got %v", r)
	}
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

func TestZonesTakeEncryptedServers(t *testing.T) {
	ca := newAuthority(t)
	e := startTLS(t, ca.config(t, "dns.example", "dot"), false)
	s := start(t, func(c *resolver.Config) {
		resolver.SetRoots(c, ca.roots)
		c.Settings.Zones[0].Servers = parseUpstreams(t, e.text+"#dns.example")
	})
	if r := s.exchange(t, ask("dc.zone.internal", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
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
