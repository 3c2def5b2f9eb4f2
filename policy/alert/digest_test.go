package alert

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

var schoolDays = Times{Days: 0b0111110, Minute: 15*60 + 45}

func TestWhenADigestIsDue(t *testing.T) {
	zone := london(t)
	for what, c := range map[string]struct {
		times      Times
		now, wants string
	}{
		"at its minute": {schoolDays, "2026-11-20T15:45:00Z", "2026-11-20T15:45:00Z"},
		"a moment before, it is the day before's":       {schoolDays, "2026-11-20T15:44:59Z", "2026-11-19T15:45:00Z"},
		"on Sunday it is Friday's":                      {schoolDays, "2026-11-22T20:00:00Z", "2026-11-20T15:45:00Z"},
		"once a week, on the day before":                {Times{1 << time.Friday, 945}, "2026-11-26T23:00:00Z", "2026-11-20T15:45:00Z"},
		"in summer by summer time":                      {schoolDays, "2026-07-01T15:00:00Z", "2026-07-01T14:45:00Z"},
		"the Sunday on which clocks go forward":         {Times{1 << time.Sunday, 945}, "2026-03-29T20:00:00Z", "2026-03-29T14:45:00Z"},
		"the Sunday on which they go back":              {Times{1 << time.Sunday, 945}, "2026-10-25T20:00:00Z", "2026-10-25T15:45:00Z"},
		"an hour that does not happen is an hour later": {Times{1 << time.Sunday, 90}, "2026-03-29T12:00:00Z", "2026-03-29T01:30:00Z"},
		"... and not before":                            {Times{1 << time.Sunday, 90}, "2026-03-29T01:29:59Z", "2026-03-22T01:30:00Z"},
		"an hour that happens twice: the first":         {Times{1 << time.Sunday, 90}, "2026-10-25T00:45:00Z", "2026-10-25T00:30:00Z"},
		"... and not the second":                        {Times{1 << time.Sunday, 90}, "2026-10-25T05:00:00Z", "2026-10-25T00:30:00Z"},
		"before the clocks change in that night":        {Times{1 << time.Sunday, 30}, "2026-10-25T05:00:00Z", "2026-10-24T23:30:00Z"},
		"after the clocks have changed in that night":   {Times{1 << time.Sunday, 180}, "2026-03-29T02:00:00Z", "2026-03-29T02:00:00Z"},
		"24:00 is the day's end":                        {Times{1 << time.Friday, 24 * 60}, "2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z"},
		"... and so not due an hour before":             {Times{1 << time.Friday, 24 * 60}, "2026-11-20T23:00:00Z", "2026-11-14T00:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		must(t, err)
		if got := c.times.last(now, zone).UTC().Format(time.RFC3339); got != c.wants {
			t.Errorf("%s: at %s the last is %s, want %s", what, c.now, got, c.wants)
		}
	}
	if got := (Times{}).last(tenPast, zone); !got.IsZero() {
		t.Errorf("never is %v", got)
	}
}

// ledger is a Register in memory, in which there is always an incident.
type ledger struct {
	now    func() time.Time
	told   map[string]breach.Told
	alerts map[string]breach.Alert // by ID
	spans  [][2]time.Time          // that were told
	names  []breach.NameCount      // of each incident
	fails  int                     // how many of the next Digests fail, after they have been stored
}

var errLate = errors.New("the disk is slow")

func (l *ledger) Flush(context.Context) error { return nil }
func (l *ledger) Head() breach.Head           { return breach.Head{Seq: 42, Hash: "abc"} }

func (l *ledger) Told(_ context.Context, route string) (breach.Told, error) {
	if _, known := l.told[route]; !known {
		l.told[route] = breach.Told{Until: l.now(), Nonce: "nonce"}
	}
	return l.told[route], nil
}

func (l *ledger) Happened(_ context.Context, from, to time.Time, yield func(breach.Digestible) error) error {
	l.spans = append(l.spans, [2]time.Time{from, to})
	return yield(breach.Digestible{Seq: 1, ID: "01A", Severity: "low", Category: "gaming", Title: "Gaming", Group: "year7", Count: 2, First: from, Last: from})
}

func (l *ledger) Unclosed(context.Context, time.Time, func(breach.Digestible) error) error {
	return nil
}

func (l *ledger) NamesOf(_ context.Context, d *breach.Digestible) ([]breach.NameCount, error) {
	if d.Confidential {
		return nil, nil
	}
	return l.names, nil
}

func (l *ledger) Digest(_ context.Context, route string, told breach.Told, alerts ...breach.Alert) error {
	l.told[route] = told
	for _, a := range alerts {
		if _, known := l.alerts[a.ID]; !known {
			l.alerts[a.ID] = a
		}
	}
	if l.fails > 0 {
		l.fails--
		return errLate
	}
	return nil
}

// TestEachDigestIsSentOnceAtItsTime goes through a year of school days in London with both changes of the clocks,
// with a schoolgate that is started anew every few days, and a disk that fails now and then.
func TestEachDigestIsSentOnceAtItsTime(t *testing.T) {
	zone, random := london(t), rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 1, 5, 12, 0, 0, 0, zone)
	book := &ledger{now: func() time.Time { return now }, told: map[string]breach.Told{}, alerts: map[string]breach.Alert{}}
	start := func() *Dispatcher {
		config := school()
		config.Calendar.Zone = zone
		d, err := New(Options{Config: config, Outbox: newMemory(), Register: book, Now: book.now})
		must(t, err)
		return d
	}
	d := start()
	want := 0
	for end := now.AddDate(1, 0, 0); now.Before(end); now = now.Add(5 * time.Minute) {
		if random.IntN(600) == 0 {
			d = start()
		}
		if random.IntN(100) == 0 {
			book.fails = 1
		}
		if err := d.Digest(t.Context()); err != nil && !errors.Is(err, errLate) {
			t.Fatal(err)
		}
		if local := now.In(zone); local.Hour() == 15 && local.Minute() == 45 && local.Weekday() != time.Saturday && local.Weekday() != time.Sunday {
			want++
		}
		if len(book.alerts) != want {
			t.Fatalf("%v: %d digests, want %d", now.In(zone), len(book.alerts), want)
		}
	}
	if want < 255 {
		t.Fatalf("only %d school days", want)
	}
	for i := range book.spans[1:] {
		// Where the disk failed the same is told once more, under the same id.
		if gap := book.spans[i+1][0]; gap != book.spans[i][1] && gap != book.spans[i][0] {
			t.Errorf("a digest begins at %v, the one before ended at %v", gap, book.spans[i][1])
		}
	}
}

