package querylog

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// counted are the counts of a data directory, a line each.
func counted(t testing.TB, dir string) (lines []string) {
	t.Helper()
	err := ReadCounts(t.Context(), dir, nil, time.Time{}, time.Time{}, func(c HourCount) error {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %d", c.Hour, c.Group, c.Outcome, c.Category, c.Count))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func wantCounts(t testing.TB, dir string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, counted(t, dir)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func countSettings(mode string) Settings {
	s := fullSettings()
	s.Mode = mode
	return s
}

func TestQuestionsAreCountedInTheirHour(t *testing.T) {
	d := open(t, t.TempDir(), countSettings(Counts))
	look := func(at time.Duration, allowed, blocked uint64) {
		d.now = noon.Add(at)
		d.totals = []Count{{"year7", "allowed", "", allowed}, {"year7", "blocked", "gaming", blocked}, {"staff", "allowed", "", 0}}
		if err := d.turn(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	look(10*time.Second, 5, 0)
	look(20*time.Second, 7, 1)
	wantCounts(t, d.dir, "2026-11-20T12:00:00Z year7 allowed  5") // the rest waits for the minute
	look(59*time.Minute+55*time.Second, 10, 1)
	wantCounts(t, d.dir, "2026-11-20T12:00:00Z year7 allowed  10", "2026-11-20T12:00:00Z year7 blocked gaming 1")
	look(time.Hour, 13, 1) // in the last five seconds of the hour
	look(time.Hour+10*time.Second, 14, 1)
	look(time.Hour+2*time.Minute, 14, 2)
	wantCounts(t, d.dir, "2026-11-20T12:00:00Z year7 allowed  13", "2026-11-20T12:00:00Z year7 blocked gaming 1",
		"2026-11-20T13:00:00Z year7 allowed  1", "2026-11-20T13:00:00Z year7 blocked gaming 1")

	// After a start the totals begin anew, and what is stored stays.
	if err := d.counting.close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, d.dir, countSettings(Counts))
	again.now, again.totals = noon.Add(90*time.Minute), []Count{{"year7", "allowed", "", 2}}
	again.mustTurn()
	got := counted(t, d.dir)
	if len(got) != 4 || got[2] != "2026-11-20T13:00:00Z year7 allowed  3" {
		t.Errorf("after a start: %q", got)
	}
	if info, err := os.Stat(CountsPath(d.dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}

func TestNoneKeepsNoCounts(t *testing.T) {
	d := open(t, t.TempDir(), countSettings(None))
	set := func(at time.Duration, mode string, n uint64) {
		d.now = noon.Add(at)
		d.totals = []Count{{"year7", "allowed", "", n}}
		if mode != "" {
			d.Apply(countSettings(mode))
		}
		d.mustTurn()
	}
	set(time.Minute, "", 100)
	if _, err := os.Stat(CountsPath(d.dir)); !os.IsNotExist(err) {
		t.Errorf("none has a database: %v", err)
	}
	set(2*time.Minute, Counts, 110) // up to here it was none
	set(3*time.Minute, "", 117)
	set(4*time.Minute, None, 120) // up to here it was counts
	set(5*time.Minute, "", 1000)
	wantCounts(t, d.dir, "2026-11-20T12:00:00Z year7 allowed  10")
}

func TestCountsThatCannotBeStoredWait(t *testing.T) {
	d := open(t, t.TempDir(), countSettings(Counts))
	if err := os.Mkdir(CountsPath(d.dir), 0o700); err != nil { // nothing can be stored there
		t.Fatal(err)
	}
	d.totals = []Count{{"year7", "allowed", "", 4}}
	if err := d.turn(t.Context(), true); err == nil {
		t.Error("stored in a directory")
	}
	wantProblem(t, d, "the hourly counts can't be stored, and wait in memory")
	if err := os.Remove(CountsPath(d.dir)); err != nil {
		t.Fatal(err)
	}
	d.totals = []Count{{"year7", "allowed", "", 6}}
	d.mustTurn()
	wantProblem(t, d, "")
	wantCounts(t, d.dir, "2026-11-20T12:00:00Z year7 allowed  6")
}

func TestADamagedDatabaseOfCountsIsMovedAside(t *testing.T) {
	d := open(t, t.TempDir(), countSettings(Counts))
	garbage := strings.Repeat("no database. ", 1000)
	if err := os.WriteFile(CountsPath(d.dir), []byte(garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	d.totals = []Count{{"year7", "allowed", "", 4}}
	d.mustTurn() // retention finds it, then it is made anew
	wantCounts(t, d.dir, "2026-11-20T12:00:00Z year7 allowed  4")
	if kept, err := os.ReadFile(CountsPath(d.dir) + ".damaged"); err != nil || string(kept) != garbage {
		t.Errorf("it was not kept: %v", err)
	}

	// While it is in use too.
	d.mustTurn()
	if err := d.counting.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(CountsPath(d.dir), []byte(garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	d.totals[0].N = 5
	if err := d.turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), "damaged, moved to") {
		t.Errorf("%v", err)
	}
	d.mustTurn()
	wantCounts(t, d.dir, "2026-11-20T12:00:00Z year7 allowed  1")
}

func TestCountsGoWhenTheirTimeIsOver(t *testing.T) {
	s := countSettings(Counts)
	s.CountsRetention = 3 * dayTime
	d := open(t, t.TempDir(), s)
	for day := range 4 {
		d.now = noon.Add(time.Duration(day) * dayTime)
		d.totals = []Count{{"year7", "allowed", "", uint64(day + 1)}}
		d.mustTurn()
	}
	d.now = d.now.Add(13 * time.Hour) // another day
	d.mustTurn()
	wantCounts(t, d.dir, "2026-11-21T12:00:00Z year7 allowed  1", "2026-11-22T12:00:00Z year7 allowed  1", "2026-11-23T12:00:00Z year7 allowed  1")
	if len(d.deleted) != 1 || d.deleted[0] != "retention.counts: 1 rows of hourly counts deleted: their time is over" {
		t.Errorf("audited: %q", d.deleted)
	}
	var after []string
	err := ReadCounts(t.Context(), d.dir, nil, noon.Add(dayTime), noon.Add(2*dayTime), func(c HourCount) error { after = append(after, c.Hour); return nil })
	if err != nil || len(after) != 1 || after[0] != "2026-11-21T12:00:00Z" {
		t.Errorf("a span has %q (%v)", after, err)
	}
}
