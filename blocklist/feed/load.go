package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"schoolgate/blocklist"
)

// Loader reads lists, and remembers the last good content of each: in memory, and for `path:` lists
// that are not confidential in a directory of copies. A source that is broken now then costs nothing
// but age. Safe for concurrent use.
type Loader struct {
	options Options
	copies  copies
	log     *slog.Logger

	mu    sync.Mutex
	known map[loadKey]*known
	loads int

	sources []blocklist.Source // of set
	set     *blocklist.Set     // the last one built
}

// loadKey is what makes two Specs the same list.
type loadKey struct {
	path, url, builtin      string
	format                  blocklist.Format
	addresses, confidential bool
	locked                  bool
}

// known is the last good content of a list.
type known struct {
	list     *blocklist.List
	modified time.Time
	own      []blocklist.Name
	from     string
	// info is the file's when it was read; nil where it was no file, so that the source is tried again.
	info os.FileInfo
	// unsettled says that the file was changed so shortly before it was read that a later change might
	// not show in its time.
	unsettled bool
	used      int // the last Load that asked for it
}

// New returns a Loader. It touches nothing.
func New(o Options) *Loader {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Loader{options: o, copies: copies{dir: o.Dir, readOnly: o.ReadOnly}, log: o.Log, known: map[loadKey]*known{}}
}

// errNotFetched is the state of every URL list.
var errNotFetched = errors.New("lists by URL are not fetched by this version: download it and use path")

// keepLoads is for how many Loads that do not ask for a list its content is kept: a configuration
// that is tried and refused must not cost the lists of the one that goes on serving.
const keepLoads = 4

// Load reads the lists of specs and builds a set of them. A file that has
// not changed since it was last read is not read again. own are the site's own zones. When ctx ends,
// what has not been read has its error, and its last good content.
func (l *Loader) Load(ctx context.Context, specs []Spec, own []blocklist.Name) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loads++
	own = slices.Clone(own)
	specs = keepSecrets(specs)

	var keys []loadKey
	position := map[loadKey]int{}
	for _, s := range specs {
		k := keyOf(s)
		if _, ok := position[k]; !ok {
			position[k] = len(keys)
			keys = append(keys, k)
		}
	}
	now, errs := make([]*known, len(keys)), make([]error, len(keys))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, k := range keys {
		last := l.known[k]
		g.Go(func() error {
			now[i], errs[i] = l.load(ctx, k, own, last)
			return nil
		})
	}
	_ = g.Wait() // errs has the errors

	room := blocklist.MaxNameBytes
	for i, k := range keys {
		if now[i] == nil {
			continue
		}
		if room -= now[i].list.Size(); room < 0 {
			now[i], errs[i] = nil, fmt.Errorf("list %s: all lists together hold more than %d MB of names", k, blocklist.MaxNameBytes>>20)
			continue
		}
		now[i].used = l.loads
		l.known[k] = now[i]
	}
	for k, kn := range l.known {
		if kn.used < l.loads-keepLoads {
			delete(l.known, k)
		}
	}

	out := make([]Loaded, len(specs))
	for i, s := range specs {
		at := position[keyOf(s)]
		out[i] = Loaded{Spec: s, Err: errs[at]}
		if kn := now[at]; kn != nil {
			out[i].List, out[i].Modified, out[i].From = kn.list, kn.modified, kn.from
		}
	}
	return Result{Lists: out, Set: l.build(out)}
}

// build returns the set of all lists that have content.
func (l *Loader) build(lists []Loaded) *blocklist.Set {
	var sources []blocklist.Source
	for _, loaded := range lists {
		if loaded.List != nil {
			sources = append(sources, blocklist.Source{ID: loaded.ID, Category: loaded.Category, List: loaded.List})
		}
	}
	if l.set == nil || !slices.Equal(sources, l.sources) {
		l.sources, l.set = sources, blocklist.Build(sources)
	}
	return l.set
}

func keyOf(s Spec) loadKey {
	return loadKey{
		path: s.Path, url: s.URL, builtin: s.Builtin,
		format: s.Format, addresses: s.Addresses, confidential: s.Confidential, locked: s.Locked,
	}
}

