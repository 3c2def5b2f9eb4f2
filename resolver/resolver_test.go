package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstream is a DNS server on loopback, over UDP and TCP, that answers as handle says. handle sees names in
// lower case, and what it answers with WriteMsg goes out in the case in which the question came.
type upstream struct {
	addr    string
	asked   atomic.Int64
	queries chan *dns.Msg // the first ones, as they came
	ports   sync.Map
}

func startUpstream(t testing.TB, handle func(w dns.ResponseWriter, q *dns.Msg)) *upstream {
	t.Helper()
	u := &upstream{queries: make(chan *dns.Msg, 1000)}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.asked.Add(1)
		u.ports.Store(w.RemoteAddr().String(), true)
		select {
		case u.queries <- q:
		default:
		}
		lower := q.Copy()
		for i := range lower.Question {
			lower.Question[i].Name = strings.ToLower(lower.Question[i].Name)
		}
		handle(caseKeeper{w, q}, lower)
	})
	var udp net.PacketConn
	var tcp net.Listener
	for range 20 { // until both have one port
		var err error
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			break
		}
		tcp.Close()
	}
	u.addr = tcp.Addr().String()
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		var serving sync.WaitGroup
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		serving.Go(func() { _ = s.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = s.Shutdown(); serving.Wait() })
	}
	return u
}

// caseKeeper puts the names of questions in the case in which they were asked.
type caseKeeper struct {
	dns.ResponseWriter
	asked *dns.Msg
}

func (k caseKeeper) WriteMsg(m *dns.Msg) error {
	kept := m.Copy()
	for i := range kept.Question {
		if len(k.asked.Question) == 1 && kept.Question[i].Name == strings.ToLower(k.asked.Question[0].Name) {
			kept.Question[i].Name = k.asked.Question[0].Name
		}
	}
	return k.ResponseWriter.WriteMsg(kept)
}

// records answers each question with the records that texts hold for its name and type, and their
// CNAME records; NXDOMAIN with an SOA where there is none.
func records(texts ...string) func(w dns.ResponseWriter, q *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Compress = true
		name := strings.ToLower(q.Question[0].Name)
		for alias := name; alias != ""; {
			name, alias = alias, ""
			for _, text := range texts {
				rr, err := dns.NewRR(text)
				if err != nil {
					panic(err)
				}
				if rr.Header().Name != name {
					continue
				}
				if cname, ok := rr.(*dns.CNAME); ok {
					m.Answer = append(m.Answer, rr)
					alias = strings.ToLower(cname.Target)
				} else if rr.Header().Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		if len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
			soa, _ := dns.NewRR("example. 900 IN SOA ns.example. host.example. 1 2 3 4 60")
			m.Ns = []dns.RR{soa}
		}
		if o := q.IsEdns0(); o != nil {
			m.SetEdns0(1232, o.Do())
		}
		_ = w.WriteMsg(m)
	}
}

// record keeps the events.
type record struct {
	mu     sync.Mutex
	events []policy.Event
}

