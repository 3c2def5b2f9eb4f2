package feed

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"schoolgate/blocklist"
)

const (
	defaultRefresh = 24 * time.Hour
	firstRetry     = time.Minute // doubled with each failure, up to the refresh
	jitter         = 0.1         // of the refresh, either way: schools that start at eight don't all ask at eight
)

// Update asks the servers for the URL and Zone lists of specs: for all, or for those that are due. What
// it gets and finds good the next Load serves; what it doesn't costs nothing. own are the site's own zones.
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
		outcome := map[string]Updated{}
		for _, source := range sources {
			if specs := bySource[source]; !due || !l.due(specs).After(l.options.Now()) {
				outcome[source] = l.update(ctx, specs, slices.Clone(own))
			}
		}
		for _, s := range specs {
			if u, ok := outcome[keyOf(s).source()]; ok {
				u.Spec = s
				out = append(out, u)
			}
		}
	})
	return out
}

// Next returns when something is due: a fetch, or the end of a trial. Zero: never.
func (l *Loader) Next(specs []Spec) time.Time {
	var next time.Time
	note := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, s := range specs {
		if keyOf(s).isFetched() {
			note(l.due([]Spec{s}))
		}
		if on, ends := l.trial(s); on && !l.state.get(keyOf(s).source()).Trials[s.TrialName].Began.IsZero() {
			note(ends)
		}
	}
	return next
}

// refresh is how often to ask for a source: as often as the most eager Spec of it says.
func refresh(specs []Spec) time.Duration {
	every := time.Duration(0)
	for _, s := range specs {
		of := s.Refresh
		if of <= 0 {
			of = defaultRefresh
		}
		if every == 0 || of < every {
			every = of
		}
	}
	return every
}

// due returns when to ask for a source, the Specs of which are given: now where that is not known, or further
// away than it can be.
func (l *Loader) due(specs []Spec) time.Time {
	now, due := l.options.Now(), l.state.get(keyOf(specs[0]).source()).Due
	if furthest := now.Add(time.Duration((1 + jitter) * float64(refresh(specs)))); due.IsZero() || due.After(furthest) {
		return now
	}
	return due
}

// update asks for a source, and notes what came of it.
func (l *Loader) update(ctx context.Context, specs []Spec, own []blocklist.Name) Updated {
	source, every := keyOf(specs[0]).source(), refresh(specs)
	u := l.replace(ctx, specs, own)
	if u.Err != nil && ctx.Err() != nil {
		return u // says nothing of the source
	}
	now := l.options.Now()
	l.state.change(source, func(st *listState) {
		st.Checked = now
		if u.Err == nil {
			st.Failures, st.Error = 0, ""
			st.Due = now.Add(time.Duration((1 - jitter + 2*jitter*rand.Float64()) * float64(every))) //nolint:gosec // nothing to guess
			return
		}
		wait := min(firstRetry<<min(st.Failures, 20), every)
		st.Failures, st.Error, st.Due = st.Failures+1, u.Err.Error(), now.Add(wait)
	})
	if err := l.state.save(); err != nil {
		l.options.Log.Warn("state of the lists not kept: they are asked for again at the next start", "error", err)
	}
	return u
}

// replace gets the text of a source, and has it replace the copy if it is good. It changes nothing where
// it returns an error.
func (l *Loader) replace(ctx context.Context, specs []Spec, own []blocklist.Name) (u Updated) {
	lists, _ := want(specs, own)
	first := lists[0]
	switch {
	case l.options.Dir == "" || l.options.ReadOnly:
		u.Err = fmt.Errorf("list %s: there is no directory to keep it in", first.key)
		return u
	case first.key.confidential && l.options.Identity == nil:
		u.Err = fmt.Errorf("list %s: a confidential list is kept only encrypted, and there is no key for that: set confidential_key", first.key)
		return u
	}
	old := l.wholeCopy(first)
	if old != nil {
		defer old.file.Close()
	}

	temp, err := l.newTemp(first.key.source())
	if err != nil {
		u.Err = fmt.Errorf("list %s: %w", first.key, err)
		return u
	}
	defer func() {
		_ = temp.Close()
		_ = os.Remove(temp.Name())
	}()
	got := download{textFile: textFile{file: temp, identity: l.options.Identity}, encrypt: first.key.confidential}
	if first.key.zone != "" {
		err = l.transfer(ctx, first, old, &got)
	} else {
		err = l.fetch(ctx, specs, lists, old, &got)
	}
	u.Bytes = got.wire
	if err == nil && !got.unchanged {
		u.Changed, err = l.accept(ctx, specs, lists, old, &got)
	}
	if err != nil {
		u.Err = fmt.Errorf("list %s: %w", first.key, err)
	}
	return u
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
	if st := l.state.get(w.key.source()); old != nil && st.AskedFor == askedFor(lists, q.SHA256, old.digest) {
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

// accept has a new text replace the copy, if it is a good one for each list that is read from it.
func (l *Loader) accept(ctx context.Context, specs []Spec, lists []*wanted, old *storedCopy, d *download) (changed bool, err error) {
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
		return false, err
	}
	var contents []*content
	for _, w := range lists {
		c, _, err := l.read(ctx, w, d.textFile, info.Size())
		if err != nil {
			return false, err
		}
		rules := guardRules{
			Fetched: true, MinShare: minShare(specs), Never: l.options.Never, Canaries: w.canaries, Confidential: c.secret,
		}
		err = guard(c.list, before, rules)
		c.list.Release()
		if err != nil {
			return false, err
		}
		contents = append(contents, c)
	}
	about := contents[0].caption
	about.modified = modified(d.modified, l.options.Now(), old, about.digest)

	l.mu.Lock() // a Load that knows of the old text must be able to read it
	defer l.mu.Unlock()
	if _, err := l.copies.save(source, d.textFile, contents[0].secret, about, st.Refused); err != nil {
		return false, err
	}
	l.state.change(source, func(st *listState) {
		for _, c := range contents {
			c.caption.modified = about.modified
			st.accept(c)
		}
		st.Refused = false
		st.ETag, st.LastModified, st.AskedFor = d.etag, d.lastModified, askedFor(lists, sum(specs), about.digest)
	})
	return old == nil || old.digest != about.digest, nil
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
