package resolver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"schoolgate/resolver/dnswire"
)

// asker is the part of a worker that asks upstream servers over UDP: the first try of a question, and as
// a rule the only one. What takes more, another server or TCP, goes to a goroutine of the
// forwarder.
//
// A socket has one question in flight at a time. For each one it is connected anew, which gives it a port
// at random and lets in datagrams of that server only: a forger has to guess the port and the id
// (RFC 5452 §9). Dissolving a connection gives the port back and leaves the socket open and watched; opening
// one for each question would cost as much as all else of it.
type asker struct {
	worker   *worker
	sockets  []*askSocket    // by index; nil: free
	free     []int32         // indexes
	idle     [2][]*askSocket // for IPv4 and IPv6
	inFlight int
	timer    int // a timerfd, which ticks while questions are in flight
	ticking  bool
	random   [1024]byte
	used     int // of random
	buf      [maxUpstreamUDP + 1]byte
}

type askSocket struct {
	index    int32
	fd       int
	ipv6     int     // 1 for one of IPv6
	call     *call   // in flight; nil: none
	server   *server // that was asked
	asked    asked
	sent     time.Time
	hedge    time.Time // when another server is asked besides; the zero time: not
	handed   bool      // the forwarder asks another server besides
	deadline time.Time
}

const (
	// mostIdle is how many sockets of a kind stay open without a question.
	mostIdle = 128
	// askTick is how exactly deadlines are kept.
	askTick = 10 * time.Millisecond
	// mostStrays bounds how many datagrams of one socket are read at a time.
	mostStrays = 64
)

func (a *asker) start(w *worker) (err error) {
	a.worker, a.used = w, len(a.random)
	if a.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		a.timer = -1
		return fmt.Errorf("timerfd: %w", err)
	}
	return w.watch(a.timer, eventTimer)
}

func (a *asker) close() {
	for _, s := range a.sockets {
		if s != nil {
			_ = unix.Close(s.fd)
		}
	}
	if a.worker != nil && a.timer >= 0 {
		_ = unix.Close(a.timer)
	}
}

// askFirst implements firstAsker, for a query that the worker has read. The question leaves at the end of
// the round (askBegun).
func (w *worker) askFirst(c *call) bool {
	servers := c.pool.order(w.now)
	if len(servers) == 0 || servers[0].protocol != plainUDP {
		return false
	}
	c.pool.hedges.earn()
	c.tried = servers[0]
	if len(servers) > 1 && servers[1].healthy(w.now) {
		c.next = servers[1]
	}
	w.begun = append(w.begun, c)
	return true
}

// askBegun asks the questions of this round, behind the responses to those that have their answer. One behind
// the other they find the server awake: to wake it costs more than all else of a question.
func (w *worker) askBegun() {
	for i, c := range w.begun {
		if !w.asker.ask(c, c.tried, min(c.pool.timeout, shortTry)) {
			w.resolver.forwarder.goOn(c, cameNothing)
		}
		w.begun[i] = nil
	}
	w.begun = w.begun[:0]
}

// ask sends the question to a server. It reports false where that is not possible; the call is then
// still the caller's.
func (a *asker) ask(c *call, to *server, timeout time.Duration) bool {
	s := a.socket(to)
	if s == nil {
		return false
	}
	query := s.asked.append(a.buf[:0], c, to, to.manner(a.worker.now), a.randomBytes(randomOf(c)))
	if writeNow(s.fd, query) != nil {
		a.drop(s)
		return false
	}
	s.call, s.server, s.sent = c, to, a.worker.now
	s.deadline, s.hedge, s.handed = s.sent.Add(timeout), time.Time{}, false
	if usual := to.usual(); c.next != nil && usual < timeout {
		s.hedge = s.sent.Add(usual)
	}
	a.inFlight++
	if !a.ticking {
		a.tickEvery(askTick)
	}
	return true
}

// receive reads what came to a socket.
func (a *asker) receive(index int32) {
	s := a.sockets[index]
	if s == nil {
		return // closed in this round
	}
	for range mostStrays {
		n, err := readNow(s.fd, a.buf[:])
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			return
		case s.call == nil:
			continue // too late, or never asked for
		case err != nil:
			a.failed(s, fmt.Errorf("receive: %w", err))
			return
		}
		answer, r := s.asked.judge(a.buf[:n], s.call, s.server, a.worker.now)
		if r == replyOther {
			continue
		}
		a.answered(s, answer, r)
		return
	}
}

