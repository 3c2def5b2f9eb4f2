package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gopkg.in/yaml.v3"
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
	return parseWith(data, path, readFile)
}

// ParseFiles is Parse for files that were read before, as Config.Files has them, the first at path: of those that it
// extends none is read again.
func ParseFiles(files []SourceFile, path string) (*Config, error) {
	return parseWith(files[0].Data, path, func(p string) ([]byte, error) {
		for _, f := range files {
			if f.Path == p {
				return f.Data, nil
			}
		}
		return nil, fs.ErrNotExist
	})
}

func parseWith(data []byte, path string, open opener) (*Config, error) {
	top, err := topSource(data, path)
	if err != nil {
		return nil, err
	}
	cfg, err := loadFiles(&report{file: path}, top, open, thisMachine())
	if err != nil {
		return nil, err
	}
	cfg.Path = top.path
	return cfg, nil
}

// Default returns the configuration of a server that was given no file. Its data goes to the
// user's state directory.
func Default() (*Config, error) {
	m := thisMachine()
	cfg, err := load(&report{file: "(built-in default)"}, defaultFile, m.stateDir(), m)
	if err == nil {
		cfg.Files = nil // there is none to look at again
	}
	return cfg, err
}

// Starter writes the commented configuration that a school begins with. It loads as it is.
func Starter(w io.Writer) error {
	_, err := w.Write(starterFile)
	return err
}

// load makes a Config of a file's content. Relative paths begin at dir.
func load(r *report, data []byte, dir string, m machine) (*Config, error) {
	return loadFiles(r, &source{name: r.file, path: filepath.Join(dir, filepath.Base(r.file)), dir: dir, called: filepath.Dir(r.file), data: data}, readFile, m)
}

// loadFiles is load for a file that may extend others.
func loadFiles(r *report, top *source, open opener, m machine) (*Config, error) {
	files := gather(r, top, open)
	if len(r.errors) > 0 {
		r.errors.sort(files)
		return nil, r.errors
	}
	c := checker{report: r, machine: m, top: top}
	root := files[len(files)-1].root
	for i, s := range slices.Backward(files[1:]) {
		c.base = newBase(r, s, root, c.base, m)
		root = merge(r, layer{rootPlace(root, s), root}, layer{rootPlace(files[i].root, files[i]), files[i].root})
	}
	c.file = new(file)
	mapping(c.file).read(r, root, rootPlace(root, top))
	c.cfg.File, c.cfg.Files = r.file, sourceFiles(files)
	c.cfg.Hash = HashFiles(c.cfg.Files)
	c.check()
	c.loosened()
	if len(r.errors) > 0 {
		r.errors.sort(files)
		return nil, r.errors
	}
	r.warnings.sort(files)
	c.cfg.Warnings, c.cfg.NotEnforced = r.warnings, r.laterPaths()
	return &c.cfg, nil
}

// rootPlace is the place of a file's mapping.
func rootPlace(root *yaml.Node, s *source) place {
	return place{line: root.Line, column: root.Column, file: s}
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
