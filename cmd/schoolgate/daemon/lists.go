package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist/feed"
	"schoolgate/config"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// LoaderOptions are those of a Loader for a configuration; what is missing in them is for the caller to
// fill in.
func LoaderOptions(cfg *config.Config) feed.Options {
	return feed.Options{
		Dir: ListDir(cfg), Identity: cfg.Identity, Never: cfg.Never,
		Resolver: lookups(func() *config.Config { return cfg }),
	}
}

// isFetched reports whether a list comes from a server.
func isFetched(s feed.Spec) bool { return s.URL != "" || s.Zone != nil }

// nextFetch is when a fetched list is to be asked for.
func nextFetch(loader *feed.Loader, s feed.Spec) time.Time {
	s.Trial = 0 // whose end is no fetch
	return loader.Next([]feed.Spec{s})
}

// UnknownList says that a configuration has no list of that name.
type UnknownList struct {
	Name, Category string // Category is "" where the list may be of any
	Known          []string
}

// Error implements error.
func (e *UnknownList) Error() string { return e.Reason() + " (lists status shows those it has)" }

// Reason is Error without a hint.
func (e *UnknownList) Reason() string {
	if e.Category != "" {
		return fmt.Sprintf("category %s has no list %s", e.Category, e.Name)
	}
	return "the configuration has no list " + e.Name
}

// SelectLists returns the lists of a configuration that are fetched: those with the given names, which
// are IDs or categories, or all for none. The error is an *UnknownList where a name is neither.
func SelectLists(cfg *config.Config, names []string) ([]feed.Spec, error) {
	isNamed := func(s feed.Spec, name string) bool {
		return s.ID == name || cfg.Policy.Categories[s.Category].Name == name
	}
	var out []feed.Spec
	var known []string
	for _, s := range cfg.Lists {
		if !isFetched(s) {
			continue
		}
		known = append(known, s.ID, cfg.Policy.Categories[s.Category].Name)
		if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return isNamed(s, name) }) {
			out = append(out, s)
		}
	}
	for _, name := range names {
		named := func(s feed.Spec) bool { return isNamed(s, name) }
		switch {
		case slices.ContainsFunc(out, named):
		case slices.ContainsFunc(cfg.Lists, func(s feed.Spec) bool { return s.ID == name }):
			return nil, fmt.Errorf("list %s is not fetched from anywhere (lists compile reads files again)", name)
		case slices.ContainsFunc(cfg.Policy.Categories, func(c policy.Category) bool { return c.Name == name && c.TrialOf == "" }):
			return nil, fmt.Errorf("no list of category %s is fetched from anywhere (lists compile reads files again)", name)
		default:
			return nil, &UnknownList{Name: name, Known: known}
		}
	}
	return out, nil
}

