//go:build !linux

package daemon

// lowerPriority is for Linux: elsewhere a thread keeps the priority of its process.
func lowerPriority() bool { return false }
