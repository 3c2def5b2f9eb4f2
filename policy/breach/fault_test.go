package breach

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// eventually waits for the writer, which tries again by the real clock.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not: " + what)
		}
	}
}

// wantProblem fails the test unless there is one problem, with each of the parts.
func (r *record) wantProblem(t testing.TB, parts ...string) {
	t.Helper()
	problems := r.Problems()
	if len(problems) != 1 {
		t.Fatalf("problems are %q", problems)
	}
	for _, p := range parts {
		if !strings.Contains(problems[0], p) {
			t.Errorf("problem %q does not say %q", problems[0], p)
		}
	}
}

// TestADatabaseThatCannotBeUsed breaks the database in one way after the other, records, mends it, and
// looks for all that was recorded.
func TestADatabaseThatCannotBeUsed(t *testing.T) {
	for what, fault := range map[string]struct {
		damage func(t *testing.T, path string)
		repair func(t *testing.T, path string)
		says   []string
	}{
		"the directory is missing": {
			func(t *testing.T, path string) { must(t, os.Remove(filepath.Dir(path))) },
			func(t *testing.T, path string) { must(t, os.Mkdir(filepath.Dir(path), 0o700)) },
			[]string{"no such file or directory", "make the directory of data_dir"},
		},
		"the file is a directory": {
			func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) },
			func(t *testing.T, path string) { must(t, os.Remove(path)) },
			[]string{"is not a regular file"},
		},
		"the file is of a newer program": {
			func(t *testing.T, path string) {
				must(t, os.WriteFile(path, nil, 0o600))
				_, err := raw(t, path).ExecContext(t.Context(), "PRAGMA user_version = 99")
				must(t, err)
			},
			func(t *testing.T, path string) { must(t, os.Rename(path, path+".aside")) },
			[]string{"written by a newer schoolgate (schema 99, this one knows 7)", "install that version again"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			must(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "breach.db")
			fault.damage(t, path)
			p := school(t, nil)
			r := start(t, dir, newClock(), nil, nil)
			for i := range 10 {
				r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast))
				r.Record(ask(t, p, pupil, "n0.pornography.example", tenPast))
			}
			r.wantProblem(t, append(fault.says, path, "waiting in memory: 10")...)
			if err := r.Tick(t.Context()); err == nil {
				t.Error("Tick says that all is stored")
			}
			if _, err := r.Due(t.Context(), "dsl", tenPast, 1); err == nil {
				t.Error("Due says that nothing is due")
			}

			fault.repair(t, path)
			eventually(t, "no problem", func() bool { return len(r.Problems()) == 0 && r.Head().Seq == 11 })
			if got := r.breaches(t, Filter{}); len(got) != 10 || got[0].Count != 11 || got[0].Query.Name != "n0.pornography.example." {
				t.Errorf("got %+v", inShort(got))
			}
			if diff := cmp.Diff([]told{{IncidentOpened, 20}}, r.told()); diff != "" {
				t.Error(diff)
			}
			if got := testutil.ToFloat64(r.metrics.dropped); got != 0 {
				t.Errorf("%v were lost", got)
			}
			if files := asides(t, dir); len(files) > 0 {
				t.Errorf("%v were moved aside", files)
			}
			if got := testutil.ToFloat64(r.metrics.writeFailures); got == 0 {
				t.Error("no failure was counted")
			}
			verify(t, path)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// full opens databases that may not grow while the flag is set.
func full(path string, limited *atomic.Bool) func(context.Context) (*store, error) {
	return func(ctx context.Context) (*store, error) {
		if limited.Load() {
			return openStore(ctx, path, "max_page_count(1)") // which SQLite takes as: no more than now
		}
		return openStore(ctx, path)
	}
}

func TestAFullDisk(t *testing.T) {
	var limited atomic.Bool
	p := school(t, nil)
	r := start(t, t.TempDir(), newClock(), nil, func(l *Log) { l.open = full(l.path, &limited) })
	r.ask(t, p, pupil, "pornography.example", "www.pornography.example")
	limited.Store(true)
	reopen(t, r)

	for i := range 5000 { // more than the free space of the pages that are there
		r.Record(ask(t, p, pupil2, fmt.Sprintf("n%d.pornography.example", i), tenPast))
	}
	eventually(t, "the disk is full", func() bool { return len(r.Problems()) == 1 })
	r.wantProblem(t, "database or disk is full", "make room on the disk", "waiting in memory: 5000")
	for i := range 200 { // the data path goes on
		r.Record(ask(t, p, controller, fmt.Sprintf("n%d.gaming.example", i), tenPast))
	}
	r.wantProblem(t, "waiting in memory: 5200")
	if got := r.breaches(t, Filter{}); len(got) != 2 {
		t.Errorf("%d breaches of a transaction that failed are there", len(got)-2)
	}
	if message := <-r.system; !strings.HasPrefix(message, "The breach record can't be written.") {
		t.Errorf("people are told %q", message)
	}
	if files := asides(t, filepath.Dir(r.path)); len(files) > 0 {
		t.Errorf("%v were moved aside", files)
	}

	limited.Store(false)
	eventually(t, "all is stored", func() bool { return len(r.Problems()) == 0 && len(r.breaches(t, Filter{})) == 5202 })
	verify(t, r.path)
}

