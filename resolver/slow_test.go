package resolver

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// The clients here are slow on purpose. Their connections are pipes and the time is synctest's.

type nobody struct{}

func (nobody) Record(policy.Event) {}

// inside is a resolver without sockets, which answers for localhost.
func inside(t *testing.T) *Resolver {
	t.Helper()
	p, err := policy.Compile(policy.Spec{
		Access: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Groups: []policy.Group{{Name: "all"}}, DefaultGroup: "all",
	}, blocklist.Build(nil), true)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{
		Recorder: nobody{}, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Certificate: func() *tls.Certificate { return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key} },
		Settings:    Settings{Policy: p, Cache: CacheTimes{ClientTTL: time.Minute}, Blocking: Blocking{Answer: "nxdomain"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// visit connects to a listener by a pipe. done is closed when the listener is done with the connection.
func visit(t *testing.T, l *streamListener) (client net.Conn, done <-chan struct{}) {
	t.Helper()
	client, server := net.Pipe()
	g := &guest{from: address(1), conn: server, shut: func() { server.Close() }}
	if !l.crowd.enter(g) {
		t.Fatal("kept out")
	}
	ended := make(chan struct{})
	go func() {
		l.welcome(&guestConn{server, g})
		close(ended)
	}()
	return client, ended
}

func streamsOf(r *Resolver, t transport) *streamListener {
	l := &streamListener{resolver: r, crowd: newCrowd(t, &r.refused)}
	if t != overTCP {
		l.tls = r.tlsConfig([]string{"dot"})
	}
	l.serve = l.serveStream
	return l
}

// secure makes the handshake of a client that does not look at certificates.
func secure(t *testing.T, conn net.Conn, alpn string) *tls.Conn {
	t.Helper()
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}})
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func localhostQuery(t *testing.T) []byte {
	t.Helper()
	wire, err := new(dns.Msg).SetQuestion("localhost.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

// bubble runs f with times of its own, and checks that it took as long as is wanted and what it counted.
func bubble(t *testing.T, took time.Duration, refused string, f func(t *testing.T, r *Resolver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := inside(t)
		began := time.Now()
		f(t, r)
		if got := time.Since(began); got != took {
			t.Errorf("it took %v, want %v", got, took)
		}
		if got := fmt.Sprint(r.Stats().Refused); got != refused {
			t.Errorf("refused %s, want %s", got, refused)
		}
	})
}

func TestAHandshakeThatDoesNotGoOnIsBrokenOff(t *testing.T) {
	hello := []byte{22, 3, 1, 0, 200, 1} // the beginning of a ClientHello
	for sent := range hello {
		bubble(t, handshakeTime, "[{dot handshake 1}]", func(t *testing.T, r *Resolver) {
			l := streamsOf(r, overTLS)
			client, done := visit(t, l)
			_, _ = client.Write(hello[:sent])
			<-done
			if len(l.crowd.open) != 0 {
				t.Error("it still has its place")
			}
		})
	}
}

func TestAConnectionThatSendsNothingAndGoesIsNoRefusal(t *testing.T) {
	bubble(t, 0, "[]", func(t *testing.T, r *Resolver) {
		client, done := visit(t, streamsOf(r, overTLS))
		client.Close()
		<-done
	})
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	for way, idle := range map[transport]time.Duration{overTCP: tcpIdle, overTLS: tlsIdle} {
		for sent := range 2 { // of the length's two octets
			bubble(t, idle, "[]", func(t *testing.T, r *Resolver) {
				client, done := visit(t, streamsOf(r, way))
				if way == overTLS {
					client = secure(t, client, "dot")
				}
				_, _ = client.Write(make([]byte, sent))
				if _, err := io.Copy(io.Discard, client); err != nil {
					t.Error(err)
				}
				<-done
			})
		}
	}
}

func TestAQueryThatIsNotFinishedInTimeEndsItsConnection(t *testing.T) {
	for _, way := range []transport{overTCP, overTLS} {
		bubble(t, queryTime, fmt.Sprintf("[{%v slow 1}]", way), func(t *testing.T, r *Resolver) {
			client, done := visit(t, streamsOf(r, way))
			if way == overTLS {
				client = secure(t, client, "dot")
			}
			_, _ = client.Write(framed(localhostQuery(t))[:9])
			_, _ = io.Copy(io.Discard, client)
			<-done
		})
	}
}

func TestAQueryThatIsTooLongEndsItsConnection(t *testing.T) {
	bubble(t, 0, "[{dot malformed 1}]", func(t *testing.T, r *Resolver) {
		client, done := visit(t, streamsOf(r, overTLS))
		client = secure(t, client, "dot")
		_, _ = client.Write([]byte{maxQuery >> 8, 1})
		_, _ = io.Copy(io.Discard, client)
		<-done
	})
}

func TestAClientThatDoesNotReadLosesItsConnection(t *testing.T) {
	bubble(t, writeTime, "[]", func(t *testing.T, r *Resolver) {
		l := streamsOf(r, overTCP)
		client, done := visit(t, l)
		for range 3 {
			_, _ = client.Write(framed(localhostQuery(t)))
		}
		<-done
		if len(l.crowd.open) != 0 {
			t.Error("it still has its place")
		}
	})
}

func TestAtTheStopWhatWasReadIsAnsweredAndNothingElseIsRead(t *testing.T) {
	for _, way := range []transport{overTCP, overTLS} {
		bubble(t, 0, "[]", func(t *testing.T, r *Resolver) {
			l := streamsOf(r, way)
			client, done := visit(t, l)
			if way == overTLS {
				client = secure(t, client, "dot")
			}
			_, _ = client.Write(framed(localhostQuery(t)))
			synctest.Wait()
			l.crowd.stop(func(g *guest) { _ = g.conn.SetReadDeadline(time.Unix(1, 0)) })
			data, err := io.ReadAll(client)
			if err != nil || len(data) < 2 || new(dns.Msg).Unpack(data[2:]) != nil {
				t.Errorf("over %v: %x, %v", way, data, err)
			}
			<-done
		})
	}
	bubble(t, 0, "[]", func(t *testing.T, r *Resolver) {
		l := streamsOf(r, overTLS)
		_, done := visit(t, l) // in its handshake
		synctest.Wait()
		l.crowd.stop(func(g *guest) { _ = g.conn.SetReadDeadline(time.Unix(1, 0)) })
		<-done
	})
}

// web runs an HTTPS listener without its socket.
func web(t *testing.T, r *Resolver) (l *httpsListener, stop func()) {
	t.Helper()
	e, _, err := listenHTTPS(r, netip.MustParseAddrPort("127.0.0.1:0"), r.tlsConfig([]string{"h2", "http/1.1"}))
	if err != nil {
		t.Fatal(err)
	}
	l = e.(*httpsListener)
	var serving sync.WaitGroup
	serving.Go(func() { _ = l.server.Serve(&l.accepted) })
	return l, func() {
		l.close()
		serving.Wait()
		synctest.Wait()
		if len(l.crowd.open) != 0 || len(l.crowd.perAddress) != 0 {
			t.Errorf("left: %d connections, %d addresses", len(l.crowd.open), len(l.crowd.perAddress))
		}
	}
}

func TestAnHTTPRequestThatIsNotFinishedInTimeIsBrokenOff(t *testing.T) {
	for name, c := range map[string]struct {
		sent    string
		status  int
		refused string
	}{
		"nothing":        {"", 0, "[]"},
		"half a header":  {"GET /dns-query?dns=AAAA HTTP/1.1\r\nHost: dns.school", 0, "[]"},
		"half a request": {"POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nContent-Length: 30\r\n\r\nabc", 408, "[{doh slow 1}]"},
		"an endless chunk": {
			"POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 408, "[{doh slow 1}]",
		},
	} {
		bubble(t, queryTime, c.refused, func(t *testing.T, r *Resolver) {
			l, stop := web(t, r)
			defer stop()
			conn, _ := visit(t, l.streamListener)
			client := secure(t, conn, "http/1.1")
			_, _ = io.WriteString(client, c.sent)
			status := 0
			if resp, err := http.ReadResponse(bufio.NewReader(client), nil); err == nil {
				status = resp.StatusCode
				resp.Body.Close()
			}
			if status != c.status {
				t.Errorf("%s: status %d, want %d", name, status, c.status)
			}
		})
	}
}

// h2 begins HTTP/2 and returns its frames.
func h2(t *testing.T, conn net.Conn) *http2.Framer {
	t.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return framer
}

func TestAConnectionOfHTTP2ThatAsksNothingIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		send func(f *http2.Framer) error
		want time.Duration
	}{
		"nothing": {func(*http2.Framer) error { return nil }, tlsIdle},
		"a header that does not end": {func(f *http2.Framer) error {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
		}, queryTime},
		"half a frame": {func(f *http2.Framer) error { return f.WriteRawFrame(http2.FrameHeaders, 0, 1, nil) }, queryTime},
		"pings":        {func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) }, tlsIdle},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := inside(t)
			l, stop := web(t, r)
			defer stop()
			conn, _ := visit(t, l.streamListener)
			client := secure(t, conn, "h2")
			began := time.Now()
			framer := h2(t, client)
			go func() { _ = c.send(framer) }()
			for {
				if _, err := framer.ReadFrame(); err != nil {
					break
				}
			}
			// One second more for its GOAWAY to be read.
			if took := time.Since(began); took < c.want || took > c.want+time.Second {
				t.Errorf("%s: it took %v, want %v", name, took, c.want)
			}
		})
	}
}

func TestABodyOfHTTP2ThatIsNotFinishedInTimeIsBrokenOff(t *testing.T) {
	bubble(t, queryTime, "[{doh slow 1}]", func(t *testing.T, r *Resolver) {
		l, stop := web(t, r)
		defer stop()
		conn, _ := visit(t, l.streamListener)
		framer := h2(t, secure(t, conn, "h2"))
		framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		var block bytes.Buffer
		encoder := hpack.NewEncoder(&block)
		for _, h := range [][2]string{
			{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", dohPath}, {"content-type", dohType},
		} {
			_ = encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		go func() { // the server writes meanwhile
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
			_ = framer.WriteData(1, false, []byte("abc"))
		}()
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if head, ok := frame.(*http2.MetaHeadersFrame); ok {
				if status := head.PseudoValue("status"); status != "408" {
					t.Errorf("status %s", status)
				}
				return
			}
		}
	})
}
