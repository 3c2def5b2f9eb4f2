package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	// retainEvery is how often what is old is deleted, retainLook how often it is seen whether that is due.
	retainEvery, retainLook = 24 * time.Hour, time.Minute
	// retainAfter is how long the program runs before it deletes anything: a clock that was wrong at boot has
	// been set by then.
	retainAfter = time.Hour
	// maxSet is by how much a clock may be set forward without that what seems old has to wait for a day in which
	// somebody may notice.
	maxSet = time.Hour
)

// retain deletes, once a day, what is older than retention says.
func (d *Daemon) retain(ctx context.Context) {
	tick := time.NewTicker(retainLook)
	defer tick.Stop()
	begun := time.Now()
	var clock watchedClock
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := d.now()
		trusted := clock.trusted(now.Round(0), time.Since(begun)) && !now.Before(d.build.Time)
		d.clockTrusted.Store(trusted)
		if trusted && (last.IsZero() || now.Sub(last) >= retainEvery || now.Before(last)) {
			last = now
			d.retainNow(ctx)
		}
	}
}

// retainNow deletes what is old, and says in the log what it was.
func (d *Daemon) retainNow(ctx context.Context) {
	cfg := d.Filter().Config
	done, err := d.record.Retain(ctx, cfg.Retention)
	if keep := cfg.Retention.Audit; keep > 0 {
		err = errors.Join(err, retainSelfTests(filepath.Join(cfg.DataDir, selfTestDir), d.now().Add(-keep)))
	}
	if done.Rows > 0 {
		d.log.Info("what is older than retention says was deleted", "incidents", done.Incidents, "breaches", done.Breaches)
	}
	if err != nil && ctx.Err() == nil {
		d.log.Error("retention", "error", err)
		d.tellIT(fmt.Sprintf("What is older than retention says could not be deleted: %v", err))
	}
}

// watchedClock tells whether what a clock says may be a reason to delete something. The zero value has seen none.
type watchedClock struct {
	wall  time.Time     // what it said last
	up    time.Duration // how long the program had run then
	since time.Duration // how long it had run when the clock began to go on evenly
}

// trusted reports whether the clock has gone on evenly for long enough. wall is what it says, up how long the program
// has run, which no setting of the clock changes.
func (c *watchedClock) trusted(wall time.Time, up time.Duration) bool {
	if !c.wall.IsZero() && wall.Sub(c.wall)-(up-c.up) > maxSet {
		// It was set. If wrongly, somebody may notice within a day.
		c.since = up + retainEvery - retainAfter
	}
	c.wall, c.up = wall, up
	return up-c.since >= retainAfter
}
