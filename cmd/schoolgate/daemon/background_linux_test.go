package daemon

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// policyOf is the scheduling policy of the calling thread.
func policyOf(t *testing.T) uint32 {
	t.Helper()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return attr.Policy
}

func TestWorkInTheBackgroundHasAThreadOfTheLowestPriority(t *testing.T) {
	// Not parallel: it looks at the number of processors, which is the process's.
	before := runtime.GOMAXPROCS(0)
	var b background
	thread := 0
	b.run(func() {
		thread = unix.Gettid()
		if got := policyOf(t); got != unix.SCHED_IDLE {
			t.Errorf("policy %d, want %d", got, unix.SCHED_IDLE)
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
	if thread == unix.Gettid() || policyOf(t) != unix.SCHED_NORMAL {
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
