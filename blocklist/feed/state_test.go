package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"schoolgate/blocklist"
)

func TestAStateThatIsNotAsItWasWrittenCostsNoListAndEndsTrials(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good, "e.example.org\n")
	specs[0].Trial, specs[0].TrialCategory = 7*24*time.Hour, 40
	path := filepath.Join(s.copies, "state.json")
	s.wantAll("at first", specs, "source", "source e") // counts as 40
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte, loads bool) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s.restart()
		if !s.loader.state.isLost() || len(s.loader.state.lists) > 0 {
			t.Fatalf("%s: used", what)
		}
		if s.log.Reset(); !loads { // which takes its time
			return
		}
		s.restart()
		s.wantAll(what, specs, "source abcd", "source e")
		s.wantLog("trials count as ended")
		s.wantAll(what+", then", specs, "source abcd", "source e")
		s.wantLog()
	}
	for n := range len(whole) - 1 { // the last byte is a line feed
		check(fmt.Sprintf("%d bytes", n), whole[:n], n%64 == 0)
	}
	for i := range len(whole) - 1 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		check(fmt.Sprintf("byte %d", i), damaged, i%64 == 0)
	}
	check("a later version", bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":2`), 1), true)

	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s.restart()
	s.wantAll("the whole one", specs, "source", "source e")
	s.wantLog()
}

func TestTheStateIsWrittenOnlyWhereSomethingChanged(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good)
	s.all(specs)
	path := filepath.Join(s.copies, "state.json")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s.all(specs)
	s.restart()
	s.all(specs)
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again (%v)", err)
	}
	if after.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", after.Mode())
	}
}

func TestATrialMatchesAndBlocksNothingUntilItEnds(t *testing.T) {
	const week = 7 * 24 * time.Hour
	s := newSite(t)
	start := time.Date(2026, 9, 2, 8, 0, 0, 0, time.UTC)
	now := start
	s.options.Now = func() time.Time { return now }
	s.restart()
	spec := Spec{ID: "list.txt", Category: 7, Path: s.path, Trial: week, TrialCategory: 40}
	check := func(what string, onTrial bool) {
		t.Helper()
		result := s.loader.Load(t.Context(), []Spec{spec}, nil)
		l, next := result.Lists[0], s.loader.Next([]Spec{spec})
		want, ends := blocklist.Category(7), time.Time{}
		if onTrial {
			want, ends = 40, start.Add(week)
		}
		if in := result.Set.Match([]byte(mustName(t, "a.example.org"))); l.OnTrial != onTrial || in != blocklist.Categories(0).With(want) {
			t.Errorf("%s: on trial %v, in %b", what, l.OnTrial, in)
		}
		if !l.TrialEnds.Equal(ends) || !next.Equal(ends) {
			t.Errorf("%s: ends %v, next %v, want %v", what, l.TrialEnds, next, ends)
		}
	}

	if l := s.load(func(s *Spec) { *s = spec }); l.OnTrial || !s.loader.Next([]Spec{spec}).IsZero() {
		t.Errorf("without content: %+v", l)
	}
	now = now.Add(24 * time.Hour)
	start = now
	s.write(good)
	check("it begins with the first content", true)
	now = start.Add(week - time.Second)
	s.write(good + "e.example.org\n")
	check("goes on with other content", true)
	s.restart()
	check("and after a restart", true)
	now = start.Add(-23 * time.Hour)
	check("and with a clock that was put back a little", true)
	now = start.Add(-25 * time.Hour)
	check("not with one that has gone back far", false)
	now = start.Add(week)
	check("nor after its time", false)

	t.Run("or is confirmed", func(t *testing.T) {
		now = start
		check("before", true)
		if err := s.loader.Confirm(spec); err != nil {
			t.Fatal(err)
		}
		check("after", false)
		s.restart()
		check("after a restart", false)
	})
	t.Run("once", func(t *testing.T) {
		wantConfirm(t, s.loader, spec, "list list.txt is not on trial any more")
		over := spec
		over.TrialName = "over"
		s.loader.Load(t.Context(), []Spec{over}, nil)
		now = now.Add(week)
		wantConfirm(t, s.loader, over, "list list.txt is not on trial any more")
		now = start
	})
	t.Run("not before it has begun", func(t *testing.T) {
		const nothing = "list list.txt has not been loaded yet: there is nothing to confirm"
		early := spec
		early.Path += ".none"
		wantConfirm(t, s.loader, early, nothing)
		s.loader.Load(t.Context(), []Spec{early}, nil)
		wantConfirm(t, s.loader, early, nothing)
		early = spec
		early.TrialName = "early"
		wantConfirm(t, s.loader, early, nothing)
		if l := s.loader.Load(t.Context(), []Spec{early}, nil).Lists[0]; !l.OnTrial {
			t.Error("an early confirmation counts")
		}
	})
	t.Run("in each category by itself", func(t *testing.T) {
		other := spec
		other.Category, other.TrialName = 8, "other"
		lists := s.loader.Load(t.Context(), []Spec{spec, other}, nil).Lists
		if lists[0].OnTrial || !lists[1].OnTrial || !lists[1].TrialEnds.Equal(now.Add(week)) {
			t.Errorf("%+v", lists)
		}
	})
	t.Run("and the confirmation is kept, or is an error", func(t *testing.T) {
		none := spec
		none.Trial = 0
		if err := s.loader.Confirm(none); err == nil || err.Error() != "list list.txt has no trial" {
			t.Error(err)
		}
		s.options.ReadOnly = true
		s.restart()
		if s.loader.Confirm(spec) == nil {
			t.Error("confirmed by one who only looks")
		}
		s.options.ReadOnly = false
		s.restart()
		kept := spec
		kept.TrialName = "kept"
		s.loader.Load(t.Context(), []Spec{kept}, nil)
		s.loader.state.path = filepath.Join(s.path, "below-a-file")
		for range 2 {
			if err := s.loader.Confirm(kept); err == nil || !strings.HasPrefix(err.Error(), "confirm the trial of list list.txt: ") {
				t.Errorf("without being kept: %v", err)
			}
		}
		if l := s.loader.Load(t.Context(), []Spec{kept}, nil).Lists[0]; !l.OnTrial {
			t.Error("confirmed without being kept")
		}
	})
}

