package daemon

import "golang.org/x/sys/unix"

// lowerPriority gives the calling thread what the processors have left (SCHED_IDLE, sched(7)), and
// reports whether that worked: a sandbox may forbid it. It cannot be taken back without rights that
// schoolgate has not.
func lowerPriority() bool {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_IDLE}, 0) == nil
}
