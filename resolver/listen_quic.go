package resolver

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"schoolgate/resolver/dnswire"
)

// The error codes of DNS over QUIC (RFC 9250 §8.4).
const (
	doqNoError          = 0x0
	doqProtocolError    = 0x2
	doqExcessiveLoad    = 0x4
	doqUnspecifiedError = 0x5
)

const (
	maxQUICStreams = 100 // queries of one connection at a time
	// quicWindow is how much one connection may send before it is read; a query has at most maxQuery.
	quicWindow = 16 * maxQuery
	// quicFarewell is how long at the end the last answers have to leave: QUIC sends them by itself, and to
	// close a connection drops what it has not sent.
	quicFarewell = 100 * time.Millisecond
)

// quicListener is DNS over QUIC (RFC 9250): one query a stream. Early data (0-RTT) is not taken: it can
// be replayed, and what it saves is one round trip within the school.
type quicListener struct {
	resolver *Resolver
	socket   *net.UDPConn
	tls      *tls.Config
	crowd    *crowd
	stop     context.Context // ends when no more is to be read
	stopNow  context.CancelFunc
	gone     chan struct{} // closed by close
	goOnce   sync.Once
	serving  sync.WaitGroup
}

func listenQUIC(r *Resolver, addr netip.AddrPort, config *tls.Config) (entrance, netip.AddrPort, error) {
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(context.Background(), network("udp", addr.Addr()), addr.String())
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	// The library would write to standard error that a buffer is smaller than it likes.
	_ = os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	socket := conn.(*net.UDPConn)
	l := &quicListener{resolver: r, socket: socket, tls: config, crowd: newCrowd(overQUIC, &r.refused), gone: make(chan struct{})}
	l.stop, l.stopNow = context.WithCancel(context.Background())
	return l, socket.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

func (l *quicListener) run() {
	defer l.socket.Close()
	quicTransport := &quic.Transport{
		Conn: l.socket, ConnContext: l.enter,
		// Whoever only says that he has an address proves it first, once there are many (RFC 9000 §8.1.2).
		VerifySourceAddress: func(addr net.Addr) bool { return l.crowd.crowded(addrOf(addr).Addr()) },
	}
	listener, err := quicTransport.Listen(l.tls, &quic.Config{
		HandshakeIdleTimeout: handshakeTime, MaxIdleTimeout: tlsIdle,
		MaxIncomingStreams: maxQUICStreams, MaxIncomingUniStreams: -1, RequireStreamCreditRelease: true,
		InitialStreamReceiveWindow: 2 * maxQuery, MaxStreamReceiveWindow: 2 * maxQuery,
		InitialConnectionReceiveWindow: quicWindow, MaxConnectionReceiveWindow: quicWindow,
	})
	if err != nil {
		l.resolver.log.Error("listen for QUIC", "error", err)
		return
	}
	// Once it is closed it still hands out whose handshake is done, so that each is told.
	context.AfterFunc(l.stop, func() { _ = listener.Close() })
	for {
		conn, err := listener.Accept(context.Background())
		if err != nil {
			if l.stop.Err() == nil {
				l.resolver.log.Error("accept QUIC connections; there will be none any more", "error", err)
				l.stopReading()
			}
			break
		}
		l.serving.Go(func() { l.serve(conn) })
	}
	l.serving.Wait()
	l.crowd.requests.Wait()
	_ = quicTransport.Close() // what it says of the socket, the reader has met
}

// enter lets a connection in that has just begun its handshake.
func (l *quicListener) enter(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	g := &guest{from: addrOf(info.RemoteAddr)}
	if !l.crowd.enter(g) {
		return nil, errRefused
	}
	context.AfterFunc(ctx, func() {
		if g.isNew() {
			g.lost(refusedHandshake)
		}
		g.leave()
	})
	return context.WithValue(ctx, guestKey{}, g), nil
}

var errRefused = errors.New("too many connections")

// isNew reports whether the handshake has not come to its end.
func (g *guest) isNew() bool {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	return g.shut == nil
}

func addrOf(addr net.Addr) netip.AddrPort {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := udp.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// serve takes the streams of one connection, each with its own goroutine.
func (l *quicListener) serve(conn *quic.Conn) {
	g := conn.Context().Value(guestKey{}).(*guest)
	if !l.crowd.unlessStopping(func() {
		// It waits for the connection's end, as shut must not. Until the stop, which comes before any wait
		// for these goroutines, only a newcomer shuts others out.
		g.shut = func() { l.serving.Go(func() { _ = conn.CloseWithError(doqExcessiveLoad, "") }) }
	}) {
		_ = conn.CloseWithError(doqNoError, "")
		return
	}
	var streams sync.WaitGroup
	answered := false
	for {
		stream, err := conn.AcceptStream(l.stop)
		if err != nil {
			break // it is closed, or we stop
		}
		answered = true
		streams.Go(func() {
			l.stream(conn, stream, g)
			stream.ReleaseStreamCredit()
		})
	}
	streams.Wait()
	if answered && conn.Context().Err() == nil {
		select {
		case <-conn.Context().Done():
		case <-l.gone:
		case <-time.After(quicFarewell):
		}
	}
	_ = conn.CloseWithError(doqNoError, "")
}

// errProtocol says that the client breaks the rules of RFC 9250 §4.3.3; the connection ends then.
var errProtocol = errors.New("not as DNS over QUIC has it")

func (l *quicListener) stream(conn *quic.Conn, stream *quic.Stream, g *guest) {
	giveUp := func(code quic.StreamErrorCode) {
		stream.CancelRead(code)
		stream.CancelWrite(code)
	}
	if !g.begin() {
		giveUp(doqExcessiveLoad)
		return
	}
	defer g.end()
	q := queries.Get().(*query)
	q.reset()
	_ = stream.SetReadDeadline(time.Now().Add(queryTime))
	switch err := q.readQUIC(stream); {
	case err == nil:
	case errors.Is(err, errProtocol):
		queries.Put(q)
		g.lost(refusedMalformed)
		_ = conn.CloseWithError(doqProtocolError, errProtocol.Error())
		return
	default: // too slow, or the client has broken it off
		if errors.Is(err, os.ErrDeadlineExceeded) {
			g.lost(refusedSlow)
		}
		queries.Put(q)
		giveUp(doqUnspecifiedError)
		return
	}
	q.from, q.transport, q.host = addrOf(conn.RemoteAddr()), overQUIC, conn.ConnectionState().TLS.ServerName
	response := l.resolver.settle(q)
	if response == nil {
		g.lost(refusedMalformed)
		_ = conn.CloseWithError(doqProtocolError, errProtocol.Error())
		return
	}
	_ = stream.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := stream.Write(framed(response)); err != nil {
		giveUp(doqUnspecifiedError)
		return
	}
	_ = stream.Close() // it fails only where the stream is broken off
}

// readQUIC reads the one query of a stream, up to the client's FIN (RFC 9250 §4.2).
func (q *query) readQUIC(stream io.Reader) error {
	var size [2]byte
	if _, err := io.ReadFull(stream, size[:]); err != nil {
		return brokenOff(err)
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxQuery {
		return errProtocol
	}
	if _, err := io.ReadFull(stream, q.buf[:n]); err != nil {
		return brokenOff(err)
	}
	if _, err := io.ReadFull(stream, size[:1]); !errors.Is(err, io.EOF) {
		if err == nil { // a second query
			return errProtocol
		}
		return err
	}
	q.in = q.buf[:n]
	// The message id is 0 (§4.2.1), and how long connections live is QUIC's to say (§5.5.2).
	if q.msg.Parse(q.in) == dnswire.StatusIgnore || q.msg.ID != 0 || q.msg.Keepalive {
		return errProtocol
	}
	return nil
}

// brokenOff tells a stream that ends too early from one that fails.
func brokenOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errProtocol
	}
	return err
}

// stopReading takes no more streams. What has been asked is answered.
func (l *quicListener) stopReading() {
	l.crowd.stop(func(*guest) {})
	l.stopNow()
}

// close ends every connection, as each needs the socket.
func (l *quicListener) close() {
	l.stopReading()
	l.goOnce.Do(func() { close(l.gone) })
	l.socket.Close()
}
