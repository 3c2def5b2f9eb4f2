package resolver

import (
	"bufio"
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
)

// The times of TCP and of what is carried by it (RFC 7766 §6.2.3, RFC 7858 §3.4). A connection that
// begins no query is closed when it has been idle; one with TLS may be so for longer, as the next would
// cost a handshake.
const (
	tcpIdle       = 10 * time.Second
	tlsIdle       = 30 * time.Second
	handshakeTime = 5 * time.Second // for a whole handshake
	queryTime     = 5 * time.Second // for a query, once its first octets are there
	writeTime     = 5 * time.Second
)

// maxOutstanding is how many queries of one connection may wait for their answers. What comes beyond it
// is read when there is room: the client's own sending slows down.
const maxOutstanding = 128

// streamListener accepts connections of TCP, with or without TLS.
type streamListener struct {
	resolver *Resolver
	socket   *net.TCPListener
	tls      *tls.Config // nil: in clear
	crowd    *crowd
	// serve takes over a connection whose handshake is done, and closes it.
	serve   func(conn net.Conn, g *guest)
	serving sync.WaitGroup
}

func listenTCP(r *Resolver, addr netip.AddrPort, t transport, config *tls.Config) (*streamListener, error) {
	var lc net.ListenConfig
	socket, err := lc.Listen(context.Background(), network("tcp", addr.Addr()), addr.String())
	if err != nil {
		return nil, err
	}
	l := &streamListener{resolver: r, socket: socket.(*net.TCPListener), tls: config, crowd: newCrowd(t, &r.refused)}
	l.serve = l.serveStream
	return l, nil
}

func (l *streamListener) addr() netip.AddrPort { return l.socket.Addr().(*net.TCPAddr).AddrPort() }

func (l *streamListener) run() {
	for {
		conn, err := l.socket.AcceptTCP()
		if err != nil {
			if stopped(err) {
				break
			}
			l.resolver.log.Warn("accept TCP connection", "error", err)
			time.Sleep(10 * time.Millisecond) // out of file descriptors, say: it passes
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		g := &guest{from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), conn: conn, shut: func() { conn.Close() }}
		g.proxy = among(l.resolver.snapshot.Load().Access.Proxies, g.from.Addr())
		if !l.crowd.enter(g) {
			conn.Close()
			continue
		}
		l.serving.Go(func() { l.welcome(&guestConn{conn, g}) })
	}
	l.serving.Wait()
}

// guestConn is a guest's connection. To close it is to leave.
type guestConn struct {
	net.Conn
	guest *guest
}

func (c *guestConn) Close() error {
	c.guest.leave()
	return c.Conn.Close()
}

func (l *streamListener) welcome(conn *guestConn) {
	if conn.guest.proxy && !l.introduce(conn) {
		_ = conn.Close()
		return
	}
	if l.tls == nil {
		l.serve(conn, conn.guest)
		return
	}
	secure := tls.Server(conn, l.tls)
	if !l.crowd.unlessStopping(func() { _ = conn.SetDeadline(time.Now().Add(handshakeTime)) }) {
		_ = conn.Close()
		return
	}
	if err := secure.HandshakeContext(context.Background()); err != nil {
		if !errors.Is(err, io.EOF) { // one that sends nothing and goes, as health checks do, was refused nothing
			conn.guest.lost(refusedHandshake)
		}
		_ = conn.Close()
		return
	}
	if !l.crowd.unlessStopping(func() { _ = conn.SetDeadline(time.Time{}) }) {
		_ = conn.Close()
		return
	}
	l.serve(secure, conn.guest)
}

// stopReading reads no more. What has been read is answered.
func (l *streamListener) stopReading() {
	l.socket.Close()
	l.crowd.stop(func(g *guest) {
		// It fails only on a closed connection, which reads no more either.
		_ = g.conn.SetReadDeadline(time.Unix(1, 0))
	})
}

func (l *streamListener) close() {
	l.socket.Close()
	l.crowd.close()
}

// stream is one connection of TCP or TLS: a reader, which answers inline what needs no waiting, and an outbox.
// Answers go out as they are ready.
type stream struct {
	listener    *streamListener
	conn        net.Conn
	in          *bufio.Reader
	out         *outbox
	guest       *guest
	idle        time.Duration
	outstanding chan struct{} // holds one for each query whose answer has not been sent
	host        string        // as query.host
}

// readBuffer is how much is taken off a connection at a time: some forty queries.
const readBuffer = 2048

func (l *streamListener) serveStream(conn net.Conn, g *guest) {
	s := &stream{
		listener: l, conn: conn, in: bufio.NewReaderSize(conn, readBuffer), guest: g, idle: idleTime(l.crowd.transport),
		outstanding: make(chan struct{}, maxOutstanding),
	}
	if secure, ok := conn.(*tls.Conn); ok {
		s.host = secure.ConnectionState().ServerName
	}
	s.out = newOutbox(conn, func(responses int) {
		for range responses {
			<-s.outstanding
		}
	}, func() { g.conn.Close() }) // so that the reader ends too
	if l.crowd.unlessStopping(func() { g.idle = func() bool { return len(s.outstanding) == 0 } }) {
		s.run()
	}
	conn.Close()
}

// idleTime is how long a connection may be idle.
func idleTime(t transport) time.Duration {
	if t == overTCP {
		return tcpIdle
	}
	return tlsIdle
}

func (s *stream) run() {
	var writing sync.WaitGroup
	writing.Go(s.out.run)
	for s.read() {
	}
	s.out.gather(false)
	for range maxOutstanding {
		s.outstanding <- struct{}{} // until every query has been answered
	}
	s.out.close()
	writing.Wait()
}

// read takes one query off the connection. It returns false where there will be no more.
func (s *stream) read() bool {
	if s.in.Buffered() < 2 && !s.waitFor(s.idle) {
		return false
	}
	size, err := s.in.Peek(2)
	if err != nil {
		return false
	}
	n := int(binary.BigEndian.Uint16(size))
	if n > maxQuery {
		s.guest.lost(refusedMalformed)
		return false
	}
	_, _ = s.in.Discard(2) // they are there
	if s.in.Buffered() < n && !s.waitFor(queryTime) {
		return false
	}
	q := queries.Get().(*query)
	q.reset()
	if _, err := io.ReadFull(s.in, q.buf[:n]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.guest.lost(refusedSlow)
		}
		queries.Put(q)
		return false
	}
	q.in, q.from, q.transport, q.sender, q.host = q.buf[:n], s.guest.from, s.guest.crowd.transport, s, s.host
	select {
	case s.outstanding <- struct{}{}:
	default:
		s.out.gather(false)
		s.outstanding <- struct{}{}
	}
	s.out.gather(s.in.Buffered() > 0)
	if s.listener.resolver.serveSafely(q) {
		if len(q.out) == 0 {
			<-s.outstanding // no response
		}
		queries.Put(q)
	}
	return true
}

// waitFor readies the connection for a read that may wait for so long. It returns false where nothing is to be
// read any more.
func (s *stream) waitFor(d time.Duration) bool {
	s.out.gather(false)
	// To set a deadline fails only on a closed connection, and then the read does too.
	return s.guest.crowd.unlessStopping(func() { _ = s.conn.SetReadDeadline(time.Now().Add(d)) })
}

// send implements sender.
func (s *stream) send(q *query) {
	s.out.add(1, func(pending []byte) []byte {
		return append(binary.BigEndian.AppendUint16(pending, uint16(len(q.out))), q.out...)
	})
}

// framed returns a message behind its length, as streams have it (RFC 1035 §4.2.2).
func framed(msg []byte) []byte {
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	return append(out, msg...)
}
