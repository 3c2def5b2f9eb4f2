//go:build !linux

package resolver

import (
	"net/netip"
	"syscall"
)

// Elsewhere one socket serves an address, and the system chooses where an answer leaves from: name
// the addresses to listen on, where there is more than one.
const (
	reusePort    = false
	replyAddress = false
)

func controlUDP(netip.Addr) func(network, address string, c syscall.RawConn) error { return nil }

func replyControl([]byte) []byte { return nil }

func readLoop(u *udpReader) (loop, error) { return u, nil }
