package daemon

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy/breach"
)

func TestTheControlSocketTellsWhatRuns(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	if _, err := Dial(t.Context(), filepath.Join(s.dir, "data")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nothing runs: %v, want ErrNotRunning", err)
	}
	s.age("drugs.txt", "gaming.txt")
	s.start()
	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !got.Ready || !got.Healthy || got.Timezone != "Europe/London" || got.Site != "test" || got.PID == 0 || got.Config.Hash != s.Filter().Config.Hash {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(s.Addrs(), got.Listen, cmp.Comparer(func(a, b interface{ String() string }) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("listen (-want +got):\n%s", diff)
	}
	for i := range got.Lists {
		if got.Lists[i].AgeSeconds >= 3600 && got.Lists[i].AgeSeconds < 3700 {
			got.Lists[i].AgeSeconds, got.Lists[i].Modified = 3600, "an hour ago"
			if got.Lists[i].Checked == "" {
				t.Errorf("%s was never read", got.Lists[i].List)
			}
			got.Lists[i].Checked = ""
		}
	}
	builtin := func(category string) ListStatus {
		return ListStatus{Category: category, List: "builtin:" + category, Format: "domains", Entries: 1, State: "loaded", From: "source", SelfTest: true}
	}
	want := []ListStatus{
		builtin("iwf"), builtin("ctiru"),
		{Category: "drugs", List: "drugs.txt", Format: "domains", Entries: 1, Modified: "an hour ago", AgeSeconds: 3600, State: "loaded", Required: true, From: "source"},
		{Category: "gaming", List: "gaming.txt", Format: "domains", Entries: 1, Modified: "an hour ago", AgeSeconds: 3600, State: "loaded", From: "source"},
	}
	if diff := cmp.Diff(want, got.Lists); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	notes := []string{"iwf: the real list is not loaded (self-test name only)", "ctiru: the real list is not loaded (self-test name only)"}
	if diff := cmp.Diff(notes, got.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	s.stop()
	if _, err := Dial(t.Context(), filepath.Join(s.dir, "data")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the stop: %v, want ErrNotRunning", err)
	}
}

func TestExplainGoesByWhatIsInForce(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.stop()
	s.write("drugs.txt", "<html>gone</html>\n") // served from its last good copy now
	s.start()
	s.configure(edit("block: [gaming]", "block: []")) // and not reloaded
	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"pills.example", "games.example", "www.example.org"} {
		ex, err := client.Explain(t.Context(), name, "10.20.0.1", "")
		if err != nil {
			t.Fatal(err)
		}
		if !ex.Config.Changed || ex.Config.Path != s.path || ex.Waiting != nil {
			t.Errorf("%s: %+v", name, ex)
		}
		got[name] = ex.Verdict
	}
	if diff := cmp.Diff(map[string]string{"pills.example": "block", "games.example": "block", "www.example.org": "allow"}, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if _, err := client.Explain(t.Context(), "a..b", "pupil", "noon"); err == nil {
		t.Error("nonsense was explained")
	}
}

func TestAFlushHasEveryBreachWrittenDown(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.dig("games.example")
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := breach.OpenReader(filepath.Join(s.dir, "data", "breach.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []int64
	if err := r.Breaches(t.Context(), breach.Filter{}, func(b breach.Breach) error { got = append(got, b.Count); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{3}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestAnAlertThatIsNotThereIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.RetryAlert(t.Context(), "01NOSUCH"); err == nil || !strings.Contains(err.Error(), "01NOSUCH") {
		t.Errorf("got %v, want an error that names the alert", err)
	}
}

func TestTheControlSocketMayBeDeepInTheFileSystem(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	deep := strings.Repeat("long/", 30) + "data"
	s.configure(edit("data_dir: data", "data_dir: "+deep))
	s.start()
	client, err := Dial(t.Context(), filepath.Join(s.dir, deep))
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	s.stop()
	if _, err := Dial(t.Context(), filepath.Join(s.dir, deep)); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the stop: %v, want ErrNotRunning", err)
	}
}
