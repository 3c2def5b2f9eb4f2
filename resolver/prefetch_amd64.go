package resolver

import "unsafe"

// prefetch has the processor bring the cache line of p near, without waiting for it.
//
//go:noescape
func prefetch(p unsafe.Pointer)
