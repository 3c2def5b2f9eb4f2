package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
)

// checked is the outcome of `check --json`.
type checked struct {
	OK       bool          `json:"ok"`
	Problems config.Errors `json:"problems"`
	Warnings config.Errors `json:"warnings"` // those without a place have line 0
	Summary  string        `json:"summary"`
}

func setupCheck(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		result, err := check(ctx, inv)
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

// check does all that a start does before it opens a socket or touches the data directory.
func check(ctx context.Context, inv *invocation) (checked, error) {
	result := checked{Problems: config.Errors{}, Warnings: config.Errors{}}
	cfg, err := inv.load()
	if err != nil {
		return result, result.take(err, inv.path())
	}
	filter, err := assemble(ctx, cfg)
	if err != nil {
		return result, result.take(err, inv.path())
	}
	if missing, _ := filter.ListProblems(); missing != nil {
		result.Problems = missing
	}
	result.OK = len(result.Problems) == 0
	result.Warnings = append(result.Warnings, filter.Warnings()...)
	for _, n := range filter.Notes() {
		result.Warnings = append(result.Warnings, config.Error{File: cfg.File, Problem: n})
	}
	for _, l := range filter.Lists {
		if l.List != nil && l.List.Skipped > 0 {
			result.Warnings = append(result.Warnings, config.Error{
				File: cfg.File, Line: l.Line, Column: l.Column,
				Problem: fmt.Sprintf("list %s: %s skipped", l.ID, daemon.Plural(l.List.Skipped, "line", "lines")), Hint: "see `schoolgate lists lint`",
			})
		}
	}
	result.Summary = filter.Summary()
	return result, nil
}
