package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/config"
	"schoolgate/resolver"
	"schoolgate/resolver/dnswire"
)

// lookups returns a resolver for the hosts that lists are fetched from. It asks the servers of a
// configuration, which config returns: schoolgate's own machine is often told to ask schoolgate, and
// that answers nothing until the lists are there. Where none of them answers the system's servers are
// asked.
func lookups(config func() *config.Config) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		return &lookup{ctx: ctx, config: config, system: server{network: network, address: address}}, nil
	}}
}

// server is one to ask: "udp" or "tcp" with its address and port, or an encrypted one, with those that
// know where it is.
type server struct {
	network, address string
	encrypted        resolver.Upstream
	bootstrap        []resolver.Upstream
}

// serversFor are those to ask for a name, in order: those of the school's own zone that it is in, else
// the upstreams. key is as dnswire.Query.Name.
func serversFor(cfg *config.Config, key []byte) []server {
	upstreams, longest := cfg.Upstreams, 0
	for i, z := range cfg.Policy.Zones {
		for _, n := range z.Names {
			if len(n) > longest && n.Covers(blocklist.Name(key)) {
				upstreams, longest = cfg.Zones[i], len(n)
			}
		}
	}
	var servers []server
	for _, u := range upstreams.Servers {
		network, address, _ := strings.Cut(u.String(), "://")
		s := server{network: network, address: address}
		if u.Encrypted() {
			s.encrypted, s.bootstrap = u, upstreams.Bootstrap
		}
		servers = append(servers, s)
	}
	return servers
}

// lookup is a connection for one question of Go's resolver, which takes it for one over TCP (RFC 1035
// §4.2.2). The name asked for says who is asked, and that is not known before the question is written.
type lookup struct {
	net.Conn // nil: Go's resolver writes, reads, sets one deadline, and closes

	ctx      context.Context //nolint:containedctx // of the one question
	config   func() *config.Config
	system   server // asked where none of the others answers; none where it has no address
	deadline time.Time
	answer   bytes.Reader
}

func (l *lookup) SetDeadline(t time.Time) error { l.deadline = t; return nil }

func (l *lookup) Close() error { return nil }

func (l *lookup) Read(p []byte) (int, error) { return l.answer.Read(p) }

// Write asks, and has the answer when it returns.
func (l *lookup) Write(p []byte) (int, error) {
	if len(p) < 2 {
		return 0, io.ErrShortWrite
	}
	question := p[2:]
	var q dnswire.Query
	if q.Parse(question) != dnswire.StatusOK {
		return 0, errors.New("look up a host: not a question")
	}
	servers := serversFor(l.config(), q.Name())
	if l.system.address != "" {
		servers = append(servers, l.system)
	}
	var best []byte
	var err error
	for i, s := range servers {
		var answer []byte
		answer, err = l.ask(s, question, q.QuestionEnd, len(servers)-i)
		if err != nil {
			continue
		}
		best = answer
		if rcode := uint16(answer[3] & 0xf); rcode == dnswire.RcodeSuccess || rcode == dnswire.RcodeNXDomain {
			break
		}
	}
	if best == nil {
		return 0, err
	}
	l.answer.Reset(append(binary.BigEndian.AppendUint16(nil, uint16(len(best))), best...))
	return len(p), nil
}

// ask puts the question to a server, with its share of the time that is left for so many. An answer
// that does not fit is fetched over TCP.
func (l *lookup) ask(s server, question []byte, questionEnd, left int) ([]byte, error) {
	deadline := l.deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(5 * time.Second)
	}
	ctx, cancel := context.WithTimeout(l.ctx, time.Until(deadline)/time.Duration(left))
	defer cancel()
	if s.encrypted.Encrypted() {
		return resolver.Exchange(ctx, s.encrypted, s.bootstrap, question)
	}
	answer, err := exchange(ctx, s, question, questionEnd)
	if err == nil && answer[2]&0x02 != 0 && s.network == "udp" {
		answer, err = exchange(ctx, server{network: "tcp", address: s.address}, question, questionEnd)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", s.address, err)
	}
	return answer, nil
}

// exchange sends a question and returns the answer to it, whose question ends at questionEnd too. Over
// UDP anything else that comes is passed over.
func exchange(ctx context.Context, s server, question []byte, questionEnd int) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, s.network, s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	overTCP := s.network == "tcp"
	if overTCP {
		question = append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	if overTCP {
		question = question[2:]
	}
	buf := make([]byte, 1<<16)
	for {
		n := 0
		if overTCP {
			if _, err = io.ReadFull(conn, buf[:2]); err == nil {
				n, err = io.ReadFull(conn, buf[:binary.BigEndian.Uint16(buf)])
			}
		} else {
			n, err = conn.Read(buf)
		}
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], question, questionEnd) {
			return buf[:n], nil
		}
		if overTCP {
			return nil, errors.New("an answer to another question")
		}
	}
}

// answers reports whether a message is an answer to a question: same ID, same question, byte for byte.
func answers(message, question []byte, questionEnd int) bool {
	return len(message) >= questionEnd && bytes.Equal(message[:2], question[:2]) && message[2]&0x80 != 0 &&
		bytes.Equal(message[4:6], question[4:6]) && bytes.Equal(message[12:questionEnd], question[12:questionEnd])
}
