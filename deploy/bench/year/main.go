// Command year writes the record of a school's year, five million breaches by default, with the record's own writer, and
// times the commands that read it: with no schoolgate running and with one, from a warm page cache and, for root, from a
// cold one. It prints a table of medians and maxima.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"schoolgate/policy/breach/breachtest"
)

func main() {
	y := year{now: time.Now()}
	flag.StringVar(&y.dir, "dir", "", "where the record is written, or was; it needs a kilobyte for each breach")
	flag.StringVar(&y.program, "schoolgate", "./schoolgate", "the program that is timed")
	flag.IntVar(&y.breaches, "breaches", 5_000_000, "how many breaches the year has")
	flag.IntVar(&y.days, "days", 365, "how many days, up to today")
	flag.IntVar(&y.runs, "runs", 5, "how often each command is timed")
	flag.StringVar(&y.only, "only", "", "time those commands only that have this in them")
	flag.BoolVar(&y.cold, "cold", true, "also with nothing in the page cache, where that can be emptied")
	flag.BoolVar(&y.daemon, "daemon", true, "also with schoolgate running")
	flag.BoolVar(&y.oldest, "retain", false, "at the end, also delete what is oldest; it is gone then")
	flag.Parse()
	if err := y.measure(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// year is what is measured.
type year struct {
	dir, program, only   string
	breaches, days, runs int
	cold, daemon, oldest bool
	now                  time.Time
}

func (y *year) measure(ctx context.Context) error {
	if y.dir == "" || y.runs < 1 {
		return errors.New("see -help")
	}
	if err := y.write(ctx); err != nil {
		return err
	}
	timed, err := y.commands(ctx)
	if err != nil {
		return err
	}
	if err := y.timeAll(ctx, timed, 0); err != nil {
		return err
	}
	if y.daemon {
		stop, err := y.serve(ctx)
		if err != nil {
			return err
		}
		err = y.timeAll(ctx, timed, 1)
		stop()
		if err != nil {
			return err
		}
	}
	fmt.Fprint(os.Stdout, "\n| command | alone: warm | alone: cold | running: warm | running: cold |\n|---|---|---|---|---|\n")
	for _, c := range timed {
		fmt.Fprintf(os.Stdout, "| `%s` | %s |\n", strings.Join(c.args, " "), strings.Join(c.cells[:], " | "))
	}
	if y.oldest {
		return y.retain(ctx)
	}
	return nil
}

// write makes the record, unless it is there.
func (y *year) write(ctx context.Context) error {
	data := filepath.Join(y.dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(y.config(), []byte(configuration()), 0o600); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(data, "breach.db"))
	if os.IsNotExist(err) {
		began := y.now
		past := breachtest.Lived{
			Start: y.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -y.days), Days: y.days, Breaches: y.breaches, Devices: 1200, Groups: groups,
			Progress: func(day int, written int64) {
				fmt.Fprintf(os.Stderr, "\rday %d: %d breaches", day+1, written)
			},
		}
		if _, err := past.Write(ctx, data); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "\nwritten in %v\n", time.Since(began).Round(time.Second))
		info, err = os.Stat(filepath.Join(data, "breach.db"))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "breach.db: %.2f GB\n", float64(info.Size())/1e9)
	return nil
}

func (y *year) config() string { return filepath.Join(y.dir, "schoolgate.yaml") }

// timeAll times each command warm and cold, into the cells from 2*place on.
func (y *year) timeAll(ctx context.Context, timed []*command, place int) error {
	for _, c := range timed {
		if !strings.Contains(strings.Join(c.args, " "), y.only) {
			continue
		}
		for i := range 2 {
			cold := i == 1
			if cold && (!y.cold || c.slow || !dropCaches()) || c.needsDaemon && place == 0 {
				c.cells[2*place+i] = "–"
				continue
			}
			cell, err := y.time(ctx, c, cold)
			if err != nil {
				return err
			}
			c.cells[2*place+i] = cell
		}
		fmt.Fprintf(os.Stderr, "%-90s %s\n", strings.Join(c.args, " "), strings.Join(c.cells[2*place:2*place+2], " | "))
	}
	return nil
}

// time runs a command and returns the median and the maximum of how long it took.
func (y *year) time(ctx context.Context, c *command, cold bool) (string, error) {
	runs := y.runs
	if c.slow {
		runs = 1
	}
	took := []time.Duration{}
	for i := range runs + 1 {
		if i == 0 && (cold || c.slow) {
			continue // it warms the cache, which is not wanted or not worth it
		}
		if cold {
			dropCaches()
		}
		began := time.Now()
		if err := y.run(ctx, nil, c.args...); err != nil {
			return "", err
		}
		if i > 0 {
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	return fmt.Sprintf("%.2f (%.2f)", took[len(took)/2].Seconds(), took[len(took)-1].Seconds()), nil
}

// run runs schoolgate; what it prints goes to out, nil for nowhere.
func (y *year) run(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, y.program, append(slices.Clone(args), "--config", y.config())...) //nolint:gosec // it is what is to be timed
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("schoolgate %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return nil
}

// dropCaches empties the page cache, and reports whether it may.
func dropCaches() bool {
	const path = "/proc/sys/vm/drop_caches"
	err := os.WriteFile(path, []byte("3\n"), fs.FileMode(0o200))
	return err == nil
}
