package feed

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheCopyIsForItsOwnerAndChangesWithTheList(t *testing.T) {
	s := newSite(t)
	s.write(good)
	s.load()
	files := s.files()
	if len(files) != 1 {
		t.Fatalf("copies: %v", files)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Stat(s.copies)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 || dir.Mode().Perm() != 0o700 {
		t.Errorf("modes %v and %v", info.Mode(), dir.Mode())
	}
	t.Run("and stays where the list stays", func(t *testing.T) {
		s.restart()
		s.load()
		again, err := os.Stat(files[0])
		if err != nil || !os.SameFile(info, again) {
			t.Errorf("it was written again (%v)", err)
		}
	})
	s.write(later)
	s.load()
	s.remove()
	s.restart()
	s.want(outcome{From: FromCopy, Entries: entries("abce"), Age: time.Minute, Err: "open list.txt: no such file or directory"})
	if files := s.files(); len(files) != 1 {
		t.Errorf("copies: %v", files)
	}
}

func TestADamagedCopyIsRefused(t *testing.T) {
	s := newSite(t)
	s.write(good)
	s.load()
	path := s.files()[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.remove()
	check := func(t *testing.T, what string, damaged []byte) {
		t.Helper()
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, snapshot := range s.kept("*.part") { // which would do without the copy
			if err := os.Remove(snapshot); err != nil {
				t.Fatal(err)
			}
		}
		s.restart()
		s.log.Reset()
		if l := s.load(); l.List != nil || l.Err == nil {
			t.Fatalf("%s: served: %+v", what, s.outcome(l))
		}
		if !strings.Contains(s.log.String(), "last good copy of a list refused") {
			t.Fatalf("%s: logged: %s", what, &s.log)
		}
	}
	t.Run("cut off at any byte", func(t *testing.T) {
		for n := range whole {
			check(t, fmt.Sprintf("%d bytes", n), whole[:n])
		}
	})
	t.Run("with any byte changed", func(t *testing.T) {
		for i := range whole {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1
			check(t, fmt.Sprintf("byte %d", i), damaged)
		}
	})
	t.Run("with more behind it", func(t *testing.T) {
		check(t, "longer", append(bytes.Clone(whole), "f.example.org\n"...))
	})
	t.Run("but not the whole one", func(t *testing.T) {
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		s.restart()
		s.want(outcome{From: FromCopy, Entries: entries("abcd"), Err: "open list.txt: no such file or directory"})
	})
}

func TestCopiesThatCannotBeWrittenCostNoList(t *testing.T) {
	s := newSite(t)
	s.copies = filepath.Join(s.path, "below-a-file")
	s.restart()
	s.write(good)
	s.want(outcome{From: FromSource, Entries: entries("abcd")})
	if !strings.Contains(s.log.String(), "no last good copy of a list") {
		t.Errorf("logged: %s", &s.log)
	}
}

func FuzzCopy(f *testing.F) {
	about := caption{entries: 4, modified: time.Date(2026, 9, 2, 8, 0, 0, 0, time.UTC)}
	about.sum, about.size = sha256.Sum256([]byte(good)), int64(len(good))
	f.Add(about.String() + good)
	f.Add(about.String() + later)
	f.Add(copyMagic + " 00 1 1 2026-09-02T08:00:00Z 0000000000000000\n")
	f.Add("schoolgate list copy 1 00 2026-09-02T08:00:00Z\n" + good)
	f.Add(ageMagic + "-> X25519 \n")
	f.Fuzz(func(t *testing.T, data string) {
		c := copies{dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(c.dir, stem("x")+clearCopy), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		stored, err := c.open("x", false)
		if err != nil {
			return
		}
		defer stored.file.Close()
		line, text, _ := strings.Cut(data, "\n")
		if got := stored.caption.String(); got != line+"\n" {
			t.Errorf("read as %q", got)
		}
		want := sha256.Sum256([]byte(text)) == stored.sum && int64(len(text)) == stored.size
		if stored.isWhole() != want {
			t.Errorf("whole: %v, want %v", !want, want)
		}
	})
}
