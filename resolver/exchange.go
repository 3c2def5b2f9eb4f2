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

// exchange asks s once, over UDP and, where the answer does not fit or may be forged, over TCP, or over what
// it is written with and nothing else. came is what came of a try before, over UDP.
func (s *server) exchange(c *call, m manner, came outcomeOfTry, deadline time.Time) (dnswire.Answer, error) {
	if s.protocol == plainUDP {
		switch came {
		case cameTooMuch:
			return s.exchangeStream(c, m, deadline)
		case cameOtherCase, cameNoCookies:
			return s.prove(c, m, came, deadline)
		case cameNothing, cameRefusal, cameNotKnown, cameBadCookies:
		}
		answer, r, err := s.exchangeUDP(c, m, deadline)
		if err == nil && answer.Rcode == dnswire.RcodeBadCookie && came != cameBadCookies {
			m.cookies = s.manner(time.Now()).cookies // it has told others
			answer, r, err = s.exchangeUDP(c, m, deadline)
		}
		switch {
		case err != nil:
			return answer, err
		case r != replyOurs:
			return s.prove(c, m, r.outcome(), deadline)
		case answer.TC:
			s.metrics.truncated.Inc()
		case answer.Rcode != dnswire.RcodeBadCookie: // RFC 7873 §5.3: TCP where it wants others again
			return answer, nil
		}
	}
	return s.exchangeStream(c, m, deadline)
}

// exchangeStream asks over a connection.
func (s *server) exchangeStream(c *call, m manner, deadline time.Time) (dnswire.Answer, error) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	m.cookies = cookies{} // nobody forges what goes over a connection
	response, err := s.exchanger.exchange(ctx, s.appendQuery(make([]byte, 0, 2*queryBlock), 0, c, m))
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
)

// appendQuery appends the message that asks s, with the markers of the resolvers that the question has
// come through, and its own.
func (s *server) appendQuery(msg []byte, id uint16, c *call, m manner) []byte {
	if m.form == formPlain {
		return dnswire.AppendQuery(msg, id, c.name, c.typ, dnswire.ClassIN, 0, false, c.cd)
	}
	msg = dnswire.AppendQuery(msg, id, c.name, c.typ, dnswire.ClassIN, maxUpstreamUDP, c.do, c.cd)
	if m.form == formBare {
		return msg
	}
	hops := append(append(make([]dnswire.Marker, 0, dnswire.MaxHops), c.hops...), s.marker)
	block := 0
	if s.Encrypted() {
		block = queryBlock
	}
	return dnswire.AppendQueryOptions(msg, hops, m.cookies.data(), block)
}

// newID returns an id that cannot be foretold (RFC 5452 §9.2); a client's id never goes upstream.
func newID() uint16 {
	var b [2]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return binary.BigEndian.Uint16(b[:])
}
