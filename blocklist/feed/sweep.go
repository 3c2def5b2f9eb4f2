package feed

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// remember keeps what this Load found, for the next one and for the next start.
func (r *loading) remember() {
	l := r.Loader
	for i, w := range r.lists {
		if c := r.now[i]; c != nil {
			c.used = l.loads
			l.known[w.key] = c
		}
		if w.key.builtin != "" {
			continue
		}
		source, now := w.key.source(), l.options.Now()
		st := l.state.get(source)
		isUsed := now.Sub(st.Used).Abs() < 24*time.Hour
		if isUsed && (st.Secret || !w.key.confidential) {
			continue
		}
		l.state.change(source, func(st *listState) {
			st.Secret = st.Secret || w.key.confidential
			if !isUsed {
				st.Used = now
			}
		})
	}
	for k, c := range l.known {
		if c.used < l.loads-keepLoads {
			delete(l.known, k)
		}
	}
	for id, p := range l.parts {
		if p.Value() == nil {
			delete(l.parts, id)
		}
	}
}

const (
	// For how long what no Load asks for stays in the directory: a list that is taken out of the
	// configuration for the holidays must not be gone.
	keepCopies = 30 * 24 * time.Hour
	// Of a snapshot that this process has not used. It may be that of the configuration that will be used
	// next, but costs only time.
	keepSnapshots = 7 * 24 * time.Hour
	mostSnapshots = 8 // of these
	keepTemps     = 24 * time.Hour
)

// surplus returns the snapshots that this process has not used, but for the newest ones: each start of a
// process that is killed over and over may leave one.
func (l *Loader) surplus(files []os.DirEntry) map[string]bool {
	written := map[string]time.Time{}
	var unknown []string
	for _, f := range files {
		name, isSnapshot := strings.CutSuffix(f.Name(), snapshotFile)
		info, err := f.Info()
		if _, isKnown := l.kept[name]; !isSnapshot || isKnown || err != nil {
			continue
		}
		written[f.Name()] = info.ModTime()
		unknown = append(unknown, f.Name())
	}
	slices.SortFunc(unknown, func(a, b string) int { return written[b].Compare(written[a]) })
	drop := map[string]bool{}
	for _, name := range unknown[min(mostSnapshots, len(unknown)):] {
		drop[name] = true
	}
	return drop
}

// sweep removes what is not needed any more from the directory, and saves the state.
func (r *loading) sweep() {
	l := r.Loader
	if l.options.Dir == "" || l.options.ReadOnly {
		return
	}
	files, err := os.ReadDir(l.options.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.options.Log.Warn("directory of the lists not tidied", "error", err)
	}
	now, surplus := l.options.Now(), l.surplus(files)
	forgotten := l.state.forget(now.Add(-keepCopies))
	for _, f := range files {
		name, suffix, ok := strings.Cut(f.Name(), ".")
		info, err := f.Info()
		if !ok || err != nil || !info.Mode().IsRegular() || strings.Trim(name, "0123456789abcdef") != "" || len(name) != 32 {
			continue // not ours
		}
		age, remove := now.Sub(info.ModTime()), false
		switch suffix = "." + suffix; {
		case strings.HasSuffix(suffix, tempFile):
			remove = r.purge || age > keepTemps
		case suffix == snapshotFile:
			used, isKnown := l.kept[name]
			remove = r.purge && used != l.loads ||
				isKnown && used < l.loads-keepLoads || !isKnown && (age > keepSnapshots || surplus[f.Name()])
		case suffix == clearCopy || suffix == secretCopy:
			if remove = forgotten[name]; !remove {
				l.state.adopt(name, now)
			}
		}
		if remove {
			if err := os.Remove(filepath.Join(l.options.Dir, f.Name())); err != nil {
				l.options.Log.Warn("directory of the lists not tidied", "error", err)
			} else if suffix == snapshotFile {
				delete(l.kept, name)
			}
		}
	}
	if err := l.state.save(); err != nil {
		l.options.Log.Warn("state of the lists not kept: the next start reads them again", "error", err)
	}
}
