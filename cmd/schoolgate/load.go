package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
)

// systemConfig is the configuration of a machine whose job schoolgate is.
const systemConfig = "/etc/schoolgate/schoolgate.yaml"

// path is the configuration file to use, "" for what is built in.
func (inv *invocation) path() string {
	if inv.config != "" {
		return inv.config
	}
	if _, err := os.Stat(systemConfig); !errors.Is(err, fs.ErrNotExist) {
		return systemConfig // one that is there and cannot be read is an error, not the default
	}
	return ""
}

// load reads the configuration. The error has exit code 2 where the file cannot be read, and is a
// config.Errors where it is wrong.
func (inv *invocation) load() (*config.Config, error) {
	path := inv.path()
	if path == "" {
		return config.Default()
	}
	cfg, err := config.Load(path)
	if err != nil && !errors.As(err, new(config.Errors)) {
		return nil, exitError{2, err}
	}
	return cfg, err
}

// inForce is load for the commands that speak of what runs or of what it wrote down. Where the file
// is wrong now, that goes by the last accepted one.
func (inv *invocation) inForce() (*config.Config, error) {
	cfg, err := inv.load()
	if err == nil || inv.path() == "" {
		return cfg, err
	}
	last, lastErr := daemon.LastAccepted(inv.path(), inv.env("STATE_DIRECTORY"))
	if last == nil || lastErr != nil {
		return nil, err
	}
	fmt.Fprintf(inv.stderr, "warning: %s can't be used; this goes by the last accepted configuration\n", inv.path())
	return last, nil
}

// assemble reads the lists of a configuration as the resolver would at a start, without a part of a
// running one: nothing is written, and nothing but files is read. progress is told how far it is; nil
// for nobody.
func assemble(ctx context.Context, cfg *config.Config, progress func(feed.Progress)) (*daemon.Filter, error) {
	options := daemon.LoaderOptions(cfg)
	options.ReadOnly, options.Progress = true, progress
	return daemon.Assemble(ctx, cfg, feed.New(options))
}

// running finds the schoolgate that runs with this very configuration file, and says where the file
// has changed since. nil where none does: a file that is only being tried may share its data directory
// with the one that runs.
func (inv *invocation) running(ctx context.Context, cfg *config.Config) (*daemon.Client, daemon.Status, error) {
	client, err := dial(ctx, cfg)
	if client == nil || err != nil {
		return nil, daemon.Status{}, err
	}
	s, err := client.Status(ctx)
	if err != nil || s.Config.Path != cfg.Path {
		return nil, s, err
	}
	if s.Config.Changed {
		fmt.Fprintf(inv.stderr, "note: %s has changed since it was put in force at %s; this goes by what is in force\n",
			inv.path(), s.Config.Since.Format(time.RFC3339))
	}
	return client, s, nil
}

// dial finds the running schoolgate of a configuration; nil where there is none.
func dial(ctx context.Context, cfg *config.Config) (*daemon.Client, error) {
	client, err := daemon.Dial(ctx, cfg.DataDir)
	if errors.Is(err, daemon.ErrNotRunning) {
		return nil, nil
	}
	return client, err
}

// printJSON writes one document, for people to read too.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table writes aligned columns, which tabs in a row's format separate; the texts in them are cells.
func table(w io.Writer, rows func(line func(format string, args ...any))) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(func(format string, args ...any) {
		for i, arg := range args {
			if text, ok := arg.(string); ok {
				args[i] = cell(text)
			}
		}
		fmt.Fprintf(tw, format+"\n", args...)
	})
	return tw.Flush()
}

// parseTime reads RFC 3339, or a date, which is its first moment by the school's clock.
func parseTime(s string, zone *time.Location) (at time.Time, isDate bool, err error) {
	if at, err = time.Parse(time.RFC3339, s); err == nil {
		return at, false, nil
	}
	if at, err = time.ParseInLocation(time.DateOnly, s, zone); err == nil {
		return at, true, nil
	}
	return time.Time{}, false, fmt.Errorf("%q is not a time (use 2026-11-20T10:15:00Z or 2026-11-20)", s)
}