func (r *record) Record(e policy.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *record) taken() []policy.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func mustName(t testing.TB, text string) blocklist.Name {
	t.Helper()
	n, err := blocklist.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// schoolSpec blocks porn.example and below for pupils, who are everybody but 127.0.0.9 (staff) and
// 127.0.0.66, who may not ask.
func schoolSpec(t testing.TB) policy.Spec {
	t.Helper()
	var access []netip.Prefix
	for _, s := range []string{"127.0.0.0/26", "::1/128"} {
		access = append(access, netip.MustParsePrefix(s))
	}
	return policy.Spec{
		Site: "test", Access: access,
		Categories: []policy.Category{
			{Name: "iwf", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
			{Name: "pornography", Severity: policy.SeverityHigh},
			{Name: "noise", Severity: policy.SeverityNone},
		},
		Groups: []policy.Group{
			{Name: "pupils", Block: []string{"pornography", "noise"}},
			{Name: "staff", Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}, Monitor: []string{"pornography"}},
		},
		DefaultGroup: "pupils",
		Records:      []blocklist.Name{mustName(t, "printer.internal"), mustName(t, "print.internal")},
		Zones:        []policy.Zone{{Names: []blocklist.Name{mustName(t, "zone.internal")}}},
	}
}

func compile(t testing.TB, spec policy.Spec, porn ...string) *policy.Policy {
	t.Helper()
	var sources []blocklist.Source
	for i, names := range [][]string{{"illegal.example"}, append([]string{"porn.example"}, porn...), {"noise.example"}} {
		var list []blocklist.Name
		for _, n := range names {
			list = append(list, mustName(t, n))
		}
		sources = append(sources, blocklist.Source{ID: "list", Category: blocklist.Category(i), List: blocklist.ListOf(list...)})
	}
	p, err := policy.Compile(spec, blocklist.Build(sources), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type server struct {
	*resolver.Resolver
	addr     string
	record   *record
	registry *prometheus.Registry
	settings resolver.Settings
	stop     func() (stopped <-chan struct{})
}

// start runs a resolver on loopback, forwarding to the upstreams.
func start(t testing.TB, change func(*resolver.Config), upstreams ...*upstream) *server {
	t.Helper()
	s := &server{record: &record{}, registry: prometheus.NewRegistry()}
	s.settings = resolver.Settings{
		Policy:    compile(t, schoolSpec(t)),
		Upstreams: resolver.Upstreams{Strategy: "ordered", Timeout: 2 * time.Second},
		Zones:     []resolver.Upstreams{{Strategy: "ordered", Timeout: 2 * time.Second}},
		Cache:     resolver.CacheTimes{MaxTTL: 24 * time.Hour, ClientTTL: 5 * time.Minute, NegativeTTL: 5 * time.Minute},
		Blocking:  resolver.Blocking{Answer: "nxdomain", TTL: 30 * time.Second},
	}
	for _, text := range [][3]string{{"printer.internal", "A", "10.0.0.9"}, {"print.internal", "CNAME", "printer.internal"}} {
		rec, err := resolver.ParseRecord(text[0], text[1], text[2], time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		s.settings.Records = append(s.settings.Records, rec)
	}
	for _, u := range upstreams {
		up, err := resolver.ParseUpstream("udp://" + u.addr)
		if err != nil {
			t.Fatal(err)
		}
		s.settings.Upstreams.Servers = append(s.settings.Upstreams.Servers, up)
		s.settings.Zones[0].Servers = append(s.settings.Zones[0].Servers, up)
	}
	config := resolver.Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, CacheEntries: 1000,
		Recorder: s.record, Registerer: s.registry, Logger: slog.New(slog.DiscardHandler), Settings: s.settings,
	}
	if change != nil {
		change(&config)
		s.settings = config.Settings
	}
	r, err := resolver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s.Resolver, s.addr = r, r.Addrs()[0].String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	s.stop = func() <-chan struct{} {
		cancel()
		return done
	}
	t.Cleanup(func() { <-s.stop() })
	return s
}

func ask(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), typ)
	m.SetEdns0(1232, false)
	return m
}

// exchange sends a query from a loopback address, by default 127.0.0.1.
func (s *server) exchange(t testing.TB, q *dns.Msg, network, from string) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 8 * time.Second, UDPSize: 4096}
	if from != "" {
		local, err := netip.ParseAddr(from)
		if err != nil {
			t.Fatal(err)
		}
		c.Dialer = &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))}
		if network == "tcp" {
			c.Dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
		}
	}
	r, _, err := c.Exchange(q, s.addr)
	if err != nil {
		t.Fatalf("%s %s over %s: %v", q.Question[0].Name, dns.Type(q.Question[0].Qtype), network, err)
	}
	return r
}

