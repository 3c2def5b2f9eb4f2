package blocklist

import "syscall"

// adviseLarge asks for large pages, for memory that is read at random: with small ones each look-up
// waits for the page table too.
func adviseLarge(b []byte) {
	const hugePage = 14                       // MADV_HUGEPAGE
	_ = syscall.Madvise(b[:cap(b)], hugePage) // it is only advice
}
