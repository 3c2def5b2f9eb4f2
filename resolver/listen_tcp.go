package resolver

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The bounds of TCP (RFC 7766 §6, RFC 9210 §4.2). A connection that sends nothing whole for tcpIdle is
// closed, which is also how long a slow sender may hold one.
const (
	tcpIdle           = 10 * time.Second
	tcpWrite          = 5 * time.Second
	maxTCP            = 2048 // connections in all
	maxTCPPerAddress  = 128  // of one address, of IPv6 one /64
	maxTCPOutstanding = 128  // queries of one connection that are not answered yet
)

type tcpListener struct {
	resolver *Resolver
	socket   *net.TCPListener
	streams  sync.WaitGroup

	mu         sync.Mutex
	open       map[*stream]struct{}
	perAddress map[netip.Addr]int
	stopping   bool
}

func listenTCP(r *Resolver, addr netip.AddrPort) (*tcpListener, error) {
	var config net.ListenConfig
	socket, err := config.Listen(context.Background(), network("tcp", addr.Addr()), addr.String())
	if err != nil {
		return nil, err
	}
	return &tcpListener{
		resolver: r, socket: socket.(*net.TCPListener), open: make(map[*stream]struct{}), perAddress: make(map[netip.Addr]int),
	}, nil
}

func (l *tcpListener) run() {
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
		s := &stream{
			listener: l, conn: conn, from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
			responses: make(chan []byte, maxTCPOutstanding), outstanding: make(chan struct{}, maxTCPOutstanding),
		}
		if !l.add(s) {
			conn.Close()
			continue
		}
		l.streams.Go(s.run)
	}
	l.streams.Wait()
}

func (l *tcpListener) add(s *stream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	client := host(s.from.Addr())
	if l.stopping || l.perAddress[client] >= maxTCPPerAddress || len(l.open) >= maxTCP && !l.makeRoom() {
		return false
	}
	l.open[s] = struct{}{}
	l.perAddress[client]++
	return true
}

// makeRoom closes a connection that has nothing outstanding, so that those who hold many idle ones keep
// nobody else out: it is most likely one of theirs (RFC 7766 §6.2.3 lets a server close any that is idle).
func (l *tcpListener) makeRoom() bool {
	for s := range l.open { // in no particular order
		if len(s.outstanding) == 0 && !s.evicted {
			s.evicted = true
			s.conn.Close()
			return true
		}
	}
	return false
}

// host is what counts as one client: an IPv4 address, or the /64 of an IPv6 one, of which a device has
// as many addresses as it likes.
func host(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return addr
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}

func (l *tcpListener) remove(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, s)
	client := host(s.from.Addr())
	if l.perAddress[client]--; l.perAddress[client] == 0 {
		delete(l.perAddress, client)
	}
}

func (l *tcpListener) stopReading() {
	l.socket.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	for s := range l.open {
		// It fails only on a closed connection, which reads no more either.
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (l *tcpListener) close() {
	l.socket.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.open {
		s.conn.Close()
	}
}

// stream is one connection: a reader, which answers inline what needs no waiting, and a writer, so
// that a client which does not read holds up nobody else. Answers go out as they are ready.
type stream struct {
	listener    *tcpListener
	conn        *net.TCPConn
	from        netip.AddrPort
	responses   chan []byte   // framed; never full, as outstanding is taken first
	outstanding chan struct{} // holds one for each query that is not answered yet
	evicted     bool          // closed to make room; under the listener's mu
}

func (s *stream) run() {
	defer s.listener.remove(s)
	var writing sync.WaitGroup
	writing.Go(s.write)
	for s.read() {
	}
	for range maxTCPOutstanding {
		s.outstanding <- struct{}{} // until every query has been answered
	}
	close(s.responses)
	writing.Wait()
	s.conn.Close()
}

// read takes one query off the connection. It returns false where there will be no more.
func (s *stream) read() bool {
	s.listener.mu.Lock()
	stopping := s.listener.stopping
	if !stopping {
		// It fails only on a closed connection, and then the read does too.
		_ = s.conn.SetReadDeadline(time.Now().Add(tcpIdle))
	}
	s.listener.mu.Unlock()
	if stopping {
		return false
	}
	var size [2]byte
	if _, err := io.ReadFull(s.conn, size[:]); err != nil {
		return false
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxQuery {
		return false
	}
	q := queries.Get().(*query)
	q.reset()
	if _, err := io.ReadFull(s.conn, q.buf[:n]); err != nil {
		queries.Put(q)
		return false
	}
	q.in, q.from, q.transport, q.sender = q.buf[:n], s.from, overTCP, s
	s.outstanding <- struct{}{}
	if s.listener.resolver.serveSafely(q) {
		if len(q.out) == 0 {
			<-s.outstanding // no response
		}
		queries.Put(q)
	}
	return true
}

// send implements sender.
func (s *stream) send(q *query) {
	framed := make([]byte, 2, 2+len(q.out))
	binary.BigEndian.PutUint16(framed, uint16(len(q.out)))
	s.responses <- append(framed, q.out...)
}

// write sends the responses. After an error it only counts them down.
func (s *stream) write() {
	broken := false
	for response := range s.responses {
		if !broken {
			_ = s.conn.SetWriteDeadline(time.Now().Add(tcpWrite))
			if _, err := s.conn.Write(response); err != nil {
				broken = true
				s.conn.Close()
			}
		}
		<-s.outstanding
	}
}
