package resolver_test

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

func TestAListOnTrialAnswersAndCountsUnderItsCategory(t *testing.T) {
	spec := schoolSpec(t)
	spec.Categories = append(spec.Categories, policy.Category{Name: "pornography (on trial)", Severity: policy.SeverityLow, TrialOf: "pornography"})
	p, err := policy.Compile(spec, blocklist.Build([]blocklist.Source{
		{ID: "old", Category: 1, List: blocklist.ListOf(mustName(t, "porn.example"))},
		{ID: "new", Category: 3, List: blocklist.ListOf(mustName(t, "tried.example"))},
	}), true)
	if err != nil {
		t.Fatal(err)
	}
	up := startUpstream(t, records("tried.example. 300 IN A 192.0.2.66", "leads.example. 300 IN CNAME tried.example."))
	s := start(t, func(c *resolver.Config) { c.Settings.Policy = p }, up)
	for _, name := range []string{"tried.example.", "leads.example."} {
		if r := s.exchange(t, ask(name, dns.TypeA), "udp", ""); r.Rcode != dns.RcodeSuccess || len(r.Answer) == 0 {
			t.Errorf("%s is not answered: %v", name, r)
		}
	}
	s.exchange(t, ask("porn.example.", dns.TypeA), "udp", "")
	want := `
# HELP schoolgate_breaches_total Attempts at blocked or monitored content, severity none left out.
# TYPE schoolgate_breaches_total counter
schoolgate_breaches_total{action="block",category="iwf",group="pupils",severity="critical"} 0
schoolgate_breaches_total{action="block",category="iwf",group="staff",severity="critical"} 0
schoolgate_breaches_total{action="block",category="pornography",group="pupils",severity="high"} 1
schoolgate_breaches_total{action="block",category="pornography",group="staff",severity="high"} 0
schoolgate_breaches_total{action="block",category="rule",group="pupils",severity="low"} 0
schoolgate_breaches_total{action="block",category="rule",group="staff",severity="low"} 0
schoolgate_breaches_total{action="monitor",category="iwf",group="pupils",severity="critical"} 0
schoolgate_breaches_total{action="monitor",category="iwf",group="staff",severity="critical"} 0
schoolgate_breaches_total{action="monitor",category="pornography",group="pupils",severity="high"} 0
schoolgate_breaches_total{action="monitor",category="pornography",group="pupils",severity="low"} 2
schoolgate_breaches_total{action="monitor",category="pornography",group="staff",severity="high"} 0
schoolgate_breaches_total{action="monitor",category="pornography",group="staff",severity="low"} 0
`
	if err := testutil.GatherAndCompare(s.registry, strings.NewReader(want), "schoolgate_breaches_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(s.registry, "schoolgate_blocked_total"); err != nil || n != 2*6 {
		t.Errorf("%d series of blocks (%v), want those of 2 groups with 3 categories, rule, only and rebinding", n, err)
	}
}
