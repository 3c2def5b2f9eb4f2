package resolver

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2Client speaks HTTP/2 frame by frame.
type http2Client struct {
	t       *testing.T
	conn    net.Conn
	frames  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	// What came: of each stream the status, the body and how it ended; and of the connection.
	seen chan []string
}

// http2To connects to a resolver of its own. Every frame that comes is noted, but for settings.
func http2To(t *testing.T, settings ...http2.Setting) *http2Client {
	t.Helper()
	l, stop := web(t, inside(t))
	conn, _ := visit(t, l.streamListener)
	c := &http2Client{t: t, conn: secure(t, conn, "h2"), seen: make(chan []string, 1)}
	c.frames = http2.NewFramer(c.conn, c.conn)
	c.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	go c.read()
	t.Cleanup(func() { c.conn.Close(); stop() })
	if _, err := io.WriteString(c.conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c.check(c.frames.WriteSettings(settings...))
	return c
}

func (c *http2Client) read() {
	var seen []string
	note := func(format string, args ...any) { seen = append(seen, fmt.Sprintf(format, args...)) }
	for {
		f, err := c.frames.ReadFrame()
		if err != nil {
			c.seen <- seen
			return
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			note("%d status %s", f.StreamID, f.PseudoValue("status"))
		case *http2.DataFrame:
			end := ""
			if f.StreamEnded() {
				end = ", end"
			}
			note("%d data %d%s", f.StreamID, len(f.Data()), end)
		case *http2.RSTStreamFrame:
			note("%d reset %v", f.StreamID, f.ErrCode)
		case *http2.GoAwayFrame:
			note("goodbye %v", f.ErrCode)
		case *http2.PingFrame:
			note("ping")
		case *http2.WindowUpdateFrame:
			note("%d room %d", f.StreamID, f.Increment)
		}
	}
}

func (c *http2Client) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Error(err)
	}
}

func (c *http2Client) header(fields ...string) []byte {
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.check(c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return c.block.Bytes()
}

// get asks for localhost.
func (c *http2Client) get(stream uint32) {
	c.check(c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndHeaders: true, EndStream: true, BlockFragment: c.header(
		":method", "GET", ":scheme", "https", ":authority", "x", ":path", dohPath+"?dns="+base64.RawURLEncoding.EncodeToString(localhostQuery(c.t)))}))
}

func (c *http2Client) post(stream uint32, more ...string) {
	c.check(c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndHeaders: true, BlockFragment: c.header(append([]string{
		":method", "POST", ":scheme", "https", ":authority", "x", ":path", dohPath, "content-type", dohType,
	}, more...)...)}))
}

const localhostAnswer = 43 // its size

