package feed

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
)

// lists are several lists of a site, list-0.txt and so on, each in a category of its own.
func (s *site) lists(texts ...string) (specs []Spec) {
	s.t.Helper()
	for i, text := range texts {
		path := filepath.Join(filepath.Dir(s.path), fmt.Sprintf("list-%d.txt", i))
		s.put(path, text)
		specs = append(specs, Spec{ID: filepath.Base(path), Category: blocklist.Category(i), Path: path})
	}
	return specs
}

// put writes a file in place, with a time of its own.
func (s *site) put(path, text string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		s.t.Fatal(err)
	}
	s.clock = s.clock.Add(time.Minute)
	if err := os.Chtimes(path, s.clock, s.clock); err != nil {
		s.t.Fatal(err)
	}
}

// swap changes a file so that nothing but its content shows it.
func (s *site) swap(path, text string) {
	s.t.Helper()
	before, err := os.Stat(path)
	if err != nil || before.Size() != int64(len(text)) {
		s.t.Fatalf("%v: %d bytes for %d", err, len(text), before.Size())
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chtimes(path, before.ModTime(), before.ModTime()); err != nil {
		s.t.Fatal(err)
	}
}

// all loads several lists, and says of each what a test writes down.
func (s *site) all(specs []Spec) (out []string) {
	s.t.Helper()
	result := s.loader.Load(s.t.Context(), specs, nil)
	s.set = result.Set
	for i, l := range result.Lists {
		var in []string
		for _, n := range entries("abcdef") {
			if s.set.Match([]byte(mustName(s.t, n))).Has(specs[i].Category) {
				in = append(in, n[:1])
			}
		}
		line := strings.TrimSpace(l.From + " " + strings.Join(in, ""))
		if l.Err != nil {
			line += ": " + strings.ReplaceAll(l.Err.Error(), filepath.Dir(s.path)+string(filepath.Separator), "")
		}
		out = append(out, line)
	}
	return out
}

func (s *site) wantAll(what string, specs []Spec, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.all(specs)); diff != "" {
		s.t.Errorf("%s: %s", what, diff)
	}
}

func (s *site) wantLog(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if !strings.Contains(s.log.String(), text) {
			s.t.Errorf("logged: %s, want %s", &s.log, text)
		}
	}
	if len(texts) == 0 && s.log.Len() > 0 {
		s.t.Errorf("logged: %s", &s.log)
	}
	s.log.Reset()
}