func TestAfterATimeWithoutSchoolgateOneDigestTellsOfAll(t *testing.T) {
	zone := london(t)
	now := time.Date(2026, 11, 16, 12, 0, 0, 0, zone) // Monday
	book := &ledger{now: func() time.Time { return now }, told: map[string]breach.Told{}, alerts: map[string]breach.Alert{}}
	config := school()
	config.Calendar.Zone = zone
	at := func(when time.Time, want int) {
		t.Helper()
		d, err := New(Options{Config: config, Outbox: newMemory(), Register: book, Now: book.now})
		must(t, err)
		now = when
		must(t, d.Digest(t.Context()))
		must(t, d.Digest(t.Context()))
		if len(book.alerts) != want {
			t.Errorf("at %v there are %d digests, want %d", now, len(book.alerts), want)
		}
	}
	begun := now
	at(now, 0)
	at(time.Date(2026, 11, 19, 9, 0, 0, 0, zone), 1) // Monday's to Wednesday's were missed
	if span := book.spans[0]; !span[0].Equal(begun) || !span[1].Equal(time.Date(2026, 11, 18, 15, 45, 0, 0, zone)) {
		t.Errorf("it tells of %v", span)
	}
	at(time.Date(2026, 11, 19, 15, 45, 0, 0, zone), 2)
	at(time.Date(2026, 11, 19, 15, 30, 0, 0, zone), 2) // the clock goes back
	at(time.Date(2026, 11, 19, 15, 46, 0, 0, zone), 2)
	at(time.Date(2036, 11, 19, 15, 46, 0, 0, zone), 3) // a wrong clock
	at(time.Date(2026, 11, 20, 9, 0, 0, 0, zone), 3)   // that is put right
	at(time.Date(2026, 11, 20, 15, 45, 0, 0, zone), 4)
}

