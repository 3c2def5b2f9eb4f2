package feed

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

const (
	// A list may unpack to maxRatio times what was served, and unpackSlack bytes more. Names compress
	// to about a fifth.
	maxRatio    = 200
	unpackSlack = 16 << 20

	maxMembers = 10_000 // of an archive
	maxGzips   = 2      // around one another: a .gz file, by a server that compresses what it sends
	sniffSize  = 64 << 10
)

// packing is what some bytes begin like.
type packing uint8

const (
	text packing = iota // or anything else: the parser will say
	tarball
	zipfile
)

// unpack writes the list in the body to dst. What the body is shows in its first bytes, whatever its
// URL and its header say: text, gzip, or an archive (tar, tar.gz, zip) with the list as one of its
// files, which may be compressed by gzip again. An archive is read to its end before anything is written.
// Members of archives are never files here, so neither ../ nor a link in one can lead anywhere.
func (w *wire) unpack(ctx context.Context, q fetchRequest, limits fetchLimits, dst io.Writer) error {
	u := &unpacker{ctx: ctx, wire: w, member: q.Member, showNames: q.ShowNames, limits: limits}
	err := u.unpack(bufio.NewReaderSize(w, sniffSize), dst)
	switch {
	case w.err != nil:
		return w.err // rather than what became of it further up
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("unpack: what is compressed ends in the middle")
	case err != nil:
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

// unpacker unpacks one body.
type unpacker struct {
	ctx       context.Context
	wire      *wire
	member    string
	showNames bool
	limits    fetchLimits
}

func (u *unpacker) unpack(in *bufio.Reader, dst io.Writer) error {
	head, err := in.Peek(sniffSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch u.sniff(head) {
	case tarball:
		return u.tar(in, dst)
	case zipfile:
		return u.zip(in, dst)
	case text:
	}
	return u.write(in, dst)
}

// sniff returns what lies under the gzip layers of what begins with head.
func (u *unpacker) sniff(head []byte) packing {
	in, err := u.gunzip(bytes.NewReader(head))
	if err != nil {
		return text
	}
	head, _ = in.Peek(512) // as much as there is: the layers above it may be cut
	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("PK\x05\x06")):
		return zipfile
	case len(head) == 512 && string(head[257:262]) == "ustar": // POSIX.1-1988, and GNU
		return tarball
	}
	return text
}

// gunzip takes the gzip layers off r, where it has any.
func (u *unpacker) gunzip(r io.Reader) (*bufio.Reader, error) {
	for range maxGzips + 1 {
		in := bufio.NewReaderSize(r, 32<<10)
		if magic, _ := in.Peek(3); !bytes.Equal(magic, []byte{0x1f, 0x8b, 8}) {
			return in, nil // an error of Peek comes again with the next read
		}
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		r = &bounded{r: unzipped, u: u}
	}
	return nil, fmt.Errorf("compressed by gzip more than %d times", maxGzips)
}

// write writes what r holds, without its gzip layers.
func (u *unpacker) write(r io.Reader, dst io.Writer) error {
	in, err := u.gunzip(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, in)
	return err
}

// tar writes the list of a tar archive, compressed or not. Which file is the list shows only when all
// have been seen, so it is read twice.
func (u *unpacker) tar(r io.Reader, dst io.Writer) error {
	archive, err := u.hold(r)
	if err != nil {
		return err
	}
	var names []string
	if _, err := u.eachFile(archive, func(name string) bool {
		names = append(names, name)
		return false
	}); err != nil {
		return err
	}
	chosen, err := u.choose(names)
	if err != nil {
		return err
	}
	at := -1
	file, err := u.eachFile(archive, func(string) bool { at++; return at == chosen })
	if err != nil {
		return err
	}
	return u.write(&bounded{r: file, u: u}, dst)
}

// eachFile calls stop for each entry of a tar archive, with "" for what is no file, and returns the
// content of the first for which it is true; nil where it is for none.
func (u *unpacker) eachFile(archive []byte, stop func(name string) bool) (io.Reader, error) {
	in, err := u.gunzip(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	files := tar.NewReader(in)
	for range maxMembers {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, in) // behind the end of a tar is the checksum of its gzip
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		name := ""
		if header.Typeflag == tar.TypeReg {
			name = memberName(header.Name)
		}
		if stop(name) {
			return files, nil
		}
	}
	return nil, errMembers
}

// zip writes the list of a zip archive.
func (u *unpacker) zip(r io.Reader, dst io.Writer) error {
	in, err := u.gunzip(r)
	if err != nil {
		return err
	}
	archive, err := u.hold(in)
	if err != nil {
		return err
	}
	// zip.NewReader takes memory for each entry of the directory, and they may be a million.
	if bytes.Count(archive, []byte("PK\x01\x02")) > maxMembers {
		return errMembers
	}
	files, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return err
	}
	names := make([]string, len(files.File))
	for i, f := range files.File {
		if f.Mode().IsRegular() {
			names[i] = memberName(f.Name)
		}
	}
	chosen, err := u.choose(names)
	if err != nil {
		return err
	}
	file, err := files.File[chosen].Open()
	if err != nil {
		return err
	}
	defer file.Close()
	return u.write(&bounded{r: file, u: u}, dst)
}