// reopen has the writer throw its connection away, as after any failure.
func reopen(t *testing.T, r *record) {
	t.Helper()
	failed := errors.New("made to fail")
	err := r.request(t.Context(), request{do: func(context.Context, *turn) error { return failed }})
	if !errors.Is(err, failed) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "open again", func() bool { return r.Tick(t.Context()) == nil })
}

func TestWhatIsWrittenToAFileThatWasTakenAwayIsNotLost(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		must(t, os.Rename(r.path+suffix, r.path+".aside"+suffix))
	}
	r.Record(ask(t, p, pupil2, "gaming.example", tenPast))
	eventually(t, "stored in the new file", func() bool { return count0(r.path) == 3 })
	if diff := cmp.Diff([]asked{{"10.20.3.5", "gaming.example.", 1}}, inShort(r.breaches(t, Filter{}))); diff != "" {
		t.Error(diff)
	}
	verify(t, r.path)
}

// count0 counts the rows of a chain that may not be there yet.
func count0(path string) (n int64) {
	reader, err := OpenReader(path)
	if err != nil {
		return -1
	}
	defer reader.Close()
	head, err := reader.Verify(context.Background())
	if err != nil {
		return -1
	}
	return head.Seq
}

func TestATransactionThatTookPlaceAllTheSameIsNotRepeated(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	// As when the sync after COMMIT fails: complete on disk, and an error all the same.
	err := r.request(t.Context(), request{do: func(ctx context.Context, w *turn) error {
		events := batch{{{ask(t, p, pupil, "pornography.example", tenPast), &entry{}, 1, tenPast}}}
		r.waiting = events
		if err := errors.Join(w.run(ctx, events, nil), w.end(ctx)); err != nil {
			return err
		}
		if _, err := w.store.exec(ctx, "COMMIT"); err != nil {
			return err
		}
		return sql.ErrConnDone
	}})
	if !errors.Is(err, sql.ErrConnDone) {
		t.Fatal(err)
	}
	eventually(t, "open again", func() bool { return r.Tick(t.Context()) == nil })
	if diff := cmp.Diff([]asked{{"10.20.3.4", "pornography.example.", 2}}, inShort(r.breaches(t, Filter{}))); diff != "" {
		t.Error(diff)
	}
	verify(t, r.path)
}

func TestAPanicOfTheWriterIsAFailure(t *testing.T) {
	broken := atomic.Bool{}
	broken.Store(true)
	r := start(t, t.TempDir(), newClock(), func(o *Options) {
		o.Router = RouterFunc(func(Notice) []Alert {
			if broken.Load() {
				panic("a fault")
			}
			return nil
		})
	}, nil)
	r.Record(ask(t, school(t, nil), pupil, "pornography.example", tenPast))
	eventually(t, "a problem", func() bool { return len(r.Problems()) == 1 })
	r.wantProblem(t, "panic: a fault", "waiting in memory: 1")
	broken.Store(false)
	eventually(t, "stored", func() bool { return len(r.Problems()) == 0 && r.Head().Seq == 2 })
	verify(t, r.path)
}

func TestAStopWithABrokenDatabaseSaysWhatIsLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	var log bytes.Buffer
	var system []string
	l, err := Open(Options{
		Path: filepath.Join(dir, "breach.db"), Router: &router{}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		System: func(m string) { system = append(system, m) },
	})
	must(t, err)
	l.Record(ask(t, school(t, nil), pupil, "pornography.example", tenPast))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = l.Run(ctx)
	if err == nil || !strings.HasPrefix(err.Error(), "close record: 1 breaches are lost: open ") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Run returned %v", err)
	}
	if got := testutil.ToFloat64(l.metrics.dropped); got != 1 {
		t.Errorf("%v are counted as lost", got)
	}
	told := log.String() + strings.Join(system, "\n")
	for _, part := range []string{
		"breaches were lost at the stop: they can't be stored", "no such file or directory", "make the directory of data_dir",
		"Breaches were lost when schoolgate stopped, because they could not be stored.",
	} {
		if !strings.Contains(told, part) {
			t.Errorf("it is not said that %q:\n%s", part, told)
		}
	}
	if strings.Contains(told, "queue") {
		t.Errorf("the queue was not full:\n%s", told)
	}
}

func TestRecordDoesNotWaitForTheWriter(t *testing.T) {
	stuck, free := make(chan struct{}), make(chan struct{})
	report := sync.OnceFunc(func() { close(stuck) })
	r := start(t, t.TempDir(), newClock(), func(o *Options) {
		o.Router = RouterFunc(func(Notice) []Alert {
			report()
			<-free
			return nil
		})
	}, nil)
	p := school(t, nil)
	r.Record(ask(t, p, pupil, "pornography.example", tenPast))
	<-stuck
	e := ask(t, p, pupil, "www.pornography.example", tenPast)
	for i := range 2000 {
		e.Client.Addr = netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
		r.Record(e)
	}
	if n := r.queue.waiting(); n != 2001 {
		t.Errorf("%d wait", n)
	}
	close(free)
}
