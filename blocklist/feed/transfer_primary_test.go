package feed

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
)

// primary is a name server on loopback that has the versions of a zone.
type primary struct {
	addr netip.AddrPort

	mu sync.Mutex // of what follows, and held while it answers

	versions []zoneVersion // the last one is in force
	key      *TSIG         // nil: it signs nothing
	// Of every so many messages of an answer one is signed, and the last; 0: all are.
	signEvery  int
	unsigned   map[uint16]int // how many messages at the end of an answer are not, by type
	skew       time.Duration  // of its clock
	signAs     *TSIG          // the key for its answers; nil: key
	perMessage int            // records of a message; 0: 100
	// answer changes the records of an answer.
	answer func(typ uint16, rrs []dns.RR) []dns.RR
	// message changes a message of an answer before it is signed.
	message func(typ uint16, i int, m *dns.Msg)
	// packet changes one when it is signed; nil: the connection ends there.
	packet func(typ uint16, i int, packet []byte) []byte

	asked []string // types
}

// zoneVersion is a zone at one time: its records are whole lines without a TTL.
type zoneVersion struct {
	serial  uint32
	records []string
}

const testZone = "rpz.example."

func startPrimary(t testing.TB, key *TSIG, versions ...zoneVersion) *primary {
	t.Helper()
	p := &primary{versions: versions, key: key}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().(*net.TCPAddr).AddrPort()
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(p.serve), TsigSecret: map[string]string{}}
	if key != nil {
		s.TsigSecret[dns.Fqdn(key.Name)] = base64.StdEncoding.EncodeToString(key.Secret)
	}
	var serving sync.WaitGroup
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	serving.Go(func() { _ = s.ActivateAndServe() })
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); serving.Wait() })
	return p
}

// zone returns the Zone that is had from p, and then from others.
func (p *primary) zone(others ...*primary) Zone {
	z := Zone{Name: mustKey(testZone), Servers: []netip.AddrPort{p.addr}, TSIG: p.key}
	for _, o := range others {
		z.Servers = append(z.Servers, o.addr)
	}
	return z
}

func (p *primary) types() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// set changes p between answers.
func (p *primary) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func mustKey(text string) blocklist.Name {
	n, err := blocklist.ParseName(text)
	if err != nil {
		panic(err)
	}
	return n
}

func mustRR(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}

func (v zoneVersion) soa() dns.RR {
	rr := mustRR(testZone + " 60 IN SOA ns.example. Host.example. 0 3600 600 86400 60")
	rr.(*dns.SOA).Serial = v.serial
	return rr
}

// less returns the records of v that are not in w.
func (v zoneVersion) less(w zoneVersion) []dns.RR {
	var rrs []dns.RR
	for _, text := range v.records {
		if !slices.Contains(w.records, text) {
			rrs = append(rrs, mustRR(text))
		}
	}
	return rrs
}

func (p *primary) serve(w dns.ResponseWriter, q *dns.Msg) {
	typ := q.Question[0].Qtype
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, dns.TypeToString[typ])
	if p.key != nil && (q.IsTsig() == nil || w.TsigStatus() != nil) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNotAuth)
		if t := q.IsTsig(); t != nil {
			stub := &dns.TSIG{Hdr: t.Hdr, Algorithm: t.Algorithm, Error: dns.RcodeBadSig}
			m.Extra = []dns.RR{stub}
		}
		packet, _ := m.Pack()
		_, _ = w.Write(packet)
		return
	}
	last := p.versions[len(p.versions)-1]
	rrs := []dns.RR{last.soa()}
	switch typ {
	case dns.TypeIXFR:
		serial := q.Ns[0].(*dns.SOA).Serial
		from := slices.IndexFunc(p.versions, func(v zoneVersion) bool { return v.serial == serial })
		if from >= 0 {
			for i, old := range p.versions[from : len(p.versions)-1] {
				next := p.versions[from+i+1]
				rrs = append(append(rrs, old.soa()), old.less(next)...)
				rrs = append(append(rrs, next.soa()), next.less(old)...)
			}
			rrs = append(rrs, last.soa())
			break
		}
		fallthrough
	case dns.TypeAXFR:
		rrs = append(append(rrs, last.less(zoneVersion{})...), last.soa())
	}
	if p.answer != nil {
		rrs = p.answer(typ, rrs)
	}
	per := p.perMessage
	if per == 0 {
		per = 100
	}
	var messages []*dns.Msg
	for part := range slices.Chunk(rrs, per) {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative, m.Compress, m.Answer = true, true, part
		if len(messages) > 0 {
			m.Question = nil
		}
		messages = append(messages, m)
	}
	if len(messages) == 0 {
		messages = []*dns.Msg{new(dns.Msg).SetReply(q)}
	}
	p.send(w, q, typ, messages)
}

// send signs by hand, as RFC 8945 §5.3.1 says, so that what reads it is checked by something else than
// what dns.Transfer does.
func (p *primary) send(w dns.ResponseWriter, q *dns.Msg, typ uint16, messages []*dns.Msg) {
	var mac, pending []byte
	if t := q.IsTsig(); t != nil {
		mac, _ = hex.DecodeString(t.MAC)
	}
	first, key, now := true, p.key, time.Now().Add(p.skew).Unix()
	if p.signAs != nil {
		key = p.signAs
	}
	for i, m := range messages {
		if p.message != nil {
			p.message(typ, i, m)
		}
		packet, err := m.Pack()
		if err != nil {
			panic(err)
		}
		sign := key != nil && (p.signEvery == 0 || i%p.signEvery == 0 || i == len(messages)-1) && i < len(messages)-p.unsigned[typ]
		switch {
		case sign && first:
			m.SetTsig(dns.Fqdn(key.Name), dns.Fqdn(key.Algorithm), 300, now)
			var text string
			if packet, text, err = dns.TsigGenerate(m, base64.StdEncoding.EncodeToString(key.Secret), hex.EncodeToString(mac), false); err != nil {
				panic(err)
			}
			mac, _ = hex.DecodeString(text)
			first = false
		case sign: // with HMAC-SHA-256 only
			var timers []byte
			timers = binary.BigEndian.AppendUint64(timers, uint64(now))[2:]
			timers = binary.BigEndian.AppendUint16(timers, 300)
			h := hmac.New(sha256.New, key.Secret)
			h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(mac))))
			for _, part := range [][]byte{mac, pending, packet, timers} {
				h.Write(part)
			}
			mac, pending = h.Sum(nil), nil
			tsig := &dns.TSIG{
				Hdr:       dns.RR_Header{Name: dns.Fqdn(key.Name), Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
				Algorithm: dns.HmacSHA256, Fudge: 300, TimeSigned: uint64(now),
				MACSize: uint16(len(mac)), MAC: hex.EncodeToString(mac), OrigId: m.Id,
			}
			buf := make([]byte, 512)
			n, err := dns.PackRR(tsig, buf, 0, nil, false)
			if err != nil {
				panic(err)
			}
			packet = append(packet, buf[:n]...)
			binary.BigEndian.PutUint16(packet[10:], uint16(len(m.Extra)+1))
		default:
			pending = append(pending, packet...)
		}
		if p.packet != nil {
			packet = p.packet(typ, i, packet)
		}
		if packet == nil {
			_ = w.Close()
			return
		}
		if _, err := w.Write(packet); err != nil {
			return
		}
	}
}
