package resolver

import (
	"net"
	"sync"
	"time"
)

// outbox is what is to be sent on one connection of TCP or TLS. Whoever has a response adds it and waits for
// nothing, so that a client which does not read holds up nobody else; a goroutine of the connection's own sends
// it. While the reader has more queries at hand the responses gather, and go out in one piece: one system call
// and one record of TLS for many.
type outbox struct {
	conn net.Conn
	// gone is told of how many responses have left, or never will.
	gone func(responses int)
	// broken is called when the first write has failed.
	broken func()
	ready  chan struct{} // holds one where there is something to send

	mu        sync.Mutex
	pending   []byte
	responses int // in pending
	gathering bool
}

// keptPending is how large a buffer is kept for the next responses.
const keptPending = 16 << 10

func newOutbox(conn net.Conn, gone func(int), broken func()) *outbox {
	return &outbox{conn: conn, gone: gone, broken: broken, ready: make(chan struct{}, 1)}
}

// add has append, which may not wait, append one response to what is pending.
func (o *outbox) add(responses int, appendTo func(pending []byte) []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = appendTo(o.pending)
	o.responses += responses
	if !o.gathering {
		o.wake()
	}
}

// wake lets run send what is pending. mu must be held: so whoever learns that a response has left, and calls close,
// does so after whoever added it has come through here.
func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default: // it is awake
	}
}

// gather says whether the reader has more queries at hand. It must say that it has not before it waits.
func (o *outbox) gather(more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gathering = more
	if !more && (o.responses > 0 || len(o.pending) > 0) {
		o.wake()
	}
}

// run sends until close. After an error it only counts.
func (o *outbox) run() {
	broken := false
	var sending []byte
	for range o.ready {
		o.mu.Lock()
		sending, o.pending = o.pending, sending[:0]
		responses := o.responses
		o.responses = 0
		o.mu.Unlock()
		if !broken && len(sending) > 0 {
			_ = o.conn.SetWriteDeadline(time.Now().Add(writeTime)) // it fails on a closed connection, and then the write does too
			if _, err := o.conn.Write(sending); err != nil {
				broken = true
				o.broken()
			}
		}
		if cap(sending) > keptPending {
			sending = nil
		}
		o.gone(responses)
	}
}

// close lets run end. Nothing may be added any more.
func (o *outbox) close() { close(o.ready) }
