package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"schoolgate/config"
)

// acceptedFile is the last accepted configuration, in the data directory. schoolgate never writes
// the user's own file; this copy is what a start falls back on when that one is broken, and what
// tells a start that a locked category has been weakened since.
const acceptedFile = "accepted.json"

// accepted is a configuration that was in force, with every list that it requires.
type accepted struct {
	// Path is where the file was; what it says of other files is relative to that. "" for the
	// built-in default, which cannot break and is not kept.
	Path   string           `json:"path"`
	Hash   string           `json:"hash"` // as config.Config has it
	Time   time.Time        `json:"time"`
	Locked []lockedCategory `json:"locked"`
	YAML   []byte           `json:"yaml"`
	// Bases are the files that it extends, the farthest one last.
	Bases []acceptedBase `json:"bases,omitempty"`
}

// acceptedBase is a file that a configuration extends, as it was then: the start that needs it may not have it.
type acceptedBase struct {
	Path string `json:"path"`
	YAML []byte `json:"yaml"`
}

// files are all that the configuration was read from.
func (a *accepted) files() []config.SourceFile {
	files := []config.SourceFile{{Path: a.Path, Data: a.YAML, Hash: hashOf(a.YAML)}}
	for _, b := range a.Bases {
		files = append(files, config.SourceFile{Path: b.Path, Data: b.YAML, Hash: hashOf(b.YAML)})
	}
	return files
}

// remember takes up the content of the files.
func (a *accepted) remember(files []config.SourceFile) {
	for i, f := range files {
		if i == 0 {
			a.YAML = f.Data
		} else {
			a.Bases = append(a.Bases, acceptedBase{f.Path, f.Data})
		}
	}
}

// lockedCategory is a locked category at one time, with the entries of its lists, self-test names
// not counted.
type lockedCategory struct {
	Name          string `json:"name"`
	Enforceable   int    `json:"enforceable"`
	Unenforceable int    `json:"unenforceable"`
}

// readAccepted returns the copy in dir; nil, nil where there has never been one.
func readAccepted(dir string) (*accepted, error) {
	data, err := os.ReadFile(filepath.Join(dir, acceptedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last accepted configuration: %w", err)
	}
	a := new(accepted)
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("read the last accepted configuration: %s is damaged: %w", filepath.Join(dir, acceptedFile), err)
	}
	if a.Path != "" && config.HashFiles(a.files()) != a.Hash {
		return nil, fmt.Errorf("read the last accepted configuration: %s is damaged: its checksum is wrong", filepath.Join(dir, acceptedFile))
	}
	return a, nil
}

// cutOff returns why one of the files is most likely not what somebody wrote, but the beginning of it: what was
// accepted, ended within a line. Without its last sections a configuration may still load, and alert
// nobody. A file that ends with a line may be meant so.
func (a *accepted) cutOff(files []config.SourceFile) error {
	if a == nil {
		return nil
	}
	r := new(Refused)
	for i, f := range files {
		for j, before := range a.files() {
			same := i == 0 && j == 0 || i > 0 && j > 0 && f.Path == before.Path
			if !same || len(f.Data) >= len(before.Data) || !bytes.HasPrefix(before.Data, f.Data) || bytes.HasSuffix(f.Data, []byte("\n")) {
				continue
			}
			what := "the file"
			if i > 0 {
				what = f.Path
			}
			r.Reasons = append(r.Reasons, what+" is the beginning of the configuration that was accepted before, and ends within a line: it looks cut off (if it is meant so, end it with a line break)")
		}
	}
	if r.Reasons == nil {
		return nil
	}
	return r
}

// write replaces the copy in dir. A power cut leaves the old one or the new one, whole.
func (a *accepted) write(dir string) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("keep the accepted configuration: %w", err)
	}
	if err := writeWhole(data, filepath.Join(dir, acceptedFile)); err != nil {
		return fmt.Errorf("keep the accepted configuration: %w", err)
	}
	return nil
}

// writeWhole replaces files of one directory at once, or none where the disk is full: temporary files, fsync,
// rename, fsync of the directory.
func writeWhole(data []byte, paths ...string) (err error) {
	var staged []string
	defer func() {
		if err != nil {
			for _, name := range staged {
				_ = os.Remove(name) // those that have been renamed are gone
			}
		}
	}()
	for _, path := range paths {
		f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
		if err != nil {
			return err
		}
		staged = append(staged, f.Name())
		_, err = f.Write(data)
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	for i, path := range paths {
		if err := os.Rename(staged[i], path); err != nil {
			return err
		}
	}
	dir, err := os.Open(filepath.Dir(paths[0]))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

var dataDirLine = regexp.MustCompile(`(?m)^data_dir[ \t]*:[ \t]*("[^"\n]*"|'[^'\n]*'|[^#\n]*)`)

// findAccepted looks for the copy of a configuration file that cannot be used: in the data_dir that
// can still be read out of it, in ./data beside it, and in the state directory of the service. The
// data directory is returned too, absolute; "" where there is nothing to fall back on.
func findAccepted(path, stateDir string) (dir string, a *accepted, err error) {
	files, err := config.Files(path)
	if err != nil { // what can't be read says nothing
		files = []config.SourceFile{{Path: path}}
	}
	var broken []error
	for _, dir := range dataDirs(path, files, stateDir) {
		if dir, err = filepath.Abs(dir); err != nil { // as the configuration has it
			return "", nil, err
		}
		a, err := readAccepted(dir)
		if err != nil {
			broken = append(broken, err)
		} else if a != nil && a.Path != "" {
			return dir, a, nil
		}
	}
	return "", nil, errors.Join(broken...)
}

// dataDirs are the places where the data of a configuration may be that does not say so any more.
func dataDirs(path string, files []config.SourceFile, stateDir string) []string {
	var dirs []string
	for _, f := range files {
		if m := dataDirLine.FindSubmatch(f.Data); m != nil {
			named := strings.Trim(strings.TrimSpace(string(m[1])), `"'`)
			if !filepath.IsAbs(named) {
				named = filepath.Join(filepath.Dir(f.Path), named)
			}
			dirs = append(dirs, named)
		}
	}
	dirs = append(dirs, filepath.Join(filepath.Dir(path), "data"))
	if stateDir != "" {
		dirs = append(dirs, stateDir)
	}
	return dirs
}

// LastAccepted returns the configuration that was last accepted, for a file that cannot be used now:
// its data directory is where the copy was found. nil where there is no copy. stateDir is as in
// Options.
func LastAccepted(path, stateDir string) (*config.Config, error) {
	_, cfg, err := lastAccepted(path, stateDir)
	return cfg, err
}

func lastAccepted(path, stateDir string) (*accepted, *config.Config, error) {
	dir, a, err := findAccepted(path, stateDir)
	if a == nil {
		return nil, nil, err
	}
	cfg, err := config.ParseFiles(a.files(), a.Path)
	if err != nil {
		return nil, nil, err
	}
	cfg.DataDir = dir
	return a, cfg, nil
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
