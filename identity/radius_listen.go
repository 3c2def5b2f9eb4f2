package identity

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// radiusRetry lies between two tries to open the socket.
const radiusRetry = 10 * time.Second

// listenRADIUS takes accounting in until ctx ends.
func (s *Store) listenRADIUS(ctx context.Context, c RADIUS) {
	for ctx.Err() == nil {
		socket, err := new(net.ListenConfig).ListenPacket(ctx, "udp", c.Listen.String())
		if err == nil {
			s.fault("radius", "")
			err = s.serveRADIUS(ctx, socket.(*net.UDPConn), c)
		}
		if ctx.Err() != nil {
			return
		}
		s.fault("radius", "identity.radius: sign-ins are not heard of: "+err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(radiusRetry):
		}
	}
}

// serveRADIUS answers each packet once what it says is in force: whoever gets no answer tells again.
func (s *Store) serveRADIUS(ctx context.Context, socket *net.UDPConn, c RADIUS) error {
	defer socket.Close()
	// It fails only on a closed socket.
	defer context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, maxRADIUS)
	for {
		n, from, err := socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		addr := from.Addr().Unmap().WithZone("")
		a, err := parseAccount(buf[:n], c.Secret)
		if err != nil || !slices.ContainsFunc(c.Clients, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			s.countRADIUS(false)
			continue
		}
		s.countRADIUS(true)
		if err := s.account(a, addr, c.Session); err != nil {
			s.log.Warn("a sign-in told by RADIUS is not taken", "reason", err)
		}
		_, _ = socket.WriteToUDPAddrPort(a.answer(c.Secret), from) // a datagram may be lost
	}
}

func (s *Store) countRADIUS(taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if taken {
		s.radius.Taken++
	} else {
		s.radius.Refused++
	}
}

// account puts in force what a sender at an address says.
func (s *Store) account(a account, sender netip.Addr, session time.Duration) error {
	source := "radius " + sender.String()
	id := source + " " + a.session
	if a.session == "" {
		id += a.user + " " + text(a.mac)
	}
	switch a.status {
	case statusStart, statusInterim:
		if IsMachine(a.user) || a.user == "" {
			return nil // it tells of nobody
		}
		err := s.SignIn(SignIn{ID: id, User: a.user, Addrs: a.addrs, MAC: a.mac, Source: source, Until: s.now().Add(session)})
		if errors.Is(err, errNoAddr) {
			return nil // where is not known yet: an interim report says it
		}
		return err
	case statusStop:
		s.SignOut(id)
	case statusOn, statusOff:
		s.signOutAll(source)
	}
	return nil
}