func ede(m *dns.Msg) int {
	if o := m.IsEdns0(); o != nil {
		for _, option := range o.Option {
			if e, ok := option.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}

func TestABlockedNameIsBlockedForEveryTypeFlagAndTransport(t *testing.T) {
	up := startUpstream(t, records("www.porn.example. 300 IN A 192.0.2.66"))
	s := start(t, nil, up)
	types := []uint16{
		dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeTXT, dns.TypeMX, dns.TypeCNAME, dns.TypeNS, dns.TypeSOA,
		dns.TypeDS, dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR, 65280,
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, typ := range types {
			for flags := range 16 {
				q := new(dns.Msg).SetQuestion("wWw.PORN.example.", typ)
				q.RecursionDesired = flags&1 == 0
				q.CheckingDisabled = flags&2 != 0
				q.AuthenticatedData = flags&4 != 0
				edns := flags&8 == 0
				if edns {
					q.SetEdns0(1232, flags&4 != 0)
				}
				r := s.exchange(t, q, network, "")
				wantEDE := -1
				if edns {
					wantEDE = 15
				}
				soa, negative := (*dns.SOA)(nil), len(r.Ns) == 1
				if negative {
					soa, negative = r.Ns[0].(*dns.SOA)
				}
				if r.Rcode != dns.RcodeNameError || len(r.Answer) != 0 || !negative || soa.Hdr.Ttl != 30 || soa.Minttl != 30 ||
					ede(r) != wantEDE || r.Question[0].Name != "wWw.PORN.example." || r.AuthenticatedData || r.CheckingDisabled != q.CheckingDisabled ||
					r.RecursionDesired != q.RecursionDesired || !r.RecursionAvailable {
					t.Fatalf("%s over %s, flags %04b:\n%v", dns.Type(typ), network, flags, r)
				}
			}
		}
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("%d questions went upstream", n)
	}
	if n := len(s.record.taken()); n != 2*16*len(types) {
		t.Errorf("%d breaches for %d questions", n, 2*16*len(types))
	}
}

func TestNamesBesideAListedNameAndOtherGroupsAreNotBlocked(t *testing.T) {
	s := start(t, nil, startUpstream(t, records("notporn.example. 300 IN A 192.0.2.1", "porn.example. 300 IN A 192.0.2.66")))
	if r := s.exchange(t, ask("notporn.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("notporn.example: %v", r)
	}
	if r := s.exchange(t, ask("porn.example", dns.TypeA), "udp", "127.0.0.9"); len(r.Answer) != 1 {
		t.Errorf("porn.example for staff, where it is monitored: %v", r)
	}
	events := s.record.taken()
	if len(events) != 1 || events[0].Verdict.Action != policy.Monitor {
		t.Errorf("%d events, want one of monitoring", len(events))
	}
	if r := s.exchange(t, ask("porn.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError {
		t.Errorf("porn.example for a pupil, cached by staff: %v", r)
	}
}

func TestAnOutsiderIsRefused(t *testing.T) {
	up := startUpstream(t, records())
	s := start(t, nil, up)
	for _, network := range []string{"udp", "tcp"} {
		r := s.exchange(t, ask("museum.example", dns.TypeA), network, "127.0.0.66")
		if r.Rcode != dns.RcodeRefused || ede(r) != 18 {
			t.Errorf("over %s: %v", network, r)
		}
	}
	if up.asked.Load() != 0 {
		t.Error("the question went upstream")
	}
}

func TestAnswersComeFromTheCacheAndGrowOld(t *testing.T) {
	up := startUpstream(t, records("a.example. 3600 IN A 192.0.2.1", "b.example. 1 IN A 192.0.2.2"))
	s := start(t, nil, up)
	for range 3 {
		r := s.exchange(t, ask("A.example", dns.TypeA), "udp", "")
		if len(r.Answer) != 1 || r.Answer[0].Header().Ttl > 300 || r.Answer[0].Header().Ttl < 290 {
			t.Fatalf("want one record of at most 300 s: %v", r)
		}
	}
	if n := up.asked.Load(); n != 1 {
		t.Errorf("%d questions upstream, want 1", n)
	}
	do := ask("a.example", dns.TypeA)
	do.IsEdns0().SetDo()
	s.exchange(t, do, "udp", "")
	if n := up.asked.Load(); n != 2 {
		t.Errorf("%d questions upstream after one with DO, want 2", n)
	}
	for range 2 {
		if r := s.exchange(t, ask("missing.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError || len(r.Ns) != 1 || r.Ns[0].Header().Ttl > 60 {
			t.Fatalf("missing.example: %v", r)
		}
	}
	if n := up.asked.Load(); n != 3 {
		t.Errorf("%d questions upstream after a negative answer twice, want 3", n)
	}
}

func TestCacheOfNoEntriesWorks(t *testing.T) {
	up := startUpstream(t, records("a.example. 3600 IN A 192.0.2.1"))
	s := start(t, func(c *resolver.Config) { c.CacheEntries = 0 }, up)
	for range 2 {
		if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
			t.Fatal(r)
		}
	}
	if n := up.asked.Load(); n != 2 {
		t.Errorf("%d questions upstream, want 2", n)
	}
}

func TestAReloadIsInForceForCachedNames(t *testing.T) {
	s := start(t, nil, startUpstream(t, records("fresh.example. 3600 IN A 192.0.2.1", "alias.example. 3600 IN CNAME fresh.example.")))
	for _, n := range []string{"fresh.example", "alias.example"} {
		if r := s.exchange(t, ask(n, dns.TypeA), "udp", ""); r.Rcode != dns.RcodeSuccess || len(r.Answer) == 0 {
			t.Fatal(r)
		}
	}
	s.settings.Policy = compile(t, schoolSpec(t), "fresh.example")
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"fresh.example", "alias.example"} {
		if r := s.exchange(t, ask(n, dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError {
			t.Errorf("%s after it was listed: %v", n, r)
		}
	}
}

func TestAReloadIsInForceForNamesThatWereBlocked(t *testing.T) {
	s := start(t, nil, startUpstream(t, records("fresh.example. 3600 IN A 192.0.2.1")))
	open, listed := compile(t, schoolSpec(t)), compile(t, schoolSpec(t), "fresh.example")
	for range 2 {
		for _, step := range []struct {
			policy *policy.Policy
			want   int
		}{{listed, dns.RcodeNameError}, {open, dns.RcodeSuccess}} {
			s.settings.Policy = step.policy
			if err := s.Apply(s.settings); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if r := s.exchange(t, ask("fresh.example", dns.TypeA), "udp", ""); r.Rcode != step.want {
					t.Fatalf("rcode %d, want %d: %v", r.Rcode, step.want, r)
				}
			}
		}
	}
}

func TestWhatAnAnswerLeadsToIsJudged(t *testing.T) {
	up := startUpstream(t, records(
		"innocent.example. 300 IN CNAME hop.example.", "hop.example. 300 IN CNAME cdn.Porn.example.", "cdn.porn.example. 300 IN A 192.0.2.66",
		"svc.example. 300 IN HTTPS 1 edge.porn.example. alpn=h2", "alias.example. 300 IN HTTPS 0 porn.example.",
	))
	s := start(t, nil, up)
	for range 2 { // from upstream, then from the cache
		for name, test := range map[string]struct {
			typ uint16
			via policy.Via
		}{
			"innocent.example": {dns.TypeA, policy.ViaCNAME}, "svc.example": {dns.TypeHTTPS, policy.ViaSVCB}, "alias.example": {dns.TypeHTTPS, policy.ViaSVCB},
		} {
			r := s.exchange(t, ask(name, test.typ), "udp", "")
			if r.Rcode != dns.RcodeNameError || ede(r) != 15 || len(r.Answer) != 0 {
				t.Errorf("%s: %v", name, r)
			}
			events := s.record.taken()
			if len(events) != 1 || events[0].Verdict.Via != test.via || events[0].Name != mustName(t, name) || !strings.HasSuffix(events[0].Target.String(), "porn.example") {
				t.Errorf("%s: events %+v", name, events)
			}
		}
	}
	if r := s.exchange(t, ask("innocent.example", dns.TypeA), "udp", "127.0.0.9"); len(r.Answer) != 3 {
		t.Errorf("for staff: %v", r)
	}
}

func TestLocalNamesNeverGoUpstream(t *testing.T) {
	up := startUpstream(t, records())
	s := start(t, nil, up)
	for _, test := range []struct {
		name    string
		typ     uint16
		rcode   int
		answers int
	}{
		{"printer.internal", dns.TypeA, dns.RcodeSuccess, 1},
		{"printer.internal", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{"PRINT.internal", dns.TypeA, dns.RcodeSuccess, 2},
		{"localhost", dns.TypeA, dns.RcodeSuccess, 1},
		{"x.localhost", dns.TypeAAAA, dns.RcodeSuccess, 1},
		{"_dns.resolver.arpa", dns.TypeSVCB, dns.RcodeSuccess, 0},
		{"use-application-dns.net", dns.TypeA, dns.RcodeNameError, 0},
		{"mask.icloud.com", dns.TypeHTTPS, dns.RcodeNameError, 0},
		{"1.2.168.192.in-addr.arpa", dns.TypePTR, dns.RcodeNameError, 0},
		{"museum.example", dns.TypeANY, dns.RcodeSuccess, 1},
		{"museum.example", dns.TypeAXFR, dns.RcodeRefused, 0},
		{"museum.example", dns.TypeIXFR, dns.RcodeRefused, 0},
		{"museum.example", dns.TypeTKEY, dns.RcodeRefused, 0},
	} {
		r := s.exchange(t, ask(test.name, test.typ), "udp", "")
		if r.Rcode != test.rcode || len(r.Answer) != test.answers {
			t.Errorf("%s %s: %v", test.name, dns.Type(test.typ), r)
		}
	}
	chaos := ask("version.bind", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	if r := s.exchange(t, chaos, "udp", ""); r.Rcode != dns.RcodeRefused {
		t.Errorf("class CH: %v", r)
	}
	for _, opcode := range []int{dns.OpcodeIQuery, dns.OpcodeStatus, dns.OpcodeNotify, dns.OpcodeUpdate, 15} {
		q := ask("museum.example", dns.TypeA)
		q.Opcode = opcode
		if r := s.exchange(t, q, "udp", ""); r.Rcode != dns.RcodeNotImplemented || r.Opcode != opcode {
			t.Errorf("opcode %d: %v", opcode, r)
		}
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("%d questions went upstream: %v", n, <-up.queries)
	}
	if n := len(s.record.taken()); n != 0 {
		t.Errorf("%d breaches", n)
	}
}

// Each client has a socket of its own, and its own way of asking the same.
func TestEqualQuestionsInFlightAreOneUpstream(t *testing.T) {
	release := make(chan struct{})
	answer := records("cold.example. 300 IN A 192.0.2.1")
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { <-release; answer(w, q) })
	s := start(t, nil, up)
	var asking sync.WaitGroup
	for i := range 500 {
		q := ask([]string{"cold.example", "CoLd.example", "COLD.EXAMPLE"}[i%3], dns.TypeA)
		q.Extra = nil
		if i%2 == 0 {
			q.SetEdns0(uint16(512+i), false)
			_, subnet, _ := net.ParseCIDR(fmt.Sprintf("10.0.%d.0/24", i%256))
			q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: subnet.IP})
		}
		network := "udp"
		if i%10 == 0 {
			network = "tcp"
		}
		asking.Go(func() {
			client := &dns.Client{Net: network, Timeout: 20 * time.Second}
			if m, _, err := client.Exchange(q, s.addr); err != nil || len(m.Answer) != 1 || m.Question[0] != q.Question[0] {
				t.Errorf("client %d: %v, %v", i, err, m)
			}
		})
	}
	for s.Stats().Waiting < 500 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	asking.Wait()
	if n := up.asked.Load(); n != 1 {
		t.Errorf("%d questions upstream for 500 equal ones, want 1", n)
	}
}

func TestAForgedOrBrokenReplyDoesNotHideTheRightOne(t *testing.T) {
	answer := records("a.example. 300 IN A 192.0.2.1")
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		forged := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR("a.example. 300 IN A 192.0.2.66")
		forged.Answer = []dns.RR{rr}
		for _, change := range []func(m *dns.Msg){
			func(m *dns.Msg) { m.Id++ },
			func(m *dns.Msg) { m.Question[0].Name = "b.example." },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
			func(m *dns.Msg) { m.Response = false },
			func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
		} {
			m := forged.Copy()
			change(m)
			_ = w.WriteMsg(m)
		}
		_, _ = w.Write([]byte{1, 2, 3})
		cut, _ := forged.Pack()
		_, _ = w.Write(cut[:len(cut)-3])
		answer(w, q)
	})
	s := start(t, nil, up)
	r := s.exchange(t, ask("a.example", dns.TypeA), "udp", "")
	if len(r.Answer) != 1 || !strings.Contains(r.Answer[0].String(), "192.0.2.1") {
		t.Errorf("got %v", r)
	}
}

func TestIDsAndPortsCannotBeForetold(t *testing.T) {
	up := startUpstream(t, records())
	s := start(t, nil, up)
	const questions = 400
	for i := range questions {
		q := ask(fmt.Sprintf("n%d.example", i), dns.TypeA)
		q.Id = 0 // a client's id must not be seen upstream
		s.exchange(t, q, "udp", "")
	}
	ids := map[uint16]int{}
	for range questions {
		q := <-up.queries
		ids[q.Id]++
		// No option but the marker against loops and, until it is known that the server gives none, a cookie: no
		// client subnet at all.
		o := q.IsEdns0()
		if o != nil && ids[q.Id] == len(ids) && len(o.Option) == 2 && o.Option[1].Option() == dns.EDNS0COOKIE {
			o.Option = o.Option[:1]
		}
		if o == nil || len(o.Option) != 1 || o.Option[0].Option() != 65353 || o.UDPSize() != 1232 {
			t.Fatalf("EDNS upstream: %v", o)
		}
	}
	// Of 400 out of 65,536 ids some 399 are different; of 28,000 ports some 397.
	if len(ids) < questions-20 {
		t.Errorf("%d different ids in %d questions", len(ids), questions)
	}
	ports := 0
	up.ports.Range(func(any, any) bool { ports++; return true })
	if ports < questions-30 {
		t.Errorf("%d different ports in %d questions", ports, questions)
	}
}

func TestALongAnswerComesOverTCP(t *testing.T) {
	long := func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if w.RemoteAddr().Network() == "udp" {
			m.Truncated = true
		} else {
			for i := range 100 {
				rr, _ := dns.NewRR(fmt.Sprintf("long.example. 300 IN TXT %s%d", strings.Repeat("x", 40), i))
				m.Answer = append(m.Answer, rr)
			}
		}
		_ = w.WriteMsg(m)
	}
	s := start(t, nil, startUpstream(t, long))
	r := s.exchange(t, ask("long.example", dns.TypeTXT), "udp", "")
	if !r.Truncated || len(r.Answer) != 0 {
		t.Errorf("over UDP: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
	if r := s.exchange(t, ask("long.example", dns.TypeTXT), "tcp", ""); r.Truncated || len(r.Answer) != 100 {
		t.Errorf("over TCP: truncated %v, %d records", r.Truncated, len(r.Answer))
	}
}

func TestAnotherServerAnswersWhereOneIsDead(t *testing.T) {
	dead, err := net.ListenPacket("udp", "127.0.0.1:0") // takes questions, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	failing := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
	})
	good := startUpstream(t, records("a.example. 300 IN A 192.0.2.1"))
	s := start(t, nil, &upstream{addr: dead.LocalAddr().String()}, &upstream{addr: "127.0.0.1:1"}, failing, good)
	if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("got %v", r)
	}
	stats := s.Stats().Upstreams
	if stats[0].Failures != 1 || stats[1].Failures != 1 || stats[3].Failures != 0 || stats[3].Queries != 1 {
		t.Errorf("stats %+v", stats)
	}
}

