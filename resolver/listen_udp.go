package resolver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// socketBuffer is how many octets the system may hold for a socket, both ways: enough for a burst
// while a reader is not running. The system may grant less.
const socketBuffer = 4 << 20

// udpReader reads one socket and answers from the same goroutine what needs no waiting.
type udpReader struct {
	resolver *Resolver
	socket   *net.UDPConn
	// wildcard says that the address asked must be read from each packet, so that the answer leaves
	// from it: a client takes an answer from nowhere else.
	wildcard bool
	loop     loop
}

// loop reads a socket.
type loop interface {
	run()
	stopReading() // has run answer what it has begun, and end
	release()     // in place of run
}

func listenUDP(r *Resolver, addr netip.AddrPort) (*udpReader, error) {
	config := net.ListenConfig{Control: controlUDP(addr.Addr())}
	conn, err := config.ListenPacket(context.Background(), network("udp", addr.Addr()), addr.String())
	if err != nil {
		return nil, err
	}
	socket, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("%T is not a UDP socket", conn)
	}
	// What the system grants is enough, or it is counted as lost there.
	_ = socket.SetReadBuffer(socketBuffer)
	_ = socket.SetWriteBuffer(socketBuffer)
	u := &udpReader{resolver: r, socket: socket, wildcard: addr.Addr().IsUnspecified() && replyAddress}
	if u.loop, err = readLoop(u); err != nil {
		socket.Close()
		return nil, err
	}
	return u, nil
}

// run implements loop, on every system: one packet at a time. Linux has another (worker).
func (u *udpReader) run() {
	q := queries.Get().(*query)
	for {
		q.reset()
		if err := u.read(q); err != nil {
			if stopped(err) {
				queries.Put(q)
				return
			}
			u.resolver.log.Warn("read from UDP socket", "error", err)
			time.Sleep(10 * time.Millisecond) // an error that stays must not take the CPU
			continue
		}
		if !u.resolver.serveSafely(q) {
			q = queries.Get().(*query) // the forwarder has the other one
		}
	}
}

// stopReading implements loop.
func (u *udpReader) stopReading() { _ = u.socket.SetReadDeadline(time.Unix(1, 0)) } // it fails only on a closed socket

func (u *udpReader) release() {}

func (u *udpReader) read(q *query) error {
	var n int
	var err error
	if u.wildcard {
		var oobLen int
		n, oobLen, _, q.from, err = u.socket.ReadMsgUDPAddrPort(q.buf[:], q.oobBuf[:])
		q.oob = replyControl(q.oobBuf[:oobLen])
	} else {
		n, q.from, err = u.socket.ReadFromUDPAddrPort(q.buf[:])
	}
	if err != nil {
		return err
	}
	if q.from.Addr().Is4In6() {
		q.from = netip.AddrPortFrom(q.from.Addr().Unmap(), q.from.Port())
	}
	q.in = q.buf[:n]
	q.transport, q.sender = overUDP, u
	return nil
}

// send implements sender. A datagram that cannot be sent is lost, as any datagram may be.
func (u *udpReader) send(q *query) {
	if u.wildcard {
		_, _, _ = u.socket.WriteMsgUDPAddrPort(q.out, q.oob, q.from)
		return
	}
	_, _ = u.socket.WriteToUDPAddrPort(q.out, q.from)
}
