package feed

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"schoolgate/blocklist"
)

// maxFile bounds a list's file. The longest public list of one category has a tenth of it.
const maxFile = 1 << 30

// openRegular opens a file for reading, if it is one: reading a pipe or a terminal could wait for
// ever, a device need not end, and the files of /proc, whose size is 0, are none of a filter's
// business.
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
		return nil, nil, fmt.Errorf("list %s: %w", path, err)
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

// parse reads a list, and adds what it reads to sum.
func (k loadKey) parse(ctx context.Context, r io.Reader, sum checksum, own []blocklist.Name) (*blocklist.List, error) {
	in := io.TeeReader(&boundReader{ctx: ctx, r: r, left: maxFile}, sum)
	list, err := blocklist.Parse(in, blocklist.Options{Format: k.format, Addresses: k.addresses, Own: own})
	if err != nil {
		return nil, err
	}
	if k.confidential {
		for _, problems := range [][]blocklist.Problem{list.Problems, list.Warnings} {
			for i := range problems {
				problems[i].Text = ""
			}
		}
	}
	return list, nil
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

// copies are the last good contents of lists, one file each in dir: one line with a checksum and the
// time of the content, and then the list as it was.
type copies struct {
	dir      string
	readOnly bool
	mu       sync.Mutex // one writes at a time: two Specs may be of one file
}

// checksum is over the time of a list's content, and the content.
type checksum struct {
	hash.Hash
	modified string
}

func newSum(modified time.Time) checksum {
	c := checksum{Hash: sha256.New(), modified: modified.UTC().Format(time.RFC3339Nano)}
	_, _ = io.WriteString(c.Hash, c.modified+"\n") // a hash takes everything
	return c
}

const copyMagic = "schoolgate list copy 1"

// header returns the first line of a copy.
func (c checksum) header() string {
	return fmt.Sprintf("%s %x %s\n", copyMagic, c.Sum(nil), c.modified)
}

func (c *copies) path(k loadKey) string {
	name := sha256.Sum256([]byte(k.String()))
	return filepath.Join(c.dir, hex.EncodeToString(name[:16])+".list")
}

// save keeps the content of a list that has been read from f with that sum, unless that is what is
// there already.
func (c *copies) save(k loadKey, f *os.File, sum checksum) error {
	if c.dir == "" || c.readOnly {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	path := c.path(k)
	if c.has(path, sum) {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	temp, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = writeCopy(temp, f, sum)
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	syncDir(c.dir)
	return nil
}

// has reports whether the copy at path begins with that sum.
func (c *copies) has(path string, sum checksum) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadSlice('\n')
	return err == nil && string(line) == sum.header()
}

// writeCopy writes what is in f, if it is still what was read with that sum.
func writeCopy(temp, f *os.File, sum checksum) error {
	if _, err := io.WriteString(temp, sum.header()); err != nil {
		return err
	}
	again := checksum{Hash: sha256.New(), modified: sum.modified}
	_, _ = io.WriteString(again.Hash, again.modified+"\n")
	if _, err := io.Copy(io.MultiWriter(temp, again), f); err != nil {
		return err
	}
	if again.header() != sum.header() {
		return errors.New("the file was changed meanwhile")
	}
	return temp.Sync()
}

// syncDir makes a rename durable, where the system lets directories be synced.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// load reads the copy of a list. One whose checksum is wrong is refused.
func (c *copies) load(ctx context.Context, k loadKey, own []blocklist.Name) (*known, error) {
	if c.dir == "" {
		return nil, os.ErrNotExist
	}
	f, _, err := openRegular(c.path(k))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	line, err := in.ReadSlice('\n') // bounded by the buffer
	header := string(line)
	if err != nil {
		return nil, fmt.Errorf("copy of list %s is damaged: its first line: %w", k, err)
	}
	modified, err := time.Parse(time.RFC3339Nano, strings.TrimSuffix(header[strings.LastIndexByte(header, ' ')+1:], "\n"))
	if err != nil {
		return nil, fmt.Errorf("copy of list %s is damaged: its first line: %w", k, err)
	}
	sum := newSum(modified)
	list, err := k.parse(ctx, in, sum, own)
	if err != nil {
		return nil, fmt.Errorf("copy of list %s is damaged: %w", k, err)
	}
	if sum.header() != header {
		return nil, fmt.Errorf("copy of list %s is damaged: its checksum is another", k)
	}
	return &known{list: list, modified: modified, own: own, from: FromCopy}, nil
}

// remove deletes the copy of a list, if there is one.
func (c *copies) remove(k loadKey) error {
	if c.dir == "" || c.readOnly {
		return nil
	}
	err := os.Remove(c.path(k))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
