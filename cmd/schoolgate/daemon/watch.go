package daemon

import (
	"context"
	"os"
	"time"
)

// How often the file is looked at, and how long it must have rested: an editor writes in steps,
// and half a policy must not go live.
const (
	watchInterval = time.Second
	watchRest     = 2 * time.Second
)

// stamp tells one content of a file from another without reading it: by inode, since editors and
// configuration tools replace a file by renaming another, by size and by time.
type stamp struct {
	info os.FileInfo // nil: no such file, or not readable
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

func (s stamp) equal(t stamp) bool {
	if s.info == nil || t.info == nil {
		return s.info == nil && t.info == nil
	}
	return os.SameFile(s.info, t.info) && s.info.Size() == t.info.Size() && s.info.ModTime().Equal(t.info.ModTime())
}

// watchFile reloads when the configuration file has changed and come to rest, for as long as the
// configuration in force asks for that. A change is tried once: a refused one waits for the next.
func (d *Daemon) watchFile(ctx context.Context) {
	if d.path == "" {
		return
	}
	watch(ctx, d.read, func() stamp { return stampOf(d.path) }, func() {
		if d.Filter().Config.Watch {
			_, _ = d.Reload(ctx, "watch") // Reload has said in the log what was wrong
		}
	})
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
		if now := look(); !now.equal(last) {
			last, since = now, time.Now()
		} else if !last.equal(settled) && time.Since(since) >= watchRest {
			settled = last
			changed()
		}
	}
}
