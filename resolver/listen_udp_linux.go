package resolver

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	reusePort    = true
	replyAddress = true
)

// controlUDP sets what a socket needs before it is bound: a port shared with the other readers, and,
// on a wildcard address, word of the address that each packet came to.
func controlUDP(addr netip.Addr) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			if failed != nil || !addr.IsUnspecified() {
				return
			}
			if addr.Is4() {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			} else {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			}
		})
		if err != nil {
			return err
		}
		return failed
	}
}

// replyControl turns the control message that came with a packet into the one that sends the answer
// from the address that was asked. It changes oob in place. The interface is left to the routing
// table, but for a link-local address, which means nothing without it.
func replyControl(oob []byte) []byte {
	const header = unix.SizeofCmsghdr // 16 on 64-bit systems, 12 on others; aligned already
	if len(oob) < header+unix.SizeofInet4Pktinfo {
		return nil
	}
	level := binary.NativeEndian.Uint32(oob[header-8:])
	if level == unix.IPPROTO_IP {
		clear(oob[header : header+4]) // in_pktinfo.ipi_ifindex
		return oob
	}
	if len(oob) < header+unix.SizeofInet6Pktinfo {
		return nil
	}
	local, _ := netip.AddrFromSlice(oob[header : header+16])
	if !local.IsLinkLocalUnicast() {
		clear(oob[header+16 : header+20]) // in6_pktinfo.ipi6_ifindex
	}
	return oob
}

// readLoop returns the loop that reads a socket.
func readLoop(u *udpReader) (loop, error) {
	w, err := newWorker(u)
	if errors.Is(err, errors.ErrUnsupported) {
		u.resolver.log.Warn("UDP packets are read one at a time", "reason", err)
		return u, nil
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}
