package daemon

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
)

// publisher serves a list over HTTP, until it is told to serve another.
type publisher struct {
	url   string
	asked atomic.Int32

	mu     sync.Mutex
	text   string
	status int
	hold   chan struct{} // until it is closed nobody is answered; nil for at once
}

func newPublisher(t *testing.T, text string) *publisher {
	t.Helper()
	p := &publisher{text: text, status: http.StatusOK}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.hold != nil {
			select {
			case <-p.hold:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(p.status)
		_, _ = w.Write([]byte(p.text))
	}))
	t.Cleanup(server.Close)
	p.url = server.URL + "/list.txt"
	return p
}

func (p *publisher) publish(status int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.text = status, text
}

// clock is one that is set by hand, and goes on by itself.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// pass lets time pass, and wakes what waits for it.
func (s *school) pass(c *clock, d time.Duration) {
	c.ahead.Add(int64(d))
	s.refresh.wake()
}

// startAt is start with a clock, and a refresher that does not rest.
func (s *school) startAt(c *clock) {
	s.t.Helper()
	o := s.options()
	o.Now = c.now
	d, err := New(s.t.Context(), o)
	if err != nil {
		s.t.Fatalf("New: %v", err)
	}
	d.refresh.rest = 0
	before := d.record.Head().Seq
	s.Daemon, s.stop = d, run(s.t, d)
	s.await(func() bool { return d.record.Head().Seq > before })
}

// fetched is the small school with a gaming list by URL, and further keys of it.
func fetched(p *publisher, keys string) string {
	return edit("{path: gaming.txt}", fmt.Sprintf("{url: %q%s}", p.url, keys))
}

// updateAll asks for every list, and takes up what came if it is not refused.
func (s *school) updateAll() {
	s.t.Helper()
	if _, err := s.updateLists(s.t.Context(), nil, "test"); err != nil && !errors.As(err, new(*Refused)) {
		s.t.Fatal(err)
	}
}

// list returns the status of a list.
func (s *school) list(id string) ListStatus {
	s.t.Helper()
	all := s.Filter().ListStatus(s.now())
	i := slices.IndexFunc(all, func(l ListStatus) bool { return l.List == id })
	if i < 0 {
		s.t.Fatalf("no list %s in %+v", id, all)
	}
	return all[i]
}

func TestAFetchedListIsServedAndRefreshedWithoutAReload(t *testing.T) {
	t.Parallel()
	p, c := newPublisher(t, "games.example\nchess.example\n"), new(clock)
	s := newSchool(t)
	s.configure(fetched(p, ""))
	s.startAt(c)
	s.await(func() bool { return s.list(p.url).State == "loaded" })
	if got := s.dig("chess.example") + ", " + s.dig("cards.example"); got != "NXDOMAIN EDE 15, 192.0.2.1" {
		t.Errorf("before it is published: %s", got)
	}
	l := s.list(p.url)
	if l.State != "loaded" || !l.Fetched || l.Checked == "" || l.Next <= l.Checked || l.Entries != 2 {
		t.Errorf("status: %+v", l)
	}
	p.publish(200, "games.example\nchess.example\ncards.example\n")
	asked := p.asked.Load()
	s.pass(c, 20*time.Hour)
	s.pass(c, 8*time.Hour)
	s.await(func() bool { return s.dig("cards.example") == "NXDOMAIN EDE 15" })
	if n := p.asked.Load() - asked; n != 1 {
		t.Errorf("asked %d times in a day", n)
	}
	s.await(func() bool { return len(s.acts()) == 3 })
	acts := s.acts()
	want := []string{
		"schoolgate | lists.update | list " + p.url + " of category gaming: 2 entries, before 0",
		"schoolgate | lists.update | list " + p.url + " of category gaming: 3 entries, before 2",
	}
	if diff := cmp.Diff(want, acts[1:]); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	if m := s.metric(fmt.Sprintf("schoolgate_list_last_check_timestamp_seconds{category=\"gaming\",list=%q}", p.url)); len(m) < 10 {
		t.Errorf("last check: %q", m)
	}

	// The last good copy serves at the next start, without the network.
	p.publish(500, "")
	s.stop()
	s.startAt(c)
	if got := s.dig("cards.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("after a start: %s", got)
	}
}

