package daemon

import "golang.org/x/sys/unix"

// lowerPriority gives the calling thread the least share of the processors that is one (sched(7)), and
// reports whether that worked: a sandbox may forbid it. It cannot be taken back without rights that
// schoolgate has not. Not SCHED_IDLE: the Go scheduler waits for every thread when a collection begins, and
// one that gets what others leave lets all questions wait for seconds where they leave nothing.
func lowerPriority() bool {
	return unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowest) == nil
}

const lowest = 19
