package identity

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// neighbourRetry lies between two tries to speak to the kernel.
const neighbourRetry = 10 * time.Second

// watchNeighbours keeps the neighbours as the kernel has them, until ctx ends (rtnetlink(7)).
func (s *Store) watchNeighbours(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.readNeighbours(ctx)
		if ctx.Err() != nil {
			return
		}
		s.fault("neighbours", "MAC addresses of neighbours can't be read: "+err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(neighbourRetry):
		}
	}
}

// readNeighbours reads the kernel's table and what changes of it, until ctx ends or an error.
func (s *Store) readNeighbours(ctx context.Context) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "netlink")
	defer socket.Close()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_NEIGH}); err != nil {
		return fmt.Errorf("bind netlink socket: %w", err)
	}
	// It fails only on a closed socket.
	defer context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 64<<10)
	for ask := true; ; {
		if ask {
			if _, err := socket.Write(neighbourDump()); err != nil {
				return fmt.Errorf("ask for the table of neighbours: %w", err)
			}
		}
		n, err := socket.Read(buf)
		// Changes that came faster than they were read are lost: the whole table has them.
		if ask = errors.Is(err, unix.ENOBUFS); ask {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the table of neighbours: %w", err)
		}
		s.fault("neighbours", "")
		changes, err := parseNeighbours(buf[:n])
		if s.takeNeighbours(changes) {
			signal(s.stale)
		}
		if err != nil {
			return err
		}
	}
}

// neighbourDump is the request for the whole table.
func neighbourDump() []byte {
	msg := make([]byte, unix.SizeofNlMsghdr+unix.SizeofNdMsg)
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], unix.RTM_GETNEIGH)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	return msg
}

var errNetlink = errors.New("the kernel's message is cut short")

// parseNeighbours reads messages of rtnetlink. Those about anything else are passed over.
func parseNeighbours(data []byte) (changes []change, err error) {
	for len(data) > 0 {
		if len(data) < unix.SizeofNlMsghdr {
			return changes, errNetlink
		}
		size := int(binary.NativeEndian.Uint32(data))
		if size < unix.SizeofNlMsghdr || size > len(data) {
			return changes, errNetlink
		}
		body := data[unix.SizeofNlMsghdr:size]
		switch kind := binary.NativeEndian.Uint16(data[4:]); kind {
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return changes, errNetlink
			}
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return changes, fmt.Errorf("the kernel refuses: %w", unix.Errno(-code))
			}
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			if c, ok := parseNeighbour(body); ok {
				c.gone = c.gone || kind == unix.RTM_DELNEIGH
				changes = append(changes, c)
			}
		}
		data = data[min((size+3)&^3, len(data)):] // NLMSG_ALIGN
	}
	return changes, nil
}

// The states in which an entry's MAC is known to be right, or was not long ago.
const neighbourKnown = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT

// parseNeighbour reads an entry: a struct ndmsg and its attributes. ok is false where it is no device's.
func parseNeighbour(body []byte) (c change, ok bool) {
	if len(body) < unix.SizeofNdMsg {
		return c, false
	}
	state := binary.NativeEndian.Uint16(body[8:])
	for rest := body[unix.SizeofNdMsg:]; len(rest) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < unix.SizeofRtAttr || size > len(rest) {
			return c, false
		}
		value := rest[unix.SizeofRtAttr:size]
		switch binary.NativeEndian.Uint16(rest[2:]) {
		case unix.NDA_DST:
			c.addr, _ = netip.AddrFromSlice(value)
		case unix.NDA_LLADDR:
			if len(value) == len(c.mac) {
				c.mac = MAC(value)
			}
		}
		rest = rest[min((size+3)&^3, len(rest)):] // RTA_ALIGN
	}
	c.addr = c.addr.Unmap()
	if !c.addr.IsValid() || c.addr.IsMulticast() {
		return c, false
	}
	c.gone, c.reached = state&neighbourKnown == 0, state&unix.NUD_REACHABLE != 0
	return c, c.gone || c.mac != MAC{}
}
