package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/daemon"
)

func setupListsStatus(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		lists, notes, err := listStatus(ctx, inv)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, lists)
		}
		if err := printLists(inv, lists); err != nil {
			return err
		}
		for _, n := range notes {
			fmt.Fprintln(inv.stdout, n)
		}
		return nil
	}
}

// listStatus asks the running schoolgate, and where none runs reads the lists itself.
func listStatus(ctx context.Context, inv *invocation) (lists []daemon.ListStatus, notes []string, err error) {
	cfg, err := inv.inForce()
	if err != nil {
		return nil, nil, err
	}
	running, s, err := inv.running(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	if running != nil {
		return s.Lists, s.Notes, nil
	}
	filter, err := assemble(ctx, cfg, nil)
	if err != nil {
		return nil, nil, err
	}
	return filter.ListStatus(time.Now()), filter.Notes(), nil
}

func printLists(inv *invocation, lists []daemon.ListStatus) error {
	err := table(inv.stdout, func(line func(string, ...any)) {
		line("CATEGORY\tLIST\tFORMAT\tENTRIES\tNOT ENFORCEABLE\tSKIPPED\tAGE\tCHECKED\tNEXT\tSTATE")
		for _, l := range lists {
			state := l.State
			if l.Required {
				state += ", required"
			}
			if l.From == "copy" {
				state += ", from the last good copy"
			}
			if l.OnTrial {
				day, _, _ := strings.Cut(l.TrialEnds, "T")
				state += ", on trial until " + day
			}
			line("%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s", l.Category, l.List, orDash(l.Format), l.Entries, l.NotEnforceable, l.Skipped,
				age(l), minute(l.Checked), minute(l.Next), state)
		}
	})
	printListProblems(inv.stdout, lists)
	return err
}

// printListProblems says of each list that is not as its source has it, why.
func printListProblems(w io.Writer, lists []daemon.ListStatus) {
	for _, l := range lists {
		if l.Problem != "" {
			fmt.Fprintf(w, "  ! %s: %s\n", l.List, l.Problem)
		}
	}
}

// minute is a time of a status, RFC 3339, as people read it.
func minute(at string) string {
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return "-"
	}
	return t.Format("01-02 15:04")
}

// age is that of a list's content, in the largest unit that says something.
func age(l daemon.ListStatus) string {
	d := time.Duration(l.AgeSeconds) * time.Second
	switch {
	case l.Modified == "":
		return "-"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// finding is one line of `lists lint`.
type finding struct {
	Category string `json:"category"`
	List     string `json:"list"`
	Kind     string `json:"kind"` // "unusable", "problem" or "warning"
	Line     int    `json:"line"` // 0: about the list as a whole
	Reason   string `json:"reason"`
	Text     string `json:"text,omitempty"` // never of a confidential category
}

func setupListsLint(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.load()
		if err != nil {
			return err
		}
		filter, err := metered(ctx, inv, func(ctx context.Context, progress func(feed.Progress)) (*daemon.Filter, error) {
			return assemble(ctx, cfg, progress)
		})
		if err != nil {
			return err
		}
		findings, unusable := []finding{}, 0
		for _, l := range filter.Lists {
			found := lint(filter.Config.Policy.Categories[l.Category].Name, l)
			if l.Err != nil {
				unusable++
			}
			findings = append(findings, found...)
			if !*asJSON {
				printFindings(inv, l, found)
			}
		}
		if *asJSON {
			if err := printJSON(inv.stdout, findings); err != nil {
				return err
			}
		}
		if unusable > 0 {
			return errNo()
		}
		return nil
	}
}

func lint(category string, l feed.Loaded) []finding {
	var out []finding
	if l.Err != nil {
		out = append(out, finding{Category: category, List: l.ID, Kind: "unusable", Reason: l.Err.Error()})
	}
	if l.List == nil {
		return out
	}
	add := func(kind string, problems []blocklist.Problem) {
		for _, p := range problems {
			text := p.Text
			if l.Confidential {
				text = ""
			}
			out = append(out, finding{Category: category, List: l.ID, Kind: kind, Line: p.Line, Reason: p.Reason, Text: text})
		}
	}
	add("problem", l.List.Problems)
	add("warning", l.List.Warnings)
	return out
}

func printFindings(inv *invocation, l feed.Loaded, found []finding) {
	for _, f := range found {
		where := f.List
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d", f.List, f.Line)
		}
		if f.Text != "" {
			f.Reason += ": " + f.Text
		}
		if f.Kind != "problem" {
			f.Reason = f.Kind + ": " + f.Reason
		}
		fmt.Fprintf(inv.stdout, "%s: %s\n", where, f.Reason)
	}
	if l.List == nil {
		return
	}
	if more := l.List.Skipped - len(l.List.Problems); more > 0 {
		fmt.Fprintf(inv.stdout, "%s: and %d more\n", l.ID, more)
	}
	fmt.Fprintf(inv.stdout, "%s: %s, %d not enforceable, %s, %d skipped\n", l.ID, daemon.Plural(l.List.Enforceable, "entry", "entries"),
		l.List.Unenforceable, daemon.Plural(l.List.Exceptions, "exception", "exceptions"), l.List.Skipped)
}