// hold reads an archive into memory.
func (u *unpacker) hold(r io.Reader) ([]byte, error) {
	var held bytes.Buffer
	held.Grow(int(min(u.wire.total, u.limits.archive)) + bytes.MinRead) // at once, where its size is known
	if _, err := held.ReadFrom(io.LimitReader(r, u.limits.archive+1)); err != nil {
		return nil, err
	}
	if int64(held.Len()) > u.limits.archive {
		return nil, fmt.Errorf("archive: %w", tooLarge(u.limits.archive))
	}
	return held.Bytes(), nil
}

var errMembers = fmt.Errorf("archive with more than %d files", maxMembers)

// memberName returns a file's path inside its archive in one form, with slashes and no dot at the
// front; "" for what cannot be a list: paths that lead out, and hidden files.
func memberName(name string) string {
	name = path.Clean(strings.ReplaceAll(name, `\`, "/"))
	if !fs.ValidPath(name) || strings.HasPrefix(path.Base(name), ".") {
		return ""
	}
	return name
}

// choose returns which of an archive's files is the list: the one whose path is member, else the one
// whose path is member below a first folder; without member the only one, else the only one called
// domains, else the only one called hosts. "" is no file.
func (u *unpacker) choose(names []string) (int, error) {
	only := func(matches func(name string) bool) (at, count int) {
		for i, name := range names {
			if name != "" && matches(name) {
				at = i
				count++
			}
		}
		return at, count
	}
	all := func(string) bool { return true }
	called := func(base string) func(string) bool {
		return func(name string) bool { return path.Base(name) == base }
	}
	rules := []func(string) bool{all, called("domains"), called("hosts")}
	if u.member != "" {
		rules = []func(string) bool{
			func(name string) bool { return name == u.member },
			func(name string) bool { _, below, ok := strings.Cut(name, "/"); return ok && below == u.member },
		}
	}
	found, several := 0, all
	for _, matches := range rules {
		at, count := only(matches)
		if count == 1 {
			return at, nil
		}
		if u.member != "" && count > found {
			found, several = count, matches
		}
	}
	there := u.describe(names, several)
	switch _, count := only(all); {
	case count == 0:
		return 0, errors.New("archive without a file")
	case u.member == "":
		return 0, fmt.Errorf("archive with %d files: say which one is the list (member)%s", count, there)
	case found > 1:
		return 0, fmt.Errorf("archive with %d files that are %q: give the whole path (member)%s", found, u.member, there)
	case count == 1:
		return 0, fmt.Errorf("archive with 1 file, and it is not %q (member)%s", u.member, there)
	default:
		return 0, fmt.Errorf("archive with %d files, and none is %q (member)%s", count, u.member, there)
	}
}

// describe names some of an archive's files: no more than a line has room for, as it is the publisher's text, and
// none where the list is confidential.
func (u *unpacker) describe(names []string, matches func(name string) bool) string {
	const (
		shown   = 3
		maxSize = 60 // bytes of a name
	)
	if !u.showNames {
		return ""
	}
	var quoted []string
	for _, name := range names {
		if name == "" || !matches(name) {
			continue
		}
		if len(quoted) == shown {
			quoted = append(quoted, "…")
			break
		}
		if len(name) > maxSize {
			name = strings.ToValidUTF8(name[:maxSize-len("…")], "") + "…"
		}
		quoted = append(quoted, strconv.Quote(name)) // so that all of it can be printed
	}
	return "; there is " + strings.Join(quoted, ", ")
}

// bounded is what a layer of packing unpacks to. It ends with an error where that is too much: see
// maxRatio.
type bounded struct {
	r io.Reader
	u *unpacker
	n int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.u.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.u.limits.unpacked:
		return 0, tooLarge(b.u.limits.unpacked)
	case b.n > maxRatio*b.u.wire.done.Load()+unpackSlack:
		return 0, fmt.Errorf("more than %d times the size of what was served", maxRatio)
	}
	return n, err
}
