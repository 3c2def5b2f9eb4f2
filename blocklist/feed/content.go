package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"

	"schoolgate/blocklist"
)

// content is the last good content of a list: which text it is, and where it can be had again.
type content struct {
	caption
	way, fit string // with which it was read and accepted
	names    int    // bytes of its names
	from     string
	secret   bool // it is on no disk in clear
	isStored bool // the copy has it

	// file is the file's when it was read; nil where it was no file, so that the source is tried again.
	file *fileStat
	// unsettled says that the file was changed so shortly before it was read that a later change might
	// not show in its time.
	unsettled bool

	// list has the counts. nil until it has been read, or the part that it is in. It has names only
	// until it is compiled, and where they could not be read again.
	list *blocklist.List
	used int // the last Load that asked for it

	// warning is for the Loads of this process, until the text is another: no part of the list, which a
	// snapshot would keep for good.
	warning string
}

// errNotFetched is the state of a list by URL or zone before its first Update.
var errNotFetched = errors.New("not fetched yet: schoolgate lists update does it now")

// content returns the best content there is for a list, nil where there is none, and why that is not
// the source's as it is now, if it is not. last is what was the best before, nil for nothing.
func (l *Loader) content(ctx context.Context, w *wanted, last *content) (c *content, err error) {
	if w.key.confidential && w.key.builtin == "" {
		l.hideCopy(w)
	}
	switch err = ctx.Err(); {
	case err != nil:
	case w.key.builtin != "":
		c, err = l.fromProgram(w, last)
	case w.key.isFetched():
		c, err = l.fromServer(ctx, w, last)
	default:
		c, err = l.fromFile(ctx, w, last)
	}
	if c != nil {
		return c, err
	}
	if last != nil {
		again := *last
		again.from = FromMemory
		if again.way != w.way && again.isStored {
			again.way, again.list = w.way, nil // the site's own zones are others now
		}
		return &again, err
	}
	if w.key.path == "" {
		return nil, err
	}
	c, copyErr := l.fromCopy(ctx, w, nil)
	if copyErr != nil {
		return nil, err
	}
	return c, err
}

// hideCopy leaves no copy in clear of a list that is confidential now.
func (l *Loader) hideCopy(w *wanted) {
	source := w.key.source()
	stored, err := l.copies.open(source, false)
	if err == nil && !stored.secret {
		_, err = l.copies.save(source, stored.textFile, true, stored.caption, false)
	} else {
		err = l.copies.remove(source, clearCopy)
	}
	if stored != nil {
		_ = stored.file.Close()
	}
	if err != nil {
		l.options.Log.Error("copy of a confidential list not removed", "list", w.key.String(), "error", err)
	}
}

func (l *Loader) fromProgram(w *wanted, last *content) (*content, error) {
	if last != nil && last.fit == w.fit {
		return last, nil
	}
	list, err := blocklist.Builtin(w.key.builtin, w.own...)
	if err != nil {
		return nil, err
	}
	c := &content{way: w.way, fit: w.fit, names: list.Size(), from: FromSource, list: list}
	// The text is not to be had. The names are few, and say as much.
	c.sum = sha256.Sum256([]byte(fingerprint(w.key.builtin, slices.Collect(list.Names()), list.Skipped)))
	return c, nil
}

