package daemon

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
)

// refresher keeps the lists fresh. Its loop asks the servers when the Loader says that something is due:
// a fetch, or the end of a trial, or when a server has said that a zone has changed.
type refresher struct {
	woken chan struct{} // has room for one: there is a reason to look again
	rest  time.Duration // between two rounds

	mu       sync.Mutex
	notified map[string]bool // IDs of zones whose server has said that they changed
}

const (
	// refreshLook is how often the clock is compared with what is due: a machine that sleeps, or is told
	// the time anew, must not sleep through a trial's end.
	refreshLook = 10 * time.Minute
	// refreshRest lies between two rounds: whoever sends NOTIFY all the time, or a source that is due all
	// the time, makes no more work than that.
	refreshRest = 5 * time.Second
)

func newRefresher() *refresher {
	return &refresher{woken: make(chan struct{}, 1), rest: refreshRest, notified: map[string]bool{}}
}

// wake has the loop look again at what is due.
func (r *refresher) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// takeNotified returns the zones that were notified of since it was last called.
func (r *refresher) takeNotified() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := r.notified
	r.notified = map[string]bool{}
	return ids
}

// notified is resolver.Config.Notify: a zone that is a list, by one of its servers, is due now. It is
// queued once, however often the server says so.
func (d *Daemon) notified(zone blocklist.Name, from netip.Addr) (taken bool) {
	s := d.current.Load()
	if s == nil {
		return false
	}
	for _, l := range s.filter.Config.Lists {
		if l.Zone == nil || l.Zone.Name != zone ||
			!slices.ContainsFunc(l.Zone.Servers, func(a netip.AddrPort) bool { return a.Addr().Unmap() == from.Unmap() }) {
			continue
		}
		d.refresh.mu.Lock()
		d.refresh.notified[l.ID] = true
		d.refresh.mu.Unlock()
		taken = true
	}
	if taken {
		d.refresh.wake()
	}
	return taken
}

// refreshLists keeps the lists fresh until ctx ends.
func (d *Daemon) refreshLists(ctx context.Context) {
	for {
		d.refreshOnce(ctx)
		if !sleep(ctx, d.refresh.rest) {
			return
		}
		for !d.isDue() {
			look := time.NewTimer(d.untilDue())
			select {
			case <-ctx.Done():
			case <-look.C:
			case <-d.refresh.woken:
			}
			look.Stop()
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// refreshOnce asks for what is due, and puts it in force.
func (d *Daemon) refreshOnce(ctx context.Context) {
	if !d.isDue() {
		return
	}
	cfg, ids := d.Filter().Config, d.refresh.takeNotified()
	var zones []feed.Spec
	for _, s := range cfg.Lists {
		if ids[s.ID] && s.Zone != nil {
			zones = append(zones, s)
		}
	}
	if zones != nil {
		d.update(ctx, cfg, zones, false)
	}
	d.update(ctx, cfg, cfg.Lists, true)
	if err := d.takeUp(ctx, "schoolgate"); err != nil && ctx.Err() == nil {
		d.log.Error("take up the lists", "error", err)
	}
}

// isDue reports whether there is something for refreshOnce to do.
func (d *Daemon) isDue() bool {
	d.refresh.mu.Lock()
	notified := len(d.refresh.notified) > 0
	d.refresh.mu.Unlock()
	return notified || d.untilDue() == 0
}

// untilDue is for how long the loop need not look again.
func (d *Daemon) untilDue() time.Duration {
	f, wait := d.Filter(), refreshLook
	note := func(at time.Time) { wait = min(wait, max(at.Sub(d.now()), 0)) }
	if next := d.loader.Next(f.Config.Lists); !next.IsZero() {
		note(next)
	}
	for _, l := range f.Lists {
		if l.OnTrial { // the Loader knows of the end of a trial until it is there
			note(l.TrialEnds)
		}
	}
	return wait
}

// sleep reports whether it has slept to its end; false where ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	rest := time.NewTimer(d)
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rest.C:
		return true
	}
}