func TestWithNoServerLeftTheAnswerIsServfail(t *testing.T) {
	s := start(t, nil, &upstream{addr: "127.0.0.1:1"})
	if r := s.exchange(t, ask("a.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeServerFailure || ede(r) != 22 {
		t.Errorf("got %v", r)
	}
	if r := s.exchange(t, ask("porn.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError {
		t.Errorf("a blocked name: %v", r)
	}
}

func TestABadPacketGetsFormerrOrNothing(t *testing.T) {
	up := startUpstream(t, records())
	s := start(t, nil, up)
	good, err := ask("museum.example", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	from := netip.MustParseAddrPort("127.0.0.1:4000")
	for n := range good {
		r, err := s.Ask(t.Context(), good[:n], from, "udp", false)
		if err != nil {
			t.Fatal(err)
		}
		if n < 12 {
			if r != nil {
				t.Errorf("%d octets got a response", n)
			}
			continue
		}
		m := new(dns.Msg)
		if err := m.Unpack(r); err != nil || m.Rcode != dns.RcodeFormatError {
			t.Errorf("%d octets: %v %v", n, m, err)
		}
		if len(r) > n+11 {
			t.Errorf("%d octets got %d back", n, len(r))
		}
	}
	if n := up.asked.Load(); n != 0 {
		t.Errorf("%d questions went upstream", n)
	}
}

func TestAWildcardListenerAnswersFromTheAddressAsked(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
		s := start(t, func(c *resolver.Config) { c.Listen = []netip.AddrPort{netip.MustParseAddrPort(listen)} })
		port := s.Addrs()[0].Port()
		to := "127.0.0.7"
		if strings.HasPrefix(listen, "[") {
			to = "::1"
		}
		// A connected socket takes datagrams from the address it asked and no other.
		conn, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(to), port).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &dns.Conn{Conn: conn}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if err := c.WriteMsg(ask("localhost", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if r, err := c.ReadMsg(); err != nil || len(r.Answer) != 1 {
			t.Errorf("%s: %v %v", to, r, err)
		}
	}
}

func TestTCPAnswersAsTheyAreReady(t *testing.T) {
	release := make(chan struct{})
	answer := records("slow.example. 300 IN A 192.0.2.1", "fast.example. 300 IN A 192.0.2.2")
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(q.Question[0].Name, "slow") {
			<-release
		}
		answer(w, q)
	})
	s := start(t, nil, up)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(8 * time.Second))
	slow, fast := ask("slow.example", dns.TypeA), ask("fast.example", dns.TypeA)
	var segment []byte
	for _, q := range []*dns.Msg{slow, fast} {
		packed, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		segment = append(segment, byte(len(packed)>>8), byte(len(packed)))
		segment = append(segment, packed...)
	}
	if _, err := conn.Write(segment); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite() // what was asked is answered all the same
	c := &dns.Conn{Conn: conn}
	first, err := c.ReadMsg()
	if err != nil || first.Id != fast.Id {
		t.Fatalf("first answer %v %v, want that to fast.example", first, err)
	}
	close(release)
	if second, err := c.ReadMsg(); err != nil || second.Id != slow.Id {
		t.Fatalf("second answer %v %v", second, err)
	}
}