// lists is a policy whose lists hold one name each, named after the category.
func lists(t testing.TB) *policy.Policy {
	t.Helper()
	all := []string{"gaming", "gambling", "iwf"}
	spec := policy.Spec{
		Access: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Categories: []policy.Category{
			{Name: "gaming", Title: "Gaming", Severity: policy.SeverityLow},
			{Name: "gambling", Title: "Gambling <!channel> [x](http://evil.example)\n=1+1", Severity: policy.SeverityMedium},
			{Name: "iwf", Title: "Illegal", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
		},
		Groups: []policy.Group{
			{Name: "year7", Clients: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, Block: all},
			{Name: "staff", Clients: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Block: all, AlertTo: []string{"headteacher"}, AlertToSet: true},
		},
		DefaultGroup: "year7",
	}
	var sources []blocklist.Source
	for i, c := range spec.Categories {
		n, err := blocklist.ParseName(c.Name + ".example")
		must(t, err)
		sources = append(sources, blocklist.Source{ID: c.Name, Category: blocklist.Category(i), List: blocklist.ListOf(n)})
	}
	p, err := policy.Compile(spec, blocklist.Build(sources), true)
	must(t, err)
	return p
}

// gathering is a record with a Dispatcher that sends digests of it, and a clock.
type gathering struct {
	*breach.Log
	*Dispatcher
	dir    string
	policy *policy.Policy
	moment atomic.Pointer[time.Time] // the record looks at it beside the test
}

func (g *gathering) clock() time.Time { return *g.moment.Load() }

func (g *gathering) set(now time.Time) { g.moment.Store(&now) }

func gather(t *testing.T, config Config) *gathering {
	t.Helper()
	g := &gathering{dir: t.TempDir(), policy: lists(t)}
	g.set(time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC))
	l, err := breach.Open(breach.Options{
		Path: filepath.Join(g.dir, "breach.db"), Settings: breach.Settings{Site: "winchelsea", Quiet: time.Minute}, Now: g.clock,
		Router: breach.RouterFunc(func(n breach.Notice) []breach.Alert { return g.Route(n) }),
	})
	must(t, err)
	g.Log = l
	g.Dispatcher, err = New(Options{Config: config, Outbox: l, Register: l, Now: g.clock})
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	must(t, g.Dispatcher.Digest(t.Context())) // from here on there is something to gather
	return g
}

func (g *gathering) ask(t *testing.T, client, name string, times int) {
	t.Helper()
	n, err := blocklist.ParseName(name)
	must(t, err)
	addr := netip.MustParseAddr(client)
	group, _ := g.policy.Identify(addr)
	for range times {
		g.Record(policy.Event{
			Time: g.clock(), Client: policy.Client{Addr: addr}, Policy: g.policy, Verdict: g.policy.Decide(group, []byte(n), g.clock()), Name: n, Type: 1, Transport: "udp",
		})
	}
	must(t, g.Tick(t.Context()))
}

