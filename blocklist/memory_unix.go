//go:build unix

package blocklist

import "syscall"

// allocate returns size bytes of zeroed memory outside the collector's heap: it doesn't count towards
// the next collection, and free gives it back to the system at once. Where the system has none to
// give it is ordinary memory.
func allocate(size int) (b []byte, outside bool) {
	b, err := syscall.Mmap(-1, 0, max(size, 1), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size), false
	}
	return b[:size], true
}

// free gives back what allocate returned as outside. Nothing may refer to it any more.
func free(b []byte) {
	_ = syscall.Munmap(b[:cap(b)]) // it fails for what is no mapping only
}
