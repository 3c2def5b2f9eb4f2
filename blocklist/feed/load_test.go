package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
)

// inSet are those of some names that a set has in a category, as text.
func inSet(t *testing.T, set *blocklist.Set, names ...string) (covered []string) {
	t.Helper()
	for _, n := range names {
		if set.Match([]byte(mustName(t, n))) != 0 {
			covered = append(covered, n)
		}
	}
	return covered
}

func mustName(t *testing.T, text string) blocklist.Name {
	t.Helper()
	n, err := blocklist.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// site is a school's disk: a list, and the directory of copies.
type site struct {
	t      *testing.T
	path   string // of the list
	copies string
	log    bytes.Buffer
	clock  time.Time // of the next write: long ago, and each later than the one before
	// options are the Loader's, with the directory of copies and a log.
	options Options
	big     int64 // the Loader's, where it is not 0
	loader  *Loader
	set     *blocklist.Set // of the last load
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{
		t: t, path: filepath.Join(dir, "list.txt"), copies: filepath.Join(dir, "data", "lists"),
		clock: time.Date(2026, 9, 2, 8, 0, 0, 0, time.UTC),
	}
	s.restart()
	return s
}

// restart is a new process: what was in memory is gone.
func (s *site) restart() {
	s.options.Dir, s.options.Log = s.copies, slog.New(slog.NewTextHandler(&s.log, nil))
	s.loader = New(s.options)
	s.loader.fetcher = direct()
	if s.big != 0 {
		s.loader.big = s.big
	}
}

// write replaces the list, as an editor does that writes into the same file.
func (s *site) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.clock = s.clock.Add(time.Minute)
	if err := os.Chtimes(s.path, s.clock, s.clock); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove() {
	s.t.Helper()
	if err := os.Remove(s.path); err != nil {
		s.t.Fatal(err)
	}
}

// load loads the list, with changes to its Spec.
func (s *site) load(change ...func(*Spec)) Loaded {
	s.t.Helper()
	spec := Spec{ID: "list.txt", Category: 7, Path: s.path}
	for _, c := range change {
		c(&spec)
	}
	result := s.loader.Load(s.t.Context(), []Spec{spec}, nil)
	out := result.Lists
	s.set = result.Set
	if len(out) != 1 {
		s.t.Fatalf("%d outcomes", len(out))
	}
	if diff := cmp.Diff(spec, out[0].Spec); diff != "" {
		s.t.Errorf("another Spec came back: %s", diff)
	}
	return out[0]
}

// outcome is a Loaded as a test writes it down.
type outcome struct {
	From    string
	Entries []string
	Age     time.Duration // since the first write
	Err     string        // without the directory
}

func (s *site) outcome(l Loaded) outcome {
	o := outcome{From: l.From}
	if l.List != nil {
		o.Entries = inSet(s.t, s.set, entries("abcdef")...)
		o.Age = l.Modified.Sub(time.Date(2026, 9, 2, 8, 1, 0, 0, time.UTC))
	}
	if l.Err != nil {
		o.Err = strings.ReplaceAll(l.Err.Error(), filepath.Dir(s.path)+string(filepath.Separator), "")
	}
	return o
}

func (s *site) want(want outcome, change ...func(*Spec)) Loaded {
	s.t.Helper()
	l := s.load(change...)
	if diff := cmp.Diff(want, s.outcome(l)); diff != "" {
		s.t.Error(diff)
	}
	return l
}

// files returns the copies there are.
func (s *site) files() []string { return s.kept("*.list*") }

// kept returns the files of a pattern that the Loader keeps.
func (s *site) kept(pattern string) []string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.copies, pattern))
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

const (
	good  = "a.example.org\nb.example.org\nc.example.org\nd.example.org\n"
	later = "a.example.org\nb.example.org\nc.example.org\ne.example.org\n"
)

func entries(letters string) (names []string) {
	for _, l := range letters {
		names = append(names, string(l)+".example.org")
	}
	return names
}