func TestARefusedVersionKeepsTheOldOneAndIsSaid(t *testing.T) {
	t.Parallel()
	p := newPublisher(t, "games.example\nchess.example\ncards.example\n")
	s := newSchool(t)
	yaml, it := s.withReceiver(fetched(p, ""))
	s.configure(yaml)
	s.start()
	s.await(func() bool { return s.list(p.url).State == "loaded" })
	for _, bad := range []struct {
		name, text, want string
		status           int
	}{
		{"cut down", "games.example\n", "refused: it has 1 entries, less than 70 % of the 3 before", 200},
		{"a web page", "<!DOCTYPE html><html><body>Sign in</body></html>", "not a list", 200},
		{"gone", "", "the server answered 404 Not Found", 404},
		{"too much", "games.example\nchess.example\ncards.example\nbbc.co.uk\n", "it blocks a name that must never be blocked: www.bbc.co.uk", 200},
	} {
		p.publish(bad.status, bad.text)
		s.updateAll()
		if l := s.list(p.url); !strings.Contains(l.Problem, bad.want) || l.State != "kept" || l.Entries != 3 {
			t.Errorf("%s: %+v", bad.name, l)
		}
		if got := s.dig("chess.example"); got != "NXDOMAIN EDE 15" {
			t.Errorf("%s: the version before: %s", bad.name, got)
		}
		code, body := s.get("/healthz")
		if code != 503 || !strings.HasPrefix(body, "list "+p.url+" of category gaming could not be refreshed and keeps its 3 entries of 20") || !strings.Contains(body, bad.want) {
			t.Errorf("%s: /healthz: %d %q", bad.name, code, body)
		}
		s.await(func() bool { return it.count("system", bad.want) == 1 })
	}
	if m := s.metric(fmt.Sprintf("schoolgate_list_update_failures_total{category=\"gaming\",list=%q}", p.url)); m != "4" {
		t.Errorf("failures: %s", m)
	}
	p.publish(200, "games.example\nchess.example\ncards.example\n")
	s.updateAll()
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("mended: %d %q", code, body)
	}
}

func TestARequiredListThatIsFetchedMakesReady(t *testing.T) {
	t.Parallel()
	p, c := newPublisher(t, ""), new(clock)
	p.publish(503, "")
	s := newSchool(t)
	yaml, it := s.withReceiver(fetched(p, ", required: true"))
	s.configure(yaml)
	s.startAt(c)
	s.await(func() bool { return p.asked.Load() == 1 && s.list(p.url).Checked != "" })
	if got := s.dig("www.example.org") + ", " + s.dig("pills.example"); got != "SERVFAIL EDE 14, NXDOMAIN EDE 15" {
		t.Errorf("without it: %s", got)
	}
	s.await(func() bool { return it.count("system", "is required and has never been there") == 1 })
	if n := it.count("system", "not fetched yet"); n != 0 {
		t.Errorf("that it was about to be fetched was alerted %d times", n)
	}
	s.retake()
	s.retake()
	if n := p.asked.Load(); n != 1 {
		t.Errorf("looking for it on disk asked the server: %d times", n)
	}
	p.publish(200, "games.example\n")
	s.pass(c, 2*time.Minute)
	s.await(func() bool { return s.Filter().Policy.Ready() })
	if got := s.dig("www.example.org") + ", " + s.dig("games.example"); got != "192.0.2.1, NXDOMAIN EDE 15" {
		t.Errorf("with it: %s", got)
	}
	s.await(func() bool {
		acts := s.acts()
		return strings.HasPrefix(acts[len(acts)-1], "schoolgate | lists.complete | ")
	})
}

