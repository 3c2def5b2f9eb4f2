package daemon

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// digFrom is dig from an address of loopback; it returns what came as text.
func (s *school) digFrom(from, name string) string {
	s.t.Helper()
	client := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}}
	r, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), s.Addrs().DNS[0].String())
	if err != nil {
		s.t.Fatalf("ask for %s from %s: %v", name, from, err)
	}
	if len(r.Answer) > 0 {
		return r.Answer[0].(*dns.A).A.String()
	}
	return dns.RcodeToString[r.Rcode]
}

// identityYAML has a group for exams, into which devices come by their names.
const identityYAML = `version: 1
site: test
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"}
data_dir: data
categories:
  gaming: {severity: low, lists: [{path: gaming.txt}]}
groups:
  pupils: {clients: [127.0.0.0/8]}
  exams: {clients: ["name:exam-*"], block: [gaming]}
default_group: pupils
`

func TestADeviceIsKnownByItsNameInTheSchoolsOwnZone(t *testing.T) {
	s := newSchool(t)
	zone := newNameserver(t, func(_ string, q, r *dns.Msg) {
		if q.Question[0].Name == "7.0.0.127.in-addr.arpa." && q.Question[0].Qtype == dns.TypePTR {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN PTR Exam-7.school.internal.")
			r.Answer = append(r.Answer, rr)
			return
		}
		r.Rcode = dns.RcodeNameError
	})
	s.configure(identityYAML + fmt.Sprintf("zones: [{names: [127.in-addr.arpa], servers: [\"udp://%s\"]}]\n", zone.addr))
	s.start()
	if got := s.digFrom("127.0.0.7", "games.example"); got != "192.0.2.1" {
		t.Errorf("the first question, by the address: %s", got)
	}
	s.await(func() bool { return s.digFrom("127.0.0.7", "games.example") == "NXDOMAIN" })
	if got := s.digFrom("127.0.0.8", "games.example"); got != "192.0.2.1" {
		t.Errorf("another device: %s", got)
	}
	ex, err := s.explain("games.example", "127.0.0.7", "")
	if want := "1. access: 127.0.0.7 may ask, and is in group exams by its name exam-7.school.internal"; err != nil || ex.Verdict != "block" || ex.Steps[0] != want {
		t.Errorf("explain: %v, %q", err, ex.Steps)
	}
	s.stop()
	zone.mu.Lock()
	defer zone.mu.Unlock()
	for _, asked := range zone.asked {
		if !strings.HasSuffix(asked, ".0.0.127.in-addr.arpa.") {
			t.Errorf("the zone's server was asked %s", asked)
		}
	}
}

func TestALeaseFileOfAReloadMovesDevicesAtOnce(t *testing.T) {
	s := newSchool(t)
	s.configure(identityYAML)
	s.start()
	if got := s.digFrom("127.0.0.7", "games.example"); got != "192.0.2.1" {
		t.Errorf("without a lease file: %s", got)
	}
	missing := "the lease file " + s.dir + "/dhcp.leases is not there"
	s.configure(identityYAML + "identity: {leases: [dhcp.leases]}\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.Problems(), missing) {
		t.Errorf("problems: %q", s.Problems())
	}
	s.write("dhcp.leases", "0 00:11:22:33:44:55 127.0.0.7 exam-7 *\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got := s.digFrom("127.0.0.7", "games.example"); got != "NXDOMAIN" {
		t.Errorf("with a lease: %s", got)
	}
	if slices.Contains(s.Problems(), missing) {
		t.Errorf("problems: %q", s.Problems())
	}
	if got := s.status(nil).Identity; got.Devices < 1 || got.Leases != 1 {
		t.Errorf("status: %+v", got)
	}
}
