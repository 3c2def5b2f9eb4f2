package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

// What explain says is what a device gets: ten thousand questions of random devices for random names at random
// moments of a school's week, cached and not.
func TestExplainAndTheLiveResolverAgree(t *testing.T) {
	const everyDay = 0x7f
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	client := func(text string) *policy.ClientPattern {
		c, err := policy.ParseClientPattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	names := func(texts ...string) (all []blocklist.Name) {
		for _, text := range texts {
			all = append(all, mustName(t, text))
		}
		return all
	}
	at := func(host byte) []netip.Prefix {
		return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 0, host}), 32)}
	}
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	spec := policy.Spec{
		Access: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/29")}, DefaultGroup: "pupils",
		Calendar: policy.Calendar{Zone: london, Periods: []policy.Period{{Name: "lunch", Times: []policy.Span{{Days: everyDay, From: 730, To: 790}}}}},
		Categories: []policy.Category{
			{Name: "iwf", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
			{Name: "pornography", Severity: policy.SeverityHigh},
			{Name: "gaming", Severity: policy.SeverityLow},
		},
		Groups: []policy.Group{
			{Name: "early", Clients: at(1), OnlySet: true, Only: names("bbc.co.uk")},
			{
				Name: "pupils", Clients: at(2), Block: []string{"pornography", "gaming"}, Schedule: []policy.Change{{During: "lunch", Unblock: []string{"gaming"}}},
				SafeSearch: policy.SafeSearch{Search: true, YouTube: policy.YouTubeStrict}, SafeSearchSet: true,
			},
			{Name: "sixth form", Clients: at(3), Inherit: "pupils", Schedule: []policy.Change{{During: "lunch", Block: []string{"gaming"}}}},
			{Name: "staff", Clients: at(4), Block: []string{"pornography"}, Monitor: []string{"gaming"}},
		},
		Rules: []policy.Rule{
			{Allow: true, Names: names("lesson.porn.example", "illegal.example"), Groups: []string{"pupils"}},
			{Names: names("banned.example"), Severity: policy.SeverityLow},
			{ID: "e1", Allow: true, Names: names("banned.example"), Client: client("127.0.0.2"), Expires: noon},
			{ID: "e2", Names: names("www.museum.example"), Groups: []string{"staff"}, Severity: policy.SeverityLow, Expires: noon.Add(24 * time.Hour)},
		},
		Records: names("printer.internal"), Zones: []policy.Zone{{Names: names("zone.internal"), Groups: []string{"staff"}}},
	}
	p, err := policy.Compile(spec, blocklist.Build([]blocklist.Source{
		{Category: 0, List: blocklist.ListOf(names("illegal.example")...)},
		{Category: 1, List: blocklist.ListOf(names("porn.example")...)},
		{Category: 2, List: blocklist.ListOf(names("games.example")...)},
	}), true)
	if err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	s := start(t, func(c *resolver.Config) { c.Settings.Policy, c.Now = p, now }, startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 300 IN A 192.0.2.1")
			m.Answer = []dns.RR{rr}
		}
		_ = w.WriteMsg(m)
	}))
	asked := []string{
		"museum.example", "www.museum.example", "games.example", "www.games.example", "porn.example", "a.porn.example", "lesson.porn.example", "illegal.example",
		"www.illegal.example", "banned.example", "x.banned.example", "bbc.co.uk", "www.bbc.co.uk", "www.google.co.uk", "www.youtube.com", "printer.internal",
		"host.zone.internal", "use-application-dns.net", "localhost", "onion", "childline.org.uk",
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	seen := map[string]int{}
	for i := range 10_000 {
		if i%50 == 0 {
			clock.Store(noon.Add(time.Duration(random.Int64N(int64(72*time.Hour))) - 36*time.Hour).UnixNano())
		}
		from := fmt.Sprintf("127.0.0.%d", 1+random.IntN(8))
		name := asked[random.IntN(len(asked))]
		ex := p.Explain(netip.MustParseAddr(from), mustName(t, name), now())
		r := s.exchange(t, ask(name, dns.TypeA), "udp", from)
		events := s.record.taken()
		got := "allow"
		switch {
		case r.Rcode == dns.RcodeRefused:
			got = "refuse"
		case ede(r) == 15:
			got = "block"
		case ede(r) == 29:
			got = "rewrite"
		case len(r.Answer) == 0 || r.Answer[0].(*dns.A).A.String() != "192.0.2.1" || name == "host.zone.internal":
			got = "local"
		case len(events) == 1:
			got = "monitor"
		}
		if got != ex.Verdict {
			t.Fatalf("%s asks for %s at %v: %s, explained as %+v\n%v", from, name, now(), got, ex, r)
		}
		category := ""
		if len(events) == 1 {
			category = events[0].Policy.CategoryName(events[0].Verdict.Category)
		}
		if recorded := ex.Verdict == "monitor" || ex.Verdict == "block" && ex.Category != "only"; recorded != (len(events) == 1) || category != "" && category != ex.Category {
			t.Fatalf("%s asks for %s at %v: %d breaches, of %q, explained as %+v", from, name, now(), len(events), category, ex)
		}
		for _, rr := range append(r.Answer, r.Ns...) {
			if change, err := time.Parse(time.RFC3339, ex.ChangesAt); err == nil && now().Add(time.Duration(rr.Header().Ttl-1)*time.Second).After(change) {
				t.Fatalf("%s for %s at %v lives longer than until %v: %v", from, name, now(), change, rr)
			}
		}
		seen[got]++
	}
	for _, verdict := range []string{"allow", "block", "monitor", "rewrite", "local", "refuse"} {
		if seen[verdict] == 0 {
			t.Errorf("nothing was judged %s: %v", verdict, seen)
		}
	}
}
