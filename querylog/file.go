package querylog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// preface is the first line of a file.
const (
	prefaceStart = "schoolgate queries "
	preface      = prefaceStart + "1\n"
)

// ErrNewer says that a file was written by a later schoolgate, which has another form of them.
var ErrNewer = errors.New("written by a later schoolgate, in a form that this one does not know")

const (
	dirName = "queries"
	suffix  = ".log"
	dayTime = 24 * time.Hour
)

// Dir is where the files of questions are in a data directory.
func Dir(dataDir string) string { return filepath.Join(dataDir, dirName) }

// day is a file of questions: those of one day of UTC.
type day struct {
	date  time.Time // its first moment
	path  string
	bytes int64
}

// dayOf is the day of a time, in Unix milliseconds.
func dayOf(at int64) time.Time { return time.UnixMilli(at).UTC().Truncate(dayTime) }

func dayPath(dir string, date time.Time) string {
	return filepath.Join(dir, date.Format(time.DateOnly)+suffix)
}

// days returns the files of a directory in their order; none where there is no directory. What has another
// name is no business of ours.
func days(dir string) ([]day, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("query log: %w", err)
	}
	var found []day
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), suffix)
		date, err := time.Parse(time.DateOnly, name)
		info, infoErr := e.Info()
		if !ours || err != nil || infoErr != nil || !info.Mode().IsRegular() {
			continue
		}
		found = append(found, day{date, filepath.Join(dir, e.Name()), info.Size()})
	}
	slices.SortFunc(found, func(a, b day) int { return a.date.Compare(b.date) })
	return found, nil
}

// placed is a block where it stands in a file.
type placed struct {
	header
	at int64
}

// scanned is what is known of a file from its headers.
type scanned struct {
	blocks []placed
	// end is that of the last block: what follows is a block that was cut off, or nothing.
	end int64
	// gaps is how many stretches between blocks are none.
	gaps int
}

// scan reads the headers of a file of so many octets. What is no block is passed over to the next one.
func scan(f io.ReaderAt, size int64) (s scanned, err error) {
	first := make([]byte, len(preface))
	n, err := f.ReadAt(first, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return s, err
	}
	if n < len(preface) && strings.HasPrefix(preface, string(first[:n])) {
		return s, nil // cut off before its first block
	}
	switch {
	case string(first) == preface:
		s.end = int64(len(preface))
	case strings.HasPrefix(string(first), prefaceStart):
		return s, ErrNewer
	}
	var buf [headerSize]byte
	for at := s.end; at+headerSize <= size; {
		if _, err := f.ReadAt(buf[:], at); err != nil {
			return s, err
		}
		h, ok := parseHeader(buf[:])
		if !ok || at+h.size() > size {
			if at, err = nextHeader(f, at+1, size); err != nil {
				return s, err
			}
			continue
		}
		if at != s.end {
			s.gaps++
		}
		s.blocks = append(s.blocks, placed{h, at})
		at += h.size()
		s.end = at
	}
	return s, nil
}

// nextHeader returns where the next whole block begins, size where there is none.
func nextHeader(f io.ReaderAt, from, size int64) (int64, error) {
	const window = 64 << 10
	buf := make([]byte, window+headerSize)
	for ; from+headerSize <= size; from += window {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-from)], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		chunk := buf[:n]
		for i := 0; i+headerSize <= n && i < window; i++ {
			if chunk[i] != magic[0] {
				continue
			}
			if h, ok := parseHeader(chunk[i:]); ok && from+int64(i)+h.size() <= size {
				return from + int64(i), nil
			}
		}
	}
	return size, nil
}

// body reads that of a block.
func (b placed) body(f io.ReaderAt) ([]byte, error) {
	buf := make([]byte, b.size()-headerSize)
	_, err := f.ReadAt(buf, b.at+headerSize)
	return buf, err
}

// open opens a day's file to be read, with what its headers say.
func (d day) open() (*os.File, scanned, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return nil, scanned{}, fmt.Errorf("query log: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		var s scanned
		if s, err = scan(f, info.Size()); err == nil {
			return f, s, nil
		}
	}
	return nil, scanned{}, errors.Join(fmt.Errorf("query log: %s: %w", d.path, err), f.Close())
}
