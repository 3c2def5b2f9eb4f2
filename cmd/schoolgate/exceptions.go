package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy/breach"
)

// words is a flag that can be given more than once, and have several words with commas between them.
type words []string

func (w *words) String() string { return strings.Join(*w, ",") }
func (w *words) Get() any       { return []string(*w) }

func (w *words) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			*w = append(*w, word)
		}
	}
	return nil
}

func setupExceptionsAdd(fs *flag.FlagSet) action {
	var e daemon.Exception
	var names words
	allow := fs.Bool("allow", false, "let the names through")
	block := fs.Bool("block", false, "block the names")
	fs.Var(&names, "name", "the `NAME`, with all below it; several with commas, or one flag for each")
	fs.StringVar(&e.Group, "group", "", "for this `GROUP` only, and those that inherit from it")
	fs.StringVar(&e.Client, "client", "", "for this `CLIENT` only: an address, mac:MAC, name:NAME or user:USER")
	until := fs.String("until", "", "when it ends: a `TIME`, a date (its end), or how long, such as 2h; needed")
	fs.StringVar(&e.By, "by", "", "`WHO` decides it, for the audit; needed")
	fs.StringVar(&e.Reason, "reason", "", "`WHY`, for whoever asks later; needed")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		switch {
		case *allow == *block:
			return wrongUse("exceptions add: allow or block? (--allow or --block)")
		case len(names) == 0:
			return wrongUse("exceptions add: which name? (--name NAME)")
		case *until == "":
			return wrongUse("exceptions add: until when? (--until TIME; what lasts is a rule of the configuration)")
		case strings.TrimSpace(e.By) == "":
			return wrongUse("exceptions add: who decides it? (--by WHO)")
		case strings.TrimSpace(e.Reason) == "":
			return wrongUse("exceptions add: why? (--reason WHY)")
		}
		e.Action = "allow"
		if *block {
			e.Action = "block"
		}
		e.By, e.Reason = strings.TrimSpace(e.By), strings.TrimSpace(e.Reason)
		for _, n := range names {
			if host := hostOfURL(n); host != "" {
				return wrongUse("exceptions add: %q is a web address; name its host: %s", n, host)
			}
			e.Names = append(e.Names, strings.TrimPrefix(n, "*."))
		}
		if e.Until, err = parseUntil(*until, time.Now(), cfg.Timezone); err != nil {
			return wrongUse("exceptions add: --until: %w", err)
		}
		if err := knownGroup(cfg, e.Group); err != nil {
			return wrongUse("exceptions add: --group: %w", err)
		}
		if err := e.Check(cfg, time.Now()); err != nil {
			return wrongUse("exceptions add: %w", err)
		}
		added, err := addException(ctx, inv, cfg, e)
		if daemon.IsWrongUse(err) {
			return wrongUse("exceptions add: %w", err)
		}
		if err != nil {
			return err
		}
		for _, n := range added.Notes {
			fmt.Fprintln(inv.stderr, "warning:", n)
		}
		if *asJSON {
			return printJSON(inv.stdout, added)
		}
		verb := map[string]string{"allow": "allowed", "block": "blocked"}[added.Action]
		fmt.Fprintf(inv.stdout, "exception %s: %s %s for %s until %s\n", added.ID, strings.Join(added.Names, ", "), verb,
			whom(added.Exception), added.Until.In(cfg.Timezone).Format(time.RFC3339))
		return nil
	}
}

// whom says for whom an exception is.
func whom(e daemon.Exception) string {
	switch {
	case e.Client != "":
		return e.Client
	case e.Group != "":
		return "group " + e.Group
	}
	return "everybody"
}

// parseUntil reads a time, a date, which is its last moment by the school's clock, or a length of time from now.
func parseUntil(s string, now time.Time, zone *time.Location) (time.Time, error) {
	if at, isDate, err := parseTime(s, zone); err == nil {
		if isDate {
			at = at.AddDate(0, 0, 1)
		}
		return at, nil
	}
	if d, err := config.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d).Round(time.Second), nil
	}
	return time.Time{}, fmt.Errorf("%q is neither a time nor a length of time (use 2026-11-20T10:15:00Z, 2026-11-20, 45m or 2d)", s)
}

