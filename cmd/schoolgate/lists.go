package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
)

func setupListsStatus(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		lists, notes, now, err := listStatus(ctx, inv)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, lists)
		}
		if err := printLists(inv.stdout, lists, now); err != nil {
			return err
		}
		printListProblems(inv.stdout, "!", lists)
		for _, n := range notes {
			fmt.Fprintln(inv.stdout, n)
		}
		return nil
	}
}

// listStatus asks the running schoolgate, and where none runs reads the lists itself. now is by the
// school's clock.
func listStatus(ctx context.Context, inv *invocation) (lists []daemon.ListStatus, notes []string, now time.Time, err error) {
	cfg, err := inv.inForce()
	if err != nil {
		return nil, nil, now, err
	}
	running, s, err := inv.running(ctx, cfg)
	if err != nil {
		return nil, nil, now, err
	}
	if running != nil {
		return s.Lists, s.Notes, s.Time, nil
	}
	filter, err := assemble(ctx, cfg, nil)
	if err != nil {
		return nil, nil, now, err
	}
	now = time.Now().In(cfg.Timezone)
	return filter.ListStatus(now), filter.Notes(), now, nil
}

// printLists writes the table of lists. now is by the school's clock.
func printLists(w io.Writer, lists []daemon.ListStatus, now time.Time) error {
	return table(w, func(line func(string, ...any)) {
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
			} else if l.Trial != "" && l.State == "missing" {
				state += ", trial " + l.Trial + " once loaded"
			}
			line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", l.Category, shorten(l.List), orDash(l.Format),
				thousands(l.Entries), thousands(l.NotEnforceable), thousands(l.Skipped), age(l), moment(l.Checked, now), moment(l.Next, now), state)
		}
	})
}

// printListProblems says of each list that is not as its source has it, why, behind a mark. What several
// categories have is said once.
func printListProblems(w io.Writer, mark string, lists []daemon.ListStatus) {
	said := map[string]bool{}
	for _, l := range lists {
		line := fmt.Sprintf("  %s %s: %s\n", mark, l.List, l.Problem)
		if l.Problem != "" && !said[line] {
			fmt.Fprint(w, line)
		}
		said[line] = true
	}
}

// moment is a time of a status, RFC 3339 by the school's clock like now, as people read it: "18:21" for
// today, else "20 Nov".
func moment(at string, now time.Time) string {
	t, err := time.Parse(time.RFC3339, at)
	switch {
	case err != nil:
		return "-"
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format("15:04")
	}
	return t.Format("2 Jan")
}

// thousands is a number that is not negative, "2,000,000".
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// shorten cuts a list's ID for a table: of a path or a URL both ends say more than the middle.
func shorten(id string) string {
	const width = 60
	r := []rune(id)
	if len(r) <= width {
		return id
	}
	return string(r[:width/2-1]) + "…" + string(r[len(r)-width/2:])
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
			found := lint(cfg, l)
			if slices.ContainsFunc(found, func(f finding) bool { return f.Kind == "unusable" }) {
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

// lint says what is wrong with a list. That a server can't be reached now is no fault of the copy.
func lint(cfg *config.Config, l feed.Loaded) []finding {
	var out []finding
	category := cfg.Policy.Categories[l.Category].Name
	switch {
	case l.Err == nil:
	case l.List != nil && (l.URL != "" || l.Zone != nil):
		out = append(out, finding{
			Category: category, List: l.ID, Kind: "warning",
			Reason: fmt.Sprintf("last fetch failed (%v); the copy of %s is in use", l.Err, l.Modified.In(cfg.Timezone).Format("2006-01-02 15:04")),
		})
	default:
		out = append(out, finding{Category: category, List: l.ID, Kind: "unusable", Reason: daemon.Reason(l)})
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
