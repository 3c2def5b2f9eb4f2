package resolver_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/policy"
	"schoolgate/resolver"
)

// safeSchool has pupils with everything in its safe form.
func safeSchool(t testing.TB, porn ...string) *policy.Policy {
	t.Helper()
	spec := schoolSpec(t)
	spec.Groups[0].SafeSearch, spec.Groups[0].SafeSearchSet = policy.SafeSearch{Search: true, YouTube: policy.YouTubeStrict}, true
	return compile(t, spec, porn...)
}

func TestPupilsGetTheSafeFormOfASearchEngine(t *testing.T) {
	var open atomic.Int64 // questions for the open site
	answer := records(
		"forcesafesearch.google.com. 600 IN CNAME edge.google.com.", "edge.google.com. 60 IN A 192.0.2.120", "edge.google.com. 60 IN A 192.0.2.121",
		"www.google.co.uk. 300 IN A 192.0.2.1", "www.google.co.uk. 300 IN AAAA 2001:db8::1", "www.google.co.uk. 300 IN HTTPS 1 . ipv4hint=192.0.2.1",
		"restrict.youtube.com. 300 IN A 192.0.2.130",
	)
	s := start(t, func(c *resolver.Config) { c.Settings.Policy = safeSchool(t) }, startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasPrefix(strings.ToLower(q.Question[0].Name), "www.") {
			open.Add(1)
		}
		answer(w, q)
	}))
	for range 2 { // from upstream, then from the cache
		for _, test := range []struct {
			name string
			typ  uint16
			want string // the records of the answer, owner and data
		}{
			{"www.gOOgle.co.uk", dns.TypeA, "www.gOOgle.co.uk. CNAME forcesafesearch.google.com., forcesafesearch.google.com. A 192.0.2.120, forcesafesearch.google.com. A 192.0.2.121"},
			{"www.google.co.uk", dns.TypeAAAA, "www.google.co.uk. CNAME forcesafesearch.google.com."},
			{"www.google.co.uk", dns.TypeHTTPS, "www.google.co.uk. CNAME forcesafesearch.google.com."},
			{"www.google.co.uk", dns.TypeCAA, "www.google.co.uk. CNAME forcesafesearch.google.com."}, // a number above the meta types
			{"www.google.co.uk", dns.TypeCNAME, "www.google.co.uk. CNAME forcesafesearch.google.com."},
			{"youtubei.googleapis.com", dns.TypeA, "youtubei.googleapis.com. CNAME restrict.youtube.com., restrict.youtube.com. A 192.0.2.130"},
		} {
			for _, network := range []string{"udp", "tcp"} {
				r := s.exchange(t, ask(test.name, test.typ), network, "")
				var got []string
				for _, rr := range r.Answer {
					h := rr.Header()
					if h.Ttl > 300 {
						t.Errorf("%v lives too long", rr)
					}
					got = append(got, h.Name+" "+dns.TypeToString[h.Rrtype]+" "+strings.TrimPrefix(rr.String(), h.String()))
				}
				if r.Rcode != dns.RcodeSuccess || strings.Join(got, ", ") != test.want || ede(r) != 29 || r.Question[0].Name != dns.Fqdn(test.name) {
					t.Errorf("%s %s over %s: %v", test.name, dns.TypeToString[test.typ], network, r)
				}
				if wantSOA := len(got) == 1 && test.typ != dns.TypeCNAME; (len(r.Ns) == 1) != wantSOA {
					t.Errorf("%s %s: authority %v", test.name, dns.TypeToString[test.typ], r.Ns)
				}
			}
		}
	}
	if n := open.Load(); n != 0 {
		t.Errorf("the open site was asked for %d times", n)
	}
	rewritten := 0.0
	for _, transport := range []string{"udp", "tcp"} {
		rewritten += s.counter(t, "schoolgate_queries_total", "outcome", "rewritten", "transport", transport, "group", "pupils")
	}
	if rewritten != 24 {
		t.Errorf("%v counted as rewritten, want 24", rewritten)
	}
	if r := s.exchange(t, ask("www.google.co.uk", dns.TypeA), "udp", "127.0.0.9"); len(r.Answer) != 1 || !strings.HasSuffix(r.Answer[0].String(), "192.0.2.1") {
		t.Errorf("for staff: %v", r)
	}
}

// SS-14: what fails, fails closed.
func TestASafeFormThatCannotBeHadIsNeverTheOpenSite(t *testing.T) {
	for name, rcode := range map[string]int{"forcesafesearch.google.com.": dns.RcodeServerFailure, "strict.bing.com.": dns.RcodeNameError} {
		t.Run(dns.RcodeToString[rcode], func(t *testing.T) {
			answer := records("www.google.com. 300 IN A 192.0.2.1", "www.bing.com. 300 IN A 192.0.2.1")
			s := start(t, func(c *resolver.Config) { c.Settings.Policy = safeSchool(t) }, startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
				if strings.ToLower(q.Question[0].Name) == name {
					_ = w.WriteMsg(new(dns.Msg).SetRcode(q, rcode))
					return
				}
				answer(w, q)
			}))
			open := map[int]string{dns.RcodeServerFailure: "www.google.com", dns.RcodeNameError: "www.bing.com"}[rcode]
			for range 2 {
				if r := s.exchange(t, ask(open, dns.TypeA), "udp", ""); r.Rcode != dns.RcodeServerFailure || len(r.Answer) != 0 {
					t.Errorf("%v", r)
				}
			}
		})
	}
}

func TestABlockedSafeFormIsBlocked(t *testing.T) {
	s := start(t, func(c *resolver.Config) { c.Settings.Policy = safeSchool(t, "safe.duckduckgo.com") }, startUpstream(t, records("safe.duckduckgo.com. 300 IN A 192.0.2.1")))
	if r := s.exchange(t, ask("duckduckgo.com", dns.TypeA), "udp", ""); r.Rcode != dns.RcodeNameError || ede(r) != 15 {
		t.Error(r)
	}
	if events := s.record.taken(); len(events) != 1 || events[0].Target != mustName(t, "safe.duckduckgo.com") {
		t.Errorf("%+v", events)
	}
}
