package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"

	"schoolgate/config"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// breachFilter are the flags that select breaches.
type breachFilter struct {
	from, to, group, category, severity, client *string
	newest                                      int
}

func breachFlags(fs *flag.FlagSet) breachFilter {
	return breachFilter{
		from:     fs.String("from", "", "first `TIME` or date, included"),
		to:       fs.String("to", "", "last `TIME`, not included, or date, included"),
		group:    fs.String("group", "", "of this `GROUP` only"),
		category: fs.String("category", "", "of this `CATEGORY` only"),
		severity: fs.String("severity", "", "of this `SEVERITY` only: critical, high, medium or low"),
		client:   fs.String("client", "", "of this `CLIENT` only: an address, mac:MAC, name:NAME or user:USER"),
	}
}

// parse checks the flags; they are wrong use where they make no sense.
func (b breachFilter) parse(cfg *config.Config) (breach.Filter, error) {
	f := breach.Filter{Newest: b.newest, Group: *b.group, Category: *b.category, Severity: *b.severity, Zone: cfg.Timezone}
	var err error
	if f.From, f.To, err = parseSpan(*b.from, *b.to, cfg.Timezone); err != nil {
		return f, err
	}
	switch f.Severity {
	case "", "critical", "high", "medium", "low":
	default:
		return f, wrongUse("--severity: %q is not one (use critical, high, medium or low)", f.Severity)
	}
	if *b.client != "" {
		client, err := policy.ParseClientPattern(*b.client)
		if err != nil {
			return f, wrongUse("--client: %w", err)
		}
		f.Client = client.String()
	}
	return f, nil
}

func setupBreachesList(fs *flag.FlagSet) action {
	filter := breachFlags(fs)
	limit := fs.Int("limit", 1000, "the newest `N` only; 0 for all")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		if *limit < 0 {
			return wrongUse("breaches list: --limit: %d is no number of breaches", *limit)
		}
		if *limit > 0 {
			filter.newest = *limit + 1 // to see whether there are more
		}
		found := []breach.Breach{}
		err := readBreaches(ctx, inv, filter, func(b breach.Breach) error {
			found = append(found, b)
			return nil
		})
		if err != nil {
			return err
		}
		if *limit > 0 && len(found) > *limit {
			found = found[1:]
			fmt.Fprintf(inv.stderr, "these are the newest %d; --from, --to or --limit 0 show older ones\n", *limit)
		}
		if *asJSON {
			return printJSON(inv.stdout, found)
		}
		return table(inv.stdout, func(line func(string, ...any)) {
			line("TIME\tCLIENT\tGROUP\tCATEGORY\tSEVERITY\tACTION\tCOUNT\tNAME")
			for _, b := range found {
				line("%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", b.Time, orDash(b.Client.IP), b.Group, b.Category, b.Severity, b.Action, b.Count, b.Query.Name)
			}
		})
	}
}

func setupBreachesExport(fs *flag.FlagSet) action {
	filter := breachFlags(fs)
	format := fs.String("format", "jsonl", "`FORMAT` of the output: jsonl or csv")
	return func(ctx context.Context, inv *invocation) error {
		switch *format {
		case "jsonl":
			return readBreaches(ctx, inv, filter, breach.WriteJSONL(inv.stdout))
		case "csv":
			w, err := breach.NewCSVWriter(inv.stdout)
			if err == nil {
				err = readBreaches(ctx, inv, filter, w.Write)
			}
			return errors.Join(err, w.Flush())
		}
		return wrongUse("--format: %q is not one (use jsonl or csv)", *format)
	}
}

// readBreaches calls each for every breach that the flags select, oldest first. A running schoolgate
// writes down first what it has seen.
func readBreaches(ctx context.Context, inv *invocation, flags breachFilter, each func(breach.Breach) error) error {
	cfg, err := inv.inForce()
	if err != nil {
		return err
	}
	filter, err := flags.parse(cfg)
	if err != nil {
		return err
	}
	client, err := dial(ctx, cfg)
	if err != nil {
		return err
	}
	if client != nil {
		if err := client.Flush(ctx); err != nil {
			// What is on disk is shown all the same: it is what there is.
			fmt.Fprintf(inv.stderr, "warning: the newest breaches are not yet written down: %v\n", err)
		}
	}
	r, err := openRecord(cfg) //nolint:contextcheck // it has none
	if err != nil {
		return err
	}
	defer r.Close()
	groups, categories := []string{}, []string{"rule", "only"}
	for _, g := range cfg.Policy.Groups {
		groups = append(groups, g.Name)
	}
	for _, c := range cfg.Policy.Categories {
		categories = append(categories, c.Name)
	}
	if err := known(ctx, r, "group", filter.Group, groups, breach.Filter{Group: filter.Group}); err != nil {
		return err
	}
	if err := known(ctx, r, "category", filter.Category, categories, breach.Filter{Category: filter.Category}); err != nil {
		return err
	}
	found := false
	err = r.Breaches(ctx, filter, func(b breach.Breach) error {
		found = true
		return each(b)
	})
	if err == nil && !found {
		fmt.Fprintln(inv.stderr, "no breach matches")
	}
	return err
}

// known refuses a name that neither the configuration nor the record has: it is mistyped, and that
// nothing matches it would say nothing.
func known(ctx context.Context, r *breach.Reader, what, name string, names []string, its breach.Filter) error {
	if name == "" || slices.Contains(names, name) {
		return nil
	}
	found := errors.New("found")
	err := r.Breaches(ctx, its, func(breach.Breach) error { return found })
	switch {
	case errors.Is(err, found):
		return nil
	case err != nil:
		return err
	}
	return wrongUse("no %s %q in the configuration (the nearest is %q)", what, name, nearest(name, names))
}
