package daemon

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"schoolgate/config"
)

// How often the file is looked at, and how long it must have rested: an editor writes in steps,
// and half a policy must not go live.
const (
	watchInterval = time.Second
	watchRest     = 2 * time.Second
)

// stamp tells one content of some files from another without reading them: by inode, since editors and
// configuration tools replace a file by renaming another, by size and by time.
type stamp map[string]os.FileInfo // by path; nil: no such file, or not readable

func stampOf(paths ...string) stamp {
	s := stamp{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		s[path] = info
	}
	return s
}

func (s stamp) equal(t stamp) bool {
	return maps.EqualFunc(s, t, func(is, was os.FileInfo) bool {
		if is == nil || was == nil {
			return is == nil && was == nil
		}
		return os.SameFile(is, was) && is.Size() == was.Size() && is.ModTime().Equal(was.ModTime())
	})
}

// of returns s for the files of t: of those that it does not have, it has what t has.
func (s stamp) of(t stamp) stamp {
	out := maps.Clone(t)
	for path, info := range s {
		if _, both := t[path]; both {
			out[path] = info
		}
	}
	return out
}

// watchFile reloads when the configuration file, or one that it extends, has changed and come to rest, for as long as the
// configuration in force asks for that. A change is tried once: a refused one waits for the next.
func (d *Daemon) watchFile(ctx context.Context) {
	if d.path == "" {
		return
	}
	tried := d.watched()
	look := func() stamp {
		paths := slices.Clone(tried)
		for _, f := range d.Filter().Config.Files {
			paths = append(paths, f.Path)
		}
		return stampOf(paths...)
	}
	watch(ctx, d.read, look, func() {
		tried = d.watched() // a refused configuration may extend what is still to come
		if d.Filter().Config.Watch {
			_, _ = d.Reload(ctx, "watch") // Reload has said in the log what was wrong
		}
	})
}

// watched are the paths of the configuration file and of those that it extends now.
func (d *Daemon) watched() []string {
	paths := []string{d.path}
	files, _ := config.Files(d.path) // what can't be read extends nothing
	for _, f := range files[min(1, len(files)):] {
		paths = append(paths, f.Path)
	}
	return paths
}

// watch calls changed each time that look has returned something else than settled, and the same
// for watchRest since; that is settled then.
func watch(ctx context.Context, settled stamp, look func() stamp, changed func()) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last, since := settled, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := look()
		last, settled = last.of(now), settled.of(now) // which files are looked at may change
		if !now.equal(last) {
			last, since = now, time.Now()
		} else if !last.equal(settled) && time.Since(since) >= watchRest {
			settled = last
			changed()
		}
	}
}
