package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"schoolgate/blocklist"
)

// Update asks the servers for the URL and Zone lists of specs: for those that are due, or for all, as when
// somebody wants to see now whether they can be had. What it gets and finds good the next Load serves; what it
// doesn't costs nothing, and where all are asked for, does not put off when they are due. own are the site's own zones.
// It returns an outcome for each Spec it asked for, in order; Specs of one source share theirs. When ctx
// ends, so does it. One Update waits for another. With ReadOnly, or without a Dir, each is an error.
func (l *Loader) Update(ctx context.Context, specs []Spec, own []blocklist.Name, due bool) (out []Updated) {
	l.updating.Lock()
	defer l.updating.Unlock()
	l.inBackground(func() {
		specs := keepSecrets(specs)
		var sources []string
		bySource := map[string][]Spec{}
		for _, s := range specs {
			k := keyOf(s)
			if !k.isFetched() {
				continue
			}
			if bySource[k.source()] == nil {
				sources = append(sources, k.source())
			}
			bySource[k.source()] = append(bySource[k.source()], s)
		}
		outcome := map[string]answer{}
		for _, source := range sources {
			now := l.options.Now()
			if specs := bySource[source]; !due || !l.due(specs, now).After(now) {
				outcome[source] = l.update(ctx, specs, slices.Clone(own), due)
			}
		}
		for _, s := range specs {
			if o, ok := outcome[keyOf(s).source()]; ok {
				u := Updated{Spec: s, Changed: o.changed, Err: o.err, Bytes: o.bytes}
				if list := o.taken[keyOf(s)]; o.changed && list != nil {
					u.Entries, u.Skipped = list.Enforceable+list.Unenforceable, list.Skipped
				}
				out = append(out, u)
			}
		}
	})
	return out
}

// answer is what came of asking for a source.
type answer struct {
	changed bool
	err     error
	bytes   int64
	taken   map[loadKey]*blocklist.List // the counts of each list of it
}

// update asks for a source, and notes what came of it. due says that it was its time.
func (l *Loader) update(ctx context.Context, specs []Spec, own []blocklist.Name, due bool) answer {
	source := keyOf(specs[0]).source()
	a := l.replace(ctx, specs, own)
	if a.err != nil && ctx.Err() != nil {
		return a // says nothing of the source
	}
	l.asked.Store(source, nil)
	now := l.options.Now()
	next := l.due(specs, now)
	failures := l.state.get(source).Failures
	switch {
	case a.err == nil:
		failures = 0
		next = now.Add(time.Duration((1 - jitter + 2*jitter*rand.Float64()) * float64(refresh(specs)))) //nolint:gosec // nothing to guess
	case due:
		failures++
		next = now.Add(l.retry(specs, failures))
	case !next.After(now):
		next = now.Add(l.retry(specs, failures))
	}
	l.state.change(source, func(st *listState) {
		st.Checked, st.Due, st.Failures, st.Error = now, next, failures, ""
		if a.err != nil {
			st.Error = a.err.Error()
		}
	})
	if err := l.state.save(); err != nil {
		l.options.Log.Warn("state of the lists not kept: they are asked for again at the next start", "error", err)
	}
	return a
}

// replace gets the text of a source, and has it replace the copy if it is good. It changes nothing where
// it returns an error.
func (l *Loader) replace(ctx context.Context, specs []Spec, own []blocklist.Name) (a answer) {
	lists, _ := want(specs, own)
	first := lists[0]
	switch {
	case l.options.Dir == "" || l.options.ReadOnly:
		a.err = errors.New("there is no directory to keep it in")
		return a
	case first.key.confidential && l.options.Identity == nil:
		a.err = errors.New("a confidential list is kept only encrypted, and there is no key for that: set confidential_key")
		return a
	}
	old := l.wholeCopy(first)
	if old != nil {
		defer old.file.Close()
	}

	temp, err := l.newTemp(first.key.source())
	if err != nil {
		a.err = err
		return a
	}
	defer func() {
		_ = temp.Close()
		_ = os.Remove(temp.Name())
	}()
	got := download{textFile: textFile{file: temp, identity: l.options.Identity}, encrypt: first.key.confidential}
	if first.key.zone != "" {
		a.err = l.transfer(ctx, first, old, &got)
	} else {
		a.err = l.fetch(ctx, specs, lists, old, &got)
	}
	a.bytes = got.wire
	if a.err == nil && !got.unchanged {
		a.changed, a.taken, a.err = l.accept(ctx, specs, lists, old, &got)
	}
	return a
}

// wholeCopy opens the copy of a list, nil where none serves. That it is as it was written is seen each time:
// what is damaged is fetched again, whatever the server says of changes, and before it is needed.
func (l *Loader) wholeCopy(w *wanted) *storedCopy {
	stored, err := l.copies.open(w.key.source(), w.key.confidential)
	if err == nil && stored.isWhole() {
		return stored
	}
	if err == nil {
		_ = stored.file.Close()
		err = fmt.Errorf("%w: its checksum is another", errDamaged)
	}
	_ = l.refuseCopy(w, err)
	return nil
}

