package main

import (
	"context"
	"errors"
	"hash/fnv"
	"net"
	"net/netip"

	"schoolgate/resolver/dnswire"
)

// demoUpstream answers every name, so that the demo needs no network: an address of the blocks for
// documentation (RFC 5737, RFC 3849), the same for the same name each time, and no other data.
type demoUpstream struct{ conn net.PacketConn }

func listenDemoUpstream(ctx context.Context) (*demoUpstream, error) {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &demoUpstream{conn}, nil
}

// serve answers until the socket is closed.
func (u *demoUpstream) serve() {
	var q dnswire.Query
	packet := make([]byte, 1232)
	for {
		n, client, err := u.conn.ReadFrom(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && q.Parse(packet[:n]) == dnswire.StatusOK {
			// The client has gone: it will ask again.
			_, _ = u.conn.WriteTo(demoAnswer(&q, packet[:q.QuestionEnd]), client)
		}
	}
}

// demoAnswer is the answer to a question. asked is the query up to the question's end.
func demoAnswer(q *dnswire.Query, asked []byte) []byte {
	const ttl = 300
	h := dnswire.Header{
		ID: q.ID, Flags: dnswire.FlagQR | dnswire.FlagRA | q.Flags&dnswire.FlagRD, Questions: 1,
	}
	msg := append([]byte(nil), asked...)
	switch addr := demoAddress(q.Name(), q.Type == dnswire.TypeAAAA); q.Type {
	case dnswire.TypeA, dnswire.TypeAAAA:
		h.Answers = 1
		msg = dnswire.AppendRecord(msg, q.Type, ttl, addr.AsSlice())
	default:
		h.Authority = 1
		msg = dnswire.AppendSOA(msg, ttl)
	}
	dnswire.PutHeader(msg, h)
	return msg
}

// demoAddress is the address that a name has in the demo.
func demoAddress(name []byte, v6 bool) netip.Addr {
	h := fnv.New32a()
	h.Write(name)
	sum := h.Sum32()
	if v6 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 12: byte(sum >> 24), 13: byte(sum >> 16), 14: byte(sum >> 8), 15: byte(sum)})
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, 1 + byte(sum%254)})
}