func TestThatAListIsAboutToBeFetchedIsNoProblem(t *testing.T) {
	t.Parallel()
	p, c := newPublisher(t, "games.example\n"), new(clock)
	p.hold = make(chan struct{})
	p.publish(503, "")
	s := newSchool(t)
	s.configure(fetched(p, ""))
	s.startAt(c)
	s.await(func() bool { return p.asked.Load() == 1 })
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("before the server has answered: %d %q", code, body)
	}
	const notYet = "not fetched yet; schoolgate fetches it once it runs"
	if l := s.list(p.url); l.State != "missing" || l.Problem != notYet {
		t.Errorf("status: %+v", l)
	}
	_, warned := s.Filter().ListProblems()
	if want := "list " + p.url + ": " + notYet; len(warned) != 1 || warned[0].Problem != want || warned[0].Hint != "" {
		t.Errorf("warnings: %q, want %q", warned, want)
	}
	close(p.hold)
	const failed = "is missing: the server answered 503"
	fails := func() bool {
		_, body := s.get("/healthz")
		return strings.Contains(body, failed)
	}
	s.await(fails)

	// So it is with each start: what failed before it may be mended.
	s.stop()
	if n := strings.Count(s.log.String(), notYet); n != 1 {
		t.Errorf("said %d times in the log:\n%s", n, s.log)
	}
	p.publish(503, "")
	p.hold = make(chan struct{})
	asked := p.asked.Load()
	s.startAt(c)
	s.await(func() bool { return p.asked.Load() > asked })
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("after a start, before the server has answered: %d %q", code, body)
	}
	close(p.hold)
	s.await(fails)
}

func TestAReloadFetchesTheRequiredListThatItAdds(t *testing.T) {
	t.Parallel()
	p := newPublisher(t, "games.example\nchess.example\n")
	s := newSchool(t)
	s.start()
	s.configure(fetched(p, ", required: true"))
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got := s.dig("chess.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("got %s", got)
	}
	// Where that fails the reload is refused; a list that is there already needs no server.
	p.publish(404, "")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Errorf("with the list there: %v", err)
	}
	other := newPublisher(t, "")
	other.publish(404, "")
	s.configure(fetched(other, ", required: true"))
	if r := s.refusal(); len(r) != 1 || !strings.Contains(r[0], "the server answered 404") {
		t.Errorf("refused with %q", r)
	}
}

func TestAReloadAndAStopDoNotWaitForAFetch(t *testing.T) {
	t.Parallel()
	p := newPublisher(t, "games.example\n")
	p.hold = make(chan struct{})
	s := newSchool(t)
	s.configure(fetched(p, ""))
	s.start()
	s.await(func() bool { return p.asked.Load() == 1 })
	s.write("drugs.txt", "pills.example\npowder.example\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got := s.dig("powder.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("got %s", got)
	}
	s.stop() // before the server has answered
}

func TestAListThatAReloadAddsIsFetchedAtOnce(t *testing.T) {
	t.Parallel()
	p := newPublisher(t, "games.example\nchess.example\n")
	s := newSchool(t)
	s.startAt(new(clock))
	s.configure(fetched(p, ""))
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	s.await(func() bool { return s.dig("chess.example") == "NXDOMAIN EDE 15" })
}

func TestATrialEndsByTheClock(t *testing.T) {
	t.Parallel()
	c := new(clock)
	s := newSchool(t)
	s.configure(edit("{path: gaming.txt}", "{path: gaming.txt, trial: 7d}"))
	s.startAt(c)
	if got := s.dig("games.example"); got != "192.0.2.1" {
		t.Errorf("on trial: %s", got)
	}
	l := s.list("gaming.txt")
	if !l.OnTrial || l.TrialEnds == "" || s.metric(`schoolgate_list_on_trial{category="gaming",list="gaming.txt"}`) != "1" {
		t.Errorf("status on trial: %+v", l)
	}
	s.pass(c, 7*24*time.Hour-time.Minute)
	s.pass(c, 2*time.Minute)
	s.await(func() bool { return s.dig("games.example") == "NXDOMAIN EDE 15" })
	if l := s.list("gaming.txt"); l.OnTrial || l.TrialEnds != "" {
		t.Errorf("status afterwards: %+v", l)
	}
	s.await(func() bool { return len(s.acts()) == 2 })
	acts := s.acts()
	if want := "schoolgate | lists.update | list gaming.txt of category gaming: 1 entry, before 1; its trial is over"; acts[len(acts)-1] != want {
		t.Errorf("audit: %q", acts)
	}
}

