package resolver_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// burst sends that many different questions from one socket, without waiting for answers, and returns the
// answers that came by then, by id.
func burst(t *testing.T, addr string, n int, name func(i int) string, until time.Duration) map[uint16]*dns.Msg {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20)
	for i := range n {
		q := ask(name(i), dns.TypeA)
		q.Id = uint16(i)
		packet, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	got := map[uint16]*dns.Msg{}
	buf := make([]byte, 4096)
	_ = conn.SetReadDeadline(time.Now().Add(until))
	for len(got) < n {
		size, err := conn.Read(buf)
		if err != nil {
			break
		}
		m := new(dns.Msg)
		if err := m.Unpack(buf[:size]); err != nil {
			t.Fatal(err)
		}
		if got[m.Id] != nil {
			t.Fatalf("two answers for %d", m.Id)
		}
		got[m.Id] = m
	}
	return got
}

// addressOf is an address that belongs to the name.
func addressOf(name string) net.IP {
	var h uint32 = 2166136261
	for _, c := range []byte(name) {
		h = (h ^ uint32(c)) * 16777619
	}
	return binary.BigEndian.AppendUint32(nil, h)
}

func answerWithAddressOfName(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: addressOf(q.Question[0].Name)}}
	_ = w.WriteMsg(m)
}

func TestEachOfManyQuestionsAtOnceGetsItsOwnAnswer(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"} {
		t.Run(listen, func(t *testing.T) {
			s := start(t, func(c *resolver.Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort(listen)} }, startUpstream(t, answerWithAddressOfName))
			addr := s.addr
			if netip.MustParseAddrPort(addr).Addr().IsUnspecified() {
				addr = fmt.Sprintf("127.0.0.1:%d", netip.MustParseAddrPort(addr).Port())
			}
			// Of three questions one is for a blocked name, one for a name that is the same for many, one for its own.
			name := func(i int) string {
				return [...]string{fmt.Sprintf("n%d.porn.example", i), fmt.Sprintf("same%d.example", i%7), fmt.Sprintf("own%d.example", i)}[i%3]
			}
			const questions = 600
			for round := range 2 { // the second time from the cache
				got := burst(t, addr, questions, name, 10*time.Second)
				if len(got) != questions {
					t.Fatalf("round %d: %d answers of %d", round, len(got), questions)
				}
				for id, m := range got {
					want := dns.Fqdn(name(int(id)))
					if m.Question[0].Name != want {
						t.Fatalf("%s was answered for %s", m.Question[0].Name, want)
					}
					if id%3 == 0 {
						if m.Rcode != dns.RcodeNameError {
							t.Fatalf("%s: %v", want, m)
						}
					} else if len(m.Answer) != 1 || !m.Answer[0].(*dns.A).A.Equal(addressOf(want)) {
						t.Fatalf("%s: %v", want, m)
					}
				}
			}
		})
	}
}

func TestASilentUpstreamHoldsUpNobodyElse(t *testing.T) {
	var silent atomic.Bool
	// It has one goroutine, whatever it is asked, so that those counted are the resolver's.
	up := &upstream{addr: strings.TrimPrefix(startUDP(t, func(reply func([]byte), packet []byte) {
		q := new(dns.Msg)
		if silent.Load() || q.Unpack(packet) != nil {
			return
		}
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: addressOf(strings.ToLower(name))}}
		reply(pack(t, m))
	}), "udp://")}
	s := start(t, func(c *resolver.Config) { c.Settings.Upstreams.Timeout = 500 * time.Millisecond }, up)
	s.exchange(t, ask("cached.example", dns.TypeA), "udp", "")
	goroutines := runtime.NumGoroutine()
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	silent.Store(true)
	const questions = 10_000
	most, stop := 0, make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				most = max(most, runtime.NumGoroutine())
			}
		}
	})
	conn, err := net.Dial("udp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range questions {
		packet, err := ask(fmt.Sprintf("n%d.example", i), dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			if m := s.exchange(t, ask("cached.example", dns.TypeA), "udp", ""); len(m.Answer) != 1 {
				t.Fatalf("a cached name while %d wait: %v", i, m)
			}
			if m := s.exchange(t, ask("porn.example", dns.TypeA), "udp", ""); m.Rcode != dns.RcodeNameError || ede(m) != 15 {
				t.Fatalf("a blocked name while %d wait: %v", i, m)
			}
		}
	}
	runtime.ReadMemStats(&during)
	if waiting := s.Stats().Waiting; waiting > 4096 {
		t.Errorf("%d wait", waiting)
	}
	silent.Store(false)
	deadline := time.Now().Add(5 * time.Second)
	for i := 0; ; i++ {
		if m := s.exchange(t, ask(fmt.Sprintf("later%d.example", i), dns.TypeA), "udp", ""); m.Rcode == dns.RcodeSuccess {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the upstream answers again, and five seconds later new names are not resolved")
		}
	}
	close(stop)
	watching.Wait()
	if most > goroutines+4096+100 { // one for each call at most
		t.Errorf("%d goroutines, %d before", most, goroutines)
	}
	if grown := int64(during.HeapInuse) - int64(before.HeapInuse); grown > 200<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
}

func TestALateAnswerIsNotTakenForThatToAnotherQuestion(t *testing.T) {
	// The first question is answered, at the port from which it was asked, when the next ones have been asked.
	var first atomic.Pointer[dns.ResponseWriter]
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Name == "slow.example." {
			first.CompareAndSwap(nil, &w)
			return
		}
		if writer := first.Load(); writer != nil {
			m := new(dns.Msg).SetReply(w.(caseKeeper).asked) // the case is guessed, too
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, 66)}}
			forge := func(id uint16) { m.Id = id; _ = (*writer).WriteMsg(m) }
			for id := range 500 { // as many as a socket holds, and the right one
				forge(uint16(id))
			}
			forge(q.Id)
		}
		answerWithAddressOfName(w, q)
	})
	s := start(t, func(c *resolver.Config) { c.Settings.Upstreams.Timeout = 500 * time.Millisecond }, up)
	if m := s.exchange(t, ask("slow.example", dns.TypeA), "udp", ""); m.Rcode != dns.RcodeServerFailure {
		t.Fatalf("%v", m)
	}
	for i := range 20 {
		name := fmt.Sprintf("next%d.example.", i)
		if m := s.exchange(t, ask(name, dns.TypeA), "udp", ""); len(m.Answer) != 1 || !m.Answer[0].(*dns.A).A.Equal(addressOf(name)) {
			t.Fatalf("%v", m)
		}
	}
}

func TestWhatIsAskedBeforeTheStopIsAnswered(t *testing.T) {
	asked := make(chan struct{}, 1)
	release := make(chan struct{})
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-release
		answerWithAddressOfName(w, q)
	})
	answers := make(chan *dns.Msg, 1)
	t.Run("serving", func(t *testing.T) {
		s := start(t, nil, up)
		go func() {
			m, _, err := (&dns.Client{Timeout: 8 * time.Second}).Exchange(ask("waits.example", dns.TypeA), s.addr)
			if err != nil {
				t.Error(err)
			}
			answers <- m
		}()
		<-asked
		time.AfterFunc(50*time.Millisecond, func() { close(release) }) // the test's end stops the resolver meanwhile
	})
	if m := <-answers; m == nil || len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
}