func TestAListThatBreaksKeepsItsLastGoodContent(t *testing.T) {
	for _, tt := range []struct {
		what  string
		after func(*site)
		err   string
	}{
		{"missing", (*site).remove, "open list.txt: no such file or directory"},
		{"emptied", func(s *site) { s.write("") }, "list without a usable line: the file is empty"},
		{"turned into a page", func(s *site) { s.write("<html><title>Sign in</title></html>\n") }, "not a list: HTML or XML"},
		{"overwritten with zeros", func(s *site) { s.write("a.example.org\n\x00\x00\x00") }, "not a list: binary data in line 2"},
		{"only comments", func(s *site) { s.write("# gone\n") }, "list without a usable line: nothing but comments"},
		{"a directory", func(s *site) {
			s.remove()
			if err := os.Mkdir(s.path, 0o755); err != nil {
				s.t.Fatal(err)
			}
		}, "is a directory, not a file"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s := newSite(t)
			s.write(good)
			s.want(outcome{From: FromSource, Entries: entries("abcd")})
			tt.after(s)
			s.want(outcome{From: FromMemory, Entries: entries("abcd"), Err: tt.err})
			s.restart()
			s.want(outcome{From: FromCopy, Entries: entries("abcd"), Err: tt.err})
			s.want(outcome{From: FromMemory, Entries: entries("abcd"), Err: tt.err})
			if err := os.RemoveAll(s.path); err != nil {
				t.Fatal(err)
			}
			s.write(later)
			back := s.load()
			if back.From != FromSource || back.Err != nil || !back.Modified.Equal(s.clock) {
				t.Errorf("once it is good again: %+v", s.outcome(back))
			}
			if s.log.Len() > 0 {
				t.Errorf("logged: %s", &s.log)
			}
		})
	}
}

func TestAListThatNeverWasHasNothingToServe(t *testing.T) {
	s := newSite(t)
	s.want(outcome{Err: "open list.txt: no such file or directory"})
	s.write("<html>\n")
	s.want(outcome{Err: "not a list: HTML or XML"})
	if files := s.files(); files != nil {
		t.Errorf("copies of it: %v", files)
	}
}