func (l *Loader) fromFile(ctx context.Context, w *wanted, last *content) (*content, error) {
	f, info, err := openRegular(w.key.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	source, file := w.key.source(), statOf(info)
	known := last
	if st := l.state.get(source); last == nil {
		known = st.content(w)
	}
	if known != nil && (known.fit != w.fit || (known.secret || w.key.confidential) && known.list == nil) {
		known = nil
	}
	if known != nil && !known.unsettled && known.file != nil && *known.file == file {
		again := *known
		again.from = FromSource
		again.isStored = again.isStored || l.copies.has(source, again.secret, again.caption)
		return &again, nil
	}

	t := textFile{file: f, identity: l.options.Identity}
	c := l.unchanged(ctx, w, t, file, known)
	if c == nil {
		c, err = l.fromText(ctx, w, t, info, last)
	}
	if err != nil {
		return nil, err
	}
	c.modified, c.from, c.file, c.unsettled = info.ModTime(), FromSource, &file, !hasSettled(f, file)
	if c.isStored, err = l.copies.save(source, t, c.secret, c.caption, l.state.get(source).Refused); err != nil {
		l.options.Log.Warn("no last good copy of a list", "list", w.key.String(), "error", err)
	}
	l.state.change(source, func(st *listState) {
		st.accept(c)
		st.Refused = st.Refused && !c.isStored
	})
	return c, nil
}

// unchanged returns what is known of a list, if its file has been written again with the same text. To hash
// a text takes a tenth of what reading the list takes.
func (l *Loader) unchanged(ctx context.Context, w *wanted, t textFile, file fileStat, known *content) *content {
	if known == nil || known.secret || known.size != file.Size {
		return nil
	}
	in, _, _, err := t.open()
	if err != nil {
		return nil
	}
	bound := &boundReader{ctx: ctx, r: l.reporter.reader(in, w.id, file.Size), left: maxFile}
	if writeText(io.Discard, bound, known.digest) != nil {
		return nil
	}
	again := *known
	return &again
}

// fromText reads a list in a file, and holds it to what is to be said of it.
func (l *Loader) fromText(ctx context.Context, w *wanted, t textFile, info os.FileInfo, last *content) (*content, error) {
	c, encrypted, err := l.read(ctx, w, t, info.Size())
	if err != nil {
		return nil, err
	}
	if err := guard(c.list, nil, guardRules{Canaries: w.canaries, Confidential: c.secret}); err != nil {
		return nil, err
	}
	if last != nil {
		c.warning = shrinking(c, last)
	}
	if c.secret && !encrypted {
		warnOfReaders(c.list, info)
	}
	return c, nil
}

// read reads a list that nothing is known of. encrypted says whether the file is.
func (l *Loader) read(ctx context.Context, w *wanted, t textFile, size int64) (c *content, encrypted bool, err error) {
	in, _, encrypted, err := t.open()
	if err != nil {
		return nil, encrypted, err
	}
	c = &content{way: w.way, fit: w.fit, secret: encrypted || w.key.confidential}
	if c.list, c.digest, err = l.parse(ctx, w, in, size, c.secret); err != nil {
		return nil, encrypted, err
	}
	c.entries, c.names = c.list.Enforceable+c.list.Unenforceable, c.list.Size()
	return c, encrypted, nil
}

// fromServer returns what the last Update got that was good.
func (l *Loader) fromServer(ctx context.Context, w *wanted, last *content) (*content, error) {
	c, err := l.fromCopy(ctx, w, last)
	st := l.state.get(w.key.source())
	if st.Error != "" {
		return c, errors.New(st.Error)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNotFetched
	}
	if err == nil && !st.Checked.IsZero() {
		c.from = FromSource
	}
	return c, err
}

// fromCopy returns what the copy has. One that is not as it was written is refused.
func (l *Loader) fromCopy(ctx context.Context, w *wanted, last *content) (*content, error) {
	source := w.key.source()
	st := l.state.get(source)
	stored, err := l.copies.open(source, w.key.confidential)
	if err != nil {
		err = l.refuseCopy(w, err)
		if c := st.content(w); c != nil && !c.secret && !w.key.confidential && l.options.Dir != "" { // there may be a snapshot
			c.from, c.file = FromCopy, nil
			return c, nil
		}
		return nil, err
	}
	defer stored.file.Close()
	if last != nil && last.fit == w.fit && last.digest == stored.digest && last.secret == stored.secret {
		again := *last
		again.caption, again.from, again.isStored = stored.caption, FromCopy, true
		return &again, nil
	}
	if c := st.content(w); c != nil && !stored.secret && c.digest == stored.digest {
		c.caption, c.from, c.isStored, c.file = stored.caption, FromCopy, true, nil
		return c, nil
	}
	c, err := l.readCopy(ctx, w, stored)
	if err != nil {
		return nil, l.refuseCopy(w, err)
	}
	l.state.change(source, func(st *listState) { st.accept(c) })
	return c, nil
}

// readCopy reads the list in a copy.
func (l *Loader) readCopy(ctx context.Context, w *wanted, stored *storedCopy) (*content, error) {
	c, _, err := l.read(ctx, w, stored.textFile, stored.size)
	if err == nil && c.digest != stored.digest || err != nil && ctx.Err() == nil && !stored.isWhole() {
		return nil, fmt.Errorf("%w: its checksum is another", errDamaged)
	}
	if err != nil {
		return nil, err
	}
	c.caption, c.from, c.isStored, c.secret = stored.caption, FromCopy, true, c.secret || stored.secret
	return c, nil
}

// refuseCopy says that the copy of a list cannot be used, and why.
func (l *Loader) refuseCopy(w *wanted, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	err = fmt.Errorf("last good copy: %w", err)
	if w.key.isFetched() && l.state.get(w.key.source()).Refused { // said, and due, already
		return err
	}
	l.options.Log.Warn("last good copy of a list refused", "list", w.key.String(), "error", err)
	if errors.Is(err, errDamaged) {
		l.state.change(w.key.source(), func(st *listState) {
			st.Refused, st.ETag, st.LastModified, st.Due = true, "", "", st.Checked
		})
	}
	return err
}

// listOf returns the list of a content with its names, read again if need be.
func (l *Loader) listOf(ctx context.Context, w *wanted, c *content) (*blocklist.List, error) {
	if c.list != nil && c.list.HasNames() {
		return c.list, nil
	}
	if w.key.builtin != "" {
		return blocklist.Builtin(w.key.builtin, w.own...)
	}
	if c.file != nil {
		if f, _, err := openRegular(w.key.path); err == nil {
			again, _, err := l.read(ctx, w, textFile{file: f, identity: l.options.Identity}, c.size)
			_ = f.Close()
			if err == nil && again.digest == c.digest {
				return again.list, nil
			}
		}
	}
	stored, err := l.copies.open(w.key.source(), w.key.confidential)
	if errors.Is(err, os.ErrNotExist) && w.key.isFetched() {
		return nil, errNotFetched
	} else if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("there is no copy of it")
	}
	if err != nil {
		return nil, l.refuseCopy(w, err)
	}
	defer stored.file.Close()
	again, err := l.readCopy(ctx, w, stored)
	if err == nil && again.digest != c.digest {
		err = fmt.Errorf("%w: it has another content", errDamaged)
	}
	if err != nil {
		return nil, l.refuseCopy(w, err)
	}
	return again.list, nil
}