// digestsAt returns what was put into the outbox until a moment, by receiver, without what is told at once.
func (g *gathering) digestsAt(t *testing.T, now time.Time) map[string]digestData {
	t.Helper()
	g.set(now)
	must(t, g.Dispatcher.Digest(t.Context()))
	db, err := sql.Open("sqlite", filepath.Join(g.dir, "breach.db"))
	must(t, err)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT receiver, body FROM outbox WHERE type = 'digest' AND created = ?", now.UnixMilli())
	must(t, err)
	defer rows.Close()
	all := map[string]digestData{}
	for rows.Next() {
		var receiver string
		var body []byte
		must(t, rows.Scan(&receiver, &body))
		if len(body) > maxBody {
			t.Errorf("a digest of %d bytes", len(body))
		}
		var m struct{ Data digestData }
		must(t, json.Unmarshal(body, &m))
		if _, twice := all[receiver]; twice {
			t.Errorf("%s is sent two digests", receiver)
		}
		if m.Data.Chain.Seq == 0 {
			t.Error("a digest without the chain's head")
		}
		all[receiver] = m.Data
	}
	must(t, rows.Err())
	return all
}

// inDigest is what is compared of an incident in a digest.
type inDigest struct {
	Category, Group, State, Age string
	Count                       int64
	IP                          string
	Names                       []breach.NameCount
}

func inShort(all []digestIncident) (short []inDigest) {
	for _, i := range all {
		s := inDigest{i.Category, i.Group, i.State, i.Age, i.Count, "", i.Names}
		if i.Client != nil {
			s.IP = i.Client.IP
		}
		short = append(short, s)
	}
	return short
}

func TestWhatADigestSays(t *testing.T) {
	config := school()
	config.Routes = append(config.Routes, Route{To: []string{"it"}, Digest: Times{1 << time.Friday, 16 * 60}}) // weekly, thin
	g := gather(t, config)
	at := func(hour, minute int) time.Time { return time.Date(2026, 11, 20, hour, minute, 0, 0, time.UTC) }
	g.ask(t, "10.20.0.1", "a.gaming.example", 3)
	g.ask(t, "10.20.0.1", "b.gaming.example", 1)
	g.ask(t, "10.20.0.2", "gambling.example", 1)
	g.ask(t, "10.20.0.3", "iwf.example", 2)
	g.ask(t, "10.1.0.9", "gaming.example", 1)
	g.set(at(15, 44))
	g.ask(t, "10.20.0.1", "a.gaming.example", 2) // it goes on over the time of the digest
	g.set(at(15, 46))
	g.ask(t, "10.20.0.1", "a.gaming.example", 4)

	friday := g.digestsAt(t, at(15, 50))
	dsl := friday["dsl"]
	want := "From Fri 20 Nov 09:00 to Fri 20 Nov 15:45 devices asked for what the school blocks or watches 7 times, in 3 incidents.\n" +
		"Gaming, group year7: 6 times, in 2 incidents.\n" +
		"Gambling <!channel> [x](http://evil.example) =1+1, group year7: once, in 1 incident.\n" +
		"3 incidents are not closed yet, the oldest of which came 6 hours ago."
	if diff := cmp.Diff(want, dsl.Message); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]inDigest{
		{"gambling", "year7", "new", "6 hours", 1, "10.20.0.2", []breach.NameCount{{Name: "gambling.example", Count: 1}}},
		{"gaming", "year7", "new", "6 hours", 4, "10.20.0.1", []breach.NameCount{{Name: "a.gaming.example", Count: 3}, {Name: "b.gaming.example", Count: 1}}},
		{"gaming", "year7", "new", "6 minutes", 2, "10.20.0.1", []breach.NameCount{{Name: "a.gaming.example", Count: 6}}},
	}, inShort(dsl.Incidents)); diff != "" {
		t.Errorf("with detail: full: %s", diff)
	}
	if head := friday["headteacher"]; head.Count != 1 || len(head.Incidents) != 1 || head.Incidents[0].Group != "staff" || head.Incidents[0].Client != nil {
		t.Errorf("the head is told of staff, in thin: %+v", head)
	}
	weekly := g.digestsAt(t, at(16, 0))["it"]
	if diff := cmp.Diff([]inDigest{
		{"iwf", "year7", "new", "7 hours", 2, "", nil},
		{"gambling", "year7", "new", "7 hours", 1, "", nil},
		{"gaming", "year7", "new", "16 minutes", 6, "", nil},
		{"gaming", "year7", "new", "7 hours", 4, "", nil},
	}, inShort(weekly.Incidents)); diff != "" {
		t.Errorf("thin: %s", diff)
	}

	// What is told on Monday: what came after the time of Friday's digest, and what is still open.
	for _, i := range dsl.Incidents {
		if i.Category == "gambling" {
			must(t, g.CloseIncident(t.Context(), i.Incident, "dsl", "no_concern", ""))
		}
	}
	monday := g.digestsAt(t, time.Date(2026, 11, 23, 15, 45, 0, 0, time.UTC))
	dsl = monday["dsl"]
	if diff := cmp.Diff([]inDigest{{"gaming", "year7", "new", "3 days", 4, "10.20.0.1", []breach.NameCount{{Name: "a.gaming.example", Count: 6}}}}, inShort(dsl.Incidents)); diff != "" {
		t.Errorf("Monday: %s", diff)
	}
	if diff := cmp.Diff([]inDigest{
		{"gaming", "year7", "new", "3 days", 4, "10.20.0.1", []breach.NameCount{{Name: "a.gaming.example", Count: 3}, {Name: "b.gaming.example", Count: 1}}},
	}, inShort(dsl.Open)); diff != "" {
		t.Errorf("Monday, still open: %s", diff)
	}
	if dsl.OpenCount != 2 {
		t.Errorf("%d are open", dsl.OpenCount)
	}
}

