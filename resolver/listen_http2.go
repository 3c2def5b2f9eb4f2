package resolver

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2Conn is one connection of HTTP/2 (RFC 9113), as much of it as DNS over HTTPS needs: a request comes in whole, a
// response goes out whole, and nothing else is wanted. net/http hands each request from one goroutine to the
// next a dozen times; here the reader answers inline what needs no waiting, as over TLS, and an outbox sends
// what is ready together. Frames and header compression are read by golang.org/x/net/http2.
type http2Conn struct {
	listener *httpsListener
	conn     net.Conn
	guest    *guest
	host     string // that the client asked for (SNI)
	in       *bufio.Reader
	frames   *http2.Framer
	out      *outbox
	// outstanding holds one for each request that was begun, until its response has been sent. Where it is full
	// the reader waits: the client's own sending slows down.
	outstanding chan struct{}

	// The reader's own.
	last       uint32 // the newest stream
	incomplete int    // streams whose request is not whole
	received   int    // octets of bodies for which the client has not been told of new room
	refused    int    // streams that were one too many

	// Under the outbox's mu.
	streams  map[uint32]*http2Stream
	blocked  []*http2Stream // whose responses the client has no room for, the oldest first
	window   int64          // what the client has room for, on all streams together
	initial  int64          // on a new stream
	frame    int            // the largest frame that the client takes
	encoder  *hpack.Encoder
	block    bytes.Buffer
	controls int  // frames that answer frames, and have not been sent
	ending   bool // nothing is read any more
}

// http2Stream is one request and its response.
type http2Stream struct {
	conn *http2Conn
	id   uint32

	// The reader's own.
	q      *query // whose body is not whole; nil: the request is
	size   int    // of the body so far
	length int    // of the body as announced; -1: not said
	begun  time.Time

	// Under the outbox's mu.
	window int64
	reset  bool   // nobody waits for the response any more
	rest   []byte // of the response, while it is blocked
}

const (
	// http2Window is how much a client may send before it is told that it may send more (RFC 9113 §6.9.2). A body
	// is much smaller, so that a stream's own never needs to be raised.
	http2Window = 65535
	http2Frame  = 16384 // the largest frame there may be unless it is agreed otherwise (RFC 9113 §4.2)
	// maxControls bounds the answers to frames that ask for one, such as PING, of a client that does not read them.
	maxControls = 1000
)

// serveHTTP2 serves a connection whose handshake is done, and on which the client asked for host.
func (l *httpsListener) serveHTTP2(conn net.Conn, g *guest, host string) {
	c := &http2Conn{
		listener: l, conn: conn, guest: g, host: host, in: bufio.NewReaderSize(conn, readBuffer), outstanding: make(chan struct{}, maxOutstanding),
		streams: make(map[uint32]*http2Stream), window: http2Window, initial: http2Window, frame: http2Frame,
	}
	c.encoder = hpack.NewEncoder(&c.block)
	c.frames = http2.NewFramer(io.Discard, c.in)
	c.frames.SetReuseFrames()
	c.frames.SetMaxReadFrameSize(http2Frame)
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.frames.MaxHeaderListSize = maxHTTPHeader
	c.out = newOutbox(conn, c.sent, func() { g.conn.Close() }) // so that the reader ends too
	if l.crowd.unlessStopping(func() { g.pause = func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) } }) {
		c.run()
	}
	conn.Close()
}

func (c *http2Conn) run() {
	var writing sync.WaitGroup
	writing.Go(c.out.run)
	goodbye := http2.ErrCodeNo
	if err := c.read(); err != nil {
		var failed http2.ConnectionError
		switch {
		case errors.As(err, &failed):
			goodbye = http2.ErrCode(failed)
		case errors.Is(err, http2.ErrFrameTooLarge):
			goodbye = http2.ErrCodeFrameSize
		}
	}
	c.abandon()
	c.out.gather(false)
	for range maxOutstanding {
		c.outstanding <- struct{}{} // until every request has been answered
	}
	c.out.add(0, func(b []byte) []byte {
		b = appendFrame(b, http2.FrameGoAway, 0, 0, 8)
		b = binary.BigEndian.AppendUint32(b, c.last)
		return binary.BigEndian.AppendUint32(b, uint32(goodbye))
	})
	c.out.close()
	writing.Wait()
}

// sent gives back the places of requests whose responses have left, or never will.
func (c *http2Conn) sent(responses int) {
	c.out.mu.Lock()
	c.controls = 0
	c.out.mu.Unlock()
	for range responses {
		c.guest.end()
		<-c.outstanding
	}
}

// abandon gives up what cannot be answered once nothing is read any more: requests that are not whole, and
// responses for which the client had no room.
func (c *http2Conn) abandon() {
	c.out.mu.Lock()
	var unfinished []*http2Stream
	for _, s := range c.streams {
		if s.q != nil {
			unfinished = append(unfinished, s)
		}
	}
	for _, s := range c.blocked {
		c.done(s)
	}
	c.blocked, c.ending = nil, true
	c.out.mu.Unlock()
	for _, s := range unfinished {
		c.drop(s)
	}
}

// drop ends a request that has no query, without a response. It is the reader's.
func (c *http2Conn) drop(s *http2Stream) {
	c.whole(s)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.done(s)
	c.out.wake()
}

// done forgets a stream whose last octet is pending. The outbox's mu must be held.
func (c *http2Conn) done(s *http2Stream) {
	delete(c.streams, s.id)
	s.rest = nil
	c.out.responses++
}

// whole says that a request's body is not waited for any more.
func (c *http2Conn) whole(s *http2Stream) {
	if s.q != nil {
		queries.Put(s.q)
		s.q = nil
		c.incomplete--
	}
}