// SelectTrial returns the list with an ID that may be on trial. category is needed where more than one
// has the list. The error is an *UnknownList where none has it.
func SelectTrial(cfg *config.Config, id, category string) (feed.Spec, error) {
	var found []feed.Spec
	var ids []string // that could have been meant
	known := false
	for _, s := range cfg.Lists {
		if s.Trial > 0 {
			ids = append(ids, s.ID)
		}
		if s.ID != id || category != "" && cfg.Policy.Categories[s.Category].Name != category {
			continue
		}
		if known = true; s.Trial > 0 {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return feed.Spec{}, fmt.Errorf("list %s is on trial in more than one category: say which, with --category", id)
	case known:
		return feed.Spec{}, fmt.Errorf("list %s has no trial", id)
	}
	return feed.Spec{}, &UnknownList{Name: id, Category: category, Known: ids}
}

// UpdatedList is what became of a list that was asked for, in JSON.
type UpdatedList struct {
	Category string `json:"category"`
	List     string `json:"list"`
	// Outcome is "updated", "up_to_date", "kept" (old content, for the new can't be had or was refused) or
	// "missing".
	Outcome string `json:"outcome"`
	Changed bool   `json:"changed"`
	Error   string `json:"error"`   // why it is "kept" or "missing", else ""
	Bytes   int64  `json:"bytes"`   // that came over the wire
	Entries int    `json:"entries"` // in use, that DNS can enforce
	Skipped int    `json:"skipped"` // lines of what is in use that could not be read
}

// UpdatedLists describes what an Update has done, with what each list has in f.
func (f *Filter) UpdatedLists(updated []feed.Updated) []UpdatedList {
	out := []UpdatedList{}
	for _, u := range updated {
		about := UpdatedList{Category: f.Config.Policy.Categories[u.Category].Name, List: u.ID, Outcome: "up_to_date", Changed: u.Changed, Bytes: u.Bytes}
		i := slices.IndexFunc(f.Lists, func(l feed.Loaded) bool { return l.ID == u.ID && l.Category == u.Category && l.List != nil })
		if i >= 0 {
			about.Entries, about.Skipped = f.Lists[i].List.Enforceable, f.Lists[i].List.Skipped
		}
		switch {
		case u.Err != nil && i >= 0:
			about.Outcome, about.Error = "kept", u.Err.Error()
		case u.Err != nil:
			about.Outcome, about.Error = "missing", u.Err.Error()
		case u.Changed:
			about.Outcome = "updated"
		}
		out = append(out, about)
	}
	return out
}

// update asks for lists of a configuration, one Update after the other, and counts what failed. It
// touches nothing that serves: takeUp is what puts the outcome in force.
func (d *Daemon) update(ctx context.Context, cfg *config.Config, specs []feed.Spec, due bool) []feed.Updated {
	select {
	case d.updating <- struct{}{}:
		defer func() { <-d.updating }()
	case <-ctx.Done():
		return nil
	}
	updated := d.loader.Update(ctx, specs, OwnNames(cfg), due)
	for _, u := range updated {
		if u.Err != nil {
			d.telemetry.listFailures.WithLabelValues(cfg.Policy.Categories[u.Category].Name, u.ID).Inc()
		}
	}
	return updated
}

// updateLists asks now for the lists with the given IDs, or for all that are fetched, and puts what came
// in force.
func (d *Daemon) updateLists(ctx context.Context, ids []string, who string) ([]UpdatedList, error) {
	cfg := d.Filter().Config
	specs, err := SelectLists(cfg, ids)
	if err != nil {
		return nil, err
	}
	updated := d.update(ctx, cfg, specs, false)
	err = d.takeUp(ctx, who)
	d.refresh.wake()
	return d.Filter().UpdatedLists(updated), err
}

// CompiledLists is what `lists compile` found, in JSON.
type CompiledLists struct {
	Seconds float64      `json:"seconds"`
	Summary string       `json:"summary"`
	Lists   []ListStatus `json:"lists"`
}

// Compiled describes f's lists, as they were taken up since began.
func (f *Filter) Compiled(began, now time.Time) CompiledLists {
	return CompiledLists{Seconds: now.Sub(began).Seconds(), Summary: f.Summary(), Lists: f.ListStatus(now)}
}

// compileLists takes the lists up again from disk.
func (d *Daemon) compileLists(ctx context.Context, who string) (CompiledLists, error) {
	began := d.now()
	if err := d.takeUp(ctx, who); err != nil {
		return CompiledLists{}, err
	}
	return d.Filter().Compiled(began, d.now()), nil
}

// confirmTrial ends the trial of a list for good.
func (d *Daemon) confirmTrial(ctx context.Context, id, category, who string) error {
	cfg := d.Filter().Config
	spec, err := SelectTrial(cfg, id, category)
	if err != nil {
		return err
	}
	if err := d.loader.Confirm(spec); err != nil {
		return err
	}
	d.audit(ctx, ConfirmAct(cfg, spec, who))
	return d.takeUp(ctx, who)
}

// ConfirmAct is what the audit has of a trial that was ended.
func ConfirmAct(cfg *config.Config, spec feed.Spec, who string) breach.Act {
	return breach.Act{
		Who: who, What: "lists.confirm",
		Detail: fmt.Sprintf("list %s of category %s is not on trial any more", spec.ID, cfg.Policy.Categories[spec.Category].Name),
	}
}

// takeUp reads the lists again as they are on disk, and puts them in force under the configuration that
// is. What would empty a locked category is refused, and alerted. The configuration file is not read: a
// change in it waits for a reload.
func (d *Daemon) takeUp(ctx context.Context, who string) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.background.run(func() { err = d.takeUpNow(ctx, who) })
	return err
}