func TestNothingIsSentWhereNothingHappenedAndNothingIsOpen(t *testing.T) {
	g := gather(t, school())
	if sent := g.digestsAt(t, time.Date(2026, 11, 20, 15, 45, 0, 0, time.UTC)); len(sent) != 0 {
		t.Errorf("sent was %v", sent)
	}
	g.set(g.clock().Add(time.Hour))
	g.ask(t, "10.20.0.1", "gaming.example", 1)
	sent := g.digestsAt(t, time.Date(2026, 11, 23, 15, 45, 0, 0, time.UTC))
	if sent["dsl"].IncidentCount != 1 {
		t.Fatalf("sent was %v", sent)
	}
	sent = g.digestsAt(t, time.Date(2026, 11, 24, 15, 45, 0, 0, time.UTC))
	if d := sent["dsl"]; d.IncidentCount != 0 || d.OpenCount != 1 || !strings.Contains(d.Message, "nothing new came.\nOne incident is not closed yet; it came 3 days ago.") {
		t.Errorf("what is open is told of again: %+v", d)
	}
	must(t, g.CloseIncident(t.Context(), sent["dsl"].Open[0].Incident, "dsl", "spoken_to", ""))
	if sent := g.digestsAt(t, time.Date(2026, 11, 25, 15, 45, 0, 0, time.UTC)); len(sent) != 0 {
		t.Errorf("sent was %v", sent)
	}
}

func TestADigestOfALotIsWithinItsSize(t *testing.T) {
	g := gather(t, school())
	for i := range 1000 {
		g.ask(t, fmt.Sprintf("10.20.%d.%d", i/200, i%200), strings.Repeat("a-very-long-label-of-a-name.", 7)+"gaming.example", 1)
	}
	d := g.digestsAt(t, time.Date(2026, 11, 20, 15, 45, 0, 0, time.UTC))["dsl"] // which checks the size
	if d.Count != 1000 || d.IncidentCount != 1000 || d.OpenCount != 1000 || len(d.Incidents) == 0 {
		t.Errorf("it tells of %d in %d incidents, lists %d, and %d are open", d.Count, d.IncidentCount, len(d.Incidents), d.OpenCount)
	}
}

