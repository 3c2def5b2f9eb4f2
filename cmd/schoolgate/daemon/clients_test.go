package daemon

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/clients"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// ask puts a question as if it came from an address.
func (s *school) ask(from, name string) {
	s.t.Helper()
	packet, err := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA).Pack()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Ask(s.t.Context(), packet, netip.AddrPortFrom(netip.MustParseAddr(from), 4000), "udp", false); err != nil {
		s.t.Fatal(err)
	}
}

// clientOf is what is known of a client.
func (s *school) clientOf(addr string) (clients.Client, bool) {
	s.t.Helper()
	c, err := Dial(s.t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := c.Clients(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	i := slices.IndexFunc(list.Clients, func(c clients.Client) bool { return c.Addr.String() == addr })
	if i < 0 {
		return clients.Client{}, false
	}
	return list.Clients[i], true
}

// morning is an ordinary one, far from the end of an hour.
func morning() *clock {
	c := new(clock)
	c.ahead.Store(int64(time.Until(time.Date(2027, 1, 12, 10, 10, 0, 0, time.UTC))))
	return c
}

func TestWhoAsksIsKeptOverARestart(t *testing.T) {
	s := newSchool(t)
	c := morning()
	s.startAt(c)
	s.ask("10.20.3.4", "www.example")
	s.ask("10.20.3.4", "games.example")
	before, ok := s.clientOf("10.20.3.4")
	if !ok || before.Group != "pupils" || before.Hour != 2 || before.Names < 1 || before.Names > 2 { // two may be taken for one, by chance
		t.Fatalf("%+v", before)
	}
	s.ask("10.20.3.4", "www.example")
	s.stop()
	info, err := os.Stat(filepath.Join(s.dir, "data", clientsFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if text := s.read(filepath.Join("data", clientsFile)); strings.Contains(text, "example") || !strings.Contains(text, "10.20.3.4") {
		t.Errorf("written down: %s", text)
	}
	s.startAt(c)
	after, ok := s.clientOf("10.20.3.4")
	if !ok || after.Hour != 3 || !after.First.Equal(before.First) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	s.pass(c, 8*24*time.Hour)
	if c, ok := s.clientOf("10.20.3.4"); ok {
		t.Errorf("after more than retention.queries: %+v", c)
	}
}

func TestADamagedRecordOfClientsIsBegunAgain(t *testing.T) {
	s := newSchool(t)
	s.start()
	s.stop()
	s.write(filepath.Join("data", clientsFile), `{"version":1,"clients":{"10.`)
	s.log.Reset()
	s.start()
	s.ask("10.20.3.4", "www.example")
	if c, ok := s.clientOf("10.20.3.4"); !ok || c.Hour != 1 {
		t.Errorf("%+v", c)
	}
	if len(s.Problems()) != 0 {
		t.Errorf("problems: %q", s.Problems())
	}
	s.stop()
	if log := s.log.String(); !strings.Contains(log, "who asked before is not known any more") || strings.Contains(log, "10.20.3.4") {
		t.Errorf("the log: %s", log)
	}
}

func TestWithoutAQueryLogNobodyIsKept(t *testing.T) {
	s := newSchool(t)
	s.start()
	s.ask("10.20.3.4", "www.example")
	s.keepClients()
	s.configure(baseYAML + "query_log: none\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	s.ask("10.20.3.4", "www.example")
	if c, ok := s.clientOf("10.20.3.4"); ok {
		t.Errorf("%+v", c)
	}
	s.stop()
	if _, err := os.Stat(filepath.Join(s.dir, "data", clientsFile)); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestStatusTellsOfAnAddressThatAsksLikeThirty(t *testing.T) {
	s := newSchool(t)
	s.startAt(morning())
	for n := range 20 {
		for i := range 50 {
			s.ask(fmt.Sprintf("10.20.3.%d", n+1), fmt.Sprintf("w%d.example", i%20))
		}
	}
	for i := range 3300 {
		s.ask("10.20.0.10", fmt.Sprintf("w%d.example", i%400))
	}
	s.takeClients()
	st := s.status(nil)
	if len(st.Busy) != 1 || st.Busy[0].Addr.String() != "10.20.0.10" || st.Busy[0].Times != 66 || st.Clients.Clients != 21 {
		t.Errorf("%+v, %+v", st.Busy, st.Clients)
	}
	if !st.Healthy {
		t.Errorf("it is no problem: %q", st.Problems)
	}
	s.configure(strings.Replace(baseYAML, "default_group", "  many: {clients: [10.20.0.10/32], inherit: pupils, shared: true}\ndefault_group", 1))
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	s.ask("10.20.0.10", "www.example")
	s.takeClients()
	if st := s.status(nil); len(st.Busy) != 0 {
		t.Errorf("once it is said to be shared: %+v", st.Busy)
	}
}

func TestStatusCountsDevicesThatAskNoMoreAndTheLeaseTellsWhichAreThere(t *testing.T) {
	s := newSchool(t)
	lease := func(until time.Time) {
		s.write("dhcp.leases", fmt.Sprintf("%d 00:11:22:33:44:55 10.20.3.99 y7-ipad-3 *\n", until.Unix()))
	}
	c := morning()
	lease(c.now().Add(12 * time.Hour))
	s.configure(baseYAML + "identity: {leases: [dhcp.leases]}\n")
	s.startAt(c)
	silent := func() clients.Stats {
		s.takeClients()
		return s.status(nil).Clients
	}
	minute := func(from ...string) {
		s.pass(c, time.Minute)
		for _, a := range from {
			s.ask(a, "www.example")
		}
		s.takeClients()
	}
	others := []string{"10.20.3.1", "10.20.3.2", "10.20.3.3"}
	for range 4 * 60 {
		minute(append(others, "10.20.3.99")...)
	}
	for range 2 * 60 {
		minute(others...)
	}
	if got := silent(); got.Silent != 1 || got.Still != 0 {
		t.Errorf("after two hours: %+v", got)
	}
	lease(c.now().Add(12 * time.Hour))
	if _, err := s.Reload(t.Context(), "test"); err != nil { // which reads it at once
		t.Fatal(err)
	}
	minute(others...)
	if got := silent(); got.Silent != 1 || got.Still != 1 {
		t.Errorf("after it has renewed its lease: %+v", got)
	}
	if d, _ := s.clientOf("10.20.3.99"); d.MAC != "00:11:22:33:44:55" || !d.Still || d.Seen.IsZero() || d.Lease.IsZero() {
		t.Errorf("%+v", d)
	}
	minute(append(others, "10.20.3.99")...)
	if got := silent(); got.Silent != 0 {
		t.Errorf("once it asks again: %+v", got)
	}
	if len(s.Problems()) != 0 || len(s.acts()) == 0 {
		t.Errorf("%q", s.Problems())
	}
}

func TestAGroupThatAsksFarLessIsAlertedOnceADay(t *testing.T) {
	s := newSchool(t)
	var alerts atomic.Int32
	const want = "group pupils asked 60 questions on Tue 2027-01-26 from 11:00, and 600 at least at that hour in the 2 weeks before"
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { // no receiver of today takes an alert of 2027
		if body, err := io.ReadAll(r.Body); err == nil && strings.Contains(string(body), want) {
			alerts.Add(1)
		}
	}))
	t.Cleanup(server.Close)
	s.write("hook.secret", hookSecret)
	s.configure(baseYAML + fmt.Sprintf(`calendar: {terms: [{from: 2027-01-04, to: 2027-03-26}]}
alerts: {receivers: {it: {type: webhook, url: %q, secret_file: hook.secret}}, routes: [{about: system, to: [it]}]}
`, server.URL))
	c := morning() // a Tuesday
	s.startAt(c)
	hour := func(questions int) {
		for m := range 60 {
			for range questions / 60 {
				s.ask("10.20.3.4", "www.example")
			}
			if m > 0 {
				s.pass(c, time.Minute)
			}
			s.takeClients()
		}
		s.pass(c, time.Minute)
	}
	s.pass(c, 50*time.Minute)
	for range 2 {
		hour(600)
		s.takeClients()
		s.tellOfFall()
		s.pass(c, 7*24*time.Hour-time.Hour)
	}
	if st := s.status(nil); len(st.Falls) != 0 {
		t.Fatalf("in ordinary weeks: %v", st.Falls)
	}
	hour(60)
	s.takeClients()
	s.tellOfFall()
	s.tellOfFall()
	st := s.status(nil)
	if len(st.Falls) != 1 || !strings.HasPrefix(FallText(st.Falls[0]), want) || !st.Healthy {
		t.Errorf("%v, %q", st.Falls, st.Problems)
	}
	s.await(func() bool { return alerts.Load() == 1 })
}

// earlyYAML has an allow-list, and a category whose names are confidential.
const earlyYAML = `version: 1
site: test
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"}
data_dir: data
categories:
  gaming: {severity: low, lists: [{path: gaming.txt}]}
  hidden: {severity: high, confidential: true, lists: [{path: drugs.txt}]}
groups:
  pupils: {clients: [10.20.0.0/16], block: [gaming]}
  early: {clients: [10.10.0.0/16], only: [bbc.co.uk, phonics.co.uk]}
default_group: pupils
`

func TestASuggestionForAnAllowList(t *testing.T) {
	s := newSchool(t)
	s.configure(earlyYAML)
	s.startAt(morning())
	for n := range 4 {
		child := fmt.Sprintf("10.10.0.%d", n+1)
		s.ask(child, "www.bbc.co.uk")
		for _, name := range []string{"d1.cloudfront.net", "a.bbci.co.uk", "b.bbci.co.uk", "c.bbci.co.uk", "games.example", "pills.example", `o\"dd.example`, "telemetry.example"} {
			s.ask(child, name)
		}
		if n < 2 {
			s.ask(child, "seldom.example")
		}
		if n == 3 {
			s.ask(child, "www.phonics.co.uk")
			s.ask(child, "d1.cloudfront.net")
		}
		for range 2 {
			s.ask("10.10.0.99", "telemetry.example") // with no page at all
			s.ask("10.10.0.99", "noise.example")
		}
	}
	c, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.SuggestOnly(t.Context(), "early", "")
	if err != nil {
		t.Fatal(err)
	}
	bbc := []string{"bbc.co.uk"}
	want := []OnlyName{
		{"d1.cloudfront.net", 5, 0, []string{"bbc.co.uk", "phonics.co.uk"}, true, ""},
		{"a.bbci.co.uk", 4, 0, bbc, false, ""},
		{"b.bbci.co.uk", 4, 0, bbc, false, ""},
		{"c.bbci.co.uk", 4, 0, bbc, false, ""},
		{"games.example", 4, 0, bbc, false, "listed as gaming"},
		{`o\034dd.example`, 4, 0, bbc, false, "no host's name"},
		{"telemetry.example", 4, 8, bbc, false, "asked for without a page more often"},
		{"seldom.example", 2, 0, bbc, false, "too seldom yet"},
	}
	byName := func(a, b OnlyName) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(got.Names, func(a, b OnlyName) int { return b.After - a.After }) {
		t.Errorf("not the most frequent first: %+v", got.Names)
	}
	slices.SortFunc(got.Names, byName)
	slices.SortFunc(want, byName)
	if diff := cmp.Diff(want, got.Names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bbci.co.uk", "d1.cloudfront.net"}, got.Add); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bbc.co.uk", "phonics.co.uk"}, got.Only); diff != "" {
		t.Error(diff)
	}
	if got, err = c.SuggestOnly(t.Context(), "early", "phonics.co.uk"); err != nil || len(got.Names) != 1 || got.Names[0].After != 1 || got.Names[0].Not != "too seldom yet" || len(got.Add) != 0 {
		t.Errorf("for one page: %+v, %v", got, err)
	}
	for _, bad := range [][2]string{{"pupils", ""}, {"nobody", ""}, {"early", "a..b"}} {
		if _, err := c.SuggestOnly(t.Context(), bad[0], bad[1]); !IsWrongUse(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s.configure(strings.Replace(earlyYAML, "phonics.co.uk]", "phonics.co.uk, bbci.co.uk]", 1))
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got, err = c.SuggestOnly(t.Context(), "early", ""); err != nil || len(got.Add) != 1 || got.Add[0] != "d1.cloudfront.net" {
		t.Errorf("once some are allowed: %q, %v", got.Add, err)
	}
}

func TestAnErasureForgetsWhoAskedToo(t *testing.T) {
	s := newSchool(t)
	c := morning()
	s.startAt(c)
	s.ask("10.20.3.4", "www.example")
	s.ask("10.20.3.5", "www.example")
	dialled, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	e := breach.Erasure{Client: policy.ClientPattern{Addr: netip.MustParseAddr("10.20.3.4")}, From: c.now().Add(-time.Hour), To: c.now().Add(time.Hour), By: "dpo"}
	done, err := dialled.Erase(t.Context(), e)
	if err != nil || done.Clients != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, there := s.clientOf("10.20.3.4"); there {
		t.Error("it is still there")
	}
	if text := s.read(filepath.Join("data", clientsFile)); strings.Contains(text, "10.20.3.4") || !strings.Contains(text, "10.20.3.5") {
		t.Errorf("written down: %s", text)
	}
}
