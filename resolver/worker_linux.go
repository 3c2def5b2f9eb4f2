package resolver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"schoolgate/clients"
)

// worker reads one UDP socket in batches, answers from the same goroutine what needs no waiting, and asks
// upstream servers over UDP itself. What it waits for, packets and answers alike, is in one epoll set: so
// under a load that never lets it wait, answers are read between the batches, and not when the Go
// scheduler next looks at the network, which would be after ten milliseconds.
type worker struct {
	*udpReader
	fd     int      // the socket's, another one than the net package has, so that it stays while this runs
	epoll  int      // the epoll set,
	poll   *os.File // which is the Go runtime's to wait for as for any file
	events [64]unix.EpollEvent
	ready  int // of events

	// Packets in: queries[i] is read into by in[i].
	queries [batchSize]*query
	in      [batchSize]mmsghdr
	inVec   [batchSize]unix.Iovec

	// Responses out: leaving[:leave] wait to be sent.
	leaving [batchSize]*query
	leave   int
	out     [batchSize]mmsghdr
	outVec  [batchSize]unix.Iovec

	lane   int       // for Questions
	now    time.Time // when this round began
	counts counts    // of what was answered in it
	asker  asker
	tally  *clients.Tally // of who asks
	begun  []*call        // to be asked at the end of the round
}

// batchSize is how many packets are read at a time. A system call costs as much as some hundred
// nanoseconds of each packet's 2 to 4 microseconds: with more of them little is left to gain, and what
// they occupy would leave the processor's second cache.
const batchSize = 32

// What an event of the epoll set is about, beside the sockets of asker, which have their index.
const (
	eventSocket = -1
	eventTimer  = -2
)