func wantConfirm(t *testing.T, l *Loader, spec Spec, want string) {
	t.Helper()
	if err := l.Confirm(spec); err == nil || err.Error() != want {
		t.Errorf("confirm: %v, want %s", err, want)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`null`))
	f.Add([]byte(`{"0":null}`))
	f.Add([]byte(`{"version":1,"sha256":"","lists":{}}`))
	f.Add([]byte(`{"2d711642b726b04401627ca9fbac32f5":{"sum":"00","fits":[""],"due":"9999-01-01T00:00:00Z","trials":{"":{"began":"0001-01-01T00:00:01Z"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path, spec := filepath.Join(dir, "x"), Spec{ID: "x", URL: "x", Trial: time.Hour}
		whole := data         // a file
		if json.Valid(data) { // or what is in one, which can be anything that has its checksum
			var lists bytes.Buffer
			if err := json.Compact(&lists, data); err != nil {
				t.Fatal(err)
			}
			whole = fmt.Appendf(nil, `{"version":1,"sha256":"%x","lists":%s}`, sha256.Sum256(lists.Bytes()), &lists)
		}
		if err := os.WriteFile(statePath(dir), whole, 0o600); err != nil {
			t.Fatal(err)
		}
		l := New(Options{Dir: dir})
		if out := l.Load(t.Context(), []Spec{spec, {ID: "y", Path: path}}, nil).Lists; out[0].List != nil || out[1].List != nil {
			t.Errorf("%+v", out)
		}
		if out := l.Update(t.Context(), []Spec{spec}, nil, false); out[0].Err == nil || !l.Next([]Spec{spec}).After(time.Now()) {
			t.Errorf("%+v, next %v", out, l.Next([]Spec{spec}))
		}
		if again := New(Options{Dir: dir}); again.state.isLost() {
			t.Error("what was written is not read")
		}
	})
}
