//go:build !amd64

package resolver

import "unsafe"

// prefetch does nothing here.
func prefetch(unsafe.Pointer) {}