func TestRoutesThatMatchTheSameAreOne(t *testing.T) {
	config := school()
	config.Routes = append(config.Routes, Route{Severities: []string{"low", "medium"}, To: []string{"it"}, Digest: schoolDays})
	g := gather(t, config)
	g.ask(t, "10.20.0.1", "gaming.example", 1)
	sent := g.digestsAt(t, time.Date(2026, 11, 20, 15, 45, 0, 0, time.UTC))
	if len(sent) != 2 || sent["dsl"].Count != 1 || sent["it"].Count != 1 {
		t.Errorf("sent was %v", sent)
	}
	if !slices.Equal(slices.Sorted(maps.Keys(config.digestRoutes())), []string{"severity low medium, days 0111110 at minute 945"}) {
		t.Error("they are two")
	}
}

// digestLetter is the letter of a digest of two days, of incidents with a title.
func digestLetter(t testing.TB, full bool, title string) Letter {
	t.Helper()
	config := school()
	config.Calendar.Zone = london(t)
	if title == hostile {
		config.Site = hostile
	}
	page := newDigestPage(tenPast.AddDate(0, 0, -2), tenPast)
	book := &ledger{names: []breach.NameCount{{Name: "www.example.org", Count: 2}, {Name: title, Count: 1}}}
	i := breach.Digestible{
		Seq: 1, ID: "01JD3V5M8ZAAAAAAAAAAAAAAAA", Site: "winchelsea", Severity: "low", Category: "gaming", Title: title, Group: "year7", Action: "block",
		State: breach.StateNew, Client: policy.Client{Addr: pupil, Name: title, User: title}, Count: 3, First: tenPast.Add(-time.Hour), Last: tenPast.Add(-time.Minute),
	}
	older := i
	older.Seq, older.ID, older.Group, older.State, older.First = 2, "01JD3V5M8ZBBBBBBBBBBBBBBBB", title, breach.StateInHand, tenPast.AddDate(0, 0, -9)
	secret := i
	secret.Seq, secret.Severity, secret.Category, secret.Title, secret.Confidential = 3, "critical", "iwf", "Child sexual abuse (IWF list)", true
	for _, one := range []breach.Digestible{i, secret} {
		page.happened(&one)
		page.unclosed(&one)
	}
	page.unclosed(&older)
	body, err := page.body(t.Context(), book, &config, full, tenPast)
	must(t, err)
	return letter(body, config.zone())
}

func TestAlertmanagerIsSentNoDigest(t *testing.T) {
	config := school()
	config.Receivers = append(config.Receivers, Receiver{Name: "am", Type: TypeAlertmanager, URL: "http://127.0.0.1:9/"})
	config.Routes = append(config.Routes, Route{To: []string{"am"}, Digest: schoolDays})
	g := gather(t, config)
	g.ask(t, "10.20.0.1", "gaming.example", 1)
	if sent := g.digestsAt(t, time.Date(2026, 11, 20, 15, 45, 0, 0, time.UTC)); len(sent) != 1 {
		t.Errorf("sent was %v", sent)
	}
	got := g.deliver(t.Context(), config.receiver("am"), breach.Alert{Type: typeDigest}, nil) // one that is left from before
	if !got.delivered {
		t.Errorf("it is tried again: %+v", got)
	}
}

func TestAHostileDigestIsInert(t *testing.T) {
	l := digestLetter(t, true, hostile)
	m, err := newMail(&mailbox, "msg_1", l, "", "", "")
	must(t, err)
	forms := map[string]string{"mail": m.webpage}
	for _, kind := range []string{TypeTeams, TypeSlack, TypeGoogleChat} {
		forms[kind] = string(form(t, kind, l))
	}
	for kind, made := range forms {
		for _, bad := range []string{"<!channel", "<users/all", "<http", "http://evil", "\r\nBcc", "\u202e", "\x1b", "\x00", "<b>x"} {
			if strings.Contains(made, bad) {
				t.Errorf("%s: it has %q", kind, bad)
			}
		}
	}
}
