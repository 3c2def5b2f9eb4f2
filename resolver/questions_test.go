package resolver_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

// questionLog remembers the questions that it is told of, a line each.
type questionLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *questionLog) Question(_ int, q policy.Question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%s %s %s %s %q %d", blocklist.Name(q.Name), q.Policy.Groups()[q.Group], q.Transport, q.Outcome, q.Policy.CategoryName(q.Category), q.Type))
}

func (l *questionLog) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func TestTheQueryLogIsToldOfEveryQuestionAndOfNothingElse(t *testing.T) {
	log := new(questionLog)
	u := startUpstream(t, records("www.example. 300 IN A 192.0.2.1"))
	s := start(t, func(c *resolver.Config) { c.Questions, c.Settings.LogQuestions = log, true }, u)
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	put := func(from netip.AddrPort, q *dns.Msg, network string, unrecorded bool) {
		t.Helper()
		packet, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ask(t.Context(), packet, from, network, unrecorded); err != nil {
			t.Fatal(err)
		}
	}
	put(from, ask("www.example", dns.TypeA), "udp", false)
	put(from, ask("WWW.example", dns.TypeA), "tcp", false) // cached
	put(from, ask("a.noise.example", dns.TypeA), "udp", false)
	put(from, ask("printer.internal", dns.TypeAAAA), "udp", false)
	put(from, ask("www.example", dns.TypeA), "udp", true)                                         // schoolgate's own
	put(netip.MustParseAddrPort("203.0.113.9:4000"), ask("www.example", dns.TypeA), "udp", false) // may not ask
	notImplemented := ask("www.example", dns.TypeA)
	notImplemented.Opcode = dns.OpcodeStatus
	put(from, notImplemented, "udp", false)
	want := []string{
		`www.example staff udp allowed "" 1`, `www.example staff tcp allowed "" 1`, `a.noise.example staff udp blocked "noise" 1`, `printer.internal staff udp local "" 28`,
	}
	got := log.told()
	if len(got) > 0 {
		group := strings.Fields(got[0])[1]
		for i := range want {
			want[i] = strings.Replace(want[i], "staff", group, 1)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}

	s.settings.LogQuestions = false
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	put(from, ask("www.example", dns.TypeA), "udp", false)
	if n := len(log.told()); n != len(want) {
		t.Errorf("told of a question though it is off")
	}
}

// The categories of what an answer leads to are told too: a confidential one must not be betrayed by the name that leads there.
func TestTheQueryLogLearnsWhereAnAnswerLeads(t *testing.T) {
	var listed blocklist.Categories
	u := startUpstream(t, records("www.example. 300 IN CNAME a.noise.example.", "a.noise.example. 300 IN A 192.0.2.1"))
	s := start(t, func(c *resolver.Config) {
		c.Settings.LogQuestions = true
		c.Questions = questionFunc(func(q policy.Question) { listed = q.Listed })
	}, u)
	packet, err := ask("www.example", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"asked", "cached"} {
		listed = 0
		if _, err := s.Ask(t.Context(), packet, netip.MustParseAddrPort("127.0.0.1:4000"), "udp", false); err != nil {
			t.Fatal(err)
		}
		if listed == 0 {
			t.Errorf("%s: the name that it leads to is on a list, and that is not told", how)
		}
	}
}

type questionFunc func(policy.Question)

func (f questionFunc) Question(_ int, q policy.Question) { f(q) }

func TestTotalsHaveEachQuestionOnce(t *testing.T) {
	u := startUpstream(t, records("www.example. 300 IN A 192.0.2.1"))
	s := start(t, nil, u)
	for _, name := range []string{"www.example", "www.example", "a.noise.example", "b.noise.example", "a.noise.example", "printer.internal"} {
		packet, err := ask(name, dns.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"udp", "tcp"} {
			if _, err := s.Ask(t.Context(), packet, netip.MustParseAddrPort("127.0.0.1:4000"), network, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string]uint64{}
	for _, total := range s.Totals() {
		got[total.Outcome+" "+total.Category] += total.N
	}
	if diff := cmp.Diff(map[string]uint64{"allowed ": 4, "blocked noise": 6, "local ": 2}, got); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
}

// BenchmarkPipelineLogged is BenchmarkPipeline with a query log that takes what it is told.
func BenchmarkPipelineLogged(b *testing.B) {
	s := start(b, func(c *resolver.Config) {
		c.Settings.LogQuestions = true
		c.Questions = questionFunc(func(policy.Question) {})
	}, startUpstream(b, records("hot.example. 3600 IN A 192.0.2.1")))
	packet, err := ask("hot.example", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Ask(b.Context(), packet, from, "udp", false); err != nil {
			b.Fatal(err)
		}
	}
}
