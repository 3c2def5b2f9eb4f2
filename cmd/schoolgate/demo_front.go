package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// demoFront takes the user's own questions in the place of the resolver's listener, so that each can
// be shown with what became of it: the real one tells nobody.
type demoFront struct {
	udp *net.UDPConn
	tcp *net.TCPListener
	// answer returns the response to a query, nil for none.
	answer func(ctx context.Context, query []byte, from netip.AddrPort, transport string) []byte
}

// listenDemoFront listens on a port of loopback; 0 is any that is free.
func listenDemoFront(port int) (*demoFront, error) {
	loopback := net.IPv4(127, 0, 0, 1)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: loopback, Port: port})
	if err != nil {
		return nil, err
	}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback, Port: udp.LocalAddr().(*net.UDPAddr).Port})
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	return &demoFront{udp: udp, tcp: tcp}, nil
}

func (f *demoFront) close() {
	f.udp.Close()
	f.tcp.Close()
}

// dig is how to ask with dig, without the name.
func (f *demoFront) dig() string {
	return "@127.0.0.1 -p " + strconv.Itoa(f.udp.LocalAddr().(*net.UDPAddr).Port)
}

// serve answers until the sockets are closed.
func (f *demoFront) serve(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		for {
			conn, err := f.tcp.Accept()
			if err != nil {
				return
			}
			parts.Go(func() { f.serveConn(ctx, conn) })
		}
	})
	packet := make([]byte, 4096)
	for {
		n, from, err := f.udp.ReadFromUDPAddrPort(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		query := bytes.Clone(packet[:n])
		parts.Go(func() {
			if response := f.answer(ctx, query, from, "udp"); response != nil {
				_, _ = f.udp.WriteToUDPAddrPort(response, from) // the client has gone: it will ask again
			}
		})
	}
}

// serveConn answers the question of a connection (RFC 1035 §4.2.2).
func (f *demoFront) serveConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if response := f.answer(ctx, query, from, "tcp"); response != nil {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(response))), response...))
	}
}
