package daemon

import (
	"os"
	"runtime"
	"sync"
)

// background runs what may take its time: reading and compiling millions of names while questions are
// answered. The zero value is ready.
type background struct {
	mu      sync.Mutex
	running int
	procs   int // GOMAXPROCS before
}

// run calls work, on a thread of its own and of the lowest priority, and returns when work has.
func (b *background) run(work func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine, and nothing else runs at its priority.
		runtime.LockOSThread()
		if lowerPriority() {
			b.begin()
			defer b.end()
		}
		work()
	}()
	<-done
}

// begin adds a processor of the Go scheduler for work. The thread keeps the one it has while the kernel
// lets others run, so that without another one the sockets' reader could find none free: a core would
// idle, or work at the lowest priority, while questions wait.
func (b *background) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running++; b.running == 1 {
		b.procs = runtime.GOMAXPROCS(0)
		runtime.GOMAXPROCS(b.procs + 1)
	}
}

func (b *background) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running--; b.running > 0 {
		return
	}
	if os.Getenv("GOMAXPROCS") != "" {
		runtime.GOMAXPROCS(b.procs)
		return
	}
	runtime.SetDefaultGOMAXPROCS() // which follows the machine and its limits again
}
