package breach

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// remove deletes a database.
func remove(t testing.TB, path string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// copyOf returns a copy of a database as it is now.
func copyOf(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	_, err := raw(t, path).ExecContext(t.Context(), "VACUUM INTO ?", to)
	must(t, err)
	return to
}

// acts returns the acts that are recorded.
func acts(t testing.TB, path string) []Act {
	t.Helper()
	rows, err := raw(t, path).QueryContext(t.Context(), "SELECT who, what, why, detail FROM audit ORDER BY seq")
	must(t, err)
	all, err := collect(rows, func(rows *sql.Rows) (a Act, err error) {
		err = rows.Scan(&a.Who, &a.What, &a.Why, &a.Detail)
		return a, err
	})
	must(t, err)
	return all
}

// wantReplaced fails the test unless the record says that it took the place of the one that ended with
// last: in Problems, to people, in the audit, and on a chain that holds. It returns how it says it.
func (r *record) wantReplaced(t testing.TB, last, found Head, parts ...string) {
	t.Helper()
	eventually(t, "said", func() bool { return len(r.Problems()) == 1 && r.problem() == nil })
	r.wantProblem(t, parts...)
	what := strings.TrimPrefix(r.Problems()[0], "breach record: it ")
	if got, want := <-r.system, "The breach record "+what+"."; got != want {
		t.Errorf("people are told %q, want %q", got, want)
	}
	want := Act{
		Who: "schoolgate", What: "record.replaced", Why: "the breach record " + what,
		Detail: fmt.Sprintf("last known: seq %d, hash %s; found: seq %d, hash %s", last.Seq, last.Hash, found.Seq, found.Hash),
	}
	if diff := cmp.Diff([]Act{want}, acts(t, r.path)); diff != "" {
		t.Error(diff)
	}
	verify(t, r.path)
	if len(r.system) > 0 {
		t.Errorf("people are told besides: %q", <-r.system)
	}
}

var noHead = link{}.head()

func TestAnotherRecordInPlaceOfTheOneWrittenIsSaid(t *testing.T) {
	p := school(t, nil)
	for what, place := range map[string]struct {
		found func(t *testing.T, path, older string) Head // puts what is found into place
		says  string
	}{
		"none": {
			func(t *testing.T, path, _ string) Head {
				remove(t, path)
				return noHead
			},
			"it is gone, and a new one was begun: it had 4 rows;",
		},
		"an empty file": {
			func(t *testing.T, path, _ string) Head {
				remove(t, path)
				must(t, os.WriteFile(path, nil, 0o600))
				return noHead
			},
			"it is gone, and a new one was begun: it had 4 rows;",
		},
		"an older copy": {
			func(t *testing.T, path, older string) Head {
				remove(t, path)
				must(t, os.Rename(older, path))
				return verify(t, path)
			},
			"it was replaced by an older one: it had 4 rows, and this one 2;",
		},
		"another record with as many rows": {
			func(t *testing.T, path, _ string) Head {
				other := open(t)
				other.ask(t, p, pupil, "n1.gaming.example", "n2.gaming.example", "n3.gaming.example")
				remove(t, path)
				must(t, os.Rename(copyOf(t, other.path), path))
				return verify(t, path)
			},
			"it was replaced by another one: row 4 is not the one that was written;",
		},
	} {
		change := func(t *testing.T, running bool) {
			t.Helper()
			dir, c := t.TempDir(), newClock()
			r := start(t, dir, c, nil, nil)
			r.ask(t, p, pupil, "pornography.example")
			older := copyOf(t, r.path)
			r.ask(t, p, pupil, "n1.pornography.example", "n2.pornography.example")
			last := r.Head()
			var found Head
			if running {
				found = place.found(t, r.path, older)
				r.Record(ask(t, p, pupil2, "gaming.example", c.Now()))
			} else {
				must(t, r.stop())
				found = place.found(t, r.path, older)
				r = start(t, dir, c, nil, nil)
				r.Record(ask(t, p, pupil2, "gaming.example", c.Now()))
			}
			eventually(t, "stored", func() bool { return r.Head().Seq == found.Seq+3 })
			r.wantReplaced(t, last, found, place.says)

			must(t, r.stop())
			r = start(t, dir, c, nil, nil)
			r.ask(t, p, pupil2, "n1.gaming.example")
			if problems := r.Problems(); len(problems) > 0 || len(r.system) > 0 {
				t.Errorf("at the next start it is said again: %q", problems)
			}
			if got := acts(t, r.path); len(got) != 1 {
				t.Errorf("recorded are %+v", got)
			}
			must(t, r.stop()) // before its directory goes
		}
		t.Run(what+", while it runs", func(t *testing.T) { change(t, true) })
		t.Run(what+", before a start", func(t *testing.T) { change(t, false) })
	}
}

func TestALossThatWasNotYetRecordedIsSaidAtTheNextStart(t *testing.T) {
	dir, c, p := t.TempDir(), newClock(), school(t, nil)
	r := start(t, dir, c, nil, nil)
	r.ask(t, p, pupil, "pornography.example")
	last := r.Head()
	must(t, r.stop())
	remove(t, r.path)
	must(t, os.Mkdir(r.path, 0o700)) // so that nothing can be stored
	l, err := Open(Options{Path: r.path, Router: &router{}})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err == nil {
		t.Error("it ended as if all were stored")
	}
	must(t, os.Remove(r.path))
	r = start(t, dir, c, nil, nil)
	r.wantReplaced(t, last, noHead, "it is gone")
}

func TestAHeadFileThatSaysNothingIsNoAlarm(t *testing.T) {
	p := school(t, nil)
	for what, change := range map[string]func(text string) string{
		"missing":            nil,
		"empty":              func(string) string { return "" },
		"cut off":            func(text string) string { return text[:20] },
		"without its end":    func(text string) string { return strings.TrimSpace(text) },
		"of zeros":           func(text string) string { return strings.Repeat("\x00", len(text)) },
		"of another kind":    func(string) string { return "{}\n" },
		"with more after it": func(text string) string { return text + "1" },
		"of no row":          func(string) string { return headText(link{}) },
		"of a row before":    func(text string) string { return text }, // as after kill -9
	} {
		t.Run(what, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			r := start(t, dir, c, nil, nil)
			r.ask(t, p, pupil, "pornography.example")
			before := fmt.Sprintf("%d %s\n", r.Head().Seq, r.Head().Hash)
			r.ask(t, p, pupil, "www.pornography.example")
			must(t, r.stop())
			path := headPath(r.path)
			if change == nil {
				must(t, os.Remove(path))
			} else {
				must(t, os.WriteFile(path, []byte(change(before)), 0o600))
			}

			r = start(t, dir, c, nil, nil)
			r.ask(t, p, pupil, "www.pornography.example")
			if problems := r.Problems(); len(problems) > 0 || len(r.system) > 0 {
				t.Errorf("it is said: %q", problems)
			}
			must(t, r.stop())
			text, err := os.ReadFile(path)
			must(t, err)
			if want := headText(r.last); string(text) != want || r.last.seq != 4 {
				t.Errorf("afterwards it is %q, want %q", text, want)
			}
			if got := acts(t, r.path); len(got) != 0 {
				t.Errorf("recorded are %+v", got)
			}
		})
	}
}

