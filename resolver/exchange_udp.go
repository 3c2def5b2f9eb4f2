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
// not see it has to guess the port, the id, the case of the name's letters and our cookie (RFC 5452 §9,
// draft-vixie-dnsext-dns0x20, RFC 7873).
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
	replyOther     reply = iota // no answer to this question: the right one may still come (RFC 5452 §9.1)
	replyOtherCase              // forged, or from a server that does not keep the case of a name
	replyNoCookies              // forged, or from a server that has stopped giving cookies
	replyOurs
)

// outcome is what came of a try that had this reply, where it is not the answer.
func (r reply) outcome() outcomeOfTry {
	return [...]outcomeOfTry{
		replyOther: cameNothing, replyOtherCase: cameOtherCase, replyNoCookies: cameNoCookies, replyOurs: cameBadCookies,
	}[r]
}

// judge says what a datagram from s is, and notes what it says of the server's ways. One that is right but
// for the case, or for cookies that are not there, is doubtful: whoever sent it knew the port, the id and the
// name, so that it is not worth waiting for another; but it is not believed (see prove).
func (a *asked) judge(msg []byte, c *call, s *server, now time.Time) (dnswire.Answer, reply) {
	name := a.name[:len(c.name)]
	kept := !a.manner.mixed || dnswire.KeepsCase(msg, name)
	answer, err := dnswire.ParseAnswer(msg, a.id, c.name, c.typ, c.do)
	r := replyOurs
	switch {
	case err != nil || answer.Cookies != nil && !a.manner.cookies.taken(answer.Cookies):
		r = replyOther
	case !kept:
		r = replyOtherCase
	case answer.Cookies == nil && a.manner.cookies.expected() && !answer.TC:
		r = replyNoCookies
	}
	if r != replyOurs {
		s.metrics.mismatched.Inc()
		return dnswire.Answer{}, r
	}
	if a.manner.mixed && !bytes.Equal(name, c.name) {
		s.keptCase()
	}
	if a.manner.cookies.length > 0 && !answer.TC {
		s.gave(answer.Cookies, now)
	}
	return answer, replyOurs
}

// prove asks again what had a doubtful reply: over TCP, where nobody can answer who does not see the
// packets. A server that takes no TCP is asked over UDP in lower case and without cookies, so that no client goes
// without an answer: to make use of that, a forger must have guessed id and port twice. Where the server
// answers it was the server the first time too, as far as anybody can tell.
func (s *server) prove(c *call, m manner, came outcomeOfTry, deadline time.Time) (dnswire.Answer, error) {
	answer, err := s.exchangeStream(c, m, time.Now().Add(time.Until(deadline)/2))
	if err != nil {
		m.mixed, m.cookies = false, cookies{}
		var r reply
		answer, r, err = s.exchangeUDP(c, m, deadline)
		if err == nil && (answer.TC || r != replyOurs) { // and there was none over TCP
			err = fmt.Errorf("answer over UDP: %w", dnswire.ErrMismatch)
		}
	}
	switch {
	case err != nil:
	case came == cameOtherCase:
		s.changedCase(time.Now())
	default:
		s.gaveNone(time.Now())
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
		if answer, r := a.judge(buf[:n], c, s, time.Now()); r != replyOther {
			return answer, r, nil
		}
	}
}