func TestAnAddressHasAShareOfTheConnections(t *testing.T) {
	s := start(t, nil)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 140 {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	last := open[len(open)-1]
	_ = last.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := last.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the 140th connection of one address: %v, want it closed", err)
	}
	if r := s.exchange(t, ask("localhost", dns.TypeA), "tcp", "127.0.0.3"); len(r.Answer) != 1 {
		t.Errorf("another address: %v", r)
	}
	if r := s.exchange(t, ask("localhost", dns.TypeA), "udp", ""); len(r.Answer) != 1 {
		t.Errorf("the same one over UDP: %v", r)
	}
}

func TestIdleConnectionsOfSomeKeepNobodyOut(t *testing.T) {
	s := start(t, nil)
	packet, err := ask("localhost", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	framed := append([]byte{byte(len(packet) >> 8), byte(len(packet))}, packet...)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := range 16 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(20+i))}}
		for range 128 {
			c, err := d.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
			if _, err := c.Write(framed); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 20 {
		if r := s.exchange(t, ask("localhost", dns.TypeA), "tcp", "127.0.0.3"); len(r.Answer) != 1 {
			t.Fatalf("another address: %v", r)
		}
	}
}

func TestASecondServerOnTheAddressIsAnError(t *testing.T) {
	s := start(t, nil)
	_, err := resolver.New(resolver.Config{
		Listen: s.Addrs(), Recorder: s.record, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Settings: s.settings,
	})
	if err == nil || !strings.Contains(err.Error(), s.addr) {
		t.Errorf("error %v, want one that names %s", err, s.addr)
	}
}

