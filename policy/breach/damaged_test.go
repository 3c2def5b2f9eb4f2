package breach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sqlite3 "modernc.org/sqlite/lib"
)

// asides returns the files of damaged databases, their stamp written as STAMP.
func asides(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.damaged-*"))
	must(t, err)
	for i, p := range paths {
		paths[i] = regexp.MustCompile(`\d{8}T\d{6}Z`).ReplaceAllString(filepath.Base(p), "STAMP")
	}
	return paths
}

// damage overwrites the page of a closed database that a query finds.
func damage(t testing.TB, path, query string) {
	t.Helper()
	var page int64
	db := openDB(path)
	must(t, errors.Join(db.QueryRowContext(t.Context(), query).Scan(&page), db.Close()))
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteAt([]byte(strings.Repeat("x", 4096)), 4096*(page-1))
	must(t, errors.Join(err, file.Close()))
}

func TestADamagedDatabaseIsMovedAside(t *testing.T) {
	p := school(t, nil)
	for what, harm := range map[string]func(t *testing.T, path string){
		"no database": func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
		},
		"its header": func(t *testing.T, path string) { damage(t, path, "SELECT 1") },
		"a page that is read at the start": func(t *testing.T, path string) {
			damage(t, path, "SELECT pageno FROM dbstat WHERE name = 'breach' AND pagetype = 'leaf' LIMIT 1 OFFSET 3")
		},
		"a page that is written": func(t *testing.T, path string) {
			damage(t, path, "SELECT pageno FROM dbstat WHERE name = 'incident_id'")
		},
		"half of it is missing": func(t *testing.T, path string) {
			info, err := os.Stat(path)
			must(t, err)
			must(t, os.Truncate(path, info.Size()/2))
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			r := start(t, dir, c, nil, nil)
			for i := range 200 {
				r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), c.Now()))
			}
			must(t, r.Flush(t.Context()))
			last := r.Head()
			must(t, r.stop())
			harm(t, r.path)
			content, err := os.ReadFile(r.path)
			must(t, err)

			r = start(t, dir, c, nil, nil)
			r.Record(ask(t, p, pupil2, "pornography.example", c.Now()))
			r.Record(ask(t, p, pupil2, "pornography.example", c.Now()))
			eventually(t, "stored", func() bool { return r.Head().Seq == 3 })
			aside := r.path + ".damaged-20261120T101000Z"
			r.wantReplaced(t, last, noHead, "it was damaged, and a new one was begun: keep "+aside+", which holds")
			if diff := cmp.Diff([]asked{{"10.20.3.5", "pornography.example.", 2}}, inShort(r.breaches(t, Filter{}))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]told{{IncidentOpened, 2}}, r.told()); diff != "" {
				t.Error(diff)
			}
			if got := testutil.ToFloat64(r.metrics.dropped); got != 0 {
				t.Errorf("%v were lost", got)
			}
			kept, err := os.ReadFile(aside)
			must(t, err)
			if string(kept) != string(content) {
				t.Error("what was moved aside is not what was found")
			}
			info, err := os.Stat(aside)
			must(t, err)
			if info.Mode() != 0o600 {
				t.Errorf("it has mode %v", info.Mode())
			}

			must(t, r.stop())
			r = start(t, dir, c, nil, nil)
			r.ask(t, p, pupil2, "www.pornography.example")
			if problems := r.Problems(); len(problems) > 0 {
				t.Errorf("at the next start problems are %q", problems)
			}
		})
	}
}

func TestTheFilesBesideADamagedDatabaseAreKeptWithIt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "breach.db")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		must(t, os.WriteFile(path+suffix, []byte(suffix), 0o600))
	}
	l := &Log{path: path, now: newClock().Now}
	must(t, l.moveAside())
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, l.moveAside()) // in the same second
	want := []string{
		"breach.db.damaged-STAMP", "breach.db.damaged-STAMP-shm", "breach.db.damaged-STAMP-wal", "breach.db.damaged-STAMP",
	}
	if diff := cmp.Diff(want, asides(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// coded is an error of the database.
type coded int

func (c coded) Error() string { return fmt.Sprintf("error %d", int(c)) }
func (c coded) Code() int     { return int(c) }

// TestWhenADatabaseIsMovedAside lets attempts fail one after the other.
func TestWhenADatabaseIsMovedAside(t *testing.T) {
	const corrupt, full = coded(sqlite3.SQLITE_CORRUPT), coded(sqlite3.SQLITE_FULL)
	for what, c := range map[string]struct {
		attempts []error // nil: one that goes well
		want     int
	}{
		"damaged once":                      {[]error{corrupt}, 0},
		"damaged twice":                     {[]error{corrupt, corrupt}, 1},
		"damaged, in two ways":              {[]error{coded(sqlite3.SQLITE_NOTADB), coded(sqlite3.SQLITE_CORRUPT_INDEX)}, 1},
		"damaged, well, damaged":            {[]error{corrupt, nil, corrupt}, 0},
		"damaged, full, damaged":            {[]error{corrupt, full, corrupt}, 0},
		"a new one is damaged within hours": {[]error{corrupt, corrupt, corrupt, corrupt, corrupt}, 1},
		"full":                              {[]error{full, full, full}, 0},
		"I/O":                               {[]error{coded(sqlite3.SQLITE_IOERR), coded(sqlite3.SQLITE_IOERR_READ), coded(sqlite3.SQLITE_IOERR)}, 0},
		"read-only":                         {[]error{coded(sqlite3.SQLITE_READONLY), coded(sqlite3.SQLITE_READONLY)}, 0},
		"locked":                            {[]error{coded(sqlite3.SQLITE_BUSY), coded(sqlite3.SQLITE_LOCKED), coded(sqlite3.SQLITE_BUSY)}, 0},
		"no permission":                     {[]error{coded(sqlite3.SQLITE_CANTOPEN), os.ErrPermission, os.ErrPermission}, 0},
		"a newer schema":                    {[]error{newerError(2, 1), newerError(2, 1), newerError(2, 1)}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			l, err := Open(Options{Path: filepath.Join(dir, "breach.db"), Router: &router{}})
			must(t, err)
			t.Cleanup(func() {
				if l.writer != nil {
					must(t, l.writer.store.close())
				}
			})
			for _, failure := range c.attempts {
				if l.writer == nil {
					must(t, l.connect(t.Context()))
				}
				if failure != nil {
					l.fail(fmt.Errorf("commit: %w", failure))
				} else {
					l.recovered()
				}
			}
			files := asides(t, dir)
			if len(files) != c.want {
				t.Errorf("moved aside are %q", files)
			}
		})
	}
}

func TestAStopWithADamagedDatabaseLosesNothing(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	path := filepath.Join(dir, "breach.db")
	must(t, os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600))
	l, err := Open(Options{Path: path, Now: c.Now, Router: &router{}})
	must(t, err)
	l.Record(ask(t, school(t, nil), pupil, "pornography.example", c.Now()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, l.Run(ctx))
	if diff := cmp.Diff([]asked{{"10.20.3.4", "pornography.example.", 1}}, inShort(breaches(t, path, Filter{}))); diff != "" {
		t.Error(diff)
	}
	if got := acts(t, path); len(got) != 1 || got[0].What != "record.replaced" {
		t.Errorf("recorded are %+v", got)
	}
	if diff := cmp.Diff([]string{"breach.db.damaged-STAMP"}, asides(t, dir)); diff != "" {
		t.Error(diff)
	}
	verify(t, path)
}
