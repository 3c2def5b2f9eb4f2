package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// selfTestDir, in the data directory, has a file of each self-test, named by its time in UTC. The audit has its hash.
const (
	selfTestDir  = "selftest"
	selfTestName = "2006-01-02T150405.000Z.json"
)

// keep writes what was found to a new file of dir, which only its owner may read, and says in s where it is.
func (s *SelfTest) keep(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, s.Time.UTC().Format(selfTestName))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("%w (what is in %s is not whole)", err, path)
	}
	sum := sha256.Sum256(append(text, '\n'))
	s.File, s.SHA256 = path, hex.EncodeToString(sum[:])
	return nil
}

// retainSelfTests deletes the files of self-tests made before a time. Names that it did not give stay.
func retainSelfTests(dir string, before time.Time) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, f := range files {
		if at, not := time.Parse(selfTestName, f.Name()); not == nil && at.Before(before) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return err
}