// shrinking returns a warning where a file has lost more than a quarter of its entries, and more than
// somebody takes out by hand: it may have been read while it was being written. That is for people to judge.
func shrinking(c, before *content) string {
	const byHand = 20
	lost := before.entries - c.entries
	switch {
	case c.digest == before.digest:
		return before.warning
	case lost >= byHand && 4*lost > before.entries:
		return fmt.Sprintf("has %d entries where it had %d before: cut off?", c.entries, before.entries)
	}
	return ""
}

// warned returns what people see of a list: a copy, so that neither the set nor a snapshot has the warning.
func (c *content) warned(l *blocklist.List) *blocklist.List {
	if c.warning == "" {
		return l
	}
	shown := &blocklist.List{
		Format: l.Format, Enforceable: l.Enforceable, Unenforceable: l.Unenforceable, Exceptions: l.Exceptions,
		Skipped: l.Skipped, TooBroad: l.TooBroad, Problems: l.Problems, Warnings: slices.Clone(l.Warnings),
	}
	warn(shown, c.warning)
	return shown
}

// warnOfReaders warns of a confidential list in clear that everybody on the machine can read.
func warnOfReaders(list *blocklist.List, info os.FileInfo) {
	const others = 0o004
	if runtime.GOOS != "windows" && info.Mode()&others != 0 {
		warn(list, "is confidential, and every user of this machine can read its file: chmod it to 0640, or encrypt it to confidential_key")
	}
}

// warn adds a warning about a list as a whole. Nobody else has the list yet.
func warn(list *blocklist.List, reason string) {
	list.Warnings = append([]blocklist.Problem{{Reason: reason}}, list.Warnings...)
}
