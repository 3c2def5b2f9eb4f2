package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/config"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// AddException stores an exception and puts it in force before it returns. What the author does not say, its
// id above all, is in the one that is returned. The notes are for the author: what the exception does not do.
// IsWrongUse tells an error of the author's from others.
func (d *Daemon) AddException(ctx context.Context, e Exception) (added Exception, notes []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	e.complete(now)
	f := d.Filter()
	next, err := f.exceptions.with(e, f.Config, now)
	if err == nil {
		err = d.exceptNow(f, next)
	}
	if err != nil {
		return Exception{}, nil, err
	}
	notes = f.exceptionNotes(&e)
	d.audit(ctx, AddedAct(f, &e))
	d.log.Info("exception in force", "id", e.ID, "until", e.Until)
	return e, notes, nil
}

// RemoveException ends an exception at once. why may be "".
func (d *Daemon) RemoveException(ctx context.Context, id, by, why string) (removed Exception, err error) {
	if err := CheckRemoval(by, why); err != nil {
		return Exception{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.Filter()
	next, removed, err := f.exceptions.without(id, d.now())
	if err == nil {
		err = d.exceptNow(f, next)
	}
	if err != nil {
		return Exception{}, err
	}
	d.audit(ctx, RemovedAct(f, &removed, by, why))
	d.log.Info("exception removed", "id", removed.ID)
	return removed, nil
}

// Exceptions returns all that are in force, and those that ended lately, oldest first. The slice is the
// caller's.
func (d *Daemon) Exceptions() []Exception { return slices.Clone(d.Filter().exceptions.all) }

// exceptNow stores exceptions and puts them in force in place of those of f, with the lists as they are.
// Called with mu held.
func (d *Daemon) exceptNow(f *Filter, next *exceptions) error {
	changed, err := f.except(next)
	if err != nil {
		return err
	}
	if err := next.write(f.Config.DataDir); err != nil {
		return err
	}
	if err := d.resolver.Apply(settings(changed)); err != nil {
		return fmt.Errorf("apply the exceptions: %w", err)
	}
	s := *d.current.Load()
	s.filter = changed
	d.current.Store(&s)
	select {
	case d.exceptionsChanged <- struct{}{}:
	default:
	}
	return nil
}

// except returns f with other exceptions.
func (f *Filter) except(x *exceptions) (*Filter, error) {
	changed := *f
	changed.exceptions = x
	return &changed, changed.compile()
}

// endExceptions notes in the audit that exceptions have ended; by themselves they do, in the policy.
func (d *Daemon) endExceptions(ctx context.Context) {
	for {
		wait := longestWait
		settled := d.settleExceptions(ctx)
		if next := d.Filter().exceptions.nextEnd(); settled && !next.IsZero() {
			wait = min(wait, max(next.Sub(d.now()), 0)+time.Millisecond)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-d.exceptionsChanged:
			timer.Stop()
		}
	}
}

// longestWait is how soon an end is noted when the clock is set, or the disk was full.
const longestWait = time.Minute

// settleExceptions notes the ends that have come. It returns false where they can't be noted now.
func (d *Daemon) settleExceptions(ctx context.Context) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.Filter()
	next, ended := f.exceptions.settle(d.now())
	switch {
	case next == f.exceptions:
		return true
	case next.problem != "" || d.now().Before(d.build.Time): // a clock that is wrong ends nothing
		return false
	}
	if err := d.exceptNow(f, next); err != nil {
		d.log.Error("note the end of exceptions", "error", err)
		return false
	}
	for i := range ended {
		d.audit(ctx, breach.Act{Who: "schoolgate", What: "exceptions.end", Why: ended[i].Reason, Detail: ended[i].describe(f) + ": has ended"})
		d.log.Info("exception ended", "id", ended[i].ID)
	}
	return true
}

// AddedAct is what the audit has of an exception that was added.
func AddedAct(f *Filter, e *Exception) breach.Act {
	detail := []string{e.describe(f)}
	if names := f.lockedNames(e); len(names) > 0 {
		detail = append(detail, fmt.Sprintf("no effect on %s of a locked category", Plural(len(names), "name", "names")))
	}
	if held := f.heldNames(e); len(held) > 0 {
		detail = append(detail, fmt.Sprintf("no effect on %s that %s does not let through", Plural(len(held), "name", "names"), f.Config.Policy.Base.File))
	}
	return breach.Act{Who: e.By, What: "exceptions.add", Why: e.Reason, Detail: strings.Join(detail, "; ")}
}

// RemovedAct is what the audit has of an exception that was removed.
func RemovedAct(f *Filter, e *Exception, by, why string) breach.Act {
	return breach.Act{Who: by, What: "exceptions.remove", Why: why, Detail: e.describe(f) + ", added by " + e.By + ": " + e.Reason}
}

// exceptionNotes says what an exception does not do.
func (f *Filter) exceptionNotes(e *Exception) []string {
	notes := []string{}
	for _, n := range f.lockedNames(e) {
		notes = append(notes, n+" is in a locked category: the exception has no effect on it, and this attempt is on record")
	}
	for _, h := range f.heldNames(e) {
		notes = append(notes, fmt.Sprintf("%s does not let %s through for %s: the exception has no effect there, and this attempt is on record",
			f.Config.Policy.Base.File, h.name, strings.Join(h.groups, ", ")))
	}
	for _, text := range e.Names {
		name, err := blocklist.ParseName(text)
		switch {
		case err != nil:
		case config.IsPublicSuffix(name):
			notes = append(notes, fmt.Sprintf("every name under %s is concerned", text))
		case e.Action == "block" && isHelpline(name):
			notes = append(notes, text+" is a help line, and those are never blocked: the exception has no effect on it")
		}
	}
	return notes
}

// lockedNames are those names that an exception allows in vain.
func (f *Filter) lockedNames(e *Exception) (names []string) {
	if e.Action != "allow" {
		return nil
	}
	locked := f.categories(func(c policy.Category) bool { return c.Locked })
	for _, text := range e.Names {
		if name, err := blocklist.ParseName(text); err == nil && f.set.Match([]byte(name))&locked != 0 {
			names = append(names, text)
		}
	}
	return names
}

// heldName is a name that an exception allows in vain for some groups.
type heldName struct {
	name   string
	groups []string
}

// heldNames are those names that an exception allows and what the configuration extends does not let through, locked
// categories apart.
func (f *Filter) heldNames(e *Exception) (held []heldName) {
	if e.Action != "allow" || f.Policy == nil {
		return nil
	}
	var whom []string
	if e.Group != "" {
		whom = []string{e.Group}
	}
	locked := f.lockedNames(e)
	for _, text := range e.Names {
		name, err := blocklist.ParseName(text)
		if err != nil || slices.Contains(locked, text) {
			continue
		}
		if groups := f.Policy.HeldBack(whom, name, e.Added); groups != nil {
			held = append(held, heldName{text, groups})
		}
	}
	return held
}

// isConfidential reports whether a confidential list has a name.
func (f *Filter) isConfidential(name blocklist.Name) bool {
	return f.set.Match([]byte(name))&f.categories(func(c policy.Category) bool { return c.Confidential }) != 0
}

// categories are those of the configuration that are such.
func (f *Filter) categories(such func(policy.Category) bool) (mask blocklist.Categories) {
	for i, c := range f.Config.Policy.Categories {
		if such(c) {
			mask = mask.With(blocklist.Category(i))
		}
	}
	return mask
}

func isHelpline(name blocklist.Name) bool {
	list, err := blocklist.Builtin("helplines")
	if err != nil {
		return false
	}
	for n := range list.Names() {
		if n.Covers(name) {
			return true
		}
	}
	return false
}

// AddException stores an exception for the next start of a schoolgate that does not run: the caller holds the data
// directory's lock, and writes an AddedAct.
func (f *Filter) AddException(e Exception, now time.Time) (added Exception, notes []string, err error) {
	e.complete(now)
	next, err := f.exceptions.with(e, f.Config, now)
	if err == nil {
		err = next.write(f.Config.DataDir)
	}
	if err != nil {
		return Exception{}, nil, err
	}
	return e, f.exceptionNotes(&e), nil
}

// RemoveException is for a schoolgate that does not run, as AddException.
func (f *Filter) RemoveException(id string, now time.Time) (Exception, error) {
	next, removed, err := f.exceptions.without(id, now)
	if err == nil {
		err = next.write(f.Config.DataDir)
	}
	return removed, err
}

// StoredExceptions is a Filter that knows of a configuration's exceptions, and of no list.
func StoredExceptions(cfg *config.Config) *Filter {
	return &Filter{Config: cfg, exceptions: readExceptions(cfg.DataDir)}
}

// ExceptionStatus is an exception as `exceptions list` shows it.
type ExceptionStatus struct {
	Exception
	// State is "in_force", "ended", or "no_effect" where the configuration does not have its group.
	State string `json:"state"`
}

// ExceptionStatus describes the exceptions as of a time, oldest first; ended has those that ended lately too.
func (f *Filter) ExceptionStatus(now time.Time, ended bool) []ExceptionStatus {
	out := []ExceptionStatus{}
	for _, e := range f.exceptions.all {
		s := ExceptionStatus{e, "in_force"}
		s.Until, s.Added, s.EndTold = e.Until.In(f.Config.Timezone), e.Added.In(f.Config.Timezone), false
		switch {
		case !e.inForce(now):
			s.State = "ended"
		case !hasGroup(f.Config, e.Group):
			s.State = "no_effect"
		}
		if ended || s.State != "ended" {
			out = append(out, s)
		}
	}
	return out
}

// ExceptionProblem is what is wrong with the store of exceptions; "" for nothing.
func (f *Filter) ExceptionProblem() string { return f.exceptions.problem }

// idleExceptions names those in force for a group that there is not.
func (f *Filter) idleExceptions(now time.Time) (out config.Errors) {
	for i := range f.exceptions.all {
		if e := &f.exceptions.all[i]; e.inForce(now) && !hasGroup(f.Config, e.Group) {
			out = append(out, config.Error{
				File:    f.Config.File,
				Problem: fmt.Sprintf("exception %s is for group %s, which the configuration does not have: it has no effect", e.ID, e.Group),
			})
		}
	}
	return out
}

// ExceptionCounts are how many exceptions are in force.
type ExceptionCounts struct {
	Allow int `json:"allow"`
	Block int `json:"block"`
	// NoEffect are those for a group that there is not, in neither of the others.
	NoEffect int `json:"no_effect"`
}

func (f *Filter) exceptionCounts(now time.Time) (c ExceptionCounts) {
	for _, s := range f.ExceptionStatus(now, false) {
		switch {
		case s.State == "no_effect":
			c.NoEffect++
		case s.Action == "allow":
			c.Allow++
		default:
			c.Block++
		}
	}
	return c
}