func TestAListThatIsCutOffIsTakenWithAWarning(t *testing.T) {
	s := newSite(t)
	of := func(n int) string { // entries, with something to warn of
		var text strings.Builder
		text.WriteString("github.io\n")
		for i := range n - 1 {
			fmt.Fprintf(&text, "%d.example\n", i)
		}
		return text.String()
	}
	const cut = "has 70 entries where it had 100 before: cut off?"
	const broad = "is a public suffix of the private part: covers the sites of all customers of one host"
	check := func(what string, want ...string) Loaded {
		t.Helper()
		l := s.load()
		var got []string
		for _, w := range l.List.Warnings {
			got = append(got, w.Reason)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		return l
	}
	s.write(of(100))
	check("at first", broad)
	s.write(of(70) + "two words\n")
	l := check("cut off", cut, broad)
	if l.From != FromSource || l.List.Enforceable != 70 || l.List.Skipped != 1 || l.List.Format == "" {
		t.Errorf("%+v", l.List)
	}
	set := s.set
	check("still", cut, broad)
	s.remove()
	if check("while it cannot be read", broad); s.set != set {
		t.Error("another set for a warning")
	}
	s.write(of(70) + "two words\n")
	check("and is there again, as it was", cut, broad)
	if s.set != set {
		t.Error("another set for a warning")
	}
	s.restart()
	check("after a restart", broad)

	s.write(of(100))
	check("whole again", broad)
	s.write(of(75))
	check("a quarter less", broad)
	s.write(of(50))
	if l := s.load(); len(l.List.Warnings) != 2 {
		t.Errorf("a third less: %v", l.List.Warnings)
	}
	s.write(of(49))
	check("once it is another", broad)
	s.write(of(30))
	check("19 less, as somebody may take out by hand", broad)
}

func TestOnlyAFileThatChangedIsReadAgain(t *testing.T) {
	s := newSite(t)
	s.write(good)
	first := s.load()
	if again := s.load(); again.List != first.List || again.From != FromSource {
		t.Error("an unchanged file was read again")
	}
	s.write(later) // of the same size
	s.want(outcome{From: FromSource, Entries: entries("abce"), Age: time.Minute})
	t.Run("or was changed when its time could not tell", func(t *testing.T) {
		now := time.Now()
		for _, text := range []string{good, later} {
			if err := errors.Join(os.WriteFile(s.path, []byte(text), 0o644), os.Chtimes(s.path, now, now)); err != nil {
				t.Fatal(err)
			}
			if got := s.outcome(s.load()).Entries; strings.Join(got, "\n")+"\n" != text {
				t.Errorf("a file that may still be written to counts as unchanged: %v", got)
			}
		}
	})
	t.Run("and one that has the same text is not parsed", func(t *testing.T) {
		first := s.load()
		s.write(later)
		if again := s.load(); again.List != first.List || !again.Modified.Equal(s.clock) {
			t.Errorf("%+v", s.outcome(again))
		}
	})
	t.Run("or is read in another way", func(t *testing.T) {
		s.write("198.51.100.7\nexample.org\n")
		plain := s.load()
		if got := s.load(func(s *Spec) { s.Addresses = true }).List.Enforceable; got != 2 || plain.List.Enforceable != 1 {
			t.Errorf("%d entries with addresses, %d without", got, plain.List.Enforceable)
		}
	})
	t.Run("or the site's own zones are others", func(t *testing.T) {
		s.write("198.51.100.7\nexample.org\nexample.net\n")
		s.load()
		set := s.loader.Load(t.Context(), []Spec{{Path: s.path}}, []blocklist.Name{mustName(t, "www.example.org")}).Set
		if diff := cmp.Diff([]string{"example.net"}, inSet(t, set, "example.org", "example.net")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAConfidentialListLeavesNoTraces(t *testing.T) {
	confidential := func(s *Spec) { s.Confidential = true }
	s := newSite(t)
	s.write(good + "two secret words\nco.uk\ngithub.io\n")
	s.load() // the category was not confidential yet
	if len(s.files()) != 1 {
		t.Fatal("no copy to remove")
	}
	l := s.load(confidential)
	if files := s.files(); files != nil {
		t.Errorf("copies: %v", files)
	}
	problems := []blocklist.Problem{
		{Line: 5, Reason: "more than one word"},
		{Line: 6, Reason: "is a public suffix: covers the sites of everybody below it"},
	}
	warnings := []blocklist.Problem{
		{Reason: "is confidential, and every user of this machine can read its file: chmod it to 0640, or encrypt it to confidential_key"},
		{Line: 7, Reason: "is a public suffix of the private part: covers the sites of all customers of one host"},
	}
	if diff := cmp.Diff([][]blocklist.Problem{problems, warnings}, [][]blocklist.Problem{l.List.Problems, l.List.Warnings}); diff != "" {
		t.Error(diff)
	}
	s.write("two secret words\n")
	s.want(outcome{
		From: FromMemory, Entries: entries("abcd"),
		Err: "not a list: none of its first 1 lines is in a known format",
	}, confidential)
	s.restart()
	s.want(outcome{Err: "not a list: none of its first 1 lines is in a known format"}, confidential)
	if files := s.files(); files != nil {
		t.Errorf("copies: %v", files)
	}
}

func TestBuiltinListsComeWithTheProgram(t *testing.T) {
	result := New(Options{}).Load(t.Context(), []Spec{{ID: "builtin:iwf", Builtin: "iwf"}, {ID: "builtin:nothing", Builtin: "nothing"}}, nil)
	out := result.Lists
	if len(inSet(t, result.Set, "iwf.testfiltering.com")) != 1 || out[0].List.Enforceable != 1 || out[0].Err != nil || out[0].From != FromSource {
		t.Errorf("%+v", out[0])
	}
	if out[1].List != nil || out[1].Err == nil || !strings.HasPrefix(out[1].Err.Error(), `no built-in list "nothing"`) {
		t.Errorf("%+v", out[1])
	}
}

func TestLoadAnswersEverySpecInOrder(t *testing.T) {
	s := newSite(t)
	s.write(good)
	specs := []Spec{
		{ID: "1", Path: s.path},
		{ID: "2", Builtin: "ctiru"},
		{ID: "3", Path: s.path + ".none"},
		{ID: "4", Path: s.path, Category: 3},
		{ID: "5", Path: s.path, Format: blocklist.FormatHosts},
	}
	var got []string
	out := s.loader.Load(t.Context(), specs, nil).Lists
	for _, l := range out {
		got = append(got, l.ID+" "+l.From)
	}
	if diff := cmp.Diff([]string{"1 source", "2 source", "3 ", "4 source", "5 "}, got); diff != "" {
		t.Error(diff)
	}
	if out[0].List != out[3].List {
		t.Error("one file was read twice")
	}
}

func TestALoadThatIsStoppedKeepsWhatThereIs(t *testing.T) {
	s := newSite(t)
	s.write(good)
	s.load()
	s.write(later)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := s.loader.Load(ctx, []Spec{{Path: s.path}, {Path: s.path + ".other"}}, nil).Lists
	if !errors.Is(out[0].Err, context.Canceled) || out[0].From != FromMemory || !errors.Is(out[1].Err, context.Canceled) || out[1].List != nil {
		t.Errorf("%+v", out)
	}
}

func TestAListIsForgottenOnlyWhenItHasNotBeenAskedForAWhile(t *testing.T) {
	s := newSite(t)
	s.loader = New(Options{}) // no copies: memory is all there is
	s.write(good)
	s.load()
	s.remove()
	for range keepLoads {
		s.loader.Load(t.Context(), nil, nil)
	}
	if l := s.load(); l.From != FromMemory {
		t.Errorf("after %d loads without it: %+v", keepLoads, s.outcome(l))
	}
	for range keepLoads + 1 {
		s.loader.Load(t.Context(), nil, nil)
	}
	if l := s.load(); l.List != nil {
		t.Errorf("after %d loads without it: %+v", keepLoads+1, s.outcome(l))
	}
}

func TestALinkToAFileIsAFile(t *testing.T) {
	s := newSite(t)
	s.write(good)
	link := s.path + ".link"
	if err := os.Symlink(s.path, link); err != nil {
		t.Skip(err)
	}
	l := s.load(func(spec *Spec) { spec.Path = link })
	if l.Err != nil || l.List == nil {
		t.Errorf("%+v", s.outcome(l))
	}
}

func TestMissingFilesAreKnownAsMissing(t *testing.T) {
	if l := newSite(t).load(); !errors.Is(l.Err, fs.ErrNotExist) {
		t.Errorf("%v", l.Err)
	}
}

func TestAZoneOfTheSiteDoesNotTakeAnEntryOutOfALockedList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte("listed.example\nother.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := blocklist.ParseName("school.listed.example")
	if err != nil {
		t.Fatal(err)
	}
	specs := []Spec{{ID: "open", Path: path}, {ID: "locked", Path: path, Locked: true}}
	loaded := New(Options{}).Load(t.Context(), specs, []blocklist.Name{own}).Lists
	if open, locked := loaded[0].List.Enforceable, loaded[1].List.Enforceable; open != 1 || locked != 2 {
		t.Errorf("%d entries in the open list, %d in the locked one; want 1 and 2", open, locked)
	}
}

func TestAListThatIsConfidentialSomewhereIsSoEverywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list.txt")
	if err := os.WriteFile(path, []byte("secret.example\nzqx..bad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	specs := []Spec{{ID: "open", Path: path, Format: blocklist.FormatDomains}, {ID: "secret", Path: path, Confidential: true, Category: 1}}
	for _, l := range New(Options{Dir: filepath.Join(dir, "copies")}).Load(t.Context(), specs, nil).Lists {
		if l.Err != nil || !l.Confidential {
			t.Errorf("%s: confidential %v, error %v", l.ID, l.Confidential, l.Err)
		}
		for _, p := range l.List.Problems {
			if p.Text != "" {
				t.Errorf("%s: the text of line %d is kept", l.ID, p.Line)
			}
		}
	}
	for _, kept := range []string{"*.list*", "*.part"} {
		if files, err := filepath.Glob(filepath.Join(dir, "copies", kept)); err != nil || len(files) > 0 {
			t.Errorf("on disk: %v, %v", files, err)
		}
	}
}

func TestAReadOnlyLoaderReadsCopiesAndWritesNone(t *testing.T) {
	dir := t.TempDir()
	path, copies := filepath.Join(dir, "list.txt"), filepath.Join(dir, "copies")
	if err := os.WriteFile(path, []byte("listed.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	specs := []Spec{{ID: "list", Path: path}}
	New(Options{Dir: copies, ReadOnly: true}).Load(t.Context(), specs, nil)
	if _, err := os.Stat(copies); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("copies after looking: %v", err)
	}
	New(Options{Dir: copies}).Load(t.Context(), specs, nil)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := New(Options{Dir: copies, ReadOnly: true}).Load(t.Context(), specs, nil).Lists[0]; got.List == nil || got.From != FromCopy || got.Err == nil {
		t.Errorf("without the source: %+v", got)
	}
	secret := []Spec{{ID: "list", Path: path, Confidential: true}}
	New(Options{Dir: copies, ReadOnly: true}).Load(t.Context(), secret, nil)
	if files, err := filepath.Glob(filepath.Join(copies, "*.list")); err != nil || len(files) != 1 {
		t.Errorf("%d copies after looking, %v", len(files), err)
	}
}
