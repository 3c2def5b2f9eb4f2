package resolver_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// denying denies gone.example and what is below it, validated where asked to say so, and answers every other
// name. change is done to each denial.
func denying(change func(m *dns.Msg)) func(w dns.ResponseWriter, q *dns.Msg) {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := answerTo(q)
		if dns.IsSubDomain("gone.example.", q.Question[0].Name) {
			m.Answer, m.Rcode, m.AuthenticatedData, m.Compress = nil, dns.RcodeNameError, q.AuthenticatedData, true
			texts := []string{"example. 900 IN SOA ns.example. host.example. 1 2 3 4 60"}
			if q.IsEdns0().Do() {
				texts = append(texts, "f.example. 900 IN NSEC h.example. A RRSIG NSEC",
					"f.example. 900 IN RRSIG NSEC 13 2 900 20370101000000 20260101000000 1 example. AAAA")
			}
			for _, text := range texts {
				rr, err := dns.NewRR(text)
				if err != nil {
					panic(err)
				}
				m.Ns = append(m.Ns, rr)
			}
			if change != nil {
				change(m)
			}
		}
		_ = w.WriteMsg(m)
	}
}

func TestAValidatedNXDomainAnswersWhatIsBelowIt(t *testing.T) {
	up := startUpstream(t, denying(nil))
	s := start(t, nil, up)
	s.exchange(t, ask("gone.example", dns.TypeA), "udp", "")
	for i, name := range []string{"gone.example.", "A.gone.example.", "b.a.GONE.example.", strings.Repeat("x.", 100) + "gone.example."} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT} {
			for _, network := range []string{"udp", "tcp"} {
				q := ask(name, typ)
				q.AuthenticatedData = i%2 == 0
				r := s.exchange(t, q, network, "")
				if r.Rcode != dns.RcodeNameError || len(r.Answer) != 0 || len(r.Ns) != 1 || r.Question[0] != q.Question[0] ||
					r.AuthenticatedData != q.AuthenticatedData || ede(r) != -1 {
					t.Fatalf("%s over %s: %v", name, network, r)
				}
				if soa, ok := r.Ns[0].(*dns.SOA); !ok || !strings.EqualFold(soa.Hdr.Name, "example.") || soa.Hdr.Ttl > 60 || soa.Ns != "ns.example." {
					t.Fatalf("%s: %v", name, r)
				}
			}
		}
	}
	if n := up.asked.Load(); n != 1 {
		t.Errorf("%d questions upstream, want 1", n)
	}
	for i, name := range []string{"notgone.example", "example", "gone.example.other"} { // beside it and above
		if r := s.exchange(t, ask(name, dns.TypeA), "udp", ""); len(r.Answer) != 1 || up.asked.Load() != int64(i+2) {
			t.Errorf("%s: %v", name, r)
		}
	}
	entries := s.Stats().CacheEntries
	for i := range 50 {
		s.exchange(t, ask(fmt.Sprintf("n%d.gone.example", i), dns.TypeA), "udp", "")
	}
	if now := s.Stats().CacheEntries; now != entries {
		t.Errorf("%d answers in the cache became %d", entries, now)
	}
	s.Age(time.Minute) // as long as the SOA record says
	before := up.asked.Load()
	if r := s.exchange(t, ask("a.gone.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError || up.asked.Load() != before+1 {
		t.Errorf("after its time: %v", r)
	}
}

func TestADenialBelowHasTheRecordsThatProveIt(t *testing.T) {
	up := startUpstream(t, denying(nil))
	s := start(t, nil, up)
	do := func(name string) *dns.Msg {
		q := ask(name, dns.TypeA)
		q.IsEdns0().SetDo()
		return s.exchange(t, q, "udp", "")
	}
	first := do("gone.example")
	below := do("a.b.gone.example")
	if n := up.asked.Load(); n != 1 || len(below.Ns) != 3 || !below.AuthenticatedData {
		t.Fatalf("%d questions: %v", n, below)
	}
	for i := range first.Ns {
		if !dns.IsDuplicate(first.Ns[i], below.Ns[i]) {
			t.Errorf("%v became %v", first.Ns[i], below.Ns[i])
		}
	}
}

