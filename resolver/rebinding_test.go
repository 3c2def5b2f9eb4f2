package resolver_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

// lines is a log that tests may read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestAPublicNameDoesNotLeadIntoTheSchoolsNetwork(t *testing.T) {
	spec := schoolSpec(t)
	spec.Rebinding, spec.RebindExempt = true, []blocklist.Name{mustName(t, "school.sch.uk")}
	spec.Rules = []policy.Rule{{Allow: true, Names: []blocklist.Name{mustName(t, "allowed.co.uk")}}}
	var log lines
	s := start(t, func(c *resolver.Config) {
		c.Settings.Policy = compile(t, spec)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}, startUpstream(t, records(
		"rebind.co.uk. 300 IN A 192.168.1.1", "self.co.uk. 300 IN A 127.0.0.1", "zero.co.uk. 300 IN A 0.0.0.0", "six.co.uk. 300 IN AAAA fd00::1",
		"mapped.co.uk. 300 IN AAAA ::ffff:10.0.0.1", "link.co.uk. 300 IN AAAA fe80::1", "hint.co.uk. 300 IN HTTPS 1 . ipv4hint=10.0.0.1",
		"alias.co.uk. 300 IN CNAME rebind.co.uk.", "mixed.co.uk. 300 IN A 192.0.2.1", "mixed.co.uk. 300 IN A 10.0.0.1",
		"host.zone.internal. 300 IN A 10.0.0.1", "public.co.uk. 300 IN A 192.0.2.1", "vpn.co.uk. 300 IN A 100.64.1.1",
		"server.school.sch.uk. 300 IN A 10.0.0.1", "www.allowed.co.uk. 300 IN A 10.0.0.1", "nas.lan. 300 IN A 10.0.0.1", "dc.school.local. 300 IN A 10.0.0.1",
	)))
	for range 2 { // from upstream, then from the cache
		for _, test := range []struct {
			name    string
			typ     uint16
			refused bool
		}{
			{"rebind.co.uk", dns.TypeA, true},
			{"self.co.uk", dns.TypeA, true},
			{"zero.co.uk", dns.TypeA, true},
			{"six.co.uk", dns.TypeAAAA, true},
			{"mapped.co.uk", dns.TypeAAAA, true},
			{"link.co.uk", dns.TypeAAAA, true},
			{"hint.co.uk", dns.TypeHTTPS, true},
			{"alias.co.uk", dns.TypeA, true},
			{"mixed.co.uk", dns.TypeA, true},
			{"public.co.uk", dns.TypeA, false},
			{"vpn.co.uk", dns.TypeA, false},
			{"server.school.sch.uk", dns.TypeA, false},
			{"www.allowed.co.uk", dns.TypeA, false},
			{"nas.lan", dns.TypeA, false},
			{"dc.school.local", dns.TypeA, false},
			{"host.zone.internal", dns.TypeA, false},
		} {
			r := s.exchange(t, ask(test.name, test.typ), "udp", "")
			if r.Rcode != dns.RcodeSuccess || (len(r.Answer) == 0) != test.refused || (ede(r) == 15) != test.refused {
				t.Errorf("%s: %v", test.name, r)
			}
		}
	}
	if events := s.record.taken(); len(events) != 0 {
		t.Errorf("whoever asked is the victim, and was recorded: %+v", events)
	}
	if n := s.counter(t, "schoolgate_blocked_total", "category", "rebinding", "group", "pupils"); n != 18 {
		t.Errorf("%v counted", n)
	}
	if said := strings.Count(log.String(), "for a public name: refused"); said != 1 || !strings.Contains(log.String(), "name=rebind.co.uk") {
		t.Errorf("said %d times in a minute: %s", said, log.String())
	}
}

func TestEncryptedClientHelloIsTakenOutOfAnswers(t *testing.T) {
	up := startUpstream(t, records(`www.example. 300 IN HTTPS 1 . alpn="h2" ech="AEX+DQBB" ipv4hint="192.0.2.1"`))
	for _, strip := range []bool{true, false} {
		s := start(t, func(c *resolver.Config) { c.Settings.Blocking.StripECH = strip }, up)
		for range 2 {
			r := s.exchange(t, ask("www.example", dns.TypeHTTPS), "udp", "")
			if len(r.Answer) != 1 || strings.Contains(r.Answer[0].String(), "ech=") == strip || !strings.Contains(r.Answer[0].String(), `ipv4hint="192.0.2.1"`) {
				t.Errorf("strip %v: %v", strip, r)
			}
		}
	}
}
