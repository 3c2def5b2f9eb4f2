package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"schoolgate/policy/breach"
)

// retain deletes what is oldest, a school day's and then a month's, and says how long that took and how long at most an act
// waited meanwhile until it was on the disk: as long as a breach would have.
func (y *year) retain(ctx context.Context) (err error) {
	nobody := breach.RouterFunc(func(breach.Notice) []breach.Alert { return nil })
	log, err := breach.Open(breach.Options{Path: filepath.Join(y.dir, "data", "breach.db"), Router: nobody}) //nolint:contextcheck // it has none
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- log.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	start := y.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -y.days)
	for _, days := range []int{3, 33} { // the first two may be a weekend
		keep := breach.Retention{Breaches: time.Since(start.AddDate(0, 0, days))}
		type deletion struct {
			breach.Erased
			err error
		}
		deleted := make(chan deletion, 1)
		began := time.Now()
		go func() {
			done, err := log.Retain(ctx, keep)
			deleted <- deletion{done, err}
		}()
		longest, acts := time.Duration(0), 0
		for waits := true; waits; {
			select {
			case d := <-deleted:
				if d.err != nil {
					return d.err
				}
				fmt.Fprintf(os.Stdout, "retention, to day %d: %d incidents, %d rows deleted in %.1f s; an act waited %.0f ms at most, of %d\n",
					days, d.Incidents, d.Rows, time.Since(began).Seconds(), float64(longest.Microseconds())/1000, acts)
				waits = false
			case <-time.After(20 * time.Millisecond):
				asked := time.Now()
				if err := log.Audit(ctx, breach.Act{Who: "bench", What: "bench.act"}); err != nil {
					return err
				}
				longest, acts = max(longest, time.Since(asked)), acts+1
			}
		}
	}
	return nil
}
