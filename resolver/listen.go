package resolver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
)

// listener is one address with its TCP socket and its UDP sockets, one for each reader.
type listener struct {
	addr    netip.AddrPort
	tcp     *streamListener
	readers []*udpReader
	running bool
}

// portTries is how often a free port is looked for that both UDP and TCP can have.
const portTries = 8

// listen opens the sockets of addr. TCP comes first: its socket does not share its port, so that a
// second server on the address is an error and not a rival for every other packet.
func listen(r *Resolver, addr netip.AddrPort) (*listener, error) {
	for try := 1; ; try++ {
		l, err := listenOnce(r, addr)
		if err == nil {
			return l, nil
		}
		if addr.Port() != 0 || try == portTries {
			return nil, fmt.Errorf("listen on %v: %w", addr, err)
		}
	}
}

func listenOnce(r *Resolver, addr netip.AddrPort) (*listener, error) {
	tcp, err := listenTCP(r, addr, overTCP, nil)
	if err != nil {
		return nil, err
	}
	l := &listener{addr: netip.AddrPortFrom(addr.Addr(), tcp.addr().Port()), tcp: tcp}
	for range readersPerAddress() {
		reader, err := listenUDP(r, l.addr)
		if err != nil {
			l.close()
			return nil, err
		}
		l.readers = append(l.readers, reader)
	}
	return l, nil
}

// readersPerAddress is one reader for each CPU, where the system spreads packets over sockets.
func readersPerAddress() int {
	if !reusePort {
		return 1
	}
	return runtime.GOMAXPROCS(0)
}

func (l *listener) run(serving *sync.WaitGroup) {
	l.running = true
	serving.Go(l.tcp.run)
	for _, reader := range l.readers {
		serving.Go(reader.loop.run)
	}
}

// stopReading ends the readers but leaves the sockets open, for the answers that are still to come.
func (l *listener) stopReading() {
	l.tcp.stopReading()
	for _, reader := range l.readers {
		reader.loop.stopReading()
	}
}

func (l *listener) close() {
	l.tcp.close()
	for _, reader := range l.readers {
		reader.socket.Close()
		if !l.running {
			reader.loop.release()
		}
	}
}

// network names UDP or TCP for an address family: "udp4", "tcp6". A wildcard address of one family
// does not take the other's port.
func network(base string, addr netip.Addr) string {
	if addr.Is4() {
		return base + "4"
	}
	return base + "6"
}

// stopped reports whether a socket's error means that it is to be read no more.
func stopped(err error) bool {
	var netErr net.Error
	return errors.Is(err, net.ErrClosed) || errors.As(err, &netErr) && netErr.Timeout()
}
