package feed

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
)

func TestAFaultOfTheServerIsSaidAndNothingIsTaken(t *testing.T) {
	records := []string{"a.rpz.example. IN CNAME .", "b.rpz.example. IN CNAME .", "c.rpz.example. IN CNAME ."}
	at := func(typ uint16, change func(*dns.Msg)) func(*primary) {
		return func(p *primary) {
			p.message = func(now uint16, _ int, m *dns.Msg) {
				if now == typ {
					change(m)
				}
			}
		}
	}
	answer := func(change func([]dns.RR) []dns.RR) func(*primary) {
		return func(p *primary) {
			p.answer = func(typ uint16, rrs []dns.RR) []dns.RR {
				if typ == dns.TypeAXFR {
					return change(rrs)
				}
				return rrs
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*primary)
		err    string
	}{
		"it has not the zone": {
			at(dns.TypeSOA, func(m *dns.Msg) { m.Answer = nil }),
			"ask for the serial: an answer without records: has the server the zone?",
		},
		"it is no authority for the zone": {
			at(dns.TypeSOA, func(m *dns.Msg) { m.Authoritative = false }),
			"ask for the serial: the server has no authority for the zone",
		},
		"it has another zone": {
			at(dns.TypeSOA, func(m *dns.Msg) { m.Answer[0].Header().Name = "example." }),
			"ask for the serial: the answer does not begin with the zone's SOA record",
		},
		"it refuses": {
			at(dns.TypeAXFR, func(m *dns.Msg) { m.Answer, m.Rcode = nil, dns.RcodeRefused }),
			"the answer is REFUSED: does the server know this machine and the key (name, algorithm, secret, time of day), and has it the zone?",
		},
		"it fails": {at(dns.TypeAXFR, func(m *dns.Msg) { m.Answer, m.Rcode = nil, dns.RcodeServerFailure }), "the answer is SERVFAIL"},
		"it answers with a code that nobody knows": {
			at(dns.TypeAXFR, func(m *dns.Msg) { m.Answer, m.Rcode = nil, 15 }), "the answer is response code 15",
		},
		"it answers another question": {at(dns.TypeAXFR, func(m *dns.Msg) { m.Id++ }), "an answer to another question"},
		"it answers for another name": {
			at(dns.TypeAXFR, func(m *dns.Msg) { m.Question = []dns.Question{{Name: "example.", Qtype: dns.TypeAXFR, Qclass: 1}} }),
			"an answer to another question",
		},
		"it asks":                     {at(dns.TypeAXFR, func(m *dns.Msg) { m.Response = false }), "an answer to another question"},
		"the zone begins without SOA": {answer(func(rrs []dns.RR) []dns.RR { return rrs[1:] }), "the answer does not begin with the zone's SOA record"},
		"the zone changes while it is sent": {
			answer(func(rrs []dns.RR) []dns.RR { return append(rrs[:len(rrs)-1], zoneVersion{serial: 9}.soa()) }),
			"the zone ends with another SOA record than it begins with",
		},
		"records follow the end":  {answer(func(rrs []dns.RR) []dns.RR { return append(rrs, rrs[1]) }), "records behind the end"},
		"a message has no record": {at(dns.TypeAXFR, func(m *dns.Msg) { m.Answer = nil }), "an answer without records: has the server the zone?"},
		"the answer is no message": {func(p *primary) {
			p.packet = func(typ uint16, _ int, packet []byte) []byte {
				if typ == dns.TypeAXFR {
					return packet[:len(packet)-3]
				}
				return packet
			}
		}, "malformed answer: dns: overflowing header size"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPrimary(t, nil, zoneVersion{7, records})
			test.change(p)
			_, _, err := take(t, p.zone(), "")
			want := "zone transfer: server " + p.addr.String() + ": " + test.err
			if err == nil || err.Error() != want {
				t.Errorf("%v\nwant %s", err, want)
			}
		})
	}
}

func TestAZoneThatIsCutOffIsNotTaken(t *testing.T) {
	p := startPrimary(t, nil, zoneVersion{7, []string{"a.rpz.example. IN CNAME .", "b.rpz.example. IN CNAME .", "c.rpz.example. IN CNAME ."}})
	p.perMessage = 1
	for cut := range 5 {
		p.set(func() {
			p.packet = func(typ uint16, i int, packet []byte) []byte {
				if typ == dns.TypeAXFR && i == cut {
					return nil
				}
				return packet
			}
		})
		_, _, err := take(t, p.zone(), "")
		if err == nil || !strings.HasSuffix(err.Error(), ": the server closed the connection before the end") {
			t.Errorf("cut at message %d: %v", cut, err)
		}
	}
}