func TestATrialThatIsConfirmedIsOver(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(edit("{path: gaming.txt}", "{path: gaming.txt, trial: 7d}"))
	s.start()
	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ list, category, by, want string }{
		{"nosuch.txt", "", "jo", "the configuration has no list nosuch.txt (lists status shows those it has)"},
		{"drugs.txt", "", "jo", "list drugs.txt has no trial"},
		{"gaming.txt", "drugs", "jo", "category drugs has no list gaming.txt (lists status shows those it has)"},
		{"gaming.txt", "", " ", "who confirms it?"},
	} {
		if err := client.ConfirmTrial(t.Context(), c.list, c.category, c.by); err == nil || err.Error() != c.want {
			t.Errorf("%+v: got %v", c, err)
		}
	}
	if err := client.ConfirmTrial(t.Context(), "gaming.txt", "gaming", "jo"); err != nil {
		t.Fatal(err)
	}
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("confirmed: %s", got)
	}
	want := []string{
		"jo | lists.confirm | list gaming.txt of category gaming is not on trial any more",
		"jo | lists.update | list gaming.txt of category gaming: 1 entry, before 1; its trial is over",
	}
	if diff := cmp.Diff(want, s.acts()[1:]); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	s.stop()
	s.start()
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("after a start: %s", got)
	}
}

func TestListsThatWouldEmptyALockedCategoryAreRefused(t *testing.T) {
	t.Parallel()
	p := newPublisher(t, "https://games.example/\nhttps://games.example/a/b\n")
	s := newSchool(t)
	yaml, it := s.withReceiver(edit("{path: gaming.txt}", fmt.Sprintf("{url: %q, format: urls, min_share: 0}", p.url),
		"severity: low, lists", "severity: low, locked: true, lists"))
	s.configure(yaml)
	s.start()
	s.await(func() bool { return s.dig("games.example") == "NXDOMAIN EDE 15" })
	p.publish(200, "https://games.example/a/b\n") // nothing that DNS can block
	s.updateAll()
	const why = "the lists on disk were refused; those before serve on: the locked category gaming had 2 entries and has none"
	s.await(func() bool { return it.count("system", why) == 1 })
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("the lists before: %s", got)
	}
	if code, body := s.get("/healthz"); code != 503 || !strings.HasPrefix(body, why) {
		t.Errorf("/healthz: %d %q", code, body)
	}
	s.updateAll() // and again, with nothing new
	onRecord := slices.DeleteFunc(s.acts(), func(a string) bool { return !strings.Contains(a, " | lists.refused | ") })
	if diff := cmp.Diff([]string{"test | lists.refused | the locked category gaming had 2 entries and has none"}, onRecord); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	p.publish(200, "https://games.example/\n")
	s.updateAll()
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("mended: %d %q", code, body)
	}
}