// knownGroup refuses a group that the configuration does not have. "" is everybody.
func knownGroup(cfg *config.Config, group string) error {
	var groups []string
	for _, g := range cfg.Policy.Groups {
		groups = append(groups, g.Name)
	}
	if group == "" || slices.Contains(groups, group) {
		return nil
	}
	return fmt.Errorf("there is no group %q (the nearest is %q)", group, nearest(group, groups))
}

// addException has the running schoolgate put an exception in force; where none runs it is stored for the next
// start.
func addException(ctx context.Context, inv *invocation, cfg *config.Config, e daemon.Exception) (added daemon.AddedException, err error) {
	running, _, err := inv.running(ctx, cfg)
	if err != nil {
		return added, err
	}
	if running != nil {
		return running.AddException(ctx, e)
	}
	err = storedExceptions(ctx, inv, cfg, func(f *daemon.Filter, record *breach.Log) error {
		if added.Exception, added.Notes, err = f.AddException(e, time.Now()); err != nil {
			return err
		}
		return record.Audit(ctx, daemon.AddedAct(f, &added.Exception))
	})
	return added, err
}

// storedExceptions does something with the exceptions of a schoolgate that does not run.
func storedExceptions(ctx context.Context, inv *invocation, cfg *config.Config, do func(*daemon.Filter, *breach.Log) error) error {
	return withRecord(ctx, cfg, func(record *breach.Log) error {
		f, err := assemble(ctx, cfg, nil)
		if err != nil {
			return err
		}
		fmt.Fprintln(inv.stderr, "note: schoolgate is not running; this is for its next start")
		return do(f, record)
	})
}

func setupExceptionsList(fs *flag.FlagSet) action {
	all := fs.Bool("all", false, "those too that ended within the last week")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		running, _, err := inv.running(ctx, cfg)
		if err != nil {
			return err
		}
		var found []daemon.ExceptionStatus
		if running != nil {
			found, err = running.Exceptions(ctx, *all)
		} else {
			stored := daemon.StoredExceptions(cfg)
			if p := stored.ExceptionProblem(); p != "" {
				fmt.Fprintln(inv.stderr, "warning:", p)
			}
			found = stored.ExceptionStatus(time.Now(), *all)
		}
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, found)
		}
		return printExceptions(inv.stdout, inv.stderr, found)
	}
}

func printExceptions(w, messages io.Writer, found []daemon.ExceptionStatus) error {
	if len(found) == 0 {
		fmt.Fprintln(messages, "no exception is in force")
		return nil
	}
	return table(w, func(line func(string, ...any)) {
		line("ID\tACTION\tNAMES\tFOR\tUNTIL\tBY\tREASON")
		for _, e := range found {
			until := e.Until.Format(time.RFC3339)
			switch e.State {
			case "ended":
				until += " (ended)"
			case "no_effect":
				until += " (no effect: there is no such group)"
			}
			line("%s\t%s\t%s\t%s\t%s\t%s\t%s", e.ID, e.Action, strings.Join(e.Names, ", "), whom(e.Exception), until, e.By, e.Reason)
		}
	})
}

func setupExceptionsRemove(fs *flag.FlagSet) action {
	by := fs.String("by", "", "`WHO` decides it, for the audit; needed")
	reason := fs.String("reason", "", "`WHY`, for whoever asks later")
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		id := inv.args[0]
		if strings.TrimSpace(*by) == "" {
			return wrongUse("exceptions remove: who decides it? (--by WHO)")
		}
		if err := daemon.CheckRemoval(*by, *reason); err != nil {
			return wrongUse("exceptions remove: %w", err)
		}
		running, _, err := inv.running(ctx, cfg)
		if err != nil {
			return err
		}
		if running != nil {
			_, err = running.RemoveException(ctx, id, *by, *reason)
		} else {
			err = storedExceptions(ctx, inv, cfg, func(f *daemon.Filter, record *breach.Log) error {
				removed, err := f.RemoveException(id, time.Now())
				if err != nil {
					return err
				}
				return record.Audit(ctx, daemon.RemovedAct(f, &removed, *by, *reason))
			})
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(inv.stdout, "exception %s has ended\n", strings.ToLower(id))
		return nil
	}
}