func TestTheHeadFileIsWrittenNowAndThen(t *testing.T) {
	dir, p := t.TempDir(), school(t, nil)
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "breach.db")
		l, err := Open(Options{Path: path, Router: &router{}})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		record := func(name string) Head {
			l.Record(ask(t, p, pupil, name, time.Now()))
			time.Sleep(gather)
			synctest.Wait()
			return l.Head()
		}
		kept := func() Head {
			text, err := os.ReadFile(headPath(path))
			must(t, err)
			at, err := parseHead(string(text))
			must(t, err)
			return at.head()
		}
		synctest.Wait()
		if _, err := os.Stat(headPath(path)); !os.IsNotExist(err) {
			t.Errorf("of an empty record there is one: %v", err)
		}
		first := record("pornography.example")
		if diff := cmp.Diff(first, kept()); diff != "" {
			t.Error(diff)
		}
		second := record("www.pornography.example")
		if diff := cmp.Diff(first, kept()); diff != "" {
			t.Error("it is written at each transaction:", diff)
		}
		time.Sleep(headEvery)
		synctest.Wait()
		if diff := cmp.Diff(second, kept()); diff != "" {
			t.Error(diff)
		}
		record("n1.pornography.example")
		cancel()
		must(t, <-ended)
		if diff := cmp.Diff(l.Head(), kept()); diff != "" {
			t.Error("at a stop:", diff)
		}
	})
}

func TestTheChainIsVerifiedAfterEachReconnect(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	_, err := raw(t, r.path).ExecContext(t.Context(), "UPDATE breach SET client_ip = '10.20.3.5'")
	must(t, err)
	if problems := r.Problems(); len(problems) > 0 {
		t.Fatalf("problems are %q", problems)
	}
	reopen(t, r)
	eventually(t, "said", func() bool { return len(r.Problems()) == 1 })
	r.wantProblem(t, "the chain is broken at row 2")
	if message := <-r.system; !strings.HasPrefix(message, "The chain of the breach record is broken") {
		t.Errorf("people are told %q", message)
	}

	_, err = raw(t, r.path).ExecContext(t.Context(), "UPDATE breach SET client_ip = '10.20.3.4'")
	must(t, err)
	reopen(t, r)
	r.ask(t, p, pupil, "www.pornography.example")
	verify(t, r.path)
	r.wantProblem(t, "the chain is broken at row 2")
}

func TestAToolLeavesWhatTheResolverHasToSee(t *testing.T) {
	tool := func(o *Options) { o.Router = nil }
	p := school(t, nil)
	t.Run("a record that was replaced", func(t *testing.T) {
		dir, c := t.TempDir(), newClock()
		r := start(t, dir, c, nil, nil)
		r.ask(t, p, pupil, "pornography.example")
		last := r.Head()
		must(t, r.stop())
		remove(t, r.path)
		r = start(t, dir, c, tool, nil)
		must(t, r.Audit(t.Context(), Act{Who: "it@school.example", What: "test"}))
		must(t, r.stop())
		if problems := r.Problems(); len(problems) > 0 {
			t.Errorf("problems are %q", problems)
		}
		r = start(t, dir, c, nil, nil)
		eventually(t, "said", func() bool { return len(r.Problems()) == 1 })
		r.wantProblem(t, fmt.Sprintf("it was replaced by an older one: it had %d rows, and this one 1;", last.Seq))
	})
	t.Run("a record that is damaged", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "breach.db"), []byte(strings.Repeat("no database ", 1000)), 0o600))
		r := start(t, dir, newClock(), tool, nil)
		for range 3 {
			if err := r.Flush(t.Context()); err == nil {
				t.Error("Flush says that all is stored")
			}
		}
		if err := r.stop(); err == nil {
			t.Error("Run ended as if nothing were wrong")
		}
		if files := asides(t, dir); len(files) > 0 {
			t.Errorf("%v were moved aside", files)
		}
	})
}
