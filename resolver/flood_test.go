package resolver_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// silentUpstream answers nothing before it is let.
func silentUpstream(t *testing.T) (u *upstream, release func()) {
	t.Helper()
	silent := make(chan struct{})
	u = startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		<-silent
		records()(w, q)
	})
	return u, func() { close(silent) }
}

// refused is how often something was refused over a transport for a reason.
func (s *server) refused(transport, reason string) uint64 {
	for _, r := range s.Stats().Refused {
		if r.Transport == transport && r.Reason == reason {
			return r.Count
		}
	}
	return 0
}

func TestRequestsThatAreResetGoOnCounting(t *testing.T) {
	up, release := silentUpstream(t)
	s := startEncrypted(t, nil, up)
	conn, err := tls.Dial("tcp", s.doh, s.tlsClient("h2"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	goodbye := make(chan error, 1)
	go func() { // reads, so that nothing is held up, until the server says why it goes
		var last error
		for {
			f, err := framer.ReadFrame()
			if err != nil {
				goodbye <- errors.Join(last, err)
				return
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				last = http2.ConnectionError(g.ErrCode)
			}
		}
	}()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for stream := uint32(1); ; stream += 2 {
		block.Reset()
		query := base64.RawURLEncoding.EncodeToString(pack(t, ask(fmt.Sprintf("n%d.example", stream), dns.TypeA)))
		for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", s.doh}, {":path", "/dns-query?dns=" + query}} {
			_ = encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
			framer.WriteRSTStream(stream, http2.ErrCodeCancel) != nil {
			break
		}
	}
	if err := <-goodbye; !errors.Is(err, http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)) {
		t.Errorf("the connection ended with %v", err)
	}
	if n := s.Stats().Waiting; n > 100 {
		t.Errorf("%d queries of one connection wait for an upstream", n)
	}
	if s.refused("doh", "busy") == 0 {
		t.Errorf("it was not counted: %v", s.Stats().Refused)
	}
	release()
}

func TestStreamsOfQUICThatAreBrokenOffGoOnCounting(t *testing.T) {
	up, release := silentUpstream(t)
	s := startEncrypted(t, nil, up)
	conn := s.dialQUIC(t)
	opened := 0
	for {
		stream, err := conn.OpenStream()
		if err != nil {
			break // no more may be opened at this time
		}
		q := ask(fmt.Sprintf("n%d.example", opened), dns.TypeA)
		q.Id = 0
		if _, err := stream.Write(framed(pack(t, q))); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		<-up.queries
		stream.CancelRead(3) // DOQ_REQUEST_CANCELLED
		opened++
	}
	if opened != 100 {
		t.Errorf("%d streams could be opened", opened)
	}
	release()
	if _, err := conn.OpenStreamSync(t.Context()); err != nil {
		t.Errorf("another once they are answered: %v", err)
	}
}

func TestAStreamOfQUICThatIsNotFinishedInTimeIsReset(t *testing.T) {
	t.Parallel() // it waits for as long as a client may take
	s := startEncrypted(t, nil)
	stream, err := s.dialQUIC(t).OpenStreamSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{0, 30, 0}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Read(make([]byte, 1))
	if reset, ok := errors.AsType[*quic.StreamError](err); !ok || reset.ErrorCode != 5 || !reset.Remote {
		t.Errorf("%v, want DOQ_UNSPECIFIED_ERROR", err)
	}
	if s.refused("doq", "slow") != 1 {
		t.Errorf("refused: %v", s.Stats().Refused)
	}
}

// connect opens a connection of a transport from an address and returns how to see its end.
func (s *encryptedServer) connect(t *testing.T, transport, from string) (closed func() bool, err error) {
	t.Helper()
	if transport == "doq" {
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { socket.Close() })
		conn, err := quic.Dial(t.Context(), socket, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.doq)), s.tlsClient("doq"), nil)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
		return func() bool { <-conn.Context().Done(); return true }, nil
	}
	addr, alpn := s.dot, "dot"
	if transport == "doh" {
		addr, alpn = s.doh, "h2"
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, s.tlsClient(alpn))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return func() bool {
		_, err := io.Copy(io.Discard, conn)
		return !errors.Is(err, net.ErrClosed)
	}, nil
}

func TestOneAddressHasAShareOfTheEncryptedConnectionsAndNoMore(t *testing.T) {
	s := startEncrypted(t, nil)
	for _, transport := range []string{"dot", "doh", "doq"} {
		for n := range 128 {
			if _, err := s.connect(t, transport, "127.0.0.1"); err != nil {
				t.Fatalf("connection %d of %s: %v", n, transport, err)
			}
		}
		if _, err := s.connect(t, transport, "127.0.0.1"); err == nil {
			t.Errorf("%s: one more than its share", transport)
		}
		if s.refused(transport, "per_address") == 0 {
			t.Errorf("%s: refused %v", transport, s.Stats().Refused)
		}
		if _, err := s.connect(t, transport, "127.0.0.2"); err != nil {
			t.Errorf("%s: another address: %v", transport, err)
		}
	}
}

func TestAHandshakeThatFailsIsCounted(t *testing.T) {
	s := startEncrypted(t, nil)
	for transport, addr := range map[string]string{"dot": s.dot, "doh": s.doh} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn) // until the server closes it
		conn.Close()
		if s.refused(transport, "handshake") != 1 {
			t.Errorf("%s: refused %v", transport, s.Stats().Refused)
		}
	}
	if _, err := quic.DialAddr(t.Context(), s.doq, s.tlsClient("h3"), nil); err == nil {
		t.Error("QUIC with another ALPN")
	}
	for deadline := time.Now().Add(10 * time.Second); s.refused("doq", "handshake") != 1; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("doq: refused %v", s.Stats().Refused)
		}
	}
}

func TestAtTheStopIdleConnectionsAreClosedAndWhatWasAskedIsAnswered(t *testing.T) {
	up, release := silentUpstream(t)
	s := startEncrypted(t, nil, up)
	var ended []func() bool
	for _, transport := range []string{"dot", "doh", "doq"} {
		closed, err := s.connect(t, transport, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		ended = append(ended, closed)
	}
	answers := make(chan string, 3)
	for _, way := range []string{"dot", "doh", "doq"} {
		go func() {
			answer := way + " failed"
			defer func() { answers <- answer }()
			q := ask(way+".example", dns.TypeA)
			var r *dns.Msg
			switch way {
			case "dot":
				r = s.overTLS(t, q)
			case "doh":
				r, _ = s.overHTTPS(t, q, http.MethodGet, true)
			case "doq":
				r = s.overQUIC(t, q)
			}
			answer = fmt.Sprint(way, " ", r.Rcode)
		}()
		<-up.queries
	}
	stopped := s.stop()
	for i, closed := range ended {
		if !closed() {
			t.Errorf("connection %d was not closed", i)
		}
	}
	release()
	got := []string{<-answers, <-answers, <-answers}
	slices.Sort(got)
	if fmt.Sprint(got) != "[doh 3 doq 3 dot 3]" {
		t.Errorf("answers: %v", got)
	}
	<-stopped
}
