package querylog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

func wantProblem(t testing.TB, d *desk, want string) {
	t.Helper()
	problems := d.Problems()
	switch {
	case want == "" && len(problems) > 0:
		t.Errorf("problems: %q", problems)
	case want != "" && !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, want) }):
		t.Errorf("problems %q, none has %q", problems, want)
	}
}

func TestADiskThatFailsStopsTheLogUntilItWorksAgain(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.ask(pupil, "before.example")
	d.mustTurn()
	put := d.files.put
	for _, fault := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		d.files.put = func(f *os.File, b []byte, at int64) (int, error) {
			_, err := put(f, b[:len(b)/2], at) // a part of it is there
			return len(b) / 2, errors.Join(fault, err)
		}
		d.ask(pupil, "meanwhile.example")
		if err := d.turn(t.Context(), true); !errors.Is(err, fault) {
			t.Fatalf("%v, want %v", err, fault)
		}
		wantProblem(t, d, "query log: questions can't be written, and wait in memory: "+fault.Error())
		if n := d.Status().Waiting; n != 1 {
			t.Errorf("%d wait", n)
		}
		d.files.put = put
		d.mustTurn()
		wantProblem(t, d, "")
	}
	wantNames(t, d.dir, "10.20.3.4", "before.example", "meanwhile.example", "meanwhile.example", "meanwhile.example")
}

func TestWhatWaitsForTheDiskIsBoundedAndItsLossIsCounted(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.files.put = func(*os.File, []byte, int64) (int, error) { return 0, syscall.ENOSPC }
	random := newNames()
	asked := 0
	for d.lost.Load() == 0 {
		for range maxLane {
			d.ask(other, random())
			asked++
		}
		_ = d.turn(t.Context(), false)
		if d.files.pendingBytes > maxPending {
			t.Fatalf("%d octets wait", d.files.pendingBytes)
		}
	}
	wantProblem(t, d, "questions were lost lately")
	if s := d.Status(); s.Waiting+int(s.Dropped) != asked || s.Dropped == 0 {
		t.Errorf("%d wait and %d are lost, of %d", s.Waiting, s.Dropped, asked)
	}
	d.files.put = newAppender("", nil).put
	d.mustTurn()
	d.now = d.now.Add(lossLasts)
	wantProblem(t, d, "")
}

func TestQuestionsThatComeTooFastAreCountedAsLost(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	for range maxLane + 5 {
		d.ask(pupil, "a.example")
	}
	d.mustTurn()
	if s := d.Status(); s.Dropped != 5 || len(names(t, d.dir, "10.20.3.4", time.Time{}, time.Time{})) != maxLane {
		t.Errorf("%d are lost, want 5", s.Dropped)
	}
}

func TestTheDiskIsNeverFilled(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	free := int64(90 << 20)
	d.files.space = func(string) (int64, int64, error) { return free, 1000 << 20, nil }
	d.ask(pupil, "a.example")
	if err := d.turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), "almost full: its last 100 MiB are left to others") {
		t.Errorf("written to a disk that is almost full: %v", err)
	}
	free = 200 << 20
	d.mustTurn()
	wantNames(t, d.dir, "10.20.3.4", "a.example")
}

// On a real disk that is full: a file system of 1 MiB in memory, which only root can make.
func TestAFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	d := open(t, dir, fullSettings())
	d.files.space = func(string) (int64, int64, error) { return 1 << 40, 1 << 41, nil } // what it says of itself would stop it before
	d.ask(pupil, "first.example")
	d.mustTurn()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("not full: %v", err)
	}
	random := newNames()
	for range 5000 {
		d.ask(other, random())
	}
	d.ask(pupil, "second.example")
	if err := d.turn(t.Context(), true); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("written to a full disk: %v", err)
	}
	wantProblem(t, d, "no space left on device")
	wantNames(t, dir, "10.20.3.4", "first.example")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	d.mustTurn()
	wantProblem(t, d, "")
	wantNames(t, dir, "10.20.3.4", "first.example", "second.example")
	if err := d.files.close(); err != nil {
		t.Error(err)
	}
	if err := d.counting.close(); err != nil {
		t.Error(err)
	}
}

