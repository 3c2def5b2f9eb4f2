package resolver

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"schoolgate/resolver/dnswire"
)

// asked is a question as it went to a server over UDP, with what its answer must match: a forger who does
// not see it has to guess the port, the id and the case of the name's letters (RFC 5452 §9,
// draft-vixie-dnsext-dns0x20).
type asked struct {
	manner manner
	id     uint16
	name   [dnswire.MaxName]byte // in the case in which it was sent
}

// randomOf is how many octets at random append takes: those of the id, and a bit for each of the name's.
func randomOf(c *call) int { return 2 + (len(c.name)+7)/8 }

// append appends the message that asks s. random are octets that cannot be foretold.
func (a *asked) append(msg []byte, c *call, s *server, m manner, random []byte) []byte {
	a.manner, a.id = m, binary.NativeEndian.Uint16(random)
	start := len(msg)
	msg = s.appendQuery(msg, a.id, c, m)
	name := msg[start+headerLen:][:len(c.name)]
	if m.mixed {
		dnswire.MixCase(name, random[2:])
	}
	copy(a.name[:], name)
	return msg
}

// reply is what came in answer to a question over UDP.
type reply uint8

const (
	replyOther    reply = iota // no answer to this question: the right one may still come (RFC 5452 §9.1)
	replyDoubtful              // forged, or from a server that does not keep the case of a name
	replyOurs
)

// judge says what a datagram from s is, and notes what it says of the server's ways. It is in another case
// than the question is a doubtful one: whoever sent it knew the port, the id and the name, so that it is not
// worth waiting for another; but it is not believed (see prove).
func (a *asked) judge(msg []byte, c *call, s *server) (dnswire.Answer, reply) {
	name := a.name[:len(c.name)]
	kept := !a.manner.mixed || dnswire.KeepsCase(msg, name)
	answer, err := dnswire.ParseAnswer(msg, a.id, c.name, c.typ, c.do)
	switch {
	case err != nil:
		s.metrics.mismatched.Inc()
		return answer, replyOther
	case !kept:
		s.metrics.mismatched.Inc()
		return dnswire.Answer{}, replyDoubtful
	case a.manner.mixed && !bytes.Equal(name, c.name):
		s.keptCase()
	}
	return answer, replyOurs
}

// prove asks again what had a doubtful reply: over TCP, where nobody can answer who does not see the
// packets. A server that takes no TCP is asked over UDP in lower case, so that no client goes without: to
// make use of that, a forger must have guessed id and port twice. Where the server answers it was the server
// the first time too, as far as anybody can tell.
func (s *server) prove(c *call, m manner, deadline time.Time) (dnswire.Answer, error) {
	now := time.Now()
	answer, err := s.exchangeStream(c, m, now.Add(deadline.Sub(now)/2))
	if err != nil {
		m.mixed = false
		if answer, _, err = s.exchangeUDP(c, m, deadline); err == nil && answer.TC {
			err = fmt.Errorf("answer over UDP: %w", dnswire.ErrFormat) // and there was none over TCP
		}
	}
	if err == nil {
		s.changedCase(time.Now())
	}
	return answer, err
}

// exchangeUDP uses a socket of its own for one question: the system gives it a port at random, and
// as it is connected, takes datagrams from that server only.
func (s *server) exchangeUDP(c *call, m manner, deadline time.Time) (dnswire.Answer, reply, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.addr))
	if err != nil {
		return dnswire.Answer{}, replyOther, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return dnswire.Answer{}, replyOther, fmt.Errorf("deadline: %w", err)
	}
	random := make([]byte, randomOf(c))
	rand.Read(random) // never fails: crypto/rand
	var a asked
	buf := make([]byte, 0, maxUpstreamUDP+1)
	if _, err := conn.Write(a.append(buf, c, s, m, random)); err != nil {
		return dnswire.Answer{}, replyOther, fmt.Errorf("send: %w", err)
	}
	buf = buf[:cap(buf)]
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return dnswire.Answer{}, replyOther, fmt.Errorf("receive: %w", err)
		}
		if answer, r := a.judge(buf[:n], c, s); r != replyOther {
			return answer, r, nil
		}
	}
}
