package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Whatever is in the store, reading it ends, and what comes of it can be put in force or is said to be damaged.
func FuzzExceptionsFile(f *testing.F) {
	dir := f.TempDir()
	e := exception("block", "news.example")
	e.complete(time.Now())
	if err := (&exceptions{all: []Exception{e}}).write(dir); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, exceptionsFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":2,"exceptions":[{"action":"block"}]}`))
	f.Add([]byte(`{"version":1,"hash":"","exceptions":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, exceptionsFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		x := readExceptions(dir)
		for i := range x.all {
			if _, err := x.all[i].rule(); err != nil {
				t.Errorf("kept, though %v: %+v", err, x.all[i])
			}
		}
		if x.lost && x.problem == "" {
			t.Error("lost, and nothing is said")
		}
		if x.problem != "" {
			return
		}
		if err := x.write(dir); err != nil {
			t.Fatal(err)
		}
		if again := readExceptions(dir); again.problem != "" || len(again.all) != len(x.all) {
			t.Errorf("written anew it reads otherwise: %+v", again)
		}
	})
}
