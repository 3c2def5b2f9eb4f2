package feed

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// stream is the answer to one question: messages on a TCP connection of its own, so that nothing of one
// answer can be taken for a part of the next.
type stream struct {
	t      *secondary
	conn   net.Conn
	in     *bufio.Reader
	stop   func() bool
	cause  func() error // why ctx ended, where it did
	asked  *dns.Msg
	signer *signer // nil: not signed
	left   int64   // bytes that may still come
	octets []byte
	answer []dns.RR // of the last message, not yet taken
}

// ask puts a question about the zone: SOA, AXFR, or IXFR from the serial that is held.
func (t *secondary) ask(ctx context.Context, server netip.AddrPort, typ uint16) (*stream, error) {
	q := new(dns.Msg)
	q.SetQuestion(zoneText(t.zone.Name), typ)
	q.RecursionDesired = false
	if typ == dns.TypeIXFR { // of its SOA record only the serial is looked at (RFC 1995 §3)
		soa := &dns.SOA{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET}}
		soa.Ns, soa.Mbox, soa.Serial = ".", ".", t.old.serial
		q.Ns = []dns.RR{soa}
	}
	s := &stream{t: t, asked: q, left: t.bytes, octets: make([]byte, dns.MaxMsgSize)}
	s.cause = func() error { return context.Cause(ctx) }
	packet, err := s.pack()
	if err != nil {
		return nil, err
	}
	if s.conn, err = t.dial(ctx, "tcp", server.String()); err != nil {
		return nil, s.because(err)
	}
	s.stop = context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	s.in = bufio.NewReaderSize(s.conn, 32<<10)
	_ = s.conn.SetDeadline(time.Now().Add(t.stall))
	if _, err := s.conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		s.close()
		return nil, s.because(err)
	}
	return s, nil
}

func (s *stream) pack() ([]byte, error) {
	if s.t.zone.TSIG == nil {
		return s.asked.Pack()
	}
	var err error
	if s.signer, err = newSigner(s.t.zone.TSIG); err != nil {
		return nil, err
	}
	return s.signer.sign(s.asked, time.Now().Unix())
}

func (s *stream) close() {
	s.stop()
	_ = s.conn.Close()
}

// because returns why ctx ended where that is why there is an error.
func (s *stream) because(err error) error {
	if cause := s.cause(); cause != nil {
		return cause
	}
	return err
}

// record returns the answer's next record.
func (s *stream) record() (dns.RR, error) {
	if len(s.answer) == 0 {
		if err := s.message(); err != nil {
			return nil, err
		}
	}
	rr := s.answer[0]
	s.answer = s.answer[1:]
	return rr, nil
}

// soa is record where it must be the zone's SOA record.
func (s *stream) soa() (*dns.SOA, error) {
	rr, err := s.record()
	if err != nil {
		return nil, err
	}
	soa, ok := rr.(*dns.SOA)
	if !ok || !s.t.isZone(soa.Hdr.Name) {
		return nil, errors.New("the answer does not begin with the zone's SOA record")
	}
	return soa, nil
}

// end checks that nothing follows what ended the answer, and that all of it was signed.
func (s *stream) end() error {
	switch {
	case len(s.answer) > 0:
		return errors.New("records behind the end")
	case s.signer != nil && s.signer.unsigned > 0:
		return errors.New("the end of the answer is not signed")
	}
	return nil
}

// message reads the next message. One without records is an error: it would be the zone's that has
// none, and no part of a transfer.
func (s *stream) message() error {
	octets, err := s.read()
	if err != nil {
		return err
	}
	m := new(dns.Msg)
	if err := m.Unpack(octets); err != nil {
		return fmt.Errorf("malformed answer: %w", err)
	}
	q := s.asked.Question[0]
	switch {
	case m.Id != s.asked.Id || !m.Response || m.Opcode != dns.OpcodeQuery || len(m.Question) > 1 ||
		len(m.Question) == 1 && (m.Question[0].Qtype != q.Qtype || !s.t.isZone(m.Question[0].Name)):
		return errors.New("an answer to another question")
	case m.Rcode != dns.RcodeSuccess:
		return refusal(m)
	}
	if s.signer != nil {
		if err := s.signer.verify(m, octets); err != nil {
			return err
		}
	}
	switch {
	case q.Qtype == dns.TypeSOA && !m.Authoritative: // a resolver, or a secondary whose copy has expired
		return errors.New("the server has no authority for the zone")
	case len(m.Answer) == 0:
		return errors.New("an answer without records: has the server the zone?")
	}
	s.answer = m.Answer
	return nil
}

// read returns the octets of the next message, good until the one after.
func (s *stream) read() ([]byte, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(s.t.stall))
	var length [2]byte
	_, err := io.ReadFull(s.in, length[:])
	n := int(binary.BigEndian.Uint16(length[:]))
	if err == nil {
		if s.left -= int64(n + 2); s.left < 0 {
			return nil, fmt.Errorf("more than %d bytes", s.t.bytes)
		}
		s.t.wire += int64(n + 2)
		_, err = io.ReadFull(s.in, s.octets[:n])
	}
	if err != nil {
		var timeout net.Error
		switch err = s.because(err); {
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil, fmt.Errorf("no whole message in %s", s.t.stall)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errors.New("the server closed the connection before the end")
		}
		return nil, err
	}
	return s.octets[:n], nil
}

// refusal says what a response code means for a transfer.
func refusal(m *dns.Msg) error {
	text := dns.RcodeToString[m.Rcode]
	if text == "" {
		text = fmt.Sprintf("response code %d", m.Rcode)
	}
	if t := m.IsTsig(); t != nil && t.Error != 0 {
		text += " " + strings.TrimSpace(dns.RcodeToString[int(t.Error)])
	}
	switch m.Rcode {
	case dns.RcodeRefused, dns.RcodeNotAuth:
		return fmt.Errorf("the answer is %s: does the server know this machine and the key (name, algorithm, secret, time of day), and has it the zone?", text)
	}
	return fmt.Errorf("the answer is %s", text)
}
