package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"schoolgate/resolver/dnswire"
)

// exchanger asks one server over connections that outlive the question. query is a whole message with id
// 0, and so is the response, which answers that question as far as the transport can tell. Both are the
// caller's. It is safe for concurrent use, starts with no connection, and closes those that are idle.
type exchanger interface {
	exchange(ctx context.Context, query []byte) (response []byte, err error)
	// close ends the connections. No question may be on its way.
	close()
}

// newExchanger returns what asks a server, but for UDP: that of a udp:// server is for answers that do
// not fit.
func newExchanger(p *place, mismatched func()) exchanger {
	switch p.upstream.protocol {
	case dnsOverHTTPS:
		return newOverHTTPS(p)
	case dnsOverQUIC:
		return newOverQUIC(p)
	case plainUDP, plainTCP, dnsOverTLS:
	}
	return newPipes(p.dial, mismatched)
}

// exchange asks s once, over UDP and, where the answer does not fit, over TCP, or over what it is written
// with and nothing else.
func (s *server) exchange(c *call, deadline time.Time) (dnswire.Answer, error) {
	if known := s == c.tried && c.came == cameTooMuch; s.protocol == plainUDP && !known {
		answer, err := s.exchangeUDP(c, deadline)
		if err != nil || !answer.TC {
			return answer, err
		}
		s.metrics.truncated.Inc()
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	response, err := s.exchanger.exchange(ctx, s.appendQuery(make([]byte, 0, 2*queryBlock), 0, c))
	if err != nil {
		return dnswire.Answer{}, err
	}
	answer, err := dnswire.ParseAnswer(response, 0, c.name, c.typ, c.do)
	if err == nil && answer.TC {
		err = dnswire.ErrFormat // a truncated answer makes no sense where there is no limit
	}
	if err != nil {
		return dnswire.Answer{}, fmt.Errorf("answer over %s: %w", schemes[s.protocol], err)
	}
	return answer, nil
}

const (
	// maxUpstreamUDP is how much we offer to take over UDP, and the most that is read.
	maxUpstreamUDP = 1232
	// queryBlock is what encrypted queries are padded to a multiple of, so that their length does not
	// tell the name (RFC 8467 §4.1).
	queryBlock = 128
	// withoutEDNS is how long a server that does not know EDNS is asked without.
	withoutEDNS = time.Hour
)

// appendQuery appends the message that asks s, with the markers of the resolvers that the question has
// come through, and its own.
func (s *server) appendQuery(msg []byte, id uint16, c *call) []byte {
	if c.plain {
		return dnswire.AppendQuery(msg, id, c.name, c.typ, dnswire.ClassIN, 0, false, c.cd)
	}
	msg = dnswire.AppendQuery(msg, id, c.name, c.typ, dnswire.ClassIN, maxUpstreamUDP, c.do, c.cd)
	hops := append(append(make([]dnswire.Marker, 0, dnswire.MaxHops), c.hops...), s.marker)
	block := 0
	if s.Encrypted() {
		block = queryBlock
	}
	return dnswire.AppendQueryOptions(msg, hops, block)
}

// exchangeEDNS is exchange for servers of every age: one that does not understand a query with EDNS, and
// does not know EDNS itself, is asked again without (RFC 6891 §6.2.2), and so for an hour to come.
func (s *server) exchangeEDNS(c *call, deadline time.Time) (dnswire.Answer, error) {
	known := s.knowsEDNS(time.Now())
	if known && (s != c.tried || c.came != cameNotKnown) {
		answer, err := s.exchange(c, deadline)
		if err != nil || !notKnown(answer) {
			return answer, err
		}
	}
	plain := &call{name: c.name, typ: c.typ, cd: c.cd, plain: true} // its waiters are guarded by the forwarder's lock
	answer, err := s.exchange(plain, deadline)
	if known && err == nil && answer.Rcode != dnswire.RcodeFormErr && answer.Rcode != dnswire.RcodeNotImp {
		s.setPlain(time.Now().Add(withoutEDNS))
	}
	return answer, err
}

// notKnown reports whether an answer is that of a server which does not know EDNS.
func notKnown(a dnswire.Answer) bool {
	return !a.EDNS && (a.Rcode == dnswire.RcodeFormErr || a.Rcode == dnswire.RcodeNotImp)
}

func (s *server) knowsEDNS(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.plainUntil)
}

func (s *server) setPlain(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plainUntil = until
}

// newID returns an id that cannot be foretold (RFC 5452 §9.2); a client's id never goes upstream.
func newID() uint16 {
	var b [2]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return binary.BigEndian.Uint16(b[:])
}
