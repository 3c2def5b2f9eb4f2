//go:build !unix

package feed

import "os"

func fileNumber(os.FileInfo) (device, inode uint64) { return 0, 0 }
