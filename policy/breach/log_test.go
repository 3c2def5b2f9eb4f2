package breach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"schoolgate/policy"
)

var ulid = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

func TestABreachIsStoredAsAsked(t *testing.T) {
	r, p := open(t), school(t, nil)
	e := ask(t, p, pupil, "WWW.Pornography.example", tenPast)
	e.Type, e.Transport = 65, "tcp"
	r.Record(e)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	got := r.breaches(t, Filter{})
	if len(got) != 1 || !ulid.MatchString(got[0].ID) || !ulid.MatchString(got[0].Incident) || got[0].ID == got[0].Incident {
		t.Fatalf("one breach with ULIDs is wanted: %+v", got)
	}
	want := Breach{
		ID: got[0].ID, Seq: 2, Time: "2026-11-20T10:10:00.000+00:00", Site: "winchelsea",
		Client: Client{IP: "10.20.3.4"}, Group: "year7",
		Query:    Query{Name: "www.pornography.example.", Type: "HTTPS", Transport: "tcp"},
		Category: "pornography", Categories: []string{"pornography"}, Severity: "high", Action: "block",
		Rule:  Rule{List: "lists/pornography", Entry: "pornography.example", Via: "name"},
		Count: 1, Last: "2026-11-20T10:10:00.000+00:00", Incident: got[0].Incident,
	}
	if diff := cmp.Diff([]Breach{want}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(verify(t, r.path), r.Head()); diff != "" {
		t.Error("the head is not that of the chain:", diff)
	}
}

func TestWhatIsRecorded(t *testing.T) {
	p := school(t, nil)
	t.Run("a monitored category is a breach that was let through", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "gambling.example")
		if got := r.breaches(t, Filter{}); len(got) != 1 || got[0].Action != "monitor" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("severity none leaves nothing", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "trackers.example")
		if got := count(t, r.path, "breach") + count(t, r.path, "incident"); got != 0 {
			t.Errorf("%d rows", got)
		}
	})
	t.Run("bytes that are not plain are escaped", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, `\060script\062\010\255a\.b.pornography.example`)
		got := r.breaches(t, Filter{})
		if want := `\060script\062\010\255a\046b.pornography.example.`; len(got) != 1 || got[0].Query.Name != want {
			t.Errorf("got %+v, want %s", got, want)
		}
	})
	t.Run("what is known of the device is kept apart", func(t *testing.T) {
		r := open(t)
		e := ask(t, p, pupil, "pornography.example", tenPast)
		e.Client = policy.Client{Addr: pupil, MAC: "00:11:22:33:44:55", Name: "y7-ipad-3", User: "kim"}
		r.Record(e)
		r.tick(t, 0)
		want := Client{IP: "10.20.3.4", MAC: "00:11:22:33:44:55", Name: "y7-ipad-3", User: "kim"}
		if got := r.breaches(t, Filter{}); len(got) != 1 || got[0].Client != want {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("a category that became more severe is a new breach of the same incident", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "gaming.example")
		stricter := school(t, func(s *policy.Spec) { s.Categories[gaming].Severity = policy.SeverityCritical })
		r.ask(t, stricter, pupil, "gaming.example")
		incidents := r.incidentsOf(t, Filter{})
		if len(incidents) != 1 || incidents[0].Severity != "critical" || incidents[0].Count != 2 {
			t.Errorf("got %+v", incidents)
		}
		var severities []string
		for _, b := range r.breaches(t, Filter{}) {
			severities = append(severities, b.Severity)
		}
		if diff := cmp.Diff([]string{"low", "critical"}, severities); diff != "" {
			t.Error(diff)
		}
		verify(t, r.path)
	})
}

