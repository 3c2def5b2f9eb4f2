package resolver_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// startUDP is a server over UDP alone, on whose port nobody takes connections; handle sees packets as they come.
func startUDP(t testing.TB, handle func(reply func([]byte), packet []byte)) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			handle(func(b []byte) { _, _ = conn.WriteTo(b, from) }, slices.Clone(buf[:n]))
		}
	})
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	return "udp://" + conn.LocalAddr().String()
}

// inLowerCase answers over UDP with the name in lower case, whatever was asked.
func inLowerCase(handle func(dns.ResponseWriter, *dns.Msg)) func(dns.ResponseWriter, *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "udp" {
			w = w.(caseKeeper).ResponseWriter
		}
		handle(w, q)
	}
}

// syncBuffer takes what a log says.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// longName has enough letters that no question for it has them all in one case by chance.
func longName(i int) string {
	return fmt.Sprintf("n%d.abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz.example.", i)
}

// resultOf is how many questions to upstreams ended so.
func (s *server) resultOf(t testing.TB, result string) (sum float64) {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "schoolgate_upstream_requests_total" && l.GetName() == "result" && l.GetValue() == result {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

func TestAQuestionGoesUpstreamInARandomCaseAndTheClientGetsItsOwn(t *testing.T) {
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		// As a server that compresses does: every name ends in a part of the question, whatever its case.
		asked := w.(caseKeeper).asked
		name := asked.Question[0].Name
		m := new(dns.Msg).SetReply(asked)
		m.Compress = true
		m.Answer = []dns.RR{
			&dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 300}, Target: "alias." + name[strings.Index(name, ".")+1:]},
			&dns.A{Hdr: dns.RR_Header{Name: "alias." + name[strings.Index(name, ".")+1:], Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, 1)},
		}
		_ = w.WriteMsg(m)
	})
	s := start(t, nil, up)
	const client = "n%d.ABCdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyZ.Example."
	seen := map[string]bool{}
	for i, network := range []string{"udp", "tcp", "udp", "tcp"} { // a worker asks for the first, the forwarder for the second
		name := fmt.Sprintf(client, i/2*2)
		r := s.exchange(t, ask(name, dns.TypeA), network, "")
		if r.Question[0].Name != name || len(r.Answer) != 2 || r.Answer[0].Header().Name != name {
			t.Fatalf("asked for %s, got %v", name, r)
		}
		want := "alias" + name[strings.Index(name, "."):]
		if target := r.Answer[0].(*dns.CNAME).Target; target != strings.ToLower(want) && target != want {
			t.Errorf("the alias is %s, want it in lower case or the client's", target)
		}
		name = fmt.Sprintf(client, 10+i)
		s.exchange(t, ask(name, dns.TypeA), network, "")
	}
	for range 6 {
		name := (<-up.queries).Question[0].Name
		tail := name[strings.Index(name, ".")+1:]
		if seen[tail] || tail == strings.ToLower(tail) || tail == strings.ToUpper(tail) || tail == client[strings.Index(client, ".")+1:] {
			t.Errorf("asked for %s", name)
		}
		seen[tail] = true
	}
	if n := up.asked.Load(); n != 6 {
		t.Errorf("%d questions for 6 names", n)
	}
}

func TestAnAnswerInAnotherCaseIsNotBelieved(t *testing.T) {
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "tcp" {
			_ = w.WriteMsg(answerTo(q))
			return
		}
		forged := answerTo(q)
		forged.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 66)
		_ = w.(caseKeeper).ResponseWriter.WriteMsg(forged)
	})
	s := start(t, nil, up)
	for i, network := range []string{"udp", "tcp"} {
		r := s.exchange(t, ask(longName(i), dns.TypeA), network, "")
		if len(r.Answer) != 1 || !r.Answer[0].(*dns.A).A.Equal(net.IPv4(192, 0, 2, 1)) {
			t.Errorf("over %s: %v", network, r)
		}
	}
	if n := s.resultOf(t, "mismatched"); n != 2 {
		t.Errorf("%v answers did not match, want 2", n)
	}
	if stats := s.Stats().Upstreams[0]; stats.Failures != 0 || len(stats.Without) != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestAServerThatChangesTheCaseIsAskedInLowerCaseForAWhile(t *testing.T) {
	up := startUpstream(t, inLowerCase(records()))
	var said syncBuffer
	s := start(t, func(c *resolver.Config) { c.Logger = slog.New(slog.NewTextHandler(&said, nil)) }, up)
	asked := int64(0)
	questions := func(name int, want int64, mixed bool) {
		t.Helper()
		if r := s.exchange(t, ask(longName(name), dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError {
			t.Fatalf("%v", r)
		}
		if n := up.asked.Load() - asked; n != want {
			t.Errorf("question %d: asked %d times, want %d", name, n, want)
		}
		asked = up.asked.Load()
		for n := range want { // over UDP, and the second over TCP
			if got := (<-up.queries).Question[0].Name; n == 0 && (got != strings.ToLower(got)) != mixed {
				t.Errorf("asked for %s, mixed: %v", got, mixed)
			}
		}
	}
	for i := range 3 {
		if without := s.Stats().Upstreams[0].Without; len(without) != 0 {
			t.Errorf("after %d questions without %v", i, without)
		}
		questions(i, 2, true)
	}
	if without := s.Stats().Upstreams[0].Without; !slices.Equal(without, []string{"0x20"}) {
		t.Errorf("after three questions without %v", without)
	}
	for i := range 5 {
		questions(10+i, 1, false)
	}
	s.AgeServers(time.Hour)
	if without := s.Stats().Upstreams[0].Without; len(without) != 0 {
		t.Errorf("after an hour without %v", without)
	}
	questions(20, 2, true)
	questions(21, 1, false)
	if n := s.total(t, "schoolgate_upstream_fallbacks_total"); n != 2 {
		t.Errorf("%v times counted", n)
	}
	if text := said.String(); strings.Count(text, "without=0x20 for=1h0m0s") != 2 || !strings.Contains(text, "upstream=udp://"+up.addr) || strings.Contains(text, "abcdef") {
		t.Errorf("the log says %s", text)
	}
}

func TestAServerThatChangesTheCaseNowAndThenGoesOnBeingAskedInARandomOne(t *testing.T) {
	var datagrams atomic.Int64
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if w.RemoteAddr().Network() == "udp" && datagrams.Add(1)%3 != 0 {
			w = w.(caseKeeper).ResponseWriter
		}
		_ = w.WriteMsg(answerTo(q))
	})
	s := start(t, nil, up)
	for i := range 12 {
		if r := s.exchange(t, ask(longName(i), dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Fatal(r)
		}
	}
	if without := s.Stats().Upstreams[0].Without; len(without) != 0 {
		t.Errorf("without %v", without)
	}
}

func TestAServerThatChangesTheCaseAndTakesNoTCPIsAskedAllTheSame(t *testing.T) {
	server := startUDP(t, func(reply func([]byte), packet []byte) {
		q := new(dns.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		q.Question[0].Name = strings.ToLower(q.Question[0].Name)
		b, _ := answerTo(q).Pack()
		reply(b)
	})
	s := start(t, func(c *resolver.Config) { c.Settings.Upstreams.Servers = parseUpstreams(t, server) })
	for i := range 5 {
		if r := s.exchange(t, ask(longName(i), dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Errorf("question %d: %v", i, r)
		}
	}
	if without := s.Stats().Upstreams[0].Without; !slices.Equal(without, []string{"0x20"}) {
		t.Errorf("without %v", without)
	}
}
