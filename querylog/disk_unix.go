//go:build unix

package querylog

import "golang.org/x/sys/unix"

// diskSpace is how many octets are free to us on the disk of a directory, and how many it has.
func diskSpace(dir string) (free, all int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	block := int64(s.Bsize)
	return int64(s.Bavail) * block, int64(s.Blocks) * block, nil
}
