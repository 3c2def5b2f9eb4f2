// Command load asks a server over DNS over TLS or HTTPS as fast as it answers, over many connections, and prints
// how many answers a second came. The connections are made before the clock starts.
//
// dnsperf does the same, but not over HTTPS: what Debian has of it stalls where a server sends several TLS
// records at once (it waits for the socket while the next record has been read already). h2load has one address
// of its own, and no server lets one address have a thousand connections.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func main() {
	var l load
	flag.StringVar(&l.mode, "mode", "doh", "dot or doh")
	flag.StringVar(&l.addr, "addr", "", "the server's address and port")
	flag.IntVar(&l.connections, "connections", 1, "how many")
	flag.IntVar(&l.outstanding, "outstanding", 100, "questions that wait for their answers, on each connection")
	flag.IntVar(&l.sources, "sources", 8, "addresses from 127.0.0.2 on that the connections come from")
	flag.IntVar(&l.names, "names", 1000, "how many names are asked for: www.nameN.example")
	flag.DurationVar(&l.time, "time", 5*time.Second, "how long")
	flag.Parse()
	answers, err := l.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Fprintf(os.Stdout, "%.0f\n", float64(answers)/l.time.Seconds())
}

type load struct {
	mode, addr                               string
	connections, outstanding, sources, names int
	time                                     time.Duration

	answers atomic.Int64
	over    atomic.Bool
}

// run returns how many answers came; the first error ends it.
func (l *load) run() (answers int64, err error) {
	if l.addr == "" || l.mode != "dot" && l.mode != "doh" || min(l.connections, l.outstanding, l.sources, l.names) < 1 {
		return 0, errors.New("see -help")
	}
	conns := make([]*tls.Conn, l.connections)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close() // thrown away
			}
		}
	}()
	for i := range conns {
		if conns[i], err = l.dial(i); err != nil {
			return 0, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	failed := make(chan error, l.connections)
	var asking sync.WaitGroup
	for i, c := range conns {
		asking.Go(func() {
			ask := l.askTLS
			if l.mode == "doh" {
				ask = l.askHTTPS
			}
			if err := ask(c, i); !l.over.Load() {
				failed <- fmt.Errorf("connection %d: %w", i, err)
			}
		})
	}
	end := time.NewTimer(l.time)
	defer end.Stop()
	select {
	case err = <-failed:
	case <-end.C:
	}
	answers = l.answers.Load()
	l.over.Store(true)
	for _, c := range conns {
		_ = c.SetDeadline(time.Unix(1, 0)) // it fails on a closed one only
	}
	asking.Wait()
	return answers, err
}

func (l *load) dial(i int) (*tls.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%l.sources))}}
	alpn := map[string]string{"dot": "dot", "doh": "h2"}[l.mode]
	// The server is the bench's own, with a certificate of its own.
	dialer := tls.Dialer{NetDialer: &d, Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}} //nolint:gosec // see above
	c, err := dialer.DialContext(context.Background(), "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// appendQuery appends a question for a name's address.
func (l *load) appendQuery(msg []byte, id uint16, n int) []byte {
	msg = binary.BigEndian.AppendUint16(msg, id)
	msg = append(msg, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1)
	label := fmt.Sprintf("name%d", 1+n%l.names)
	msg = append(append(append(msg, 3, 'w', 'w', 'w', byte(len(label))), label...), "\x07example\x00\x00\x01\x00\x01"...)
	return append(msg, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
}

// check looks at an answer: it must be one, with a record.
func check(msg []byte) error {
	if len(msg) < 12 || msg[2]&0x80 == 0 || msg[3]&0xF != 0 || msg[7] == 0 {
		return fmt.Errorf("no good answer: %x", msg)
	}
	return nil
}

// askTLS asks over one connection of DNS over TLS until it ends.
func (l *load) askTLS(c *tls.Conn, n int) error {
	var out []byte
	queries := l.queries()
	add := func() {
		q := queries[n%len(queries)]
		n++
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(q))), q...)
	}
	for range l.outstanding {
		add()
	}
	in := bufio.NewReaderSize(c, 64<<10)
	var size [2]byte
	msg := make([]byte, 65535)
	for {
		if in.Buffered() < 2 && len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return err
		}
		answer := msg[:binary.BigEndian.Uint16(size[:])]
		if _, err := io.ReadFull(in, answer); err != nil {
			return err
		}
		if err := check(answer); err != nil {
			return err
		}
		l.answers.Add(1)
		add()
	}
}

func (l *load) queries() [][]byte {
	all := make([][]byte, l.names)
	for i := range all {
		all[i] = l.appendQuery(nil, uint16(i), i)
	}
	return all
}

// askHTTPS asks over one connection of HTTP/2 until it ends.
func (l *load) askHTTPS(c *tls.Conn, n int) error {
	var out, block bytes.Buffer
	in := bufio.NewReaderSize(c, 64<<10)
	frames := http2.NewFramer(&out, in)
	encoder := hpack.NewEncoder(&block)
	queries := l.queries()
	stream := uint32(1)
	var failed error
	note := func(err error) {
		if failed == nil {
			failed = err
		}
	}
	add := func() {
		q := queries[n%len(queries)]
		n++
		block.Reset()
		for _, h := range [][2]string{
			{":method", "POST"},
			{":scheme", "https"},
			{":authority", l.addr},
			{":path", "/dns-query"},
			{"content-type", "application/dns-message"},
			{"accept", "application/dns-message"},
			{"content-length", strconv.Itoa(len(q))},
		} {
			note(encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
		}
		note(frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}))
		note(frames.WriteData(stream, true, q))
		stream += 2
	}
	out.WriteString(http2.ClientPreface)
	note(frames.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}))
	note(frames.WriteWindowUpdate(0, 1<<30))
	for range l.outstanding {
		add()
	}
	for failed == nil {
		if in.Buffered() == 0 && out.Len() > 0 {
			if _, err := c.Write(out.Bytes()); err != nil {
				return err
			}
			out.Reset()
		}
		f, err := frames.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				note(frames.WriteSettingsAck())
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				note(frames.WritePing(true, f.Data))
			}
		case *http2.DataFrame:
			if len(f.Data()) == 0 {
				continue // the end of a stream by itself
			}
			if err := check(f.Data()); err != nil {
				return err
			}
			l.answers.Add(1)
			add()
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return fmt.Errorf("the server said %v", f)
		}
	}
	return failed
}
