package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy/breach"
)

func setupListsUpdate(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		if _, err := daemon.SelectLists(cfg, inv.args); err != nil {
			return wrongUse("lists update: %w", nearestList(err))
		}
		updated, err := metered(ctx, inv, func(ctx context.Context, progress func(feed.Progress)) ([]daemon.UpdatedList, error) {
			return updateLists(ctx, inv, cfg, inv.args, progress)
		})
		if updated == nil {
			return err
		}
		if *asJSON {
			err = errors.Join(err, printJSON(inv.stdout, updated))
		} else {
			err = errors.Join(err, printUpdated(inv.stdout, updated))
		}
		if err == nil && slices.ContainsFunc(updated, func(u daemon.UpdatedList) bool { return u.Error != "" }) {
			return errNo()
		}
		return err
	}
}

// nearestList adds to the error about a list that is not known the one that may have been meant.
func nearestList(err error) error {
	unknown, ok := errors.AsType[*daemon.UnknownList](err)
	if !ok {
		return err
	}
	for _, name := range unknown.Known { // of a path or a URL people write the end
		if strings.Contains(name, unknown.Name) {
			return fmt.Errorf("%s (did you mean %q?)", unknown.Reason(), name)
		}
	}
	if len(unknown.Known) > 0 {
		if best := nearest(unknown.Name, unknown.Known); isNear(unknown.Name, best) {
			return fmt.Errorf("%s (did you mean %q?)", unknown.Reason(), best)
		}
	}
	return err
}

// updateLists asks the running schoolgate to fetch lists; where none runs it does that itself, for the
// next start.
func updateLists(ctx context.Context, inv *invocation, cfg *config.Config, names []string, progress func(feed.Progress)) ([]daemon.UpdatedList, error) {
	running, _, err := inv.running(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if running != nil {
		return running.UpdateLists(ctx, names, progress)
	}
	var updated []feed.Updated
	filter, err := withLists(ctx, inv, cfg, progress, func(loader *feed.Loader) error {
		specs, err := daemon.SelectLists(cfg, names)
		updated = loader.Update(ctx, specs, daemon.OwnNames(cfg), false)
		return err
	})
	if err != nil {
		return nil, err
	}
	return filter.UpdatedLists(updated), nil
}

func printUpdated(w io.Writer, updated []daemon.UpdatedList) error {
	if len(updated) == 0 {
		fmt.Fprintln(w, "no list is fetched from anywhere")
		return nil
	}
	err := table(w, func(line func(string, ...any)) {
		line("CATEGORY\tLIST\tOUTCOME\tENTRIES\tSKIPPED\tFETCHED")
		for _, u := range updated {
			outcome := strings.ReplaceAll(u.Outcome, "_", " ")
			if u.Error != "" {
				outcome = strings.ToUpper(outcome)
			}
			line("%s\t%s\t%s\t%s\t%s\t%s", u.Category, shorten(u.List), outcome, thousands(u.Entries), thousands(u.Skipped), size(u.Bytes))
		}
	})
	var failed []daemon.ListStatus
	for _, u := range updated {
		failed = append(failed, daemon.ListStatus{List: u.List, Problem: u.Error})
	}
	printListProblems(w, "!", failed)
	return err
}

// size is a number of bytes, for people.
func size(n int64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}

func setupListsCompile(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		compiled, err := metered(ctx, inv, func(ctx context.Context, progress func(feed.Progress)) (daemon.CompiledLists, error) {
			return compileLists(ctx, inv, cfg, progress)
		})
		if err != nil {
			return err
		}
		// What a server did not send before is no failure of what is done here.
		var own, fetched []daemon.ListStatus
		for _, l := range compiled.Lists {
			if l.Fetched {
				fetched = append(fetched, l)
			} else {
				own = append(own, l)
			}
		}
		failed := slices.ContainsFunc(own, func(l daemon.ListStatus) bool { return l.Problem != "" })
		if *asJSON {
			err = printJSON(inv.stdout, compiled)
		} else {
			fmt.Fprintf(inv.stdout, "compiled in %.1f s: %s\n", compiled.Seconds, compiled.Summary)
			printListProblems(inv.stdout, "!", own)
			printListProblems(inv.stdout, "note:", fetched)
		}
		if err == nil && failed {
			return errNo()
		}
		return err
	}
}