func TestAFileThatSomebodyTakesAwayIsMadeAgain(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.ask(pupil, "gone.example")
	d.mustTurn()
	if err := os.RemoveAll(Dir(d.dir)); err != nil {
		t.Fatal(err)
	}
	d.ask(pupil, "here.example")
	d.mustTurn()
	wantNames(t, d.dir, "10.20.3.4", "here.example")
}

func TestADaysQuestionsGoWhenAllAreOlderThanTheRetention(t *testing.T) {
	s := fullSettings()
	s.Retention = 2 * dayTime
	d := open(t, t.TempDir(), s)
	ask := func(day, hour int, name string) {
		d.now = time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC)
		d.ask(pupil, name)
		d.mustTurn()
	}
	ask(20, 0, "first.example")
	ask(20, 23, "second.example")
	ask(21, 12, "third.example")
	ask(22, 23, "fourth.example") // the youngest of the 20th is not two days old
	wantNames(t, d.dir, "10.20.3.4", "first.example", "second.example", "third.example", "fourth.example")
	ask(23, 0, "fifth.example")
	wantNames(t, d.dir, "10.20.3.4", "third.example", "fourth.example", "fifth.example")

	// The clock going back deletes nothing, and a new start looks at once.
	ask(19, 0, "wrong-clock.example")
	wantNames(t, d.dir, "10.20.3.4", "wrong-clock.example", "third.example", "fourth.example", "fifth.example")
	later := open(t, d.dir, s)
	later.now = time.Date(2026, 11, 25, 1, 0, 0, 0, time.UTC)
	later.mustTurn()
	wantNames(t, d.dir, "10.20.3.4", "fifth.example")

	// A reload that shortens it counts at once.
	later.now = time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	s.Retention = dayTime
	later.Apply(s)
	later.mustTurn()
	wantNames(t, d.dir, "10.20.3.4")
	got := slices.Concat(d.deleted, later.deleted)
	want := []string{
		"retention.queries: 1 file deleted: 2026-11-20: their time is over",
		"retention.queries: 3 files deleted: 2026-11-19, 2026-11-21, 2026-11-22: their time is over",
		"retention.queries: 1 file deleted: 2026-11-23: their time is over",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audited (-want +got):\n%s", diff)
	}
}

func TestAboveTheSizeTheOldestDayGoesAndOneDayStops(t *testing.T) {
	s := fullSettings()
	s.MaxBytes = 60_000
	d := open(t, t.TempDir(), s)
	random := newNames()
	for day := range 4 {
		d.now = noon.AddDate(0, 0, day)
		for range 1000 {
			d.ask(other, random())
		}
		d.mustTurn()
	}
	status := d.Status()
	if status.Bytes > s.MaxBytes || status.Files >= 4 || status.Files < 1 || status.Dropped > 0 {
		t.Errorf("above the size: %+v", status)
	}
	if len(d.deleted) == 0 || !strings.HasPrefix(d.deleted[0], "retention.queries: 1 file deleted: 2026-11-20: the files reached store.query_log_mb") {
		t.Errorf("audited: %q", d.deleted)
	}
	for range 10_000 {
		d.ask(other, random())
	}
	if err := d.turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), "one day's questions have reached store.query_log_mb") {
		t.Errorf("a day above the size: %v", err)
	}
	if files, err := days(Dir(d.dir)); err != nil || len(files) != 1 || files[0].bytes > s.MaxBytes {
		t.Errorf("files %v: %v", files, err)
	}
}

func TestAnErasureThatWasKilledLeavesNothingBehind(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.ask(pupil, "a.example")
	d.mustTurn()
	left := filepath.Join(Dir(d.dir), "2026-11-20.log.new")
	if err := os.WriteFile(left, []byte(preface), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := open(t, d.dir, fullSettings()).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stays: %v", err)
	}
	wantNames(t, d.dir, "10.20.3.4", "a.example")
}

func TestAFaultOfTheLogDoesNotStopTheProgram(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	d.Question(0, policy.Question{Policy: d.policy, Group: 99, Name: []byte("\x00")}) // there is no such group
	if err := d.turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("%v", err)
	}
	d.ask(pupil, "a.example")
	d.mustTurn()
	wantNames(t, d.dir, "10.20.3.4", "a.example")
}
