//go:build unix

package feed

import (
	"os"
	"syscall"
)

// fileNumber tells apart files that have been at one path.
func fileNumber(info os.FileInfo) (device, inode uint64) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Dev), uint64(s.Ino) //nolint:unconvert // other types on other systems
	}
	return 0, 0
}