func TestAnOlderZoneThanWhatIsHeldIsNotTaken(t *testing.T) {
	held := "rpz.example. SOA ns.example. host.example. 9 3600 600 86400 60\na.rpz.example. CNAME .\n"
	behind := startPrimary(t, nil, zoneVersion{7, []string{"b.rpz.example. IN CNAME ."}})
	_, _, err := take(t, behind.zone(), held)
	want := "zone transfer: server " + behind.addr.String() + ": serial 7 is older than 9, which is held: raise it on the primary"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	// One that says 10 and sends 7, as behind a balancer.
	behind.set(func() {
		behind.answer = func(typ uint16, rrs []dns.RR) []dns.RR {
			if typ == dns.TypeSOA {
				return []dns.RR{zoneVersion{serial: 10}.soa()}
			}
			return rrs
		}
	})
	_, _, err = take(t, behind.zone(), held)
	if err == nil || !strings.HasSuffix(err.Error(), ": the zone came with serial 7, which is not newer than 9") {
		t.Error(err)
	}
}

func TestTheNextServerIsAskedWhereOneFails(t *testing.T) {
	records := []string{"a.rpz.example. IN CNAME .", "b.rpz.example. IN CNAME ."}
	down := startPrimary(t, nil, zoneVersion{8, records})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down.addr = l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	behind := startPrimary(t, nil, zoneVersion{6, nil})
	cut := startPrimary(t, nil, zoneVersion{8, []string{"wrong.rpz.example. IN CNAME ."}})
	cut.perMessage = 1
	cut.packet = func(typ uint16, i int, packet []byte) []byte {
		if typ != dns.TypeSOA && i == 2 {
			return nil
		}
		return packet
	}
	good, never := startPrimary(t, nil, zoneVersion{8, records}), startPrimary(t, nil, zoneVersion{9, nil})
	old := "rpz.example. SOA ns.example. host.example. 7 3600 600 86400 60\n"
	result, text := mustTake(t, down.zone(behind, cut, good, never), old)
	if result.Serial != 8 || strings.Contains(text, "wrong") || strings.Count(text, "\n") != 3 {
		t.Errorf("%+v\n%s", result, text)
	}
	if asked := never.types(); asked != nil {
		t.Errorf("the server behind the good one was asked for %v", asked)
	}
	_, _, err = take(t, down.zone(behind), old)
	if err == nil || !strings.Contains(err.Error(), "connection refused; server "+behind.addr.String()+": serial 6 is older than 7") {
		t.Errorf("does not name both servers: %v", err)
	}
	if _, _, err = take(t, Zone{Name: mustKey(testZone)}, ""); err == nil || err.Error() != "zone transfer: no server" {
		t.Error(err)
	}
}

// full is a disk with room for a few bytes.
type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.left {
		return 0, errors.New("no space left on device")
	}
	f.left -= len(b)
	return len(b), nil
}

func TestWhereTheZoneCannotBeWrittenNoOtherServerIsAsked(t *testing.T) {
	p := startPrimary(t, nil, zoneVersion{7, nil}, zoneVersion{8, []string{"a.rpz.example. IN CNAME ."}})
	_, old := mustTake(t, startPrimary(t, nil, zoneVersion{7, nil}).zone(), "")
	for name, dst := range map[string]func() (io.Writer, error){
		"the writer fails":       func() (io.Writer, error) { return &full{10}, nil },
		"there can be no writer": func() (io.Writer, error) { return nil, errors.New("no space left on device") },
	} {
		for _, from := range []io.Reader{nil, strings.NewReader(old)} {
			before := len(p.types())
			_, err := transfer(t.Context(), p.zone(p), from, dst)
			if err == nil || !strings.HasSuffix(err.Error(), ": write the zone: no space left on device") || len(p.types()) != before+2 {
				t.Errorf("%s: %v, asked for %v", name, err, p.types()[before:])
			}
		}
	}
}

// slowServer is a dial whose server does what serve does with a connection.
func slowServer(serve func(conn net.Conn, q *dns.Msg)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			var length [2]byte
			if _, err := io.ReadFull(server, length[:]); err != nil {
				return
			}
			packet := make([]byte, binary.BigEndian.Uint16(length[:]))
			var q dns.Msg
			if _, err := io.ReadFull(server, packet); err != nil || q.Unpack(packet) != nil {
				return
			}
			serve(server, &q)
		}()
		return client, nil
	}
}

