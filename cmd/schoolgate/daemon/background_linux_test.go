package daemon

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// niceOf is how nice the calling thread is.
func niceOf(t *testing.T) int {
	t.Helper()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return int(attr.Nice)
}

func TestWorkInTheBackgroundHasAThreadOfTheLowestPriority(t *testing.T) {
	// Not parallel: it looks at the number of processors, which is the process's.
	before, own := runtime.GOMAXPROCS(0), niceOf(t)
	var b background
	thread := 0
	b.run(func() {
		thread = unix.Gettid()
		if got := niceOf(t); got != lowest {
			t.Errorf("nice %d, want %d", got, lowest)
		}
		b.run(func() {
			if got := runtime.GOMAXPROCS(0); got != before+1 {
				t.Errorf("%d processors while two run, want %d", got, before+1)
			}
		})
		if got := runtime.GOMAXPROCS(0); got != before+1 {
			t.Errorf("%d processors while one runs, want %d", got, before+1)
		}
	})
	if thread == unix.Gettid() || niceOf(t) != own {
		t.Error("the caller's own thread was taken")
	}
	if os.Getenv("GOMAXPROCS") != "" {
		if got := runtime.GOMAXPROCS(0); got != before {
			t.Errorf("%d processors afterwards, want %d", got, before)
		}
	}
	runtime.GOMAXPROCS(before)
}

func TestTheNumberOfProcessorsOfTheEnvironmentStays(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Setenv("GOMAXPROCS", "1")
	runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	var b background
	b.run(func() {})
	if got := runtime.GOMAXPROCS(0); got != 1 {
		t.Errorf("%d processors, want 1", got)
	}
}
