package querylog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

var (
	noon  = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	pupil = policy.Client{Addr: netip.MustParseAddr("10.20.3.4"), MAC: "00:11:22:33:44:55", Name: "y7-ipad-4", User: "p.smith"}
	other = policy.Client{Addr: netip.MustParseAddr("10.20.3.5")}
)

// school is a policy with two groups, an ordinary category and a confidential one.
func school(t testing.TB) *policy.Policy {
	t.Helper()
	sources := []blocklist.Source{
		{ID: "lists/gaming", Category: 0, List: blocklist.ListOf(key(t, "games.example"))},
		{ID: "lists/iwf", Category: 1, List: blocklist.ListOf(key(t, "unspeakable.example"))},
	}
	p, err := policy.Compile(policy.Spec{
		Categories: []policy.Category{{Name: "gaming", Severity: policy.SeverityLow}, {Name: "iwf", Locked: true, Confidential: true}},
		Groups:     []policy.Group{{Name: "year7"}, {Name: "staff"}}, DefaultGroup: "year7",
	}, blocklist.Build(sources), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func key(t testing.TB, name string) blocklist.Name {
	t.Helper()
	n, err := blocklist.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// desk is a Log whose turns the test takes, with its clock.
type desk struct {
	*Log
	t       testing.TB
	dir     string
	now     time.Time
	policy  *policy.Policy
	totals  []Count
	deleted []string
}

func fullSettings() Settings {
	return Settings{Mode: Full, Retention: 7 * dayTime, CountsRetention: 365 * dayTime, MaxBytes: 1 << 30}
}

func open(t testing.TB, dir string, s Settings) *desk {
	t.Helper()
	d := &desk{t: t, dir: dir, now: noon, policy: school(t)}
	var err error
	d.Log, err = New(Options{
		DataDir: dir, Settings: s, Now: func() time.Time { return d.now }, Counts: func() []Count { return d.totals },
		Deleted: func(_ context.Context, what, why, detail string) {
			d.deleted = append(d.deleted, what+": "+detail+": "+why)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ask puts a question at the desk's time.
func (d *desk) ask(c policy.Client, name string) {
	d.t.Helper()
	d.Question(0, policy.Question{
		Time: d.now, Client: c, Policy: d.policy, Category: policy.CategoryNone, Type: 1, Transport: "udp", Outcome: "allowed", Name: []byte(key(d.t, name)),
	})
}

func (d *desk) mustTurn() {
	d.t.Helper()
	if err := d.turn(d.t.Context(), true); err != nil {
		d.t.Fatal(err)
	}
}

// names are those that a client asked for, in the order of the export.
func names(t testing.TB, dir, client string, from, to time.Time) (found []string) {
	t.Helper()
	err := NewReader(dir, nil).Export(t.Context(), client, from, to, func(q Question) error {
		found = append(found, strings.TrimSuffix(q.Query.Name, "."))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantNames(t testing.TB, dir, client string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, names(t, dir, client, time.Time{}, time.Time{})); diff != "" {
		t.Errorf("what %s asked (-want +got):\n%s", client, diff)
	}
}

func TestAQuestionIsKeptAsItWasAsked(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.Question(3, policy.Question{
		Time: noon.Add(218 * time.Millisecond), Client: pupil, Policy: d.policy, Group: 1, Category: 0, Type: 65280, Transport: "doh", Outcome: "blocked",
		Name: []byte("\x04a=.b\x05games\x07example\x00"), Listed: blocklist.Categories(0).With(0),
	})
	d.mustTurn()
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	want := Question{
		Time: "2026-11-20T12:00:00.218+00:00", Client: Client{"10.20.3.4", "00:11:22:33:44:55", "y7-ipad-4", "p.smith"}, Group: "staff",
		Query: Query{`a\061\046b.games.example.`, "TYPE65280", "doh"}, Outcome: "blocked", Category: "gaming",
	}
	for _, client := range []string{
		"10.20.3.4", "::ffff:10.20.3.4", "00:11:22:33:44:55", "00-11-22-33-44-55", "mac:00:11:22:33:44:55", "y7-ipad-4", "name:Y7-iPad-4", "p.smith", "user:P.Smith",
	} {
		found := []Question{}
		err := NewReader(d.dir, london).Export(t.Context(), client, time.Time{}, time.Time{}, func(q Question) error { found = append(found, q); return nil })
		if diff := cmp.Diff([]Question{want}, found); err != nil || diff != "" {
			t.Errorf("of client %s: %v (-want +got):\n%s", client, err, diff)
		}
	}
	for _, client := range []string{"10.20.3.5", "name:p.smith", "user:y7-ipad-4", "mac:y7-ipad-4", "smith", ""} {
		if found := names(t, d.dir, client, time.Time{}, time.Time{}); found != nil {
			t.Errorf("client %q is another one, and has %v", client, found)
		}
	}
	for path, mode := range map[string]fs.FileMode{Dir(d.dir): 0o700, filepath.Join(Dir(d.dir), "2026-11-20.log"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, want %v (%v)", path, info.Mode().Perm(), mode, err)
		}
	}
}

// Whatever is asked, by whom and when, is found again by client and span; and erased, it is gone, and nothing else is.
func TestTheLogHasWhatAMapHas(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		s := fullSettings()
		s.Retention = 100 * dayTime
		d := open(t, dir, s)
		clients := []policy.Client{pupil, other, {Addr: netip.MustParseAddr("fe80::1%eth0"), User: "p.smith"}}
		type asked struct {
			at     time.Time
			client int
			name   string
		}
		var all []asked
		for range rapid.IntRange(1, 60).Draw(rt, "questions") {
			q := asked{
				noon.Add(time.Duration(rapid.IntRange(-40*3600_000, 40*3600_000).Draw(rt, "at")) * time.Millisecond),
				rapid.IntRange(0, 2).Draw(rt, "client"), rapid.SampledFrom([]string{"a.example", "b.example", "www.c.example", "."}).Draw(rt, "name"),
			}
			all = append(all, q)
			d.now = q.at
			d.ask(clients[q.client], q.name)
			if rapid.IntRange(0, 5).Draw(rt, "turn") == 0 {
				d.mustTurn()
			}
		}
		d.mustTurn()
		draw := func(what string) time.Time {
			return noon.Add(time.Duration(rapid.IntRange(-40, 40).Draw(rt, what)) * time.Hour)
		}
		check := func(who string, has func(int) bool, from, to time.Time) {
			var want []string
			slices.SortStableFunc(all, func(a, b asked) int { return a.at.Compare(b.at) })
			for _, q := range all {
				if has(q.client) && !q.at.Before(from) && q.at.Before(to) {
					want = append(want, q.at.Format(time.StampMilli)+" "+q.name)
				}
			}
			var got []string
			err := NewReader(dir, nil).Export(t.Context(), who, from, to, func(q Question) error {
				at, err := time.Parse(time.RFC3339, q.Time)
				name := q.Query.Name
				if name != "." {
					name = strings.TrimSuffix(name, ".")
				}
				got = append(got, at.UTC().Format(time.StampMilli)+" "+name)
				return err
			})
			slices.Sort(want) // equal times stand in any order
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				rt.Fatalf("%s from %v to %v: %v (-want +got):\n%s", who, from, to, err, diff)
			}
		}
		far := 1000 * dayTime
		check("10.20.3.4", func(c int) bool { return c == 0 }, draw("from"), draw("to"))
		check("user:p.smith", func(c int) bool { return c != 1 }, draw("from"), draw("to"))

		from, to := draw("erase from"), draw("erase to")
		n, err := Erase(t.Context(), dir, "p.smith", from, to)
		if err != nil {
			rt.Fatal(err)
		}
		before := len(all)
		all = slices.DeleteFunc(all, func(q asked) bool { return q.client != 1 && !q.at.Before(from) && q.at.Before(to) })
		if n != before-len(all) {
			rt.Fatalf("%d were erased, want %d", n, before-len(all))
		}
		check("p.smith", func(c int) bool { return c != 1 }, noon.Add(-far), noon.Add(far))
		check("10.20.3.5", func(c int) bool { return c == 1 }, noon.Add(-far), noon.Add(far))
	})
}

func TestALinkLocalAddressIsTheSameOnEveryInterface(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.ask(policy.Client{Addr: netip.MustParseAddr("fe80::1%eth0")}, "a.example")
	d.mustTurn()
	wantNames(t, d.dir, "fe80::1", "a.example")
	wantNames(t, d.dir, "fe80::1%eth1", "a.example")
}

func TestAnExportIsInTheOrderOfTimeWhateverTheClockDid(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	for _, minute := range []int{0, 10, 5, 1, 20, -800, 15} { // -800: the day before
		d.now = noon.Add(time.Duration(minute) * time.Minute)
		d.ask(pupil, fmt.Sprintf("m%d.example", minute+900))
		d.mustTurn()
	}
	wantNames(t, d.dir, "10.20.3.4", "m100.example", "m900.example", "m901.example", "m905.example", "m910.example", "m915.example", "m920.example")
}

func TestTheDayOfAClockChangeHasEachHourOnce(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, t.TempDir(), fullSettings())
	d.now = time.Date(2026, 10, 24, 22, 30, 0, 0, time.UTC) // 23:30, and the clock goes back at 2
	for range 6 {
		d.ask(pupil, "a.example")
		d.mustTurn()
		d.now = d.now.Add(time.Hour)
	}
	var got []string
	err = NewReader(d.dir, london).Export(t.Context(), "10.20.3.4", time.Time{}, time.Time{}, func(q Question) error {
		got = append(got, q.Time)
		return nil
	})
	want := []string{
		"2026-10-24T23:30:00.000+01:00", "2026-10-25T00:30:00.000+01:00", "2026-10-25T01:30:00.000+01:00",
		"2026-10-25T01:30:00.000+00:00", "2026-10-25T02:30:00.000+00:00", "2026-10-25T03:30:00.000+00:00",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if files, err := days(Dir(d.dir)); err != nil || len(files) != 2 {
		t.Errorf("%d files, want one for each day: %v", len(files), err)
	}
}

func TestOnlyFullKeepsQuestions(t *testing.T) {
	s := fullSettings()
	s.Mode = Counts
	d := open(t, t.TempDir(), s)
	d.ask(pupil, "before.example")
	d.mustTurn()
	if _, err := os.Stat(Dir(d.dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("query_log: counts has a directory of questions: %v", err)
	}
	s.Mode = Full
	d.Apply(s)
	d.ask(pupil, "full.example")
	s.Mode = None
	d.Apply(s)
	d.ask(pupil, "after.example")
	d.mustTurn()
	wantNames(t, d.dir, "10.20.3.4", "full.example") // and what was written down stays until its time is over
	d.now = d.now.Add(9 * dayTime)
	d.mustTurn()
	wantNames(t, d.dir, "10.20.3.4")
}

// A confidential name, and what tells it, is in no file in any form.
func TestAConfidentialNameIsWrittenNowhere(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.ask(pupil, "unspeakable.example")
	d.ask(pupil, "www.UNSPEAKABLE.example")
	d.ask(pupil, "unspeakable.example.school.internal") // what a device asks when it is told that there is none
	d.ask(pupil, "cdn.unspeakable.example.a.b.c")
	d.ask(pupil, "unspeakable.invalid") // another name
	d.Question(0, policy.Question{      // its answer leads to one
		Time: d.now, Client: pupil, Policy: d.policy, Category: policy.CategoryNone, Name: []byte(key(t, "innocent.example")), Listed: blocklist.Categories(0).With(1),
	})
	d.mustTurn()
	hidden := strings.TrimSuffix(Confidential, ".")
	wantNames(t, d.dir, "10.20.3.4", hidden, hidden, hidden, hidden, "unspeakable.invalid", hidden)
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, b := range unpacked(t, path) {
			text = append(text, b...)
		}
		for _, secret := range []string{"unspeakable.example", "unspeakable\x07example", "innocent"} {
			if strings.Contains(strings.ToLower(string(text)), secret) {
				t.Errorf("%s holds %q", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// unpacked are the parts of a file of questions as they are without compression; none of another file.
func unpacked(t testing.TB, path string) (parts [][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := scan(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range s.blocks {
		body, err := b.body(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range [][]byte{body[:b.clients], body[b.clients:]} {
			var u unpacker
			if err := u.begin(part); err != nil {
				t.Fatal(err)
			}
			parts = append(parts, []byte(u.left))
		}
	}
	return parts
}

func TestAnErasedClientIsInNoFile(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	for range 3 {
		d.ask(pupil, "only-the-pupil.example")
		d.ask(other, "both.example")
		d.mustTurn()
		d.now = d.now.Add(20 * time.Hour)
	}
	d.ask(pupil, "in-memory.example")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	n, err := d.Erase(t.Context(), "p.smith", time.Time{}, time.Time{})
	if err != nil || n != 4 {
		t.Errorf("%d were erased, want 4: %v", n, err)
	}
	d.ask(other, "afterwards.example")
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantNames(t, d.dir, "10.20.3.4")
	wantNames(t, d.dir, "10.20.3.5", "both.example", "both.example", "both.example", "afterwards.example")
	files, err := days(Dir(d.dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, part := range unpacked(t, f.path) {
			for _, trace := range []string{"pupil", "p.smith", "10.20.3.4", "in-memory"} {
				if strings.Contains(string(part), trace) {
					t.Errorf("%s holds %q", f.path, trace)
				}
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(Dir(d.dir), "*.new")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if _, err := d.Erase(t.Context(), "p.smith", time.Time{}, time.Time{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