func soaAnswer(q *dns.Msg) []byte {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative, m.Answer = true, []dns.RR{zoneVersion{serial: 7}.soa()}
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
}

func slowSecondary(serve func(conn net.Conn, q *dns.Msg)) *secondary {
	var dst target
	return &secondary{
		zone: Zone{Name: mustKey(testZone), Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}, dst: dst.open,
		dial: slowServer(serve), bytes: 1 << 20, stall: time.Minute,
	}
}

func TestASlowServerIsGivenUp(t *testing.T) {
	drip := func(every time.Duration) func(net.Conn, *dns.Msg) {
		return func(conn net.Conn, q *dns.Msg) {
			for _, b := range soaAnswer(q) {
				time.Sleep(every)
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
			}
		}
	}
	for name, test := range map[string]struct {
		serve func(net.Conn, *dns.Msg)
		after time.Duration
		err   string
	}{
		"one that says nothing":         {func(conn net.Conn, _ *dns.Msg) { time.Sleep(time.Hour) }, time.Minute, "ask for the serial: no whole message in 1m0s"},
		"one that sends a byte a while": {drip(30 * time.Second), time.Minute, "ask for the serial: no whole message in 1m0s"},
		"one that never comes to an end": {func(conn net.Conn, q *dns.Msg) {
			packet := soaAnswer(q)
			_, _ = conn.Write(packet)
			for m := bytes.Clone(packet); q.Question[0].Qtype == dns.TypeAXFR; {
				time.Sleep(50 * time.Second)
				a := new(dns.Msg)
				_ = a.Unpack(m[2:])
				a.Answer = []dns.RR{mustRR("a.rpz.example. IN CNAME .")}
				packet, _ := a.Pack()
				if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
					return
				}
			}
		}, 15 * time.Minute, "not done after 15 minutes"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				ctx, cancel := context.WithTimeoutCause(t.Context(), 15*time.Minute, errTransferTime)
				defer cancel()
				_, err := slowSecondary(test.serve).run(ctx)
				want := "zone transfer: server 192.0.2.1:53: " + test.err
				if err == nil || err.Error() != want || time.Since(begun) != test.after {
					t.Errorf("after %s: %v\nwant %s", time.Since(begun), err, want)
				}
				time.Sleep(2 * time.Hour) // so that the server notices
			})
		})
	}
}

func TestAStopEndsATransferAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		time.AfterFunc(time.Second, cancel)
		_, err := slowSecondary(func(net.Conn, *dns.Msg) { time.Sleep(time.Hour) }).run(ctx)
		if !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestAZoneWithoutEndIsGivenUp(t *testing.T) {
	endless := func(conn net.Conn, q *dns.Msg) {
		packet := soaAnswer(q)
		a := new(dns.Msg)
		_ = a.Unpack(packet[2:])
		a.Answer = slices.Repeat([]dns.RR{mustRR("a.rpz.example. IN CNAME .")}, 1000)
		more, _ := a.Pack()
		for q.Question[0].Qtype == dns.TypeAXFR {
			if _, err := conn.Write(packet); err != nil {
				return
			}
			packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(more))), more...)
		}
		_, _ = conn.Write(packet)
	}
	slow := slowSecondary(endless)
	result, err := slow.run(t.Context())
	want := "zone transfer: server 192.0.2.1:53: more than 1048576 bytes"
	if err == nil || err.Error() != want || result.Wire > 1<<20+1<<16 {
		t.Errorf("%d bytes: %v\nwant %s", result.Wire, err, want)
	}
}

func TestAZoneIsNamedByItselfAndItsFirstServer(t *testing.T) {
	z := Zone{Name: mustKey("rpz.example"), Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[::1]:53")}}
	if z.String() != "rpz.example@192.0.2.1:53" {
		t.Error(z.String())
	}
	z.Servers = nil
	if z.String() != "rpz.example" {
		t.Error(z.String())
	}
}

func TestANameOfAZoneFileIsReadAgainAsTheSame(t *testing.T) {
	for text, want := range map[string]string{
		"\x00": ".", "\x01*\x00": "*.", "\x01a\x00": "a.", "\x01*\x01a\x00": "*.a.", "\x02a.\x01*\x00": `a\046.\042.`, "\x02**\x00": `\042\042.`,
	} {
		got := zoneText(blocklist.Name(text))
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		key, err := zoneKey(got)
		if err != nil || string(key) != text {
			t.Errorf("%s is %q, want %q: %v", got, key, text, err)
		}
	}
}