// newWorker returns an error that wraps errors.ErrUnsupported where the system has not what it takes: a
// sandbox may forbid it.
func newWorker(u *udpReader) (w *worker, err error) {
	if err := canBatch(); err != nil {
		return nil, fmt.Errorf("recvmmsg: %w: %w", errors.ErrUnsupported, err)
	}
	w = &worker{udpReader: u, fd: -1, epoll: -1, tally: u.resolver.newTally(), lane: int(u.resolver.workers.Add(1))}
	defer func() {
		if err != nil {
			w.release()
		}
	}()
	raw, err := u.socket.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("UDP socket: %w", err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { w.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || failed != nil {
		return nil, fmt.Errorf("UDP socket: %w", errors.Join(err, failed))
	}
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(w.epoll, true); err != nil { // else os.NewFile takes it for one that blocks
		return nil, fmt.Errorf("epoll: %w", err)
	}
	w.poll = os.NewFile(uintptr(w.epoll), "epoll")
	if err := w.watch(w.fd, eventSocket); err != nil {
		return nil, err
	}
	if err := w.asker.start(w); err != nil {
		return nil, err
	}
	for i := range w.queries {
		w.queries[i] = queries.Get().(*query)
		w.prepare(i)
	}
	return w, nil
}

// release implements loop.
func (w *worker) release() {
	w.asker.close()
	if w.fd >= 0 {
		_ = unix.Close(w.fd) // nothing is lost by it
	}
	switch {
	case w.poll != nil:
		_ = w.poll.Close()
	case w.epoll >= 0:
		_ = unix.Close(w.epoll)
	}
	for i, q := range w.queries {
		if q != nil {
			queries.Put(q)
			w.queries[i] = nil
		}
	}
}

// watch adds a file descriptor to the epoll set. It leaves the set when it is closed.
func (w *worker) watch(fd int, what int32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: what}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// stopReading implements loop.
func (w *worker) stopReading() { _ = w.poll.SetReadDeadline(time.Unix(1, 0)) } // it fails only on a closed file

// run implements loop.
func (w *worker) run() {
	defer w.release()
	poll, err := w.poll.SyscallConn()
	if err != nil {
		w.resolver.log.Error("a UDP socket is not read", "error", err)
		return
	}
	stopping, busy := false, 0
	lookOnce := func(uintptr) bool { return w.look() }
	for !stopping || w.asker.inFlight > 0 {
		if busy++; !w.look() {
			busy = 0
			err := poll.Read(lookOnce)
			if err != nil && !stopping {
				stopping = true
				_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, w.fd, nil)
				_ = w.poll.SetReadDeadline(time.Time{})
				continue
			}
		}
		w.now = time.Now()
		for _, event := range w.events[:w.ready] {
			switch event.Fd {
			case eventSocket:
				w.serveBatch()
			case eventTimer:
				w.asker.tick(w.now)
			default:
				w.asker.receive(event.Fd)
			}
		}
		w.flush()
		w.resolver.metrics.durations.observeAll(&w.counts, time.Since(w.now))
		if busy > 0 {
			runtime.Gosched() // others get no processor otherwise while packets come faster than this answers
		}
	}
}

// look reports whether anything is ready.
func (w *worker) look() bool {
	w.ready = readyEvents(w.epoll, w.events[:])
	return w.ready > 0
}

// serveBatch reads packets and serves them.
func (w *worker) serveBatch() {
	n := receiveBatch(w.fd, w.in[:])
	for i := range n {
		q, m := w.queries[i], &w.in[i]
		q.in = q.buf[:m.size]
		q.peerLen = m.header.Namelen
		q.from = addrPortOf(&q.peer)
		if w.wildcard {
			q.oob = replyControl(q.oobBuf[:m.header.Controllen])
		}
		q.received, q.transport, q.sender, q.batched, q.counts, q.lane = w.now, overUDP, w, true, &w.counts, w.lane
		q.weight = 0
	}
	speakFor(w.queries[:n], w.tally)
	w.resolver.foresee(w.queries[:n])
	for i := range n {
		q := w.queries[i]
		if !w.resolver.serveSafely(q) {
			w.queries[i] = queries.Get().(*query) // the forwarder has the other one
		}
	}
	w.flush()
	w.askBegun()
	for i := range n {
		w.prepare(i)
	}
}

// prepare makes queries[i] ready for a packet.
func (w *worker) prepare(i int) {
	q := w.queries[i]
	q.reset()
	w.inVec[i] = unix.Iovec{Base: &q.buf[0]}
	w.inVec[i].SetLen(len(q.buf))
	h := unix.Msghdr{Name: &q.peer[0], Namelen: uint32(len(q.peer)), Iov: &w.inVec[i]}
	h.SetIovlen(1)
	if w.wildcard {
		h.Control = &q.oobBuf[0]
		h.SetControllen(len(q.oobBuf))
	}
	w.in[i].header = h
}

// send implements sender. What is answered by the worker itself leaves at the end of the round with
// the others.
func (w *worker) send(q *query) {
	if !q.batched {
		w.udpReader.send(q)
		return
	}
	if w.leave == len(w.leaving) {
		w.flush()
	}
	w.leaving[w.leave] = q
	w.leave++
}

// flush sends what waits to be sent.
func (w *worker) flush() {
	if w.leave == 0 {
		return
	}
	for i, q := range w.leaving[:w.leave] {
		w.outVec[i] = unix.Iovec{Base: &q.out[0]}
		w.outVec[i].SetLen(len(q.out))
		h := unix.Msghdr{Name: &q.peer[0], Namelen: q.peerLen, Iov: &w.outVec[i]}
		h.SetIovlen(1)
		if len(q.oob) > 0 {
			h.Control = &q.oob[0]
			h.SetControllen(len(q.oob))
		}
		w.out[i].header = h
	}
	sendBatch(w.fd, w.out[:w.leave])
	for i, q := range w.leaving[:w.leave] {
		if q.lent { // it came back from the forwarder
			queries.Put(q)
		}
		w.leaving[i] = nil
	}
	w.leave = 0
}

// addrPortOf reads the address that the kernel wrote.
func addrPortOf(peer *[sizeofSockaddr]byte) netip.AddrPort {
	port := binary.BigEndian.Uint16(peer[2:])
	if binary.NativeEndian.Uint16(peer[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(peer[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(peer[8:24])).Unmap(), port)
}
