package bundle

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Seal is a file of sealed names.
type Seal struct {
	Name    string
	Content []byte
}

// What a bundle to be opened may have: it comes from elsewhere.
const (
	maxSeals    = 100_000
	maxSeal     = 256 << 20 // bytes, of one
	maxSealsAll = 1 << 30   // bytes, of all
)

// Seals reads the sealed names of a bundle, or of one file that was taken out of it. None is no error.
func Seals(path string) ([]Seal, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	archive, err := zip.NewReader(f, info.Size())
	if errors.Is(err, zip.ErrFormat) {
		content, err := limited(f, maxSeal)
		if err == nil && !bytes.HasPrefix(content, []byte("age-encryption.org/")) {
			err = errors.New("is neither a bundle nor a file of its folder " + strings.TrimSuffix(sealedDir, "/"))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return []Seal{{path, content}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var seals []Seal
	room := int64(maxSealsAll)
	for _, entry := range archive.File {
		if !strings.HasPrefix(entry.Name, sealedDir) || !strings.HasSuffix(entry.Name, ".age") {
			continue
		}
		if len(seals) == maxSeals {
			return nil, fmt.Errorf("%s: has more than %d sealed files", path, maxSeals)
		}
		in, err := entry.Open()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, entry.Name, err)
		}
		content, err := limited(in, min(maxSeal, room))
		if err = errors.Join(err, in.Close()); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, entry.Name, err)
		}
		room -= int64(len(content))
		seals = append(seals, Seal{entry.Name, content})
	}
	return seals, nil
}

// limited reads to the end, and no more than most bytes.
func limited(r io.Reader, most int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(content)) > most {
		err = fmt.Errorf("is larger than %d bytes", most)
	}
	return content, err
}
