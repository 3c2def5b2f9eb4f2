package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy/breach"
)

// listedIncidents is how many incidents `incidents list` shows.
const listedIncidents = 50

func setupIncidentsList(fs *flag.FlagSet) action {
	flags := breachFlags(fs)
	state := fs.String("state", "open", "in this `STATE` only: new, seen, in_hand, closed, or open, which is all that are not closed")
	all := fs.Bool("all", false, "all of them, closed ones too, however many")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		filter, err := flags.parse(cfg)
		if err != nil {
			return err
		}
		states := []string{breach.StateNew, breach.StateSeen, breach.StateInHand, breach.StateClosed, breach.StateOpen}
		if filter.State = *state; !slices.Contains(states, *state) {
			return wrongUse("--state: %q is not one (use %s)", *state, strings.Join(states, ", "))
		}
		limit := listedIncidents
		if *all && *state == breach.StateOpen {
			filter.State = ""
		}
		if *all || *asJSON {
			limit = 0
		}
		r, err := freshRecord(ctx, inv, cfg)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := knownFilter(ctx, r, cfg, filter); err != nil {
			return err
		}
		found, err := r.Register(ctx, filter, limit)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, found.Incidents)
		}
		if len(found.Incidents) == 0 {
			fmt.Fprintln(inv.stderr, "no incident matches")
		} else if err := printIncidents(inv, found.Incidents); err != nil {
			return err
		}
		if older := found.Total - int64(len(found.Incidents)); older > 0 {
			fmt.Fprintf(inv.stderr, "not shown: %s (--all, or --from and --to)\n", daemon.Plural(int(older), "older one", "older ones"))
		}
		if found.Closed > 0 {
			fmt.Fprintf(inv.stderr, "not shown: %s (--all, or --state closed)\n", daemon.Plural(int(found.Closed), "closed one", "closed ones"))
		}
		return nil
	}
}

func printIncidents(inv *invocation, incidents []breach.Incident) error {
	return table(inv.stdout, func(line func(string, ...any)) {
		line("ID\tLAST\tSTATE\tSEVERITY\tCATEGORY\tGROUP\tCLIENT\tCOUNT\tNAMES")
		for _, i := range incidents {
			state := i.State
			if i.Outcome != "" {
				state += ": " + i.Outcome
			}
			line("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", i.ID, i.Last, state, i.Severity, i.Category, i.Group, orDash(client(i.Client)), i.Count, orDash(someNames(&i)))
		}
	})
}

// client is a device in one cell: its name where that is known, and its address.
func client(c breach.Client) string {
	parts := []string{c.User, c.Name, c.IP}
	if c.Name == "" {
		parts[1] = c.MAC
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

// someNames are the names asked for, as many as fit into a cell.
func someNames(i *breach.Incident) string {
	if i.Confidential {
		return breach.Confidential
	}
	var names []string
	for n, name := range i.Names {
		if n == 2 {
			return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), len(i.Names)-n)
		}
		names = append(names, name.Name)
	}
	return strings.Join(names, ", ")
}

// freshRecord opens the record to be read, once the running schoolgate has written down what it has seen.
func freshRecord(ctx context.Context, inv *invocation, cfg *config.Config) (*breach.Reader, error) {
	running, err := dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if running != nil {
		if err := running.Flush(ctx); err != nil {
			// What is on disk is shown all the same: it is what there is.
			fmt.Fprintf(inv.stderr, "warning: the newest breaches are not yet written down: %v\n", err)
		}
	}
	return openRecord(cfg) //nolint:contextcheck // it has none
}

// theIncident returns the whole ID of the incident that a person means.
func theIncident(ctx context.Context, r *breach.Reader, text string) (string, error) {
	id, err := r.FindIncident(ctx, text)
	if err != nil {
		return "", exitError{1, err}
	}
	return id, nil
}

