package resolver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"schoolgate/resolver/dnswire"
)

// The bounds on the connections to one server.
const (
	maxPipes   = 4    // connections (RFC 7766 §6.2.2 asks for few)
	fullPipe   = 128  // questions in flight on one, until another is opened
	maxOnPipe  = 1024 // questions in flight on one
	maxPipeTry = 8    // connections that one question may be asked on
	maxSingle  = 32   // connections to a server that takes one question on each
	// singleFor is how long a server counts as one of those.
	singleFor = 10 * time.Minute

	// connectTime bounds connecting, the handshake of TLS included. It is not the question's time: where a
	// handshake takes longer than the question has, the next question finds it done.
	connectTime = 3 * time.Second
	// pipeIdle is how long a connection is kept when nothing goes over it (RFC 7766 §6.2.3).
	pipeIdle = 30 * time.Second
)

// pipes are the connections to one server over TCP or TLS, with several questions in flight on each
// (RFC 7766 §6.2.1.1): the answers come in any order, and are told apart by id and question.
//
// A connection that the server closes is replaced by a new one, and the questions that were on it are
// asked once more. If there were several, the server may be one that takes them one by one, and gets them
// so for a while: closing, it may well have thrown away the answers that it had sent. A connection on which a question got no answer, nor any other meanwhile, takes no
// more questions: as like as not, nothing at the other end knows of it any longer.
type pipes struct {
	dial       func(ctx context.Context) (net.Conn, error)
	mismatched func() // counts what is dropped

	ctx     context.Context //nolint:containedctx // ends with close, for connecting outlives the question
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	conns  []*pipe   // those that take questions
	single time.Time // until then: one question on each connection
}

// pipe is one connection. Its fields below ready are guarded by pipes.mu.
type pipe struct {
	pool  *pipes
	ready chan struct{} // closed when conn or err is known; they do not change after that
	conn  net.Conn
	err   error

	writing sync.Mutex // held for a whole message

	waiting  map[uint16]*pipeQuestion
	answered bool      // at least once
	heard    time.Time // when the last message came
	retired  bool      // takes no more questions
	finished bool      // and those that it had are gone
}

type pipeQuestion struct {
	query []byte
	sent  time.Time
	done  chan pipeResult
}

type pipeResult struct {
	response []byte
	err      error
}

// brokenError is of a connection that ended while a question was on it.
type brokenError struct {
	cause    error
	answered bool // other questions, before
}

func (e *brokenError) Error() string { return "connection ended: " + e.cause.Error() }
func (e *brokenError) Unwrap() error { return e.cause }

// errBusy says that a server has as many questions as we put to it at one time: no fault of its own.
var errBusy = errors.New("too many questions are on their way to this server")

func newPipes(dial func(ctx context.Context) (net.Conn, error), mismatched func()) *pipes {
	p := &pipes{dial: dial, mismatched: mismatched}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// exchange asks on a connection that is there, else on a new one. Where the connection ends first the
// question is asked once more; and again for as long as connections do bring answers, for there are
// servers that close after each one.
func (p *pipes) exchange(ctx context.Context, query []byte) ([]byte, error) {
	for try := 1; ; try++ {
		s, id, question, err := p.join(query)
		if err != nil {
			return nil, err
		}
		response, err := s.ask(ctx, id, question)
		broken, ended := errors.AsType[*brokenError](err)
		if !ended || ctx.Err() != nil || p.ctx.Err() != nil || try >= 2 && !broken.answered || try >= maxPipeTry {
			return response, err
		}
	}
}

// close ends all connections. No question may be on its way.
func (p *pipes) close() {
	p.cancel()
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, s := range conns {
		<-s.ready
		if s.conn != nil {
			_ = s.conn.Close()
		}
	}
	p.running.Wait()
}

// join registers a question on the connection that has the fewest, under an id that cannot be foretold
// and is free there.
func (p *pipes) join(query []byte) (*pipe, uint16, *pipeQuestion, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, 0, nil, net.ErrClosed
	}
	var s *pipe
	for _, other := range p.conns {
		if s == nil || len(other.waiting) < len(s.waiting) {
			s = other
		}
	}
	full, most := fullPipe, maxPipes
	if time.Now().Before(p.single) {
		full, most = 1, maxSingle
	}
	if s == nil || len(s.waiting) >= full && len(p.conns) < most {
		s = &pipe{pool: p, ready: make(chan struct{}), waiting: make(map[uint16]*pipeQuestion)}
		p.conns = append(p.conns, s)
		p.running.Go(s.run)
	}
	if len(s.waiting) >= maxOnPipe {
		return nil, 0, nil, errBusy
	}
	id := newID()
	for s.waiting[id] != nil {
		id = newID()
	}
	question := &pipeQuestion{query: query, done: make(chan pipeResult, 1)}
	s.waiting[id] = question
	return s, id, question, nil
}