func TestRepeats(t *testing.T) {
	p := school(t, nil)
	t.Run("are folded into the breach at once, and appended at the end of the minute", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "pornography.example", "pornography.example")
		r.clock.add(5 * time.Second)
		r.ask(t, p, pupil, "pornography.example")
		r.clock.add(1001 * time.Millisecond)
		r.ask(t, p, pupil, "pornography.example")

		want := []asked{{"10.20.3.4", "pornography.example.", 4}}
		got := r.breaches(t, Filter{})
		if diff := cmp.Diff(want, inShort(got)); diff != "" {
			t.Fatal(diff)
		}
		if got[0].Last != "2026-11-20T10:10:06.001+00:00" {
			t.Errorf("last is %s", got[0].Last)
		}
		if n := count(t, r.path, "repeat"); n != 0 {
			t.Errorf("%d repeats within the minute", n)
		}
		verify(t, r.path)

		r.tick(t, 54*time.Second)
		if n := count(t, r.path, "repeat"); n != 1 {
			t.Errorf("%d repeats after the minute, want one for all", n)
		}
		if diff := cmp.Diff(got, r.breaches(t, Filter{})); diff != "" {
			t.Error("appending repeats changed what is exported:", diff)
		}
		verify(t, r.path)
	})
	t.Run("Flush appends them at once", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "pornography.example")
		r.ask(t, p, pupil, "pornography.example")
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, r.path, "repeat"); n != 1 {
			t.Errorf("%d repeats", n)
		}
	})
	t.Run("another client, name or category is no repeat", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "pornography.example", "www.pornography.example", "gaming.example")
		r.ask(t, p, pupil2, "pornography.example")
		if got := r.breaches(t, Filter{}); len(got) != 4 {
			t.Errorf("got %+v", inShort(got))
		}
	})
	t.Run("a stop loses none", func(t *testing.T) {
		r := open(t)
		r.ask(t, p, pupil, "pornography.example")
		for range 500 {
			r.Record(ask(t, p, pupil, "pornography.example", tenPast))
		}
		r.Record(ask(t, p, pupil2, "pornography.example", tenPast))
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		want := []asked{{"10.20.3.4", "pornography.example.", 501}, {"10.20.3.5", "pornography.example.", 1}}
		if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
			t.Error(diff)
		}
		if n := count(t, r.path, "gathered"); n != 0 {
			t.Errorf("%d repeats were not appended", n)
		}
		verify(t, r.path)
	})
	t.Run("a restart knows the breach again", func(t *testing.T) {
		dir, c := t.TempDir(), newClock()
		r := start(t, dir, c, nil, nil)
		r.ask(t, p, pupil, "pornography.example")
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r = start(t, dir, c, nil, nil)
		r.ask(t, p, pupil, "pornography.example")
		if diff := cmp.Diff([]asked{{"10.20.3.4", "pornography.example.", 2}}, inShort(r.breaches(t, Filter{}))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAConfidentialNameIsWrittenNowhere(t *testing.T) {
	const secret = "oak-birch-elm"
	p := school(t, nil)
	for title, client := range map[string]netip.Addr{"of one device": pupil, "of a shared address": controller} {
		t.Run(title, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			r := start(t, dir, c, nil, nil)
			r.ask(t, p, client, secret+".iwf.example", secret+".iwf.example", "other."+secret+".iwf.example")
			r.ask(t, p, client, secret+".iwf.example")
			var names []NameCount
			for _, n := range r.router.take() {
				names = append(names, n.Names...)
			}
			if names != nil {
				t.Errorf("a notice has names: %v", names)
			}
			for _, b := range r.breaches(t, Filter{}) {
				if b.Query.Name != Confidential || b.Rule.Entry != Confidential || b.Rule.List != "lists/iwf" {
					t.Errorf("got %+v", b)
				}
			}
			want := []asked{{client.String(), Confidential, 3}, {client.String(), Confidential, 1}}
			if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
				t.Error(diff)
			}
			for _, i := range r.incidentsOf(t, Filter{}) {
				if len(i.Names) != 0 {
					t.Errorf("an incident has names: %v", i.Names)
				}
			}
			inFiles(t, dir, secret)
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			inFiles(t, dir, secret)

			r = start(t, dir, c, nil, nil)
			r.ask(t, p, client, secret+".iwf.example")
			if got := r.breaches(t, Filter{}); len(got) != 3 {
				t.Errorf("after a restart the name can't be known again, but there are %d rows", len(got))
			}
			verify(t, r.path)
			inFiles(t, dir, secret)
		})
	}
}

// inFiles fails the test if a file holds the text. The log beside it may rename the head file at any
// moment: a file that is gone is none, but one of them, the database, must be there.
func inFiles(t *testing.T, dir, text string) {
	t.Helper()
	searched := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return nil
		}
		var content []byte
		if err == nil {
			content, err = os.ReadFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		searched += len(content)
		if bytes.Contains(bytes.ToLower(content), []byte(text)) {
			t.Errorf("%s holds %q", filepath.Base(path), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if searched == 0 {
		t.Fatalf("nothing to search in %s", dir)
	}
}

func TestTheFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "breach.db"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, newClock(), nil, nil)
	r.ask(t, school(t, nil), pupil, "pornography.example")
	eventually(t, "the head file is there", func() bool {
		_, err := os.Stat(headPath(r.path))
		return err == nil
	})
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if len(entries) < 3 {
		t.Errorf("the log of the database is not beside it: %v", entries)
	}
}

func TestManyAtOnce(t *testing.T) {
	r, p := open(t), school(t, nil)
	const goroutines, each = 8, 500
	var clients sync.WaitGroup
	for g := range goroutines {
		clients.Go(func() {
			for i := range each {
				client := netip.AddrFrom4([4]byte{10, 20, 7, byte(g % 4)})
				r.Record(ask(t, p, client, fmt.Sprintf("n%d.pornography.example", i%50), tenPast))
			}
		})
	}
	clients.Wait()
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, total := r.breaches(t, Filter{}), int64(0)
	for _, b := range got {
		total += b.Count
	}
	if len(got) != 200 || total != goroutines*each {
		t.Errorf("%d breaches, counted %d; want 200, counted %d", len(got), total, goroutines*each)
	}
	incidents := r.incidentsOf(t, Filter{})
	if len(incidents) != 4 {
		t.Fatalf("%d incidents, want one for each client", len(incidents))
	}
	if i := incidents[0]; i.Count != 1000 || len(i.Names) != maxNames || i.Names[0].Count != 20 {
		t.Errorf("got %+v", i)
	}
	verify(t, r.path)
}

func expectMetric(t *testing.T, r *record, name, want string) {
	t.Helper()
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(want), name); err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	r, p := open(t), school(t, nil)
	help := `
		# HELP schoolgate_incidents_open Incidents that had a breach within the last hour.
		# TYPE schoolgate_incidents_open gauge
	`
	expectMetric(t, r, "schoolgate_incidents_open", help+`
		schoolgate_incidents_open{severity="critical"} 0
		schoolgate_incidents_open{severity="high"} 0
		schoolgate_incidents_open{severity="low"} 0
		schoolgate_incidents_open{severity="medium"} 0
	`)
	r.ask(t, p, pupil, "pornography.example", "gaming.example", "iwf.example")
	r.ask(t, p, pupil2, "pornography.example")
	expectMetric(t, r, "schoolgate_incidents_open", help+`
		schoolgate_incidents_open{severity="critical"} 1
		schoolgate_incidents_open{severity="high"} 2
		schoolgate_incidents_open{severity="low"} 1
		schoolgate_incidents_open{severity="medium"} 0
	`)
	r.tick(t, time.Hour)
	expectMetric(t, r, "schoolgate_incidents_open", help+`
		schoolgate_incidents_open{severity="critical"} 0
		schoolgate_incidents_open{severity="high"} 0
		schoolgate_incidents_open{severity="low"} 0
		schoolgate_incidents_open{severity="medium"} 0
	`)
	if problems, err := testutil.GatherAndLint(r.registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestTheWriterKeepsTimeByItself(t *testing.T) {
	dir := t.TempDir()
	p := school(t, nil)
	synctest.Test(t, func(t *testing.T) {
		router := &router{}
		l, err := Open(Options{Path: filepath.Join(dir, "breach.db"), Settings: Settings{Quiet: 10 * time.Minute}, Router: router})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		type at struct {
			After time.Duration
			told
		}
		var got []at
		began := time.Now()
		look := func() {
			for _, n := range router.take() {
				got = append(got, at{n.Time.Sub(began), told{n.Kind, n.Count}})
			}
		}

		l.Record(ask(t, p, pupil, "pornography.example", time.Now()))
		time.Sleep(gather)
		synctest.Wait()
		look()
		time.Sleep(time.Minute)
		l.Record(ask(t, p, pupil, "pornography.example", time.Now()))
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		look()
		want := []at{
			{gather, told{IncidentOpened, 1}},
			{gather + 10*time.Minute, told{IncidentContinued, 2}},
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(at{})); diff != "" {
			t.Error(diff)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAnOldPolicyIsNotHeldByItsIncidents(t *testing.T) {
	r := open(t)
	freed := make(chan struct{})
	func() {
		p := school(t, nil)
		runtime.AddCleanup(p, func(struct{}) { close(freed) }, struct{}{})
		r.ask(t, p, pupil, "pornography.example")
		r.ask(t, p, pupil, "pornography.example")
	}()
	deadline := time.After(10 * time.Second)
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-deadline:
			t.Fatal("the policy is still held")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestAClosedRecordRefuses(t *testing.T) {
	r, p := open(t), school(t, nil)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Flush: %v", err)
	}
	if _, err := r.Due(t.Context(), "dsl", tenPast, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("Due: %v", err)
	}
	r.Record(ask(t, p, pupil, "pornography.example", tenPast))
	if problems := r.Problems(); len(problems) != 1 || !strings.Contains(problems[0], "1 breaches were lost") {
		t.Errorf("a breach after the end was lost in silence: %v", problems)
	}
}

func TestQueryTypes(t *testing.T) {
	for number, want := range map[uint16]string{1: "A", 28: "AAAA", 65: "HTTPS", 255: "ANY", 0: "TYPE0", 65280: "TYPE65280"} {
		if got := policy.TypeName(number); got != want {
			t.Errorf("type %d is %q, want %q", number, got, want)
		}
	}
}

func TestULIDs(t *testing.T) {
	var u ulids
	last := ""
	for i, now := range []time.Time{tenPast, tenPast, tenPast.Add(time.Millisecond), tenPast.Add(-time.Hour), tenPast.Add(time.Hour)} {
		id := u.next(now)
		if !ulid.MatchString(id) || id <= last {
			t.Errorf("id %d is %q after %q", i, id, last)
		}
		last = id
	}
	t.Run("begin with the time of the specification's example", func(t *testing.T) {
		var u ulids
		if got := u.next(time.UnixMilli(1469918176385)); got[:10] != "01ARYZ6S41" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("count on over the end of the low half", func(t *testing.T) {
		u := ulids{high: uint64(tenPast.UnixMilli()) << 16, low: ^uint64(0)}
		if u.next(tenPast); u.low != 0 || u.high != uint64(tenPast.UnixMilli())<<16|1 {
			t.Errorf("got %x %x", u.high, u.low)
		}
	})
}

func expectMetricValue(t *testing.T, r *record, severity string, want float64) {
	t.Helper()
	s, _ := policy.ParseSeverity(severity)
	if got := testutil.ToFloat64(r.metrics.open[s]); got != want {
		t.Errorf("%v incidents of severity %s are open, want %v", got, severity, want)
	}
}