func TestNothingIsConcludedFromOtherNXDomains(t *testing.T) {
	cname, _ := dns.NewRR("gone.example. 300 IN CNAME elsewhere.example.")
	nsec, _ := dns.NewRR("gone.example. 900 IN NSEC \\000.gone.example. RRSIG NSEC")
	for name, change := range map[string]func(m *dns.Msg){
		"that is not validated":         func(m *dns.Msg) { m.AuthenticatedData = false },
		"of what an alias leads to":     func(m *dns.Msg) { m.Answer = []dns.RR{cname} },
		"without an SOA record":         func(m *dns.Msg) { m.Ns = nil },
		"that is only no data":          func(m *dns.Msg) { m.Rcode = dns.RcodeSuccess },
		"made for one name alone":       func(m *dns.Msg) { m.Ns = append(m.Ns, nsec) },
		"that is a failure":             func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure },
		"of a name of too many labels":  nil,
		"to a question with another DO": nil,
		"to a question with another CD": nil,
		"from the servers of a zone":    nil,
		"of another name":               nil,
	} {
		t.Run(name, func(t *testing.T) {
			up := startUpstream(t, denying(change))
			s := start(t, nil, up)
			first, second := ask("gone.example", dns.TypeA), ask("a.gone.example", dns.TypeA)
			switch name {
			case "of a name of too many labels":
				first, second = ask(strings.Repeat("x.", 9)+"gone.example", dns.TypeA), ask(strings.Repeat("x.", 10)+"gone.example", dns.TypeA)
			case "to a question with another DO":
				first.IsEdns0().SetDo()
			case "to a question with another CD":
				first.CheckingDisabled = true
			case "from the servers of a zone":
				up2 := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(answerTo(q)) })
				s.settings.Zones[0].Servers = parseUpstreams(t, "udp://"+up2.addr)
				spec := schoolSpec(t)
				spec.Zones[0].Names = append(spec.Zones[0].Names, mustName(t, "a.gone.example"))
				s.settings.Policy = compile(t, spec)
				if err := s.Apply(s.settings); err != nil {
					t.Fatal(err)
				}
				s.exchange(t, first, "udp", "")
				if r := s.exchange(t, second, "udp", ""); len(r.Answer) != 1 {
					t.Errorf("%v", r)
				}
				return
			case "of another name":
				first = ask("there.example", dns.TypeA)
			}
			s.exchange(t, first, "udp", "")
			before := up.asked.Load()
			s.exchange(t, second, "udp", "")
			if up.asked.Load() == before {
				t.Errorf("%s was not asked for", second.Question[0].Name)
			}
		})
	}
}

func TestWhatIsBelowANameThatDoesNotExistIsJudgedAllTheSame(t *testing.T) {
	s := start(t, func(c *resolver.Config) {
		c.Settings.Policy = compile(t, schoolSpec(t), "porn.gone.example")
	}, startUpstream(t, denying(nil)))
	s.exchange(t, ask("gone.example", dns.TypeA), "udp", "")
	if r := s.exchange(t, ask("a.porn.gone.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError || ede(r) != 15 {
		t.Errorf("%v", r)
	}
	if events := s.record.taken(); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
}

func TestWhatIsCachedBelowANameServesUntilItsTimeIsOver(t *testing.T) {
	var gone atomic.Bool
	deny := denying(nil)
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if gone.Load() {
			deny(w, q)
			return
		}
		_ = w.WriteMsg(answerTo(q))
	})
	s := start(t, nil, up)
	s.exchange(t, ask("a.gone.example", dns.TypeA), "udp", "")
	gone.Store(true)
	s.exchange(t, ask("gone.example", dns.TypeA), "udp", "")
	if r := s.exchange(t, ask("a.gone.example", dns.TypeA), "udp", ""); len(r.Answer) != 1 { // RFC 8020 §4
		t.Errorf("%v", r)
	}
	if r := s.exchange(t, ask("b.gone.example", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError || up.asked.Load() != 2 {
		t.Errorf("%d questions: %v", up.asked.Load(), r)
	}
}

func TestASafeFormThatDoesNotExistIsAFailureAndNotTheOpenSite(t *testing.T) {
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		m.AuthenticatedData = true
		soa, _ := dns.NewRR("com. 900 IN SOA ns.example. host.example. 1 2 3 4 60")
		m.Ns = []dns.RR{soa}
		_ = w.WriteMsg(m)
	})
	s := start(t, func(c *resolver.Config) { c.Settings.Policy = safeSchool(t) }, up)
	s.exchange(t, ask("google.com", dns.TypeTXT), "udp", "127.0.0.9") // staff
	if r := s.exchange(t, ask("www.google.co.uk", dns.TypeA), "udp", ""); !isFailure(r) || up.asked.Load() != 1 {
		t.Errorf("%d questions: %v", up.asked.Load(), r)
	}
}
