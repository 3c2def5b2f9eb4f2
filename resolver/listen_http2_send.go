package resolver

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// respond sends a response.
func (s *http2Stream) respond(body []byte, status int, header [][2]string) {
	c := s.conn
	c.out.add(0, func(b []byte) []byte {
		if s.reset {
			c.done(s)
			return b
		}
		c.block.Reset()
		write := func(name, value string) {
			_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}) // a buffer takes everything
		}
		write(":status", strconv.Itoa(status))
		for _, h := range header {
			write(h[0], h[1])
		}
		write("date", time.Now().UTC().Format(http.TimeFormat))
		flags := http2.FlagHeadersEndHeaders
		if len(body) == 0 {
			flags |= http2.FlagHeadersEndStream
		}
		b = append(appendFrame(b, http2.FrameHeaders, flags, s.id, c.block.Len()), c.block.Bytes()...)
		b, s.rest = c.appendBody(b, s, body)
		switch {
		case len(s.rest) > 0 && c.ending:
			b = appendReset(b, s.id, http2.ErrCodeCancel) // the client will not say when it has room
		case len(s.rest) > 0:
			s.rest = append([]byte(nil), s.rest...) // the query is somebody else's soon
			c.blocked = append(c.blocked, s)
			return b
		}
		c.done(s)
		return b
	})
}

// appendBody appends as much of a response's body as the client has room for, and returns the rest. The outbox's
// mu must be held.
func (c *http2Conn) appendBody(b []byte, s *http2Stream, body []byte) (out, rest []byte) {
	for len(body) > 0 {
		n := int(min(int64(len(body)), c.window, s.window, int64(c.frame)))
		if n <= 0 {
			break
		}
		flags := http2.Flags(0)
		if n == len(body) {
			flags = http2.FlagDataEndStream
		}
		b = append(appendFrame(b, http2.FrameData, flags, s.id, n), body[:n]...)
		body = body[n:]
		c.window -= int64(n)
		s.window -= int64(n)
	}
	return b, body
}

// unblock sends what the client has room for now. The outbox's mu must be held.
func (c *http2Conn) unblock() {
	still := c.blocked[:0]
	for _, s := range c.blocked {
		if s.rest == nil {
			continue // reset
		}
		if c.out.pending, s.rest = c.appendBody(c.out.pending, s, s.rest); len(s.rest) > 0 {
			still = append(still, s)
		} else {
			c.done(s)
		}
	}
	clear(c.blocked[len(still):])
	c.blocked = still
}

// room notes that the client has more room, on a stream or, with 0, on all together.
func (c *http2Conn) room(id uint32, more int64) error {
	const most = 1<<31 - 1 // RFC 9113 §6.9.1
	c.out.mu.Lock()
	s, overflow := c.streams[id], false
	switch {
	case id == 0:
		c.window += more
		overflow = c.window > most
	case s != nil:
		s.window += more
		overflow = s.window > most
	}
	if !overflow {
		c.unblock()
	}
	c.out.mu.Unlock()
	switch {
	case id > c.last:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case overflow && id == 0:
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	case overflow:
		return c.cancel(id, http2.ErrCodeFlowControl)
	}
	return nil
}

// settings takes over what the client wants.
func (c *http2Conn) settings(f *http2.SettingsFrame) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if f.HasDuplicates() { // of no use but to make work
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			for _, open := range c.streams {
				open.window += int64(s.Val) - c.initial
				if open.window > 1<<31-1 {
					return http2.ConnectionError(http2.ErrCodeFlowControl)
				}
			}
			c.initial = int64(s.Val)
			c.unblock()
		case http2.SettingMaxFrameSize:
			c.frame = int(min(s.Val, http2Frame))
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSize(min(s.Val, 4096))
		default: // it is of no use here
		}
		return nil
	})
}

// fail answers with an error of HTTP. What is wrong with a query in itself is told by DNS.
func (c *http2Conn) fail(s *http2Stream, method string, status int, reason string) {
	c.whole(s)
	body := []byte(reason + "\n")
	header := [][2]string{{"content-type", textType}, {"cache-control", "no-store"}, {"content-length", strconv.Itoa(len(body))}}
	if status == http.StatusMethodNotAllowed {
		header = append(header, [2]string{"allow", allowed})
	}
	if method == http.MethodHead {
		body = nil
	}
	s.respond(body, status, header)
}

// appendFrame appends a frame's header (RFC 9113 §4.1).
func appendFrame(b []byte, typ http2.FrameType, flags http2.Flags, stream uint32, length int) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(typ), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, http2.FrameRSTStream, 0, stream, 4), uint32(code))
}