// run connects, and reads until the connection ends.
func (s *pipe) run() {
	ctx, cancel := context.WithTimeout(s.pool.ctx, connectTime)
	s.conn, s.err = s.pool.dial(ctx)
	cancel()
	if s.err != nil {
		s.retire()
	}
	close(s.ready)
	if s.err != nil {
		return
	}
	s.end(s.read())
}

// read hands out answers until the connection ends, which it returns the reason of.
func (s *pipe) read() error {
	r := bufio.NewReader(s.conn)
	for s.keep() {
		msg, err := readMessage(r)
		if err != nil {
			return err
		}
		s.deliver(msg)
	}
	return net.ErrClosed
}

// keep starts the time anew after which the connection is closed as idle, unless that is due already.
func (s *pipe) keep() bool {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return !s.finished && s.conn.SetReadDeadline(time.Now().Add(pipeIdle)) == nil
}

// readMessage reads one message with its length before it (RFC 1035 §4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	if len(msg) < headerLen {
		return nil, dnswire.ErrFormat
	}
	_, err := io.ReadFull(r, msg)
	return msg, err
}

// deliver hands a message to the question that it answers. One with an id that nobody waits for is dropped:
// it is the late answer to a question that has been given up. One that answers another question than that
// of its id is counted besides.
func (s *pipe) deliver(msg []byte) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	id := binary.BigEndian.Uint16(msg)
	s.heard = time.Now()
	question := s.waiting[id]
	if question == nil {
		return
	}
	if !dnswire.IsAnswer(msg, question.query) {
		s.pool.mismatched()
		return
	}
	copy(msg, question.query[:2]) // the asker's id
	s.answered = true
	question.done <- pipeResult{response: msg}
	s.leave(id)
}

// ask writes the question once there is a connection, and waits.
func (s *pipe) ask(ctx context.Context, id uint16, question *pipeQuestion) ([]byte, error) {
	select {
	case <-s.ready:
	case <-ctx.Done():
		s.abandon(id, question)
		return nil, fmt.Errorf("connect: %w", ctx.Err())
	}
	if s.err != nil {
		return nil, fmt.Errorf("connect: %w", s.err)
	}
	s.write(ctx, id, question)
	select {
	case result := <-question.done:
		return result.response, result.err
	case <-ctx.Done():
		s.abandon(id, question)
		return nil, fmt.Errorf("receive: %w", ctx.Err())
	}
}

// write sends a question. A message that was sent in part leaves the connection of no use.
func (s *pipe) write(ctx context.Context, id uint16, question *pipeQuestion) {
	msg := make([]byte, 2, 2+len(question.query))
	binary.BigEndian.PutUint16(msg, uint16(len(question.query)))
	msg = append(msg, question.query...)
	binary.BigEndian.PutUint16(msg[2:], id)

	s.writing.Lock()
	defer s.writing.Unlock()
	now := time.Now()
	s.pool.mu.Lock()
	question.sent = now
	s.pool.mu.Unlock()
	deadline, _ := ctx.Deadline()
	err := s.conn.SetWriteDeadline(deadline)
	if err == nil && s.keep() {
		_, err = s.conn.Write(msg)
	}
	if err != nil {
		s.end(err)
	}
}

// abandon takes back a question that has run out of time.
func (s *pipe) abandon(id uint16, question *pipeQuestion) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	if s.waiting[id] != question {
		return
	}
	if !question.sent.IsZero() && !s.heard.After(question.sent) {
		s.retireLocked()
	}
	s.leave(id)
}

// leave takes a question off. With the last one a connection that takes no more is over: its reader ends
// it. The caller holds pool.mu.
func (s *pipe) leave(id uint16) {
	delete(s.waiting, id)
	if s.retired && len(s.waiting) == 0 && s.conn != nil { // nil: it was never there
		s.finished = true
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *pipe) retire() {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	s.retireLocked()
}

func (s *pipe) retireLocked() {
	s.retired = true
	s.pool.conns = slices.DeleteFunc(s.pool.conns, func(other *pipe) bool { return other == s })
}

// end closes the connection, and tells those who wait.
func (s *pipe) end(cause error) {
	s.pool.mu.Lock()
	s.retireLocked()
	waiting := s.waiting
	s.waiting = nil
	if len(waiting) > 1 {
		s.pool.single = time.Now().Add(singleFor)
	}
	for _, question := range waiting {
		question.done <- pipeResult{err: &brokenError{cause: cause, answered: s.answered}}
	}
	s.pool.mu.Unlock()
	_ = s.conn.Close()
}

// isTimeout tells a server that was silent from one that could not be reached.
func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