func TestANotifyOfAZoneHasItAskedForAtOnce(t *testing.T) {
	t.Parallel()
	var serial atomic.Uint32
	serial.Store(1)
	var asked atomic.Int32
	primary := newNameserver(t, func(_ string, q, r *dns.Msg) {
		soa := fmt.Sprintf("rpz.example. 60 IN SOA ns.example. h.example. %d 3600 600 86400 60", serial.Load())
		lines := []string{soa}
		switch q.Question[0].Qtype {
		case dns.TypeSOA:
			asked.Add(1)
		case dns.TypeIXFR:
			r.Rcode = dns.RcodeNotImplemented
			return
		case dns.TypeAXFR:
			lines = append(lines, fmt.Sprintf("games%d.example.rpz.example. 60 IN CNAME .", serial.Load()), soa)
		}
		for _, line := range lines {
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Error(err)
			}
			r.Answer = append(r.Answer, rr)
		}
		r.Authoritative = true
	})
	s := newSchool(t)
	s.configure(edit("{path: gaming.txt}", fmt.Sprintf("{zone: {name: rpz.example, servers: [%q]}}", primary.addr)))
	s.startAt(new(clock))
	s.await(func() bool { return s.dig("games1.example") == "NOERROR EDE 15" })

	serial.Store(2)
	notify := func(zone string) int {
		q := new(dns.Msg)
		q.SetNotify(zone)
		r, err := dns.Exchange(q, s.Addrs().DNS[0].String())
		if err != nil {
			t.Fatal(err)
		}
		return r.Rcode
	}
	if got := notify("rpz.example."); got != dns.RcodeSuccess {
		t.Errorf("NOTIFY: %s", dns.RcodeToString[got])
	}
	s.await(func() bool { return s.dig("games2.example") == "NOERROR EDE 15" })
	before := asked.Load()
	if got := notify("other.example."); got != dns.RcodeNotImplemented {
		t.Errorf("NOTIFY of another zone: %s", dns.RcodeToString[got])
	}
	zone, err := blocklist.ParseName("rpz.example")
	if err != nil {
		t.Fatal(err)
	}
	if s.notified(zone, netip.MustParseAddr("127.0.0.2")) {
		t.Error("NOTIFY of another machine was taken")
	}
	if n := asked.Load(); n != before {
		t.Errorf("asked for %d times more", n-before)
	}
}

func TestListsAreUpdatedOverTheControlSocket(t *testing.T) {
	t.Parallel()
	p, other := newPublisher(t, "games.example\n"), newPublisher(t, "a.example\n")
	s := newSchool(t)
	s.configure(edit("{path: gaming.txt}", fmt.Sprintf("{url: %q}, {url: %q}, {path: gaming.txt}", p.url, other.url)))
	s.startAt(new(clock))
	s.await(func() bool { return s.list(p.url).State == "loaded" && s.list(other.url).State == "loaded" })
	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	p.publish(200, "games.example\nchess.example\nnot a name?!\n")
	other.publish(500, "")
	told := 0
	got, err := client.UpdateLists(t.Context(), nil, func(feed.Progress) { told++ })
	if err != nil || told == 0 {
		t.Fatalf("told %d times how far it is: %v", told, err)
	}
	want := []UpdatedList{
		{Category: "gaming", List: p.url, Outcome: "updated", Changed: true, Bytes: 41, Entries: 2, Skipped: 1},
		{Category: "gaming", List: other.url, Outcome: "kept", Error: "the server answered 500 Internal Server Error", Entries: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if got := s.dig("chess.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("in force: %s", got)
	}
	asked := other.asked.Load()
	got, err = client.UpdateLists(t.Context(), []string{p.url}, nil)
	if err != nil || len(got) != 1 || got[0].Changed || got[0].Outcome != "up_to_date" || other.asked.Load() != asked {
		t.Errorf("one: %+v %v", got, err)
	}
	got, err = client.UpdateLists(t.Context(), []string{"gaming"}, nil)
	if err != nil || len(got) != 2 || other.asked.Load() == asked {
		t.Errorf("a category: %+v %v", got, err)
	}
	for id, want := range map[string]string{
		"nosuch.txt": "the configuration has no list nosuch.txt (lists status shows those it has)",
		"gaming.txt": "list gaming.txt is not fetched from anywhere (lists compile reads files again)",
		"drugs":      "no list of category drugs is fetched from anywhere (lists compile reads files again)",
	} {
		if _, err := client.UpdateLists(t.Context(), []string{id}, nil); err == nil || err.Error() != want {
			t.Errorf("%s: %v", id, err)
		}
	}

	// A file is read again, without a reload of the configuration.
	s.write("gaming.txt", "games.example\ncards.example\n")
	compiled, err := client.CompileLists(t.Context(), nil)
	if err != nil || !strings.HasPrefix(compiled.Summary, "1 group, 4 categories, ") || len(compiled.Lists) != 6 {
		t.Errorf("compile: %+v %v", compiled, err)
	}
	if got := s.dig("cards.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("in force: %s", got)
	}
}
