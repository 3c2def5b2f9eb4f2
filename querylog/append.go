package querylog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxPending is how much waits for a disk that takes nothing: some 500,000 questions.
	maxPending = 8 << 20
	// maxReserve is the most that is left free on the disk for others, else a tenth of it.
	maxReserve = 1 << 30
)

// appender puts blocks into the files of their days. Run owns it.
type appender struct {
	dir    string
	logger *slog.Logger
	days   []day // as they are on disk

	pending      []pendingBlock
	pendingBytes int

	// The open file; nil for none.
	file *os.File
	info os.FileInfo
	date time.Time
	size int64 // up to where it is whole

	// What a test puts in their place.
	space func(dir string) (free, all int64, err error)
	put   func(f *os.File, b []byte, at int64) (int, error)
}

// pendingBlock is one that is not on disk yet.
type pendingBlock struct {
	date  time.Time
	block []byte
	count int
}

func newAppender(dir string, logger *slog.Logger) *appender {
	return &appender{
		dir: dir, logger: logger, space: diskSpace,
		put: func(f *os.File, b []byte, at int64) (int, error) { return f.WriteAt(b, at) },
	}
}

// add reports whether there was room for a block in memory.
func (a *appender) add(date time.Time, block []byte, count int) bool {
	if a.pendingBytes+len(block) > maxPending {
		return false
	}
	a.pending = append(a.pending, pendingBlock{date, block, count})
	a.pendingBytes += len(block)
	return true
}

// waiting is how many questions are not on disk yet.
func (a *appender) waiting() (n int) {
	for _, p := range a.pending {
		n += p.count
	}
	return n
}

// bytes is how much the files take.
func (a *appender) bytes() (n int64) {
	for _, d := range a.days {
		n += d.bytes
	}
	return n
}

// look reads which files there are.
func (a *appender) look() (err error) {
	a.days, err = days(a.dir)
	return err
}

// tidy removes what an erasure left behind that was killed.
func (a *appender) tidy() {
	left, _ := filepath.Glob(filepath.Join(a.dir, "*"+suffix+".new")) // the pattern is a good one
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			a.logger.Warn("query log: a file of a broken-off erasure stays", "error", err)
		}
	}
}

// write appends what is pending. What can't be written stays. makeRoom deletes a file, and reports false where there is
// none to delete.
func (a *appender) write(most int64, makeRoom func() bool) error {
	for len(a.pending) > 0 {
		p := a.pending[0]
		if err := a.room(int64(len(p.block)), most, makeRoom); err != nil {
			return err
		}
		if err := a.append(p); err != nil {
			return err
		}
		a.pending, a.pendingBytes = a.pending[1:], a.pendingBytes-len(p.block)
	}
	a.pending = nil
	return nil
}

// room returns why there is none for so many octets.
func (a *appender) room(n, most int64, makeRoom func() bool) error {
	for a.bytes()+n > most {
		if !makeRoom() {
			return fmt.Errorf("one day's questions have reached store.query_log_mb, %d MiB (make it larger)", most>>20)
		}
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	free, all, err := a.space(a.dir)
	if err != nil {
		return err
	}
	if reserve := min(maxReserve, all/10); free-n < reserve {
		return fmt.Errorf("the disk is almost full: its last %d MiB are left to others (make room on the disk of data_dir)", reserve>>20)
	}
	return nil
}

// append puts a block at the end of its day's file. After an error the file ends where it ended before.
func (a *appender) append(p pendingBlock) error {
	if err := a.openFor(p.date); err != nil {
		return err
	}
	if _, err := a.put(a.file, p.block, a.size); err != nil {
		// A part of a block must not stay before the next one. Where this fails too, opening it again cuts it off.
		_ = a.file.Truncate(a.size)
		return errors.Join(err, a.close())
	}
	a.size += int64(len(p.block))
	for i := range a.days {
		if a.days[i].date.Equal(p.date) {
			a.days[i].bytes = a.size
		}
	}
	return nil
}

// openFor has the file of a day open, with its end known. It makes one where there is none, and cuts off what follows
// the last whole block.
func (a *appender) openFor(date time.Time) (err error) {
	path := dayPath(a.dir, date)
	if a.file != nil && a.date.Equal(date) {
		if now, err := os.Stat(path); err == nil && os.SameFile(now, a.info) {
			return nil
		}
	}
	if err := a.close(); err != nil {
		a.logger.Warn("query log: close a file", "error", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s, err := scan(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if s.gaps > 0 {
		a.logger.Warn("query log: a file is damaged; what can be read of it stays", "file", filepath.Base(path), "places", s.gaps)
	}
	if err := f.Truncate(s.end); err != nil {
		return err
	}
	if s.end == 0 {
		if _, err := f.WriteAt([]byte(preface), 0); err != nil {
			return err
		}
		s.end = int64(len(preface))
	}
	a.file, a.info, a.date, a.size = f, info, date, s.end
	return a.look()
}

// close syncs and closes the open file.
func (a *appender) close() error {
	if a.file == nil {
		return nil
	}
	err := errors.Join(a.file.Sync(), a.file.Close())
	a.file = nil
	return err
}

// closeOf closes the file of a day, if that is the open one.
func (a *appender) closeOf(date time.Time) error {
	if !a.date.Equal(date) {
		return nil
	}
	return a.close()
}

// erasePending takes a client's questions out of what is not on disk yet.
func (a *appender) erasePending(wanted who, first, last int64) (n int, err error) {
	rewrite := rewriter{pack: newPacker(), wanted: wanted, first: first, last: last}
	var left []pendingBlock
	for _, p := range a.pending {
		h, _ := parseHeader(p.block)
		block, erased, err := rewrite.block(h, p.block[headerSize:])
		if err != nil {
			return n, err
		}
		n += erased
		a.pendingBytes += len(block) - len(p.block)
		if len(block) > 0 {
			left = append(left, pendingBlock{p.date, block, p.count - erased})
		}
	}
	a.pending = left
	return n, nil
}

// deletedText says which days' files were deleted.
func deletedText(days []string) string {
	files := "files"
	if len(days) == 1 {
		files = "file"
	}
	return fmt.Sprintf("%d %s deleted: %s", len(days), files, strings.Join(days, ", "))
}
