package feed

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"schoolgate/blocklist"
)

// maxFile bounds a list's file. The longest public list of one category has a tenth of it.
const maxFile = 1 << 30

// openRegular opens a file for reading, if it is one: reading a pipe or a terminal could wait for
// ever, a device need not end, and the files of /proc, whose size is 0, are none of a filter's
// business. The error names the file only where it cannot be opened.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	// O_NONBLOCK: opening a pipe must not wait for somebody to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkRegular(info)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func checkRegular(info os.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return errors.New("is a directory, not a file")
	case mode&fs.ModeNamedPipe != 0:
		return errors.New("is a pipe, not a regular file")
	case !mode.IsRegular():
		return errors.New("is a device or a socket, not a regular file")
	case info.Size() == 0:
		return fmt.Errorf("%w: the file is empty", blocklist.ErrEmpty)
	case info.Size() > maxFile:
		return fmt.Errorf("%w: the file is larger than %d MB", blocklist.ErrNotList, maxFile>>20)
	}
	return nil
}

// fileStat is by what a file is known as unchanged.
type fileStat struct {
	Size     int64       `json:"size"`
	Modified int64       `json:"modified"` // Unix time in nanoseconds
	Mode     fs.FileMode `json:"mode"`
	Device   uint64      `json:"device"` // 0 where the system has none
	Inode    uint64      `json:"inode"`
}

func statOf(info os.FileInfo) fileStat {
	s := fileStat{Size: info.Size(), Modified: info.ModTime().UnixNano(), Mode: info.Mode()}
	s.Device, s.Inode = fileNumber(info)
	return s
}

// settleTime is longer than a file system's clock tick.
const settleTime = 2 * time.Second

// hasSettled reports whether a file that was s when it was opened has not been changed since, nor so
// shortly before that a later change might not show in its time.
func hasSettled(f *os.File, s fileStat) bool {
	info, err := f.Stat()
	return err == nil && statOf(info) == s && time.Since(info.ModTime()) >= settleTime
}

// textFile is a file with the text of a list in it, in clear or encrypted.
type textFile struct {
	file     *os.File
	identity *Identity
	// header says that the text is behind the first line of what is decrypted: the file is a copy.
	header bool
}

// open returns the text from its start, and the line before it, if there is one.
func (t textFile) open() (in *bufio.Reader, header string, encrypted bool, err error) {
	if _, err = t.file.Seek(0, io.SeekStart); err != nil {
		return nil, "", false, err
	}
	in = bufio.NewReader(t.file)
	for range 2 { // a list that is published encrypted is encrypted once more before it is known what it is
		if !isEncrypted(in) {
			break
		}
		encrypted = true
		clear, err := t.identity.decrypt(in)
		if err != nil {
			return nil, "", true, err
		}
		in = bufio.NewReader(clear)
	}
	if t.header {
		line, err := in.ReadSlice('\n') // bounded by the buffer
		if err != nil {
			return nil, "", encrypted, fmt.Errorf("its first line: %w", err)
		}
		header = string(line)
	}
	return in, header, encrypted, nil
}

// digest says which text it is.
type digest struct {
	sum  [sha256.Size]byte
	size int64
}

// parse reads the text of a list to its end. The error names no list.
func (l *Loader) parse(ctx context.Context, w *wanted, in io.Reader, size int64, secret bool) (*blocklist.List, digest, error) {
	sum := sha256.New()
	bound := &boundReader{ctx: ctx, r: l.reporter.reader(in, w.id, size), left: maxFile}
	all := io.TeeReader(bound, sum)
	list, err := blocklist.Parse(all, blocklist.Options{Format: w.key.format, Addresses: w.key.addresses, Own: w.own})
	if err == nil {
		_, err = io.Copy(io.Discard, all)
	}
	if err != nil {
		return nil, digest{}, err
	}
	if secret {
		for _, problems := range [][]blocklist.Problem{list.Problems, list.Warnings} {
			for i := range problems {
				problems[i].Text = ""
			}
		}
	}
	return list, digest{sum: [sha256.Size]byte(sum.Sum(nil)), size: maxFile - bound.left}, nil
}

// boundReader ends with an error when its context does, or after left bytes.
type boundReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (b *boundReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, fmt.Errorf("%w: larger than %d MB", blocklist.ErrNotList, maxFile>>20)
	}
	return n, err
}