// compileLists has the running schoolgate take its lists up again; where none runs it compiles them for
// the next start.
func compileLists(ctx context.Context, inv *invocation, cfg *config.Config, progress func(feed.Progress)) (daemon.CompiledLists, error) {
	running, _, err := inv.running(ctx, cfg)
	if err != nil {
		return daemon.CompiledLists{}, err
	}
	if running != nil {
		return running.CompileLists(ctx, progress)
	}
	began := time.Now()
	filter, err := withLists(ctx, inv, cfg, progress, nil)
	if err != nil {
		return daemon.CompiledLists{}, err
	}
	return filter.Compiled(began, time.Now()), nil
}

// withLists takes the data directory, does something with the lists in it, and takes them up, so that
// the next start has them compiled.
func withLists(ctx context.Context, inv *invocation, cfg *config.Config, progress func(feed.Progress), do func(*feed.Loader) error) (*daemon.Filter, error) {
	lock, err := daemon.Lock(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	fmt.Fprintln(inv.stderr, "note: schoolgate is not running; this is for its next start")
	options := daemon.LoaderOptions(cfg)
	options.Progress = progress
	loader := feed.New(options)
	if do != nil {
		if err := do(loader); err != nil {
			return nil, err
		}
	}
	return daemon.Assemble(ctx, cfg, loader)
}

func setupListsConfirm(fs *flag.FlagSet) action {
	category := fs.String("category", "", "the `CATEGORY`, where more than one has the list on trial")
	by := fs.String("by", "", "`WHO` says so, for the audit; needed")
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		id := inv.args[0]
		if strings.TrimSpace(*by) == "" {
			return wrongUse("lists confirm: who says so? (--by WHO)")
		}
		spec, err := daemon.SelectTrial(cfg, id, *category)
		if err != nil {
			return wrongUse("lists confirm: %w", nearestList(err))
		}
		running, _, err := inv.running(ctx, cfg)
		if err != nil {
			return err
		}
		if running != nil {
			err = running.ConfirmTrial(ctx, id, *category, *by)
		} else {
			err = withRecord(ctx, cfg, func(record *breach.Log) error {
				if err := feed.New(daemon.LoaderOptions(cfg)).Confirm(spec); err != nil {
					return err
				}
				return record.Audit(ctx, daemon.ConfirmAct(cfg, spec, *by))
			})
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(inv.stdout, "list %s is not on trial any more\n", id)
		return nil
	}
}

func setupListsCatalogue(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(_ context.Context, inv *invocation) error {
		found := []listing{}
		for _, l := range feed.Catalogue() {
			text := strings.ToLower(strings.Join([]string{l.Name, l.Title, l.About}, " "))
			about := listing{l.Name, l.Title, l.URL, l.Member, string(l.Format), l.Licence, l.About}
			if len(inv.args) > 0 && strings.EqualFold(inv.args[0], l.Name) {
				found = []listing{about}
				break
			}
			if len(inv.args) == 0 || strings.Contains(text, strings.ToLower(inv.args[0])) {
				found = append(found, about)
			}
		}
		var err error
		if *asJSON {
			err = printJSON(inv.stdout, found)
		} else if len(found) > 0 {
			err = printCatalogue(inv.stdout, found)
		}
		if err == nil && len(found) == 0 {
			if !*asJSON {
				fmt.Fprintf(inv.stderr, "no list of the catalogue has %q in it\n", inv.args[0])
			}
			return errNo()
		}
		return err
	}
}

// printCatalogue writes a table of public lists, how a configuration names one, and of a single one all that
// there is to say.
func printCatalogue(w io.Writer, found []listing) error {
	err := table(w, func(line func(string, ...any)) {
		line("NAME\tTITLE\tFORMAT\tLICENCE")
		for _, l := range found {
			line("%s\t%s\t%s\t%s", l.Name, l.Title, l.Format, l.Licence)
		}
	})
	if len(found) == 1 {
		l := found[0]
		address := l.URL
		if l.Member != "" {
			address += " (" + l.Member + " in it)"
		}
		fmt.Fprintf(w, "\n%s\naddress  %s\nlicence  %s\n\n", l.About, address, l.Licence)
	}
	fmt.Fprintf(w, "write one as: lists: [%q]\n", found[0].Name)
	return err
}

// listing is a public list in the JSON of `lists catalogue`.
type listing struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	URL     string `json:"url"`
	Member  string `json:"member,omitempty"` // the file of the archive at URL
	Format  string `json:"format"`
	Licence string `json:"licence"`
	About   string `json:"about"`
}
