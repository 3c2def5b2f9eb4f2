package resolver_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

// tunnelSchool has pupils for whom ways round the filter are blocked, and staff for whom they are monitored.
func tunnelSchool(t testing.TB, change func(*policy.Spec)) func(*resolver.Config) {
	t.Helper()
	spec := schoolSpec(t)
	spec.Categories = append(spec.Categories, policy.Category{Name: "bypass", Severity: policy.SeverityHigh})
	spec.Groups[0].Block = append(spec.Groups[0].Block, "bypass")
	spec.Groups[1].Monitor = append(spec.Groups[1].Monitor, "bypass")
	if change != nil {
		change(&spec)
	}
	return func(c *resolver.Config) { c.Settings.Policy = compile(t, spec) }
}

// carried is a name below domain that holds so many octets of a tunnel.
func carried(random *rand.Rand, octets int, domain string) string {
	data := make([]byte, octets/2)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	text := hex.EncodeToString(data)
	var labels []string
	for ; len(text) > 60; text = text[60:] {
		labels = append(labels, text[:60])
	}
	return strings.Join(append(labels, text, domain), ".")
}

func TestATunnelIsToldByItsShape(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := start(t, tunnelSchool(t, nil), startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{"down"}}}
		_ = w.WriteMsg(m)
	}))
	for what, tool := range map[string]struct {
		typ    uint16
		octets int
		domain string
	}{
		"dnscat2, idle":   {dns.TypeTXT, 50, "cat.evil-tunnel.co.uk"},
		"iodine":          {dns.TypeNULL, 200, "t.evil-iodine.org"},
		"addresses asked": {dns.TypeA, 120, "evil-a.net"},
		"a private type":  {65399, 120, "evil-private.net"},
	} {
		t.Run(what, func(t *testing.T) {
			passed := 0
			for range 100 {
				if r := s.exchange(t, ask(carried(random, tool.octets, tool.domain), tool.typ), "udp", ""); r.Rcode == dns.RcodeSuccess {
					passed++
				} else if ede(r) != 15 {
					t.Fatal(r)
				}
			}
			if passed > 60 {
				t.Errorf("%d of 100 names passed", passed)
			}
			events := s.record.taken()
			for _, e := range events {
				if !strings.HasSuffix(tool.domain, e.Name.String()) || e.Verdict.Severity != policy.SeverityHigh {
					t.Fatalf("recorded as %v: %+v", e.Name, e.Verdict)
				}
			}
			if a := events[0].Policy.Attribution(events[0]); len(events) != 100-passed || a.Category != "bypass" || a.List != "shape:tunnel" || a.Action != "block" {
				t.Errorf("%d breaches of %d, %+v", len(events), 100-passed, a)
			}
			for range 60 { // for staff it is recorded, and works
				if r := s.exchange(t, ask(carried(random, tool.octets, tool.domain), tool.typ), "udp", "127.0.0.9"); r.Rcode != dns.RcodeSuccess {
					t.Fatal(r)
				}
			}
			if events := s.record.taken(); len(events) == 0 || events[0].Verdict.Action != policy.Monitor {
				t.Errorf("staff: %d breaches", len(events))
			}
		})
	}
}

func TestWhatIsNoTunnelIsLeftAlone(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const allowed = "allowed-tunnel.co.uk"
	s := start(t, tunnelSchool(t, func(spec *policy.Spec) {
		spec.Rules = []policy.Rule{{Allow: true, Names: []blocklist.Name{mustName(t, allowed)}}}
	}), startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetReply(q)) }))
	for what, name := range map[string]func(i int) string{
		"a content network's names":       func(i int) string { return fmt.Sprintf("rr%d---sn-%08x.googlevideo.com", i%9, random.Uint32()) },
		"many domains":                    func(i int) string { return carried(random, 60, fmt.Sprintf("d%d.co.uk", i)) },
		"long names that are asked again": func(i int) string { return fmt.Sprintf("%060d.again.co.uk", i%20) },
		"a private suffix has many owners": func(i int) string {
			return fmt.Sprintf("a-very-long-name-of-a-distribution-%08x%08x.cloudfront.net", random.Uint32(), random.Uint32())
		},
		"addresses looked up backwards": func(i int) string {
			return fmt.Sprintf("%x.%x.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.2.4.ip6.arpa", i%16, i/16)
		},
		"a scanner of viruses": func(i int) string { return carried(random, 60, "avqs.mcafee.com") },
		"what a rule allows":   func(i int) string { return carried(random, 100, allowed) },
	} {
		t.Run(what, func(t *testing.T) {
			for i := range 200 {
				if r := s.exchange(t, ask(name(i), dns.TypeA), "udp", ""); r.Rcode != dns.RcodeSuccess {
					t.Fatalf("%d: %v", i, r)
				}
			}
		})
	}
	if events := s.record.taken(); len(events) != 0 {
		t.Errorf("%d breaches, the first %+v", len(events), events[0])
	}
}