// newTemp makes a file for what is fetched, from which the copy is made then.
func (l *Loader) newTemp(source string) (*os.File, error) {
	if err := os.MkdirAll(l.options.Dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(l.options.Dir, stem(source)+".new"+tempFile), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

// download is what came from a server.
type download struct {
	textFile
	encrypt bool
	closer  io.Closer // ends the encryption

	unchanged          bool
	wire               int64
	modified           time.Time
	etag, lastModified string
}

// start empties the file, and returns what writes to it.
func (d *download) start() (io.Writer, error) {
	if err := d.file.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if !d.encrypt {
		return d.file, nil
	}
	w, err := d.identity.encrypt(d.file)
	if err != nil {
		return nil, err
	}
	d.closer = w
	return w, nil
}

// end completes the file.
func (d *download) end() error {
	if d.closer == nil {
		return nil
	}
	return d.closer.Close()
}

func (l *Loader) fetch(ctx context.Context, specs []Spec, lists []*wanted, old *storedCopy, d *download) error {
	w := lists[0]
	q := fetchRequest{URL: w.key.url, Member: w.key.member, SHA256: sum(specs), Progress: func(done, total int64) {
		l.reporter.report(w.id, "fetch", done, total)
	}}
	st := l.state.get(w.key.source())
	q.ShowNames = !w.key.confidential && !st.Secret
	if old != nil && st.AskedFor == askedFor(lists, q.SHA256, old.digest) {
		q.ETag, q.LastModified = st.ETag, st.LastModified
	}
	dst, err := d.start()
	if err != nil {
		return err
	}
	got, err := l.fetcher.fetch(ctx, q, dst)
	if err == nil && !got.Unchanged {
		err = d.end()
	}
	d.unchanged, d.wire, d.modified, d.etag, d.lastModified = got.Unchanged, got.Wire, got.Modified, got.ETag, got.LastModified
	return err
}

func (l *Loader) transfer(ctx context.Context, w *wanted, old *storedCopy, d *download) error {
	var have io.Reader
	if old != nil {
		in, _, _, err := old.textFile.open()
		if err != nil {
			return err
		}
		have = in
	}
	got, err := transfer(ctx, *w.zone, have, d.start)
	if err == nil && !got.Unchanged {
		err = d.end()
	}
	d.unchanged, d.wire = got.Unchanged, got.Wire
	return err
}

// sum is the SHA-256 that the bytes served must have; "" for any.
func sum(specs []Spec) string {
	for _, s := range specs {
		if s.SHA256 != "" {
			return s.SHA256
		}
	}
	return ""
}

// askedFor is what an ETag holds for: a server that says "not modified" speaks of a text that was held to
// all that one would be held to now.
func askedFor(lists []*wanted, sum string, d digest) string {
	fits := make([]string, len(lists))
	for i, w := range lists {
		fits[i] = w.fit
	}
	return fingerprint(sum, d.sum[:], fits)
}

// accept has a new text replace the copy, if it is a good one for each list that is read from it. It returns
// their counts.
func (l *Loader) accept(ctx context.Context, specs []Spec, lists []*wanted, old *storedCopy, d *download) (changed bool, taken map[loadKey]*blocklist.List, err error) {
	source := lists[0].key.source()
	st := l.state.get(source)
	var before *blocklist.List
	switch {
	case old != nil:
		before = &blocklist.List{Enforceable: old.entries}
	case st.Entries > 0:
		before = &blocklist.List{Enforceable: st.Entries}
	}
	info, err := d.file.Stat()
	if err != nil {
		return false, nil, err
	}
	taken = map[loadKey]*blocklist.List{}
	var contents []*content
	for _, w := range lists {
		c, _, err := l.read(ctx, w, d.textFile, info.Size())
		if err != nil {
			return false, nil, err
		}
		rules := guardRules{
			Fetched: true, MinShare: minShare(specs), Never: l.options.Never, Canaries: w.canaries, Confidential: c.secret,
		}
		err = guard(c.list, before, rules)
		c.list.Release()
		if err != nil {
			return false, nil, err
		}
		contents, taken[w.key] = append(contents, c), c.list
	}
	about := contents[0].caption
	about.modified = modified(d.modified, l.options.Now(), old, about.digest)

	l.mu.Lock() // a Load that knows of the old text must be able to read it
	defer l.mu.Unlock()
	room := l.room
	for k, c := range l.known {
		if k.source() != source {
			room -= c.names
		}
	}
	for _, c := range contents {
		if room -= c.names; room < 0 {
			return false, nil, errTooMany
		}
	}
	if _, err := l.copies.save(source, d.textFile, contents[0].secret, about, st.Refused); err != nil {
		return false, nil, err
	}
	l.state.change(source, func(st *listState) {
		for _, c := range contents {
			c.caption.modified = about.modified
			st.accept(c)
		}
		st.Refused = false
		if st.ETag, st.LastModified, st.AskedFor = "", "", ""; !st.Secret { // of a secret text nothing is noted that a guess could be compared with
			st.ETag, st.LastModified, st.AskedFor = d.etag, d.lastModified, askedFor(lists, sum(specs), about.digest)
		}
	})
	return old == nil || old.digest != about.digest, taken, nil
}

// minShare is the most that a Spec of a source asks for.
func minShare(specs []Spec) int {
	share := -1
	for _, s := range specs {
		if s.MinShare == 0 {
			s.MinShare = defaultMinShare
		}
		share = max(share, s.MinShare)
	}
	return share
}

// modified is when a text was last changed: as the server says, if that can be, or when it was first got.
func modified(said, now time.Time, old *storedCopy, d digest) time.Time {
	switch {
	case said.Year() > 1990 && !said.After(now):
		return said
	case old != nil && old.digest == d:
		return old.modified
	}
	return now
}
