package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
)

// checked is the outcome of `check --json`.
type checked struct {
	OK       bool          `json:"ok"`
	Problems config.Errors `json:"problems"`
	Warnings config.Errors `json:"warnings"` // those without a place have line 0
	Summary  string        `json:"summary"`
	// Changes are those that --diff finds.
	Changes []changed `json:"changes,omitzero"`
}

func setupCheck(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	diff := fs.String("diff", "", "say what is blocked and freed, and for whom, compared with the configuration `OLD`")
	fetch := fs.Bool("fetch", false, "ask the servers of lists too, and judge what they send; it is not kept")
	return func(ctx context.Context, inv *invocation) error {
		result, err := metered(ctx, inv, func(ctx context.Context, progress func(feed.Progress)) (checked, error) {
			return check(ctx, inv, *fetch, *diff, progress)
		})
		if err != nil {
			return err
		}
		if *asJSON {
			if err := printJSON(inv.stdout, result); err != nil {
				return err
			}
		} else {
			for _, p := range result.Problems {
				fmt.Fprintln(inv.stdout, p)
			}
			for _, w := range result.Warnings {
				fmt.Fprintln(inv.stderr, "warning:", daemon.WarningText(w))
			}
			if result.OK {
				fmt.Fprintf(inv.stdout, "%s: ok: %s\n", cmp.Or(inv.path(), "built-in default"), result.Summary)
			}
			if result.Changes != nil {
				printDifferences(inv.stdout, *diff, result.Changes)
			}
		}
		if !result.OK {
			return errNo()
		}
		return nil
	}
}

// take makes problems of an error of the configuration, and returns any other one.
func (c *checked) take(err error, file string) error {
	if _, exit := errors.AsType[exitError](err); exit || errors.Is(err, context.Canceled) {
		return err
	}
	problems, ok := errors.AsType[config.Errors](err)
	if !ok { // of the compiler of policies, which knows no lines
		problems = config.Errors{{File: file, Line: 1, Column: 1, Problem: err.Error()}}
	}
	c.Problems = problems
	return nil
}

// check does all that a start does before it opens a socket or touches the data directory, and with
// fetch asks for the lists of servers. Where diff is not "" it is the older configuration to compare with.
func check(ctx context.Context, inv *invocation, fetch bool, diff string, progress func(feed.Progress)) (checked, error) {
	result := checked{Problems: config.Errors{}, Warnings: config.Errors{}}
	cfg, err := inv.load()
	if err != nil {
		return result, result.take(err, inv.path())
	}
	load := assemble
	if fetch {
		load = assembleFetched
	}
	filter, err := load(ctx, cfg, progress)
	if err != nil {
		return result, result.take(err, inv.path())
	}
	_, broken := cfg.TLS.Load()
	missing, failing := filter.ListProblems()
	result.Problems = append(append(result.Problems, broken...), missing...)
	for _, f := range failing {
		asked := func(l feed.Loaded) bool {
			return (l.URL != "" || l.Zone != nil) && !filter.NeedsService(l) && cmp.Or(l.File, cfg.File) == f.File && l.Line == f.Line && l.Column == f.Column
		}
		if fetch && slices.ContainsFunc(filter.Lists, asked) {
			result.Problems = append(result.Problems, f)
		}
	}
	result.OK = len(result.Problems) == 0
	for _, w := range filter.Warnings() {
		if !slices.Contains(result.Problems, w) {
			result.Warnings = append(result.Warnings, w)
		}
	}
	if p := filter.ExceptionProblem(); p != "" {
		result.Warnings = append(result.Warnings, config.Error{File: cfg.File, Problem: p})
	}
	for _, n := range filter.Notes() {
		result.Warnings = append(result.Warnings, config.Error{File: cfg.File, Problem: n})
	}
	for _, l := range filter.Lists {
		if l.List != nil && l.List.Skipped > 0 {
			result.Warnings = append(result.Warnings, config.Error{
				File: cmp.Or(l.File, cfg.File), Line: l.Line, Column: l.Column,
				Problem: fmt.Sprintf("list %s: %s skipped", l.ID, daemon.Plural(l.List.Skipped, "line", "lines")), Hint: "see `schoolgate lists lint`",
			})
		}
	}
	result.Summary = filter.Summary()
	if diff != "" {
		result.Changes, err = differences(ctx, inv, diff, cfg, filter, progress)
	}
	return result, err
}

// assembleFetched is assemble with the lists of servers as they are now. What is fetched is compared with
// the last good copies, as always, and goes where nothing else looks for it, and away again.
func assembleFetched(ctx context.Context, cfg *config.Config, progress func(feed.Progress)) (f *daemon.Filter, err error) {
	ctx, _, stop := signals(ctx) // what is interrupted leaves nothing behind
	defer stop()
	dir, err := os.MkdirTemp("", "schoolgate-check-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := borrowLists(daemon.ListDir(cfg), dir); err != nil {
		return nil, err
	}
	options := daemon.LoaderOptions(cfg)
	options.Dir, options.Progress = dir, progress
	loader := feed.New(options)
	loader.Update(ctx, cfg.Lists, daemon.OwnNames(cfg), false) // the outcome is in what Assemble loads
	return daemon.Assemble(ctx, cfg, loader)
}

// borrowLists has what is kept of lists in another directory too. Who may not read it does without.
func borrowLists(from, to string) error {
	kept, _ := os.ReadDir(from)
	for _, f := range kept {
		source, target := filepath.Join(from, f.Name()), filepath.Join(to, f.Name())
		// A temporary file is written again from its start, and a link to it with it; the others are replaced.
		if !f.Type().IsRegular() || strings.HasSuffix(f.Name(), ".tmp") || os.Link(source, target) == nil {
			continue
		}
		if err := copyFile(source, target); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