func TestAStartWithASnapshotReadsNoList(t *testing.T) {
	s := newSite(t)
	s.big = 40 // the first list is long
	s.restart()
	specs := s.lists(good, "e.example.org\n")
	s.wantAll("at first", specs, "source abcd", "source e")
	s.swap(specs[0].Path, strings.Repeat("#", len(good)))
	s.swap(specs[1].Path, "f.example.org\n")
	for _, copied := range s.files() {
		damaged, err := os.ReadFile(copied)
		if err != nil {
			t.Fatal(err)
		}
		damaged[len(damaged)-2] ^= 1
		if err := os.WriteFile(copied, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.restart()
	s.wantAll("after a restart", specs, "source abcd", "source e")
	l := s.loader.Load(t.Context(), specs, nil).Lists[0].List
	if l.Enforceable != 4 || l.HasNames() {
		t.Errorf("%+v", l)
	}
	s.wantLog()
}

func TestADamagedSnapshotIsCompiledAgain(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good, "e.example.org\n")
	s.all(specs)
	path := s.kept("*.part")[0]
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s.restart()
		s.wantAll(what, specs, "source abcd", "source e")
		s.wantLog("snapshot of compiled lists refused")
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 64 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		check(fmt.Sprintf("byte %d", i), damaged)
		check(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	s.restart()
	s.wantAll("once it is whole", specs, "source abcd", "source e")
	s.wantLog()
}

func TestAChangedListHasOnlyItsOwnGroupCompiled(t *testing.T) {
	s := newSite(t)
	s.big = 40
	s.restart()
	specs := s.lists(good, "e.example.org\n", "f.example.org\n")
	s.all(specs)
	first, long, short := s.set, s.part(specs[0]), s.loader.inForce[groupKey{}].part
	s.all(specs)
	if s.set != first {
		t.Error("a set was made where nothing changed")
	}
	s.put(specs[1].Path, "e.example.org\nf.example.org\n")
	s.wantAll("after a change of a short one", specs, "source abcd", "source ef", "source f")
	if s.part(specs[0]) != long || s.loader.inForce[groupKey{}].part == short {
		t.Error("the long list was compiled again, or the short ones were not")
	}
	short = s.loader.inForce[groupKey{}].part
	s.put(specs[0].Path, later)
	s.wantAll("after a change of the long one", specs, "source abce", "source ef", "source f")
	if s.part(specs[0]) == long || s.loader.inForce[groupKey{}].part != short {
		t.Error("the short lists were compiled again, or the long one was not")
	}
	t.Run("and none where it is only touched", func(t *testing.T) {
		long := s.part(specs[0])
		s.put(specs[0].Path, later)
		s.all(specs)
		if s.part(specs[0]) != long {
			t.Error("compiled again")
		}
	})
	t.Run("or categories have other numbers", func(t *testing.T) {
		for i := range specs {
			specs[i].Category += 5
		}
		s.wantAll("", specs, "source abce", "source ef", "source f")
		if s.loader.inForce[groupKey{}].part != short {
			t.Error("compiled again")
		}
	})
	t.Run("but where two come to share one", func(t *testing.T) {
		specs[2].Category = specs[1].Category
		s.wantAll("", specs, "source abce", "source ef", "source ef")
		if s.loader.inForce[groupKey{}].part == short {
			t.Error("not compiled again")
		}
	})
}

// part is that of a long list.
func (s *site) part(spec Spec) *blocklist.Part {
	s.t.Helper()
	c := s.loader.inForce[groupKey{list: keyOf(spec)}]
	if c == nil {
		s.t.Fatalf("%s is in no part of its own", spec.ID)
	}
	return c.part
}

func TestAListInTwoCategoriesIsCompiledOnce(t *testing.T) {
	s := newSite(t)
	for _, big := range []int64{0, 1} {
		s.big = big
		s.restart()
		specs := s.lists(good)
		specs = append(specs, Spec{ID: "again", Category: 9, Path: specs[0].Path})
		s.wantAll("", specs, "source abcd", "source abcd")
		if s.set.Names() != 4 {
			t.Errorf("%d names", s.set.Names())
		}
	}
}

func TestNothingStopsBeingBlockedBecauseAnotherListCannotBeReadAgain(t *testing.T) {
	s := newSite(t)
	specs := s.lists("a.example.org\n", "b.example.org\n", "c.example.org\n")
	s.wantAll("at first", specs, "source a", "source b", "source c")
	lost := func(path string) { // source and copy
		t.Helper()
		s.put(path, "<html>")
		if err := os.Remove(filepath.Join(s.copies, stem(path)+clearCopy)); err != nil {
			t.Fatal(err)
		}
	}
	lost(specs[0].Path)
	notAList := ": not a list: HTML or XML"
	s.wantAll("without the first", specs, "memory a"+notAList, "source b", "source c")

	s.put(specs[1].Path, "b.example.org\nd.example.org\n")
	waits := ": not in force yet: list list-0.txt, compiled together with it, cannot be read again"
	s.wantAll("with a change of the second", specs,
		"memory a"+notAList+"; there is no copy of it", "memory b"+waits, "memory c")
	more := append(slices.Clone(specs), s.lists("", "", "", "f.example.org\n")[3])
	s.put(specs[0].Path, "<html>")
	s.put(specs[1].Path, "b.example.org\nd.example.org\n")
	s.put(specs[2].Path, "c.example.org\n")
	s.wantAll("with a new one", more,
		"memory a"+notAList+"; there is no copy of it", "memory b"+waits, "memory c", waits)
	t.Run("unless another is taken out of the configuration, which it may count on", func(t *testing.T) {
		s.wantAll("", more[:2], notAList, "source bd")
	})
	s.put(specs[0].Path, "a.example.org\ne.example.org\n")
	s.wantAll("once it is good again", more, "source ae", "source bd", "source c", "source f")

	t.Run("and at a start without a snapshot it alone is missing", func(t *testing.T) {
		lost(specs[0].Path)
		for _, snapshot := range s.kept("*.part") {
			if err := os.Remove(snapshot); err != nil {
				t.Fatal(err)
			}
		}
		s.restart()
		s.wantAll("", more, notAList, "source bd", "source c", "source f")
	})
}

func TestASnapshotServesWhereListAndCopyAreLost(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good)
	s.all(specs)
	for _, path := range append(s.files(), specs[0].Path) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	s.restart()
	s.wantAll("", specs, "copy abcd: open list-0.txt: no such file or directory")
}

func TestOldSnapshotsAreRemovedAndOtherFilesStay(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good)
	s.all(specs)
	other := filepath.Join(s.copies, "notes.txt")
	if err := os.WriteFile(other, []byte("IT's own"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * keepLoads {
		s.put(specs[0].Path, good+strings.Repeat("#\n", i))
		s.all(specs)
	}
	if kept := s.kept("*.part"); len(kept) > keepLoads+2 {
		t.Errorf("%d snapshots", len(kept))
	}
	for range keepLoads + 1 {
		s.all(specs)
	}
	if kept := s.kept("*.part"); len(kept) != 1 {
		t.Errorf("%d snapshots", len(kept))
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	t.Run("those that this process never used after a week", func(t *testing.T) {
		s.put(specs[0].Path, later)
		s.restart()
		s.all(specs)
		if kept := s.kept("*.part"); len(kept) != 2 {
			t.Errorf("%d snapshots at once", len(kept))
		}
		s.options.Now = func() time.Time { return time.Now().Add(keepSnapshots + time.Hour) }
		s.restart()
		s.all(specs)
		if kept := s.kept("*.part"); len(kept) != 1 {
			t.Errorf("%d snapshots", len(kept))
		}
	})
}

func TestWhatNoConfigurationAsksForIsForgottenAfterAMonth(t *testing.T) {
	s := newSite(t)
	now := time.Date(2026, 9, 2, 8, 0, 0, 0, time.UTC)
	s.options.Now = func() time.Time { return now }
	s.restart()
	specs := s.lists(good, "e.example.org\n")
	s.all(specs)
	orphan := filepath.Join(s.copies, stem("nobody's")+clearCopy)
	if err := os.WriteFile(orphan, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ day, files int }{{1, 3}, {29, 3}, {33, 1}} {
		now = time.Date(2026, 9, 2+step.day, 8, 0, 0, 0, time.UTC)
		s.all(specs[:1])
		if files := s.files(); len(files) != step.files {
			t.Errorf("after %d days: %v", step.day, files)
		}
	}
}

func TestADirectoryThatCannotBeWrittenCostsNoList(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good, "e.example.org\n")
	s.copies = filepath.Join(specs[0].Path, "below-a-file")
	s.restart()
	s.wantAll("at first", specs, "source abcd", "source e")
	s.wantLog("no last good copy of a list", "no snapshot of compiled lists", "state of the lists not kept")
	s.put(specs[0].Path, "<html>")
	s.put(specs[1].Path, "f.example.org\n")
	s.wantAll("then", specs, "memory abcd: not a list: HTML or XML", "source f")
}

func TestAReadOnlyLoaderUsesWhatAnotherKeepsAndChangesNothing(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good, "e.example.org\n")
	s.all(specs)
	listing := func() (out []string) {
		for _, path := range s.kept("*") {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return out
	}
	before := listing()
	s.swap(specs[0].Path, strings.Repeat("#", len(good)))
	s.options.ReadOnly = true
	s.restart()
	s.wantAll("by the snapshot", specs, "source abcd", "source e")
	s.put(specs[1].Path, "f.example.org\n")
	s.restart()
	s.wantAll("compiled in memory", specs, "source abcd", "source f")
	if diff := cmp.Diff(before, listing()); diff != "" {
		t.Error(diff)
	}
}

func TestProgressIsReported(t *testing.T) {
	s := newSite(t)
	stages := map[string]Progress{}
	s.options.Progress = func(p Progress) { stages[p.Stage+" "+p.List] = p }
	s.restart()
	specs := s.lists(good)
	s.all(specs)
	bytes := stages["write "].Total
	want := map[string]Progress{
		"read list-0.txt": {List: "list-0.txt", Stage: "read", Done: int64(len(good)), Total: int64(len(good))},
		"compile ":        {Stage: "compile", Done: 4, Total: 4},
		"write ":          {Stage: "write", Done: bytes, Total: bytes},
	}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Error(diff)
	}
}

func TestInTheBackgroundNothingRunsBeside(t *testing.T) {
	s := newSite(t)
	runs := 0
	s.restart()
	s.loader.SetBackground(func(work func()) { runs++; work() })
	specs := s.lists(good, "e.example.org\n", "f.example.org\n")
	s.wantAll("", specs, "source abcd", "source e", "source f")
	if runs != 1 {
		t.Errorf("%d runs", runs)
	}
	var order []int
	s.loader.each([]int{2, 0, 1}, func(i int) { order = append(order, i) })
	if diff := cmp.Diff([]int{2, 0, 1}, order); diff != "" {
		t.Error(diff)
	}
}
