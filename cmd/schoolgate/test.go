package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy"
)

// tested is the outcome of `test --json`.
type tested struct {
	OK       bool         `json:"ok"`
	Tests    int          `json:"tests"`
	Failures []unexpected `json:"failures"`
}

// unexpected is a policy test that came out otherwise.
type unexpected struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Client string `json:"client"` // "" where it is of a group
	Group  string `json:"group"`
	Name   string `json:"name"`
	At     string `json:"at"` // RFC 3339
	Want   answer `json:"want"`
	Got    answer `json:"got"`
	// Decided is the step of `explain` that decided, Steps are all of them.
	Decided string   `json:"decided"`
	Steps   []string `json:"steps"`
}

// answer is a verdict with its category, "" where it has none, or none is expected.
type answer struct {
	Verdict  string `json:"verdict"`
	Category string `json:"category"`
}

func (a answer) String() string {
	if a.Category == "" {
		return a.Verdict
	}
	return a.Verdict + " as " + a.Category
}

func setupTest(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.load()
		if err != nil {
			if errors.As(err, new(config.Errors)) {
				err = exitError{2, err}
			}
			return err
		}
		var wrong config.Errors
		expected := make([][]config.Expectation, len(inv.args))
		for i, file := range inv.args {
			var problems config.Errors
			if expected[i], err = config.LoadExpectations(file, cfg); errors.As(err, &problems) {
				wrong = append(wrong, problems...)
			} else if err != nil {
				return exitError{2, err}
			}
		}
		if wrong != nil {
			return exitError{2, wrong}
		}
		filter, err := metered(ctx, inv, func(ctx context.Context, progress func(feed.Progress)) (*daemon.Filter, error) {
			return assemble(ctx, cfg, progress)
		})
		if err != nil {
			return err
		}
		for _, w := range filter.Waiting() {
			fmt.Fprintln(inv.stderr, "warning: waiting for", w)
		}
		rehearsal, err := filter.Rehearse()
		if err != nil {
			return err
		}
		result := tested{Failures: []unexpected{}}
		now := time.Now().In(cfg.Timezone)
		for i, file := range inv.args {
			for _, e := range expected[i] {
				result.Tests++
				if u, failed := rehearse(rehearsal, file, e, now); failed {
					result.Failures = append(result.Failures, u)
				}
			}
		}
		result.OK = len(result.Failures) == 0
		if *asJSON {
			err = printJSON(inv.stdout, result)
		} else {
			printTested(inv, result)
		}
		if err == nil && !result.OK {
			return errNo()
		}
		return err
	}
}

// rehearse asks one question, and says how the answer is not the expected one.
func rehearse(r *daemon.Rehearsal, file string, e config.Expectation, now time.Time) (u unexpected, failed bool) {
	at := e.At
	if at.IsZero() {
		at = now
	}
	u = unexpected{
		File: file, Line: e.Line, Column: e.Column, Group: e.Group, Name: e.Name.String(),
		At: at.Format(time.RFC3339), Want: answer{e.Want, e.Category},
	}
	var ex policy.Explanation
	if e.Group != "" {
		ex = r.Group(e.Group, e.Name, at)
	} else {
		u.Client = e.Client.String()
		ex = r.Client(e.Client, e.Name, at)
	}
	u.Got, u.Steps = answer{ex.Verdict, ex.Category}, ex.Steps
	u.Decided = decidingStep(u.Steps, u.Got.Verdict)
	return u, u.Got.Verdict != e.Want || e.Category != "" && u.Got.Category != e.Category
}

// decidingStep is the one that brought the verdict about: the last, but for what every name that passes goes
// through after it.
func decidingStep(steps []string, verdict string) string {
	for i := len(steps) - 1; i > 0; i-- {
		after := strings.HasPrefix(steps[i], "9. ") || verdict != "rewrite" && strings.HasPrefix(steps[i], "8. ")
		if !after {
			return steps[i]
		}
	}
	return strings.Join(steps[:min(len(steps), 1)], "")
}

func printTested(inv *invocation, result tested) {
	for _, u := range result.Failures {
		who := u.Client
		if u.Group != "" {
			who = "group " + u.Group
		}
		fmt.Fprintf(inv.stdout, "%s:%d:%d: %s asked by %s at %s: want %v, got %v\n", u.File, u.Line, u.Column, u.Name, who, u.At, u.Want, u.Got)
		fmt.Fprintln(inv.stdout, "    "+u.Decided)
	}
	if result.OK {
		fmt.Fprintf(inv.stdout, "ok: %s as expected\n", daemon.Plural(result.Tests, "answer", "answers"))
		return
	}
	fmt.Fprintf(inv.stdout, "%d of %s not as expected\n", len(result.Failures), daemon.Plural(result.Tests, "answer", "answers"))
}