// keepSecrets marks as confidential each list that some category has as a confidential one: what one
// category must not show, another does not copy or print.
func keepSecrets(specs []Spec) []Spec {
	specs = slices.Clone(specs)
	secret := map[string]bool{}
	for _, s := range specs {
		secret[s.Path] = secret[s.Path] || s.Confidential
	}
	for i := range specs {
		specs[i].Confidential = specs[i].Confidential || secret[specs[i].Path] && specs[i].Path != ""
	}
	return specs
}

func (k loadKey) String() string {
	switch {
	case k.path != "":
		return k.path
	case k.url != "":
		return k.url
	}
	return "builtin:" + k.builtin
}

// load returns the best content there is for a list, nil where there is none, and why that is not
// the source's, if it is not.
func (l *Loader) load(ctx context.Context, k loadKey, own []blocklist.Name, last *known) (*known, error) {
	if k.locked {
		own = nil
	}
	if k.confidential {
		// It may not have been confidential yesterday.
		if err := l.copies.remove(k); err != nil {
			l.log.Error("copy of a confidential list not removed", "error", err)
		}
	}
	kn, err := l.fromSource(ctx, k, own, last)
	if err == nil {
		return kn, nil
	}
	if last != nil {
		again := *last
		again.from = FromMemory
		return &again, err
	}
	if k.confidential || k.builtin != "" {
		return nil, err
	}
	kn, copyErr := l.copies.load(ctx, k, own)
	if copyErr != nil {
		if !errors.Is(copyErr, os.ErrNotExist) {
			l.log.Warn("last good copy of a list refused", "list", k.String(), "error", copyErr)
		}
		return nil, err
	}
	return kn, err
}

// fromSource reads a list from where it comes from, unless what was read last is still the same.
func (l *Loader) fromSource(ctx context.Context, k loadKey, own []blocklist.Name, last *known) (*known, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch {
	case k.url != "":
		return nil, errNotFetched
	case k.builtin != "":
		if last != nil && slices.Equal(last.own, own) {
			return last, nil
		}
		list, err := blocklist.Builtin(k.builtin, own...)
		if err != nil {
			return nil, err
		}
		return &known{list: list, own: own, from: FromSource}, nil
	}
	return l.fromFile(ctx, k, own, last)
}

func (l *Loader) fromFile(ctx context.Context, k loadKey, own []blocklist.Name, last *known) (*known, error) {
	f, info, err := openRegular(k.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if last.isStill(info) && slices.Equal(last.own, own) {
		again := *last
		again.from = FromSource
		return &again, nil
	}
	sum := newSum(info.ModTime())
	list, err := k.parse(ctx, f, sum, own)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", k.path, err)
	}
	kn := &known{list: list, modified: info.ModTime(), own: own, from: FromSource, info: info}
	after, err := f.Stat()
	kn.unsettled = err != nil || !after.ModTime().Equal(info.ModTime()) || after.Size() != info.Size() ||
		time.Since(info.ModTime()) < settleTime
	if last != nil {
		warnOfShrinking(list, last.list)
	}
	if !k.confidential {
		if err := l.copies.save(k, f, sum); err != nil {
			l.log.Warn("no last good copy of a list", "list", k.path, "error", err)
		}
	}
	return kn, nil
}

// settleTime is longer than a file system's clock tick.
const settleTime = 2 * time.Second

// isStill reports whether a file is the one that was read, unchanged.
func (kn *known) isStill(info os.FileInfo) bool {
	return kn != nil && kn.info != nil && !kn.unsettled &&
		os.SameFile(kn.info, info) && kn.info.ModTime().Equal(info.ModTime()) && kn.info.Size() == info.Size()
}

// warnOfShrinking warns where a list has lost more than a quarter of its entries: it may have been
// read while it was being written, or its publisher may have failed. That is for people to judge.
func warnOfShrinking(list, before *blocklist.List) {
	was, is := before.Enforceable+before.Unenforceable, list.Enforceable+list.Unenforceable
	if is < was-was/4 {
		reason := fmt.Sprintf("has %d entries where it had %d before: cut off?", is, was)
		list.Warnings = append([]blocklist.Problem{{Reason: reason}}, list.Warnings...)
	}
}