func TestTheLifeOfAStreamOfHTTP2(t *testing.T) {
	answer := func(stream int) []string {
		return []string{fmt.Sprintf("%d status 200", stream), fmt.Sprintf("%d data %d, end", stream, localhostAnswer)}
	}
	for name, c := range map[string]struct {
		settings []http2.Setting
		send     func(c *http2Client, query []byte)
		want     []string
	}{
		"a query in the path": {nil, func(c *http2Client, _ []byte) { c.get(1) }, answer(1)},
		"a body in pieces, padded, and fields behind it": {nil, func(c *http2Client, query []byte) {
			c.post(1, "content-length", fmt.Sprint(len(query)))
			c.check(c.frames.WriteDataPadded(1, false, query[:5], make([]byte, 20)))
			c.check(c.frames.WriteData(1, false, nil))
			c.check(c.frames.WriteData(1, false, query[5:]))
			c.check(c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: c.header("x-sum", "1")}))
		}, answer(1)},
		"a header in pieces": {nil, func(c *http2Client, query []byte) {
			block := slices.Clone(c.header(":method", "POST", ":scheme", "https", ":authority", "x", ":path", dohPath, "content-type", dohType))
			c.check(c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3], Priority: http2.PriorityParam{Weight: 7}}))
			c.check(c.frames.WriteContinuation(1, false, block[3:9]))
			c.check(c.frames.WriteContinuation(1, true, block[9:]))
			c.check(c.frames.WriteData(1, true, query))
		}, answer(1)},
		"a client without room is given what it has room for": {
			[]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 10}},
			func(c *http2Client, _ []byte) {
				c.get(1)
				synctest.Wait()
				c.check(c.frames.WriteWindowUpdate(1, 20))
				synctest.Wait()
				c.check(c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000}))
			},
			[]string{"1 status 200", "1 data 10", "1 data 20", fmt.Sprintf("1 data %d, end", localhostAnswer-30)},
		},
		"one that makes room on the connection": {
			[]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1 << 20}},
			func(c *http2Client, _ []byte) {
				for stream := range uint32(1600) { // 68,800 octets in all
					c.get(1 + 2*stream)
				}
				synctest.Wait()
				c.check(c.frames.WriteWindowUpdate(0, 1<<20))
			}, nil, // counted below
		},
		"a stream that is reset while it has no room is gone": {
			[]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}},
			func(c *http2Client, _ []byte) {
				for stream := range uint32(300) {
					c.get(1 + 2*stream)
					c.check(c.frames.WriteRSTStream(1+2*stream, http2.ErrCodeCancel))
				}
			}, nil,
		},
		"a request is reset before it is whole": {nil, func(c *http2Client, _ []byte) {
			c.post(1)
			c.check(c.frames.WriteRSTStream(1, http2.ErrCodeCancel))
			c.get(3)
		}, answer(3)},
		"a body that is too large": {nil, func(c *http2Client, _ []byte) {
			c.post(1)
			c.check(c.frames.WriteData(1, false, make([]byte, maxQuery+1)))
			c.check(c.frames.WriteData(1, true, []byte("more")))
			c.get(3)
		}, append([]string{"1 status 413", "1 data 23, end"}, answer(3)...)},
		"a body of another length than announced": {nil, func(c *http2Client, query []byte) {
			c.post(1, "content-length", "7")
			c.check(c.frames.WriteData(1, true, query))
		}, []string{"1 status 400", "1 data 20, end"}},
		"a header without a path": {nil, func(c *http2Client, _ []byte) {
			c.check(c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: c.header(":method", "GET", ":scheme", "https")}))
			c.get(3)
		}, append([]string{"1 reset PROTOCOL_ERROR"}, answer(3)...)},
		"a header in which a field has capitals": {nil, func(c *http2Client, _ []byte) {
			c.post(1, "Content-Length", "7")
			c.get(3)
		}, append([]string{"1 reset PROTOCOL_ERROR"}, answer(3)...)},
		"a header that is too large": {nil, func(c *http2Client, _ []byte) {
			c.post(1, "x-filler", strings.Repeat("x", maxHTTPHeader))
			c.get(3)
		}, append([]string{"1 status 431", "1 data 23, end"}, answer(3)...)},
		"more streams than may be open": {nil, func(c *http2Client, _ []byte) {
			for stream := range uint32(maxHTTPStreams + 1) {
				c.post(1 + 2*stream)
			}
		}, []string{"201 reset REFUSED_STREAM"}},
		"a ping": {nil, func(c *http2Client, _ []byte) { c.check(c.frames.WritePing(false, [8]byte{1})) }, []string{"ping"}},
		"frames of other kinds": {nil, func(c *http2Client, _ []byte) {
			c.check(c.frames.WriteRawFrame(0xBE, 0, 0, []byte("extension")))
			c.check(c.frames.WritePriority(1, http2.PriorityParam{Weight: 3}))
			c.get(1)
		}, answer(1)},
		"room for bodies is given back": {nil, func(c *http2Client, _ []byte) {
			for stream := range uint32(9) {
				c.post(1 + 2*stream)
				c.check(c.frames.WriteData(1+2*stream, false, make([]byte, maxQuery)))
				c.check(c.frames.WriteRSTStream(1+2*stream, http2.ErrCodeCancel))
			}
		}, []string{"0 room 32768"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := http2To(t, c.settings...)
			c.send(client, localhostQuery(t))
			synctest.Wait()
			client.get(99999) // the connection goes on
			synctest.Wait()
			_ = client.conn.SetReadDeadline(time.Unix(1, 0))
			seen := <-client.seen
			ends := slices.DeleteFunc(slices.Clone(seen), func(s string) bool { return !strings.HasSuffix(s, ", end") })
			switch {
			case strings.HasPrefix(name, "one that makes room"):
				if len(ends) != 1601 {
					t.Errorf("%s: %d answers, the last %v", name, len(ends), seen[len(seen)-3:])
				}
			case strings.HasPrefix(name, "a stream that is reset while"):
				if n := len(seen); n != 301 || seen[n-1] != "99999 status 200" {
					t.Errorf("%s: %d frames, the last %v", name, n, seen[n-1])
				}
			default:
				want := append(slices.Clone(c.want), answer(99999)...)
				if name == "more streams than may be open" {
					want = append(slices.Clone(c.want), "99999 reset REFUSED_STREAM")
				}
				if diff := cmp.Diff(want, seen); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
		})
	}
}

