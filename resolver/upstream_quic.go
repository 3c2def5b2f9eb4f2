package resolver

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// The error codes of DNS over QUIC that a client sends (RFC 9250 §4.3).
const (
	doqRequestCancelled = 0x3
)

// quicUpstream asks a server of DNS over QUIC (RFC 9250): one connection, and for each question a stream, of
// which the server bounds the number. A session is resumed where that is possible, but nothing is sent
// before the handshake is done (0-RTT), for that could be replayed.
type quicUpstream struct {
	place  *place
	config *quic.Config

	ctx     context.Context //nolint:containedctx // ends with close, for connecting outlives the question
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	conn *quicConn // nil: none yet, or the last one takes no more questions
}

// quicConn is one connection.
type quicConn struct {
	ready chan struct{} // closed when conn or err is known; they do not change after that
	conn  *quic.Conn
	err   error
}

func newOverQUIC(p *place) *quicUpstream {
	q := &quicUpstream{place: p, config: &quic.Config{
		HandshakeIdleTimeout: connectTime, MaxIdleTimeout: pipeIdle, TokenStore: quic.NewLRUTokenStore(1, sessionCache),
		MaxIncomingStreams: -1, MaxIncomingUniStreams: -1,
	}}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

// exchange asks; where the connection ended first, once more on a new one.
func (q *quicUpstream) exchange(ctx context.Context, query []byte) ([]byte, error) {
	for try := 1; ; try++ {
		c := q.connection()
		select {
		case <-c.ready:
		case <-ctx.Done():
			return nil, fmt.Errorf("connect over QUIC: %w", ctx.Err())
		}
		if c.err != nil {
			return nil, fmt.Errorf("connect over QUIC: %w", c.err)
		}
		response, err := askStream(ctx, c.conn, query)
		if err == nil {
			return response, nil
		}
		ended := errors.Is(err, net.ErrClosed) // all errors of whole connections are that
		if ended {
			q.forget(c)
		}
		if !ended || ctx.Err() != nil || try == 2 {
			return nil, fmt.Errorf("ask over QUIC: %w", err)
		}
	}
}

// close ends the connection. No question may be on its way.
func (q *quicUpstream) close() {
	q.cancel()
	q.running.Wait()
}

// forget lets a connection take no more questions.
func (q *quicUpstream) forget(c *quicConn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.conn == c {
		q.conn = nil
	}
}

// connection is the one in use, or one that is being made.
func (q *quicUpstream) connection() *quicConn {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		c := &quicConn{ready: make(chan struct{}), err: net.ErrClosed}
		close(c.ready)
		return c
	}
	if c := q.conn; c != nil {
		select {
		case <-c.ready:
			if c.conn.Context().Err() == nil {
				return c
			}
		default:
			return c
		}
	}
	c := &quicConn{ready: make(chan struct{})}
	q.conn = c
	q.running.Go(func() { q.run(c) })
	return c
}

// run connects, and cleans up when the connection has ended.
func (q *quicUpstream) run(c *quicConn) {
	ctx, cancel := context.WithTimeout(q.ctx, connectTime)
	defer cancel()
	addrs, err := q.place.addresses(ctx)
	var socket *quicSocket
	if err == nil {
		socket, err = firstOf(ctx, addrs, func(ctx context.Context, addr netip.AddrPort) (*quicSocket, error) {
			return dialQUIC(ctx, addr, q.place.tls, q.config)
		}, func(s *quicSocket) { s.close() })
	}
	if err != nil {
		c.err = err
		q.forget(c)
		close(c.ready)
		return
	}
	c.conn = socket.conn
	close(c.ready)
	select {
	case <-c.conn.Context().Done():
	case <-q.ctx.Done():
	}
	socket.close()
}

// quicSocket is a connection with the socket that it has to itself.
type quicSocket struct {
	conn      *quic.Conn
	transport *quic.Transport
	socket    net.PacketConn
}

func dialQUIC(ctx context.Context, addr netip.AddrPort, tlsConfig *tls.Config, config *quic.Config) (*quicSocket, error) {
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	s := &quicSocket{socket: socket, transport: &quic.Transport{Conn: plainBuffers{socket}}}
	if s.conn, err = s.transport.Dial(ctx, net.UDPAddrFromAddrPort(addr), tlsConfig, config); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *quicSocket) close() {
	if s.conn != nil {
		_ = s.conn.CloseWithError(doqNoError, "")
	}
	_ = s.transport.Close()
	s.socket.Close()
}

// plainBuffers is a socket whose buffers are left as they are: questions are small and few, and quic-go
// would write to standard error where it may not make them some megabytes large.
type plainBuffers struct{ net.PacketConn }

func (plainBuffers) SetReadBuffer(int) error  { return nil }
func (plainBuffers) SetWriteBuffer(int) error { return nil }

// watchSilence ends a connection from which nothing at all comes for some round trips after a question: a
// server that lives acknowledges it long before it has the answer; one that was started anew knows nothing
// of the connection. stop, told whether the time of the question is up, ends a connection too from which
// nothing came since that first look: what came before may have been on its way already.
func watchSilence(conn *quic.Conn) (stop func(timeUp bool)) {
	var seen atomic.Uint64
	before := conn.ConnectionStats()
	seen.Store(before.PacketsReceived)
	endIfSilent := func() {
		if now := conn.ConnectionStats().PacketsReceived; seen.Swap(now) == now {
			_ = conn.CloseWithError(doqNoError, "")
		}
	}
	timer := time.AfterFunc(4*before.SmoothedRTT+leastSilence, endIfSilent)
	return func(timeUp bool) {
		if !timer.Stop() && timeUp {
			endIfSilent()
		}
	}
}

// leastSilence is some more for acknowledgements that wait, and for one packet that is lost.
const leastSilence = 200 * time.Millisecond

// askStream puts one question on a stream of its own (RFC 9250 §4.2).
func askStream(ctx context.Context, conn *quic.Conn, query []byte) ([]byte, error) {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	msg := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	stop := watchSilence(conn)
	defer func() { stop(ctx.Err() != nil) }()
	deadline, _ := ctx.Deadline()
	err = stream.SetDeadline(deadline)
	if err == nil {
		_, err = stream.Write(append(msg, query...))
	}
	if err == nil {
		err = stream.Close() // that is all we send
	}
	var response []byte
	if err == nil {
		response, err = readMessage(stream)
	}
	if err != nil {
		stream.CancelWrite(doqRequestCancelled)
		stream.CancelRead(doqRequestCancelled)
		return nil, err
	}
	// One answer and the end. More would be against the protocol (RFC 9250 §4.2), and is not waited for.
	stream.CancelRead(doqNoError)
	return response, nil
}