// registering does something about an incident: through the running schoolgate, else in the record itself. It returns the
// incident's ID.
func registering(ctx context.Context, inv *invocation, text string, do func(daemon.Registrar, string) error) (id string, err error) {
	cfg, err := inv.inForce()
	if err != nil {
		return "", err
	}
	r, err := freshRecord(ctx, inv, cfg)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if id, err = theIncident(ctx, r, text); err != nil {
		return "", err
	}
	return id, register(ctx, cfg, func(to daemon.Registrar) error { return do(to, id) })
}

// register gives do who writes down what is done about incidents.
func register(ctx context.Context, cfg *config.Config, do func(daemon.Registrar) error) error {
	running, err := dial(ctx, cfg)
	if err != nil {
		return err
	}
	if running != nil {
		return do(running)
	}
	return withRecord(ctx, cfg, func(record *breach.Log) error { return do(record) })
}

func setupIncidentsNote(fs *flag.FlagSet) action {
	by := fs.String("by", "", "`WHO` writes it; needed")
	text := fs.String("text", "", "the `TEXT`; needed")
	return func(ctx context.Context, inv *invocation) error {
		switch {
		case strings.TrimSpace(*by) == "":
			return wrongUse("incidents note: who writes it? (--by WHO)")
		case strings.TrimSpace(*text) == "":
			return wrongUse("incidents note: what is to be noted? (--text TEXT)")
		}
		id, err := registering(ctx, inv, inv.args[0], func(to daemon.Registrar, id string) error { return to.NoteIncident(ctx, id, *by, *text) })
		if err != nil {
			return err
		}
		fmt.Fprintf(inv.stdout, "incident %s: noted\n", id)
		return nil
	}
}

func setupIncidentsClose(fs *flag.FlagSet) action {
	by := fs.String("by", "", "`WHO` closes it; needed")
	outcome := fs.String("outcome", "", "what came of it; needed, one `OUTCOME` of "+strings.Join(breach.Outcomes(), ", "))
	text := fs.String("text", "", "more about it, in a `TEXT`; needed for other")
	return func(ctx context.Context, inv *invocation) error {
		switch {
		case strings.TrimSpace(*by) == "":
			return wrongUse("incidents close: who closes it? (--by WHO)")
		case *outcome == "":
			return wrongUse("incidents close: what came of it? (--outcome, one of %s)", strings.Join(breach.Outcomes(), ", "))
		case !slices.Contains(breach.Outcomes(), *outcome):
			return wrongUse("incidents close: --outcome: %q is none of %s (the nearest is %s)", *outcome, strings.Join(breach.Outcomes(), ", "),
				nearest(*outcome, breach.Outcomes()))
		case *outcome == "other" && strings.TrimSpace(*text) == "":
			return wrongUse("incidents close: which other outcome? (--text TEXT)")
		}
		id, err := registering(ctx, inv, inv.args[0], func(to daemon.Registrar, id string) error {
			return to.CloseIncident(ctx, id, *by, *outcome, *text)
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(inv.stdout, "incident %s: closed as %s; what comes after this opens another\n", id, *outcome)
		return nil
	}
}

// knownFilter refuses a group or a category that neither the configuration nor the record has.
func knownFilter(ctx context.Context, r *breach.Reader, cfg *config.Config, filter breach.Filter) error {
	groups, categories := []string{}, []string{"rule", "only"}
	for _, g := range cfg.Policy.Groups {
		groups = append(groups, g.Name)
	}
	for _, c := range cfg.Policy.Categories {
		categories = append(categories, c.Name)
	}
	return cmp.Or(
		known(ctx, r, "group", filter.Group, groups, breach.Filter{Group: filter.Group}),
		known(ctx, r, "category", filter.Category, categories, breach.Filter{Category: filter.Category}),
	)
}

// errNotRecorded is why nothing is shown.
func errNotRecorded(err error) error {
	if errors.Is(err, breach.ErrNoIncident) {
		return err
	}
	return fmt.Errorf("that somebody looks at it can't be written down, so it is not shown: %w", err)
}