func TestWhoBreaksTheRulesOfHTTP2IsToldAndGone(t *testing.T) {
	for name, c := range map[string]struct {
		send func(c *http2Client)
		want string
	}{
		"a body of a stream that was never opened": {func(c *http2Client) { _ = c.frames.WriteData(1, true, []byte("x")) }, "PROTOCOL_ERROR"},
		"a stream with the number of a server's":   {func(c *http2Client) { c.get(2) }, "PROTOCOL_ERROR"},
		"room on a stream that was never opened":   {func(c *http2Client) { _ = c.frames.WriteWindowUpdate(1, 5) }, "PROTOCOL_ERROR"},
		"a reset of such a stream":                 {func(c *http2Client) { _ = c.frames.WriteRSTStream(1, http2.ErrCodeCancel) }, "PROTOCOL_ERROR"},
		"a promise": {func(c *http2Client) {
			_ = c.frames.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true, BlockFragment: c.header(":method", "GET")})
		}, "PROTOCOL_ERROR"},
		"too much room": {func(c *http2Client) { _ = c.frames.WriteWindowUpdate(0, 1<<31-1) }, "FLOW_CONTROL_ERROR"},
		"too much room on every stream": {func(c *http2Client) {
			c.post(1)
			_ = c.frames.WriteWindowUpdate(1, 1<<31-1-http2Window)
			_ = c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		}, "FLOW_CONTROL_ERROR"},
		"a setting that there cannot be": {func(c *http2Client) {
			_ = c.frames.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1})
		}, "PROTOCOL_ERROR"},
		"a frame that is too large": {func(c *http2Client) {
			go func() { _ = c.frames.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, http2Frame+1)) }()
		}, "FRAME_SIZE_ERROR"},
		"a header that cannot be decompressed": {func(c *http2Client) {
			_ = c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF}})
		}, "COMPRESSION_ERROR"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := http2To(t)
			c.send(client)
			seen := <-client.seen
			if len(seen) == 0 || seen[len(seen)-1] != "goodbye "+c.want {
				t.Errorf("%s: %v, want %s", name, seen, c.want)
			}
		})
	}
}

func TestAClientOfHTTP2ThatReadsNothingLosesItsConnection(t *testing.T) {
	for name, flood := range map[string]func(f *http2.Framer) error{
		"pings":    func(f *http2.Framer) error { return f.WritePing(false, [8]byte{}) },
		"settings": func(f *http2.Framer) error { return f.WriteSettings() },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := inside(t)
			l, stop := web(t, r)
			defer stop()
			conn, done := visit(t, l.streamListener)
			framer := h2(t, secure(t, conn, "h2"))
			sent := 0
			for flood(framer) == nil {
				sent++
			}
			<-done
			if sent > 2*maxControls {
				t.Errorf("%s: %d were taken", name, sent)
			}
		})
	}
}

func TestAClientOfHTTP2ThatMakesNoRoomLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := http2To(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		began := time.Now()
		client.get(1)
		seen := <-client.seen
		if took := time.Since(began); took != writeTime || !slices.Equal(seen, []string{"1 status 200", "1 data 1", "goodbye NO_ERROR"}) {
			t.Errorf("after %v: %v", took, seen)
		}
	})
}

// wired is a connection on which everything has come already.
type wired struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (w *wired) Read(p []byte) (int, error)      { return w.in.Read(p) }
func (w *wired) Write(p []byte) (int, error)     { return w.out.Write(p) }
func (*wired) Close() error                      { return nil }
func (*wired) SetReadDeadline(time.Time) error   { return nil }
func (*wired) SetWriteDeadline(time.Time) error  { return nil }
func (*wired) SetDeadline(time.Time) (err error) { return nil }

// Whatever is sent, the connection ends, gives every place back, and what came of it are frames.
func FuzzHTTP2(f *testing.F) {
	var good bytes.Buffer
	framer := http2.NewFramer(&good, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", dohPath}, {"content-type", dohType}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	_ = framer.WriteData(1, true, []byte("\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01"))
	_ = framer.WriteWindowUpdate(1, 12)
	_ = framer.WritePing(false, [8]byte{1})
	_ = framer.WriteRSTStream(1, http2.ErrCodeCancel)
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:60])
	var l *httpsListener
	f.Fuzz(func(t *testing.T, sent []byte) {
		if l == nil {
			l = &httpsListener{streamListener: streamsOf(inside(t), overHTTPS)}
		}
		conn := &wired{in: bytes.NewReader(append([]byte(http2.ClientPreface), sent...))}
		g := &guest{from: address(1), conn: conn, shut: func() {}}
		if !l.crowd.enter(g) {
			t.Fatal("kept out")
		}
		l.serveHTTP2(&guestConn{conn, g}, g, "")
		if len(l.crowd.open) != 0 || len(l.crowd.perAddress) != 0 || l.crowd.answering != 0 {
			t.Fatalf("left: %d connections, %d addresses, %d requests", len(l.crowd.open), len(l.crowd.perAddress), l.crowd.answering)
		}
		reader := http2.NewFramer(io.Discard, &conn.out)
		reader.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		for {
			if _, err := reader.ReadFrame(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Fatalf("%v after %x", err, sent)
			}
		}
	})
}
