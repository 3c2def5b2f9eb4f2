package daemon

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAWatchedFileIsReadOnceItHasRested(t *testing.T) {
	path := filepath.Join(t.TempDir(), "schoolgate.yaml")
	write := func(size int) {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Error(err)
		}
	}
	write(0)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var reloads []time.Duration
		go watch(ctx, stampOf(path), func() stamp { return stampOf(path) }, func() { reloads = append(reloads, time.Since(start)) })
		// Written once, then in three steps, then again; then it goes away.
		for i, at := range []float64{10.5, 20.1, 21.9, 23.8, 40.5} {
			time.Sleep(time.Duration(at*float64(time.Second)) - time.Since(start))
			write(i + 1)
		}
		time.Sleep(60500*time.Millisecond - time.Since(start))
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		want := []time.Duration{13 * time.Second, 26 * time.Second, 43 * time.Second, 63 * time.Second}
		if diff := cmp.Diff(want, reloads); diff != "" {
			t.Errorf("reloads (-want +got):\n%s", diff)
		}
	})
}

func TestAFileThatIsReplacedHasAnotherStamp(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	before := stampOf(s.path)
	if !before.equal(stampOf(s.path)) {
		t.Error("one file, two stamps")
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	s.write("new", string(text))
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(s.dir+"/new", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.dir+"/new", s.path); err != nil {
		t.Fatal(err)
	}
	if before.equal(stampOf(s.path)) {
		t.Error("another file of the same size and time has the same stamp")
	}
	s.remove("schoolgate.yaml")
	if gone := stampOf(s.path); before.equal(gone) || !gone.equal(stampOf(s.path)) {
		t.Error("a file that is gone")
	}
}

func TestWatchIsForThoseWhoAskForIt(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure("watch: true\n" + baseYAML)
	s.start()
	hash := s.Filter().Config.Hash
	s.configure("watch: true\n" + edit("severity: low", "severity: medium"))
	s.await(func() bool { return s.Filter().Config.Hash != hash && len(s.acts()) > 1 })
	if acts := s.acts(); len(acts) != 2 || acts[1][:len("watch | config.reload | ")] != "watch | config.reload | " {
		t.Errorf("audit: %q", acts)
	}
}
