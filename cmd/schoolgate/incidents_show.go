package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
)

func setupIncidentsShow(fs *flag.FlagSet) action {
	by := fs.String("by", "", "`WHO` looks at it: from then on it is seen")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		r, err := freshRecord(ctx, inv, cfg)
		if err != nil {
			return err
		}
		defer r.Close()
		id, err := theIncident(ctx, r, inv.args[0])
		if err != nil {
			return err
		}
		named := strings.TrimSpace(*by)
		act := breach.Act{Who: cmp.Or(named, systemUser()), What: "incidents.show"}
		err = register(ctx, cfg, func(to daemon.Registrar) error { return to.LookAt(ctx, id, act, named != "") })
		if err != nil {
			return errNotRecorded(err)
		}
		w, err := r.Incident(ctx, id, wholeOptions(cfg, inv.stderr))
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, w)
		}
		return printWhole(inv.stdout, w)
	}
}

// wholeOptions is what an incident is read with. What of the query log can't be read is said on messages.
func wholeOptions(cfg *config.Config, messages io.Writer) breach.WholeOptions {
	o := breach.WholeOptions{Zone: cfg.Timezone}
	if cfg.QueryLog.Mode == querylog.Full {
		o.Questions = func(ctx context.Context, c breach.Client, from, to time.Time, yield func(breach.Question) error) error {
			return questionsOf(ctx, cfg, messages, c, from, to, yield)
		}
	}
	if calendar := cfg.Policy.Calendar; calendar.Terms != nil || calendar.Closed != nil {
		o.NobodyIn = func(at time.Time) bool { return !calendar.SchoolDay(at) }
	}
	return o
}

// questionsOf yields what a client asked for, but not what another device or person did that had its address too.
func questionsOf(ctx context.Context, cfg *config.Config, messages io.Writer, c breach.Client, from, to time.Time, yield func(breach.Question) error) error {
	another := func(known, now string) bool { return known != "" && now != "" && known != now }
	err := querylog.NewReader(cfg.DataDir, cfg.Timezone).Export(ctx, c.IP, from, to, func(q querylog.Question) error {
		if another(c.MAC, q.Client.MAC) || another(c.User, q.Client.User) {
			return nil
		}
		return yield(breach.Question{Time: q.Time, Name: q.Query.Name, Type: q.Query.Type, Outcome: q.Outcome})
	})
	if damaged, ok := errors.AsType[*querylog.DamagedError](err); ok {
		fmt.Fprintf(messages, "warning: %v\n", damaged)
		return nil
	}
	return err
}

func printWhole(to io.Writer, w *breach.Whole) error {
	err := table(to, func(line func(string, ...any)) {
		line("incident\t%s", w.ID)
		line("state\t%s", strings.TrimSuffix(w.State+", "+w.Outcome, ", "))
		line("severity\t%s", w.Severity)
		line("category\t%s (%s)", w.Category, w.Title)
		line("group\t%s", w.Group)
		who := client(w.Client)
		if w.Shared {
			who += " (many people are behind it)"
		}
		line("a device\t%s", orDash(who))
		line("asked\t%s, from %s to %s", howOften(w), w.First, w.Last)
		line("it was\t%s", map[string]string{"block": "blocked", "monitor": "let through, and recorded"}[w.Action])
		for i, why := range w.LooksLike.Why {
			label := ""
			if i == 0 {
				label = "looks like"
				why = map[string]string{
					breach.LooksPerson: "a person", breach.LooksBackground: "background traffic", breach.LooksUnclear: "unclear",
				}[w.LooksLike.Kind] + ": " + why
			}
			line("%s\t%s", label, why)
		}
	})
	if err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		rows  int
		print func(line func(string, ...any))
	}{
		{"What was done", len(w.Notes), func(line func(string, ...any)) { printNotes(line, w.Notes) }},
		{"What it asked for", len(w.Timeline), func(line func(string, ...any)) { printTimeline(line, w) }},
		{"What else it tried, from an hour before to an hour after", len(w.Around), func(line func(string, ...any)) {
			for _, b := range w.Around {
				line("  %s\t%s\t%s\t%d\t%s", b.Time, b.Category, b.Action, b.Count, b.Query.Name)
			}
			if w.AroundLeftOut {
				line("  and more")
			}
		}},
		{"What else it asked for in that time", len(w.Questions), func(line func(string, ...any)) {
			for _, q := range w.Questions {
				line("  %s\t%s\t%s\t%s", q.Time, q.Outcome, q.Type, q.Name)
			}
			if w.QuestionsLeftOut {
				line("  and more")
			}
		}},
	} {
		if part.rows == 0 {
			continue
		}
		fmt.Fprintf(to, "\n%s\n", part.title)
		if err := table(to, part.print); err != nil {
			return err
		}
	}
	return nil
}

// howOften says how often a device asked, and for how many names.
func howOften(w *breach.Whole) string {
	times := daemon.Plural(int(w.Count), "time", "times")
	if w.Confidential {
		return times + ", for names that are kept confidential"
	}
	return times + ", for " + daemon.Plural(int(w.DistinctNames), "name", "different names")
}

func printNotes(line func(string, ...any), notes []breach.Note) {
	for _, n := range notes {
		what := n.What
		switch n.What {
		case "closed":
			what += " as " + n.Outcome
		case "raised":
			what += " to " + n.Severity
		}
		line("  %s\t%s\t%s\t%s", n.Time, n.By, what, orDash(n.Text))
	}
}

func printTimeline(line func(string, ...any), w *breach.Whole) {
	for _, e := range w.Timeline {
		line("  %s\t%s\t%d\t%s", e.Time, e.Query.Type, e.Count, e.Query.Name)
		for _, r := range e.Repeats {
			line("    again up to %s\t\t%d\t", r.Last, r.Count)
		}
	}
	if w.TimelineLeftOut > 0 {
		line("  and %d more: see breaches list, or incidents export", w.TimelineLeftOut)
	}
}