// takeUpNow is takeUp, with mu held.
func (d *Daemon) takeUpNow(ctx context.Context, who string) error {
	now := d.current.Load()
	next, err := d.assemble(ctx, now.filter.Config)
	if err != nil {
		return err
	}
	d.telemetry.listsReadAgain(now.filter, next)
	s := *now
	s.filter, s.listsRefused = next, now.refuses(next)
	if s.listsRefused != nil {
		s.filter = now.filter
		d.current.Store(&s)
		d.log.Error("lists refused; those before serve on", "by", who, "reason", s.listsRefused)
		if now.listsRefused == nil || !slices.Equal(now.listsRefused.Reasons, s.listsRefused.Reasons) { // not at each look
			d.audit(ctx, breach.Act{Who: who, What: "lists.refused", Detail: s.listsRefused.Error()})
		}
		d.raise()
		return s.listsRefused
	}
	if next.set == now.filter.set && next.exceptions == now.filter.exceptions && next.Policy.Ready() == now.filter.Policy.Ready() {
		next.Policy, next.took = now.filter.Policy, now.filter.took // only what is known of the sources has changed
		d.current.Store(&s)
		d.raise()
		return nil
	}
	if err := d.resolver.Apply(settings(next)); err != nil {
		return fmt.Errorf("apply the lists: %w", err)
	}
	d.store(s)
	switch changes := strings.Join(next.changes(now.filter), "; "); {
	case next.Policy.Ready() && !now.filter.Policy.Ready():
		s.since = d.now()
		d.compareLocked(ctx, &s)
		d.accept(ctx, &s, "schoolgate", "lists.complete")
		d.log.Info("ready: every required list is there", "filter", next.Summary())
	case changes != "":
		d.audit(ctx, breach.Act{Who: who, What: "lists.update", Detail: changes})
		if s.accepted != nil && !slices.Equal(s.accepted.Locked, next.locked()) {
			d.keep(&s)
		}
		d.log.Info("lists in force", "by", who, "changes", changes, "filter", next.Summary(), "seconds", next.took.Round(100*time.Millisecond).Seconds())
	}
	d.current.Store(&s)
	d.giveBack(now.filter, next)
	d.systemd.ready(d.statusLine())
	d.raise()
	return nil
}

// refuses says why lists must not be taken up in place of those of s; nil where they may. Until every
// required one is there once, nothing is refused: what a start may do, the rest of it may too.
func (s *snapshot) refuses(next *Filter) *Refused {
	switch {
	case !s.filter.Policy.Ready():
		return nil
	case !next.Policy.Ready():
		return &Refused{Reasons: next.Waiting()}
	case s.accepted != nil:
		if weaker := next.weakened(s.accepted.Locked); weaker != nil {
			return &Refused{Reasons: weaker}
		}
	}
	return nil
}

// changes says which lists are others than in before, a Filter of the same configuration.
func (f *Filter) changes(before *Filter) []string {
	var out []string
	for i, l := range f.Lists {
		b := before.Lists[i]
		if entries(l) == entries(b) && l.Modified.Equal(b.Modified) && l.OnTrial == b.OnTrial && (l.List == nil) == (b.List == nil) {
			continue
		}
		what := fmt.Sprintf("list %s of category %s: %s, before %d", l.ID, f.category(l), Plural(entries(l), "entry", "entries"), entries(b))
		if b.OnTrial && !l.OnTrial {
			what += "; its trial is over"
		}
		out = append(out, what)
	}
	return out
}

// entries counts those of a list, whatever DNS can do about them.
func entries(l feed.Loaded) int {
	if l.List == nil {
		return 0
	}
	return l.List.Enforceable + l.List.Unenforceable
}

// giveBack returns to the system what reading the lists took, where it was much. before is nil at a
// start.
func (d *Daemon) giveBack(before, now *Filter) {
	if before != nil && before.set == now.set {
		return
	}
	const much = 32 << 20
	read := 0
	for i, l := range now.Lists {
		same := before != nil && i < len(before.Lists) && l.ID == before.Lists[i].ID && l.Modified.Equal(before.Lists[i].Modified)
		if l.List != nil && !same {
			read += l.List.Size()
		}
	}
	if read > much {
		d.background.run(debug.FreeOSMemory)
	}
}

// fetchMissing asks for the required lists of f that no one has ever fetched, and returns f with them: a
// reload that adds one would be refused else, and could be taken only by doing without it first.
func (d *Daemon) fetchMissing(ctx context.Context, f *Filter) (*Filter, error) {
	var missing []feed.Spec
	for _, l := range f.waiting() {
		if isUnasked(l) {
			missing = append(missing, l.Spec)
		}
	}
	if missing == nil {
		return f, nil
	}
	fetching, cancel := context.WithTimeoutCause(ctx, reloadFetch, errReloadFetch)
	defer cancel()
	d.update(fetching, f.Config, missing, false)
	return d.assemble(ctx, f.Config)
}

// reloadFetch is how long a reload waits for lists that it needs and that are not there.
const reloadFetch = time.Minute

var errReloadFetch = errors.New("not there within a minute")
