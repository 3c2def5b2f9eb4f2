package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// copies are the last good contents of lists, one file each in dir: a line that says what the content
// is, and then the list's text as it was. The copy of a confidential list is encrypted, line and all.
//
// The line ends in its own checksum, so that it alone says which content it is: where that is compiled
// already, nothing more is read.
type copies struct {
	dir      string // "": none
	readOnly bool
	identity *Identity
	mu       sync.Mutex // one saves at a time: two Specs may be of one source
}

const (
	clearCopy  = ".list"
	secretCopy = ".list.age"
	tempFile   = ".tmp"
)

// errDamaged marks a copy that is not what was written.
var errDamaged = errors.New("is damaged")

// caption is the first line of a copy.
type caption struct {
	digest
	entries  int // that the list had, enforceable or not
	modified time.Time
}

const copyMagic = "schoolgate list copy 2"

func (c caption) String() string {
	line := fmt.Sprintf("%s %x %d %d %s", copyMagic, c.sum, c.size, c.entries, c.modified.UTC().Format(time.RFC3339Nano))
	sum := sha256.Sum256([]byte(line))
	return fmt.Sprintf("%s %x\n", line, sum[:8])
}

func parseCaption(line string) (c caption, err error) {
	fields := strings.Fields(strings.TrimPrefix(line, copyMagic))
	if len(fields) == 5 {
		var sum []byte
		sum, err = hex.DecodeString(fields[0])
		copy(c.sum[:], sum)
		_, _ = fmt.Sscan(fields[1], &c.size) // what is wrong shows below
		_, _ = fmt.Sscan(fields[2], &c.entries)
		c.modified, _ = time.Parse(time.RFC3339Nano, fields[3])
	}
	if err != nil || c.String() != line {
		return caption{}, fmt.Errorf("%w: its first line is not as it was written", errDamaged)
	}
	return c, nil
}

// stem is what the names of a source's files begin with.
func stem(source string) string {
	sum := sha256.Sum256([]byte(source))
	return hex.EncodeToString(sum[:16])
}

// storedCopy is a copy that is open.
type storedCopy struct {
	textFile
	caption
	secret bool
}

// open opens the copy of a list: where only is set, the encrypted one alone. The error is
// os.ErrNotExist where there is none, and wraps errDamaged.
func (c *copies) open(source string, only bool) (*storedCopy, error) {
	if c.dir == "" {
		return nil, os.ErrNotExist
	}
	path := filepath.Join(c.dir, stem(source))
	f, _, err := openRegular(path + secretCopy)
	if errors.Is(err, os.ErrNotExist) && !only {
		f, _, err = openRegular(path + clearCopy)
	}
	if err != nil {
		return nil, err
	}
	stored := &storedCopy{textFile: textFile{file: f, identity: c.identity, header: true}}
	_, line, secret, err := stored.textFile.open()
	if err == nil {
		stored.secret = secret
		stored.caption, err = parseCaption(line)
	}
	if err == nil {
		return stored, nil
	}
	_ = f.Close()
	if !errors.Is(err, errDamaged) && !errors.Is(err, errNoIdentity) && !errors.Is(err, errOtherKey) {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil, err
}

// isWhole reports whether the text is the one that the caption speaks of.
func (s *storedCopy) isWhole() bool {
	in, _, _, err := s.textFile.open()
	return err == nil && writeText(io.Discard, in, s.digest) == nil
}

// save keeps the text of a list, encrypted if it is secret, and not at all where there is nothing to
// encrypt it with. It is not written where it seems to be there already, unless anew is set. save reports whether
// it is there now.
func (c *copies) save(source string, t textFile, secret bool, about caption, anew bool) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir == "" || c.readOnly {
		return c.has(source, secret, about), nil
	}
	path, other := filepath.Join(c.dir, stem(source)+clearCopy), secretCopy
	if secret {
		path, other = filepath.Join(c.dir, stem(source)+secretCopy), clearCopy
	}
	var err error
	canWrite := !secret || c.identity != nil // where the key is only missing today, what is there stays
	if canWrite && (anew || !c.has(source, secret, about)) {
		err = c.write(path, t, secret, about)
	}
	if err == nil || secret { // better no copy than one in clear
		err = errors.Join(err, c.remove(source, other))
	}
	return err == nil && canWrite, err
}

func (c *copies) write(path string, t textFile, secret bool, about caption) error {
	in, _, _, err := t.open()
	if err != nil {
		return err
	}
	return writeFile(path, func(w io.Writer) error {
		if !secret {
			return writeCopy(w, in, about)
		}
		to, err := c.identity.encrypt(w)
		if err != nil {
			return err
		}
		if err := writeCopy(to, in, about); err != nil {
			return err
		}
		return to.Close()
	})
}

// has reports whether the copy of a list begins with that caption.
func (c *copies) has(source string, secret bool, about caption) bool {
	stored, err := c.open(source, secret)
	if err != nil {
		return false
	}
	_ = stored.file.Close()
	return stored.secret == secret && stored.caption.String() == about.String()
}

// writeCopy writes a text with its caption.
func writeCopy(w io.Writer, in io.Reader, about caption) error {
	if _, err := io.WriteString(w, about.String()); err != nil {
		return err
	}
	return writeText(w, in, about.digest)
}

// writeText writes a text, if it still is the one that was read.
func writeText(w io.Writer, in io.Reader, d digest) error {
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(in, d.size+1))
	if err != nil {
		return err
	}
	if size != d.size || [sha256.Size]byte(sum.Sum(nil)) != d.sum {
		return errors.New("the list was changed meanwhile")
	}
	return nil
}

// remove deletes the copy of a list that has a suffix, if there is one.
func (c *copies) remove(source, suffix string) error {
	if c.dir == "" || c.readOnly {
		return nil
	}
	err := os.Remove(filepath.Join(c.dir, stem(source)+suffix))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// writeFile replaces a file, all of it or nothing, and makes its directory. It is its owner's alone.
func writeFile(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.OpenFile(path+tempFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(temp)
	if err == nil {
		err = temp.Sync()
	}
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
	// A rename is durable where the system lets directories be synced.
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}
