package resolver

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"

	"schoolgate/resolver/dnswire"
)

// begin takes a request's header.
func (c *http2Conn) begin(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if id <= c.last {
		c.out.mu.Lock()
		s := c.streams[id]
		c.out.mu.Unlock()
		if s == nil || s.q == nil {
			return nil // as of a body that is not wanted any more
		}
		if !f.StreamEnded() { // what follows a body is the end
			return c.cancel(id, http2.ErrCodeProtocol)
		}
		c.complete(s)
		return nil
	}
	if id%2 == 0 {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.last = id
	s := &http2Stream{conn: c, id: id, length: -1}
	c.out.mu.Lock()
	full := len(c.streams) >= maxHTTPStreams
	c.out.mu.Unlock()
	if full {
		c.listener.crowd.refused.add(overHTTPS, refusedBusy)
		if c.refused++; c.refused > maxHTTPStreams {
			return c.calm()
		}
		return c.cancel(id, http2.ErrCodeRefusedStream)
	}
	select {
	case c.outstanding <- struct{}{}:
	default:
		c.out.gather(false)
		c.outstanding <- struct{}{}
		c.out.gather(true)
	}
	if !c.guest.begin() {
		<-c.outstanding
		return c.cancel(id, http2.ErrCodeRefusedStream)
	}
	c.out.mu.Lock()
	s.window = c.initial
	c.streams[id] = s
	c.out.mu.Unlock()
	r := request{method: f.PseudoValue("method"), path: f.PseudoValue("path"), length: -1}
	for _, h := range f.RegularFields() {
		switch h.Name {
		case "content-type":
			r.kind = h.Value
		case "content-length":
			n, err := strconv.ParseUint(h.Value, 10, 31)
			if err != nil {
				return c.cancelBegun(s)
			}
			r.length = int64(n)
		}
	}
	if f.Truncated {
		c.guest.lost(refusedMalformed)
		c.fail(s, r.method, http.StatusRequestHeaderFieldsTooLarge, tooLarge)
		return nil
	}
	if r.method == "" || r.path == "" || f.PseudoValue("scheme") == "" {
		return c.cancelBegun(s)
	}
	q := queries.Get().(*query)
	q.reset()
	status, reason := r.check(q)
	if status != http.StatusOK {
		queries.Put(q)
		c.guest.lost(refusedMalformed)
		c.fail(s, r.method, status, reason)
		return nil
	}
	if r.method == http.MethodGet {
		c.serve(s, q)
		return nil
	}
	s.q, s.begun, s.length = q, time.Now(), int(r.length)
	c.incomplete++
	if f.StreamEnded() {
		c.complete(s)
	}
	return nil
}

// cancelBegun ends a stream whose header is malformed (RFC 9113 §8.1.1).
func (c *http2Conn) cancelBegun(s *http2Stream) error {
	c.drop(s)
	return c.control(func(b []byte) []byte { return appendReset(b, s.id, http2.ErrCodeProtocol) })
}

// body takes a part of a request's body.
func (c *http2Conn) body(f *http2.DataFrame) error {
	if f.StreamID > c.last {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if c.received += int(f.Length); c.received >= http2Window/2 {
		n := c.received
		c.received = 0
		c.out.add(0, func(b []byte) []byte {
			return binary.BigEndian.AppendUint32(appendFrame(b, http2.FrameWindowUpdate, 0, 0, 4), uint32(n))
		})
	}
	c.out.mu.Lock()
	s := c.streams[f.StreamID]
	c.out.mu.Unlock()
	if s == nil || s.q == nil {
		// It has been answered, or reset. That the rest is not wanted could be said by a reset (RFC 9113 §8.1), but curl
		// then passes over the answer; the client may go on as long as it has room, and is given no more.
		return nil
	}
	if s.size+len(f.Data()) > maxQuery {
		c.guest.lost(refusedMalformed)
		c.fail(s, "", http.StatusRequestEntityTooLarge, tooLarge)
		return nil
	}
	s.size += copy(s.q.buf[s.size:], f.Data())
	if f.StreamEnded() {
		c.complete(s)
	}
	return nil
}

// complete serves a request whose body is whole.
func (c *http2Conn) complete(s *http2Stream) {
	if s.length >= 0 && s.length != s.size {
		c.guest.lost(refusedMalformed)
		c.fail(s, "", http.StatusBadRequest, brokeOff)
		return
	}
	q := s.q
	s.q = nil
	c.incomplete--
	q.in = q.buf[:s.size]
	c.serve(s, q)
}

func (c *http2Conn) serve(s *http2Stream, q *query) {
	q.from, q.transport, q.sender, q.host = c.guest.from, overHTTPS, s, c.host
	if c.listener.resolver.serveSafely(q) {
		none := len(q.out) == 0
		queries.Put(q)
		if none {
			c.guest.lost(refusedMalformed)
			c.fail(s, "", http.StatusBadRequest, noQuery)
		}
	}
}

// send implements sender.
func (s *http2Stream) send(q *query) {
	s.respond(q.out, http.StatusOK, [][2]string{
		{"content-type", dohType},
		{"content-length", strconv.Itoa(len(q.out))},
		// Never longer than the answer itself may be kept (RFC 8484 §5.1).
		{"cache-control", "max-age=" + strconv.FormatUint(uint64(dnswire.SmallestTTL(q.out)), 10)},
	})
}
