package config

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed default.yaml
var defaultFile []byte

//go:embed starter.yaml
var starterFile []byte

// Load reads and checks the configuration file at path: ReadFile and Parse. An error that is not an
// Errors says that the file could not be read.
func Load(path string) (*Config, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(data, path)
}

// ReadFile reads a configuration file, which must be a regular one of at most 16 MiB.
func ReadFile(path string) ([]byte, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// Parse checks the content of the configuration file that stands, or stood, at path. Where the
// configuration is wrong the error is an Errors with every problem in the order of the lines, in
// which the file is called path as it was given. Besides data it looks only at the secrets that the
// file names and at what the file leaves to the machine: host name, addresses, /etc/resolv.conf.
// Lists are not read.
func Parse(data []byte, path string) (*Config, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	cfg, err := load(&report{file: path}, data, filepath.Dir(absolute), thisMachine())
	if err != nil {
		return nil, err
	}
	cfg.Path = absolute
	return cfg, nil
}

// Default returns the configuration of a server that was given no file. Its data goes to the
// user's state directory.
func Default() (*Config, error) {
	m := thisMachine()
	return load(&report{file: "(built-in default)"}, defaultFile, m.stateDir(), m)
}

// Starter writes the commented configuration that a school begins with. It loads as it is.
func Starter(w io.Writer) error {
	_, err := w.Write(starterFile)
	return err
}

// load makes a Config of a file's content. Relative paths begin at dir.
func load(r *report, data []byte, dir string, m machine) (*Config, error) {
	root := parse(r, data)
	if root == nil {
		return nil, r.errors
	}
	var f file
	mapping(&f).read(r, root, place{line: root.Line, column: root.Column})
	c := checker{report: r, file: &f, machine: m, dir: dir}
	digest := sha256.Sum256(data)
	c.cfg.File, c.cfg.Hash = r.file, hex.EncodeToString(digest[:])
	c.check()
	if len(r.errors) > 0 {
		r.errors.sort()
		return nil, r.errors
	}
	r.warnings.sort()
	c.cfg.Warnings, c.cfg.NotEnforced = r.warnings, r.laterPaths()
	return &c.cfg, nil
}

// maxFile bounds the configuration; lists of names have files of their own.
const maxFile = 16 << 20

// readFile reads a regular file of at most maxFile bytes. Its errors leave the path to the caller.
func readFile(path string) ([]byte, error) {
	// A FIFO must not hold us up before its mode is known.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, cause(err)
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

// cause strips an error of the path, which its place says already.
func cause(err error) error {
	if e, ok := err.(*fs.PathError); ok { //nolint:errorlint // the outermost error is meant
		return e.Err
	}
	return err
}

// regular refuses what is not a regular file. Those of /proc and /sys say that they are and are
// not: their content is the kernel's, and may be a secret of this process.
func regular(path string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return errors.New("is a directory, not a file")
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	}
	target, err := filepath.EvalSymlinks(path)
	if err == nil {
		target, err = filepath.Abs(target)
	}
	if err != nil {
		return cause(err)
	}
	for _, root := range []string{"/proc/", "/sys/"} {
		if strings.HasPrefix(target, root) {
			return fmt.Errorf("is not a file on disk, but in %s", strings.TrimSuffix(root, "/"))
		}
	}
	return nil
}

// position is the line and column of an offset, both from 1.
func position(data []byte, offset int) (line, column int) {
	before := data[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte("\n")), 1 + len([]rune(string(before[start:])))
}