func (a *asker) answered(s *askSocket, answer dnswire.Answer, r reply) {
	c, to, handed, now := s.call, s.server, s.handed, a.worker.now
	form := s.asked.manner.form
	a.landed(s)
	f := a.worker.resolver.forwarder
	switch {
	case r != replyOurs || answer.Rcode == dnswire.RcodeBadCookie:
		if !handed {
			f.goOn(c, r.outcome())
		}
		return
	case answer.TC:
		to.metrics.truncated.Inc()
		if !handed {
			f.goOn(c, cameTooMuch)
		}
		return
	case to.complains(answer, form) != form && !handed:
		c.form = to.complains(answer, form)
		f.goOn(c, cameNotKnown)
		return
	case !f.takeNote(c, to, answer, nil, s.sent, now):
		if !handed {
			f.goOn(c, cameRefusal)
		}
		return
	}
	e := newEntry(c.question, answer, now, f.resolver.snapshot.Load().Cache)
	waiters, known := f.land(c, e)
	for _, q := range waiters {
		q.batched = q.sender == a.worker
		f.finish(q, e, known)
		if !q.batched {
			queries.Put(q)
		}
	}
}

// failed gives the call to the forwarder, which asks another server.
func (a *asker) failed(s *askSocket, err error) {
	c, to, handed := s.call, s.server, s.handed
	a.landed(s)
	f := a.worker.resolver.forwarder
	f.takeNote(c, to, dnswire.Answer{}, err, s.sent, a.worker.now)
	if !handed {
		f.goOn(c, cameNothing)
	}
}

// landed notes that the socket's question is in flight no more.
func (a *asker) landed(s *askSocket) {
	s.call = nil
	if idle := &a.idle[s.ipv6]; len(*idle) < mostIdle {
		*idle = append(*idle, s)
	} else {
		a.drop(s)
	}
	if a.inFlight--; a.inFlight == 0 {
		a.tickEvery(0)
	}
}

// tick ends what has waited for too long.
func (a *asker) tick(now time.Time) {
	var count [8]byte
	_, _ = unix.Read(a.timer, count[:]) // how often it ticked, which says nothing
	for _, s := range a.sockets {
		switch {
		case s == nil || s.call == nil:
		case now.After(s.deadline):
			a.failed(s, os.ErrDeadlineExceeded)
		case !s.hedge.IsZero() && now.After(s.hedge):
			s.hedge = time.Time{}
			s.handed = a.worker.resolver.forwarder.hedge(s.call)
		}
	}
}

func (a *asker) tickEvery(d time.Duration) {
	every := unix.NsecToTimespec(int64(d))
	a.ticking = d > 0
	_ = unix.TimerfdSettime(a.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil) // it fails for bad times only
}

// socket returns one that is connected to the server from a new port, with nothing to read; nil where
// there is none to be had.
func (a *asker) socket(to *server) *askSocket {
	family, address := sockaddr(to.addr)
	ipv6 := 0
	if family == unix.AF_INET6 {
		ipv6 = 1
	}
	var s *askSocket
	if idle := a.idle[ipv6]; len(idle) > 0 {
		s = idle[len(idle)-1]
		a.idle[ipv6] = idle[:len(idle)-1]
		if disconnect(s.fd) != nil {
			a.drop(s)
			return nil
		}
	} else if s = a.open(family); s == nil {
		return nil
	}
	if s.ipv6 = ipv6; unix.Connect(s.fd, address) != nil || !a.drain(s) {
		a.drop(s)
		return nil
	}
	return s
}

// drain reads what came to the port that the socket had before, and guessed that one.
func (a *asker) drain(s *askSocket) bool {
	for range mostStrays {
		if _, err := readNow(s.fd, a.buf[:]); errors.Is(err, unix.EAGAIN) {
			return true
		}
	}
	return false
}

func (a *asker) open(family int) *askSocket {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	s := &askSocket{index: int32(len(a.sockets)), fd: fd}
	if n := len(a.free); n > 0 {
		s.index = a.free[n-1]
		a.free = a.free[:n-1]
	} else {
		a.sockets = append(a.sockets, nil)
	}
	a.sockets[s.index] = s
	if a.worker.watch(fd, s.index) != nil {
		a.drop(s)
		return nil
	}
	return s
}

// drop closes a socket that is not idle.
func (a *asker) drop(s *askSocket) {
	_ = unix.Close(s.fd)
	a.sockets[s.index] = nil
	a.free = append(a.free, s.index)
}

// randomBytes returns n bytes that cannot be foretold (RFC 5452 §9.2).
func (a *asker) randomBytes(n int) []byte {
	if a.used+n > len(a.random) {
		_, _ = rand.Read(a.random[:]) // never fails
		a.used = 0
	}
	a.used += n
	return a.random[a.used-n : a.used]
}

// sockaddr returns the family and the form in which the kernel takes an address.
func sockaddr(a netip.AddrPort) (family int, address unix.Sockaddr) {
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		if link, err := net.InterfaceByName(zone); err == nil {
			sa.ZoneId = uint32(link.Index)
		} else if index, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa.ZoneId = uint32(index)
		}
	}
	return unix.AF_INET6, sa
}