func TestEachKindOfBlockedAnswer(t *testing.T) {
	s := start(t, nil)
	for answer, want := range map[string]struct {
		rcode   int
		a, aaaa string
	}{
		"nxdomain": {rcode: dns.RcodeNameError}, "nodata": {}, "refused": {rcode: dns.RcodeRefused},
		"zero": {a: "0.0.0.0", aaaa: "::"}, "page": {a: "10.0.0.80"},
	} {
		s.settings.Blocking.Answer, s.settings.Blocking.PageIPv4 = answer, netip.MustParseAddr("10.0.0.80")
		if err := s.Apply(s.settings); err != nil {
			t.Fatal(err)
		}
		for typ, address := range map[uint16]string{dns.TypeA: want.a, dns.TypeAAAA: want.aaaa, dns.TypeHTTPS: "", dns.TypeTXT: ""} {
			r := s.exchange(t, ask("porn.example", typ), "udp", "")
			got := ""
			for _, rr := range r.Answer {
				got += strings.Fields(rr.String())[4]
				if rr.Header().Ttl != 30 {
					t.Errorf("%s: TTL %d", answer, rr.Header().Ttl)
				}
			}
			wantSOA := 1
			if address != "" || want.rcode == dns.RcodeRefused {
				wantSOA = 0
			}
			if r.Rcode != want.rcode || got != address || len(r.Ns) != wantSOA || ede(r) != 15 {
				t.Errorf("%s for %s: %v", answer, dns.Type(typ), r)
			}
		}
	}
}

func TestAConfidentialBlockLooksLikeAnyOther(t *testing.T) {
	s := start(t, nil)
	ordinary, err := s.exchange(t, ask("x.porn.example", dns.TypeA), "udp", "").Pack()
	if err != nil {
		t.Fatal(err)
	}
	secret := s.exchange(t, ask("illegal.example", dns.TypeA), "udp", "")
	m := new(dns.Msg)
	if err := m.Unpack(ordinary); err != nil {
		t.Fatal(err)
	}
	secret.Id, secret.Question[0].Name, secret.Ns[0].Header().Name = m.Id, m.Question[0].Name, m.Ns[0].Header().Name
	if secret.String() != m.String() {
		t.Errorf("answers differ:\n%v\n%v", secret, m)
	}
}