// read serves the connection until it ends. The error is why, if that is the client's fault.
func (c *http2Conn) read() error {
	c.out.add(0, func(b []byte) []byte {
		b = appendFrame(b, http2.FrameSettings, 0, 0, 2*6)
		for id, value := range []uint32{http2.SettingMaxConcurrentStreams: maxHTTPStreams, http2.SettingMaxHeaderListSize: maxHTTPHeader} {
			if value != 0 {
				b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(id)), value)
			}
		}
		return b
	})
	if !c.waitFor(tlsIdle) {
		return nil
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.in, preface); err != nil || string(preface) != http2.ClientPreface {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	for first := true; ; first = false {
		if !c.await() {
			return nil
		}
		f, err := c.frames.ReadFrame()
		var wrong http2.StreamError
		switch {
		case errors.As(err, &wrong):
			c.last = max(c.last, wrong.StreamID)
			err = c.cancel(wrong.StreamID, wrong.Code)
		case err == nil && first:
			if s, ok := f.(*http2.SettingsFrame); !ok || s.IsAck() {
				return http2.ConnectionError(http2.ErrCodeProtocol)
			}
			err = c.take(f)
		case err == nil:
			err = c.take(f)
		}
		if err != nil {
			return err
		}
	}
}

// await waits until a frame is there, and answers the requests that take too long meanwhile. It returns false
// where there will be no more.
func (c *http2Conn) await() (more bool) {
	for c.in.Buffered() == 0 {
		c.out.mu.Lock()
		blocked, open := len(c.blocked) > 0, len(c.streams) > 0
		c.out.mu.Unlock()
		wait := tlsIdle
		switch {
		case c.incomplete > 0:
			wait = c.overdue()
		case blocked:
			wait = writeTime
		}
		if !c.waitFor(wait) {
			return false
		}
		_, err := c.in.Peek(1)
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded) || c.stopping():
			return false
		case c.incomplete > 0:
			c.overdue()
		case blocked || !open:
			return false
		}
	}
	// The rest of the frame may not take as long as an idle connection; nor what else belongs to a header.
	head, err := c.in.Peek(min(9, c.in.Buffered()))
	if err != nil {
		return false
	}
	if len(head) < 9 || c.in.Buffered() < 9+(int(head[0])<<16|int(head[1])<<8|int(head[2])) ||
		http2.FrameType(head[3]) == http2.FrameHeaders && http2.Flags(head[4])&http2.FlagHeadersEndHeaders == 0 {
		return c.waitFor(queryTime)
	}
	c.out.gather(true)
	return true
}

func (c *http2Conn) stopping() bool { return !c.guest.crowd.unlessStopping(func() {}) }

// waitFor readies the connection for a read that may wait for so long, as a stream's does.
func (c *http2Conn) waitFor(d time.Duration) bool {
	c.out.gather(false)
	return c.guest.crowd.unlessStopping(func() { _ = c.conn.SetReadDeadline(time.Now().Add(d)) })
}

// overdue answers the requests whose body has taken too long, and returns how long the oldest other one has.
func (c *http2Conn) overdue() (left time.Duration) {
	now := time.Now()
	left = tlsIdle
	var late []*http2Stream
	c.out.mu.Lock()
	for _, s := range c.streams {
		if s.q == nil {
			continue
		}
		if until := s.begun.Add(queryTime).Sub(now); until <= 0 {
			late = append(late, s)
		} else {
			left = min(left, until)
		}
	}
	c.out.mu.Unlock()
	for _, s := range late {
		c.guest.lost(refusedSlow)
		c.fail(s, "", http.StatusRequestTimeout, tooSlow)
	}
	return left
}

// take does what a frame asks for.
func (c *http2Conn) take(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.begin(f)
	case *http2.DataFrame:
		return c.body(f)
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		if err := c.settings(f); err != nil {
			return err
		}
		return c.control(func(b []byte) []byte { return appendFrame(b, http2.FrameSettings, http2.FlagSettingsAck, 0, 0) })
	case *http2.PingFrame:
		if f.IsAck() {
			return nil
		}
		return c.control(func(b []byte) []byte {
			return append(appendFrame(b, http2.FramePing, http2.FlagPingAck, 0, 8), f.Data[:]...)
		})
	case *http2.WindowUpdateFrame:
		return c.room(f.StreamID, int64(f.Increment))
	case *http2.RSTStreamFrame:
		if f.StreamID > c.last {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		c.leave(f.StreamID)
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil // what else there is says nothing to us (RFC 9113 §5.5)
}

// control answers a frame. Who has many answered and reads none loses the connection.
func (c *http2Conn) control(appendTo func([]byte) []byte) error {
	tooMany := false
	c.out.add(0, func(b []byte) []byte {
		c.controls++
		tooMany = c.controls > maxControls
		return appendTo(b)
	})
	if tooMany {
		return c.calm()
	}
	return nil
}

// calm ends the connection of a client that floods it.
func (c *http2Conn) calm() error {
	c.guest.lost(refusedBusy)
	return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
}

// cancel ends a stream with an error.
func (c *http2Conn) cancel(id uint32, code http2.ErrCode) error {
	c.leave(id)
	return c.control(func(b []byte) []byte { return appendReset(b, id, code) })
}

// leave notes that nobody waits for a stream any more. It goes on counting until its query is answered, so that
// to reset streams quickly (CVE-2023-44487) gains nothing.
func (c *http2Conn) leave(id uint32) {
	c.out.mu.Lock()
	s := c.streams[id]
	blocked := s != nil && s.rest != nil
	if s != nil {
		s.reset = true
	}
	if blocked {
		c.done(s)
		c.unblock()
		c.out.wake()
	}
	c.out.mu.Unlock()
	if s != nil && s.q != nil {
		c.drop(s)
	}
}
