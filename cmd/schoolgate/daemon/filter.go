package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/config"
	"schoolgate/policy"
)

// Filter is a configuration joined with its lists: what is in force, or what would be. It does not
// change once assembled.
type Filter struct {
	Config *config.Config
	// Lists are those of Config.Lists, in the same order, as they were read.
	Lists  []feed.Loaded
	Policy *policy.Policy

	exceptions *exceptions

	set    *blocklist.Set
	loader *feed.Loader
	took   time.Duration // reading and compiling set
}

// Assemble reads the lists of a configuration and compiles the policy. Where a required list has
// nothing to serve the policy is not ready: it answers what needs no list, and fails the rest.
//
// The exceptions for a time are those of the configuration's data directory.
func Assemble(ctx context.Context, cfg *config.Config, loader *feed.Loader) (*Filter, error) {
	return assemble(ctx, cfg, loader, readExceptions(cfg.DataDir))
}

func assemble(ctx context.Context, cfg *config.Config, loader *feed.Loader, x *exceptions) (*Filter, error) {
	began := time.Now()
	lists := loader.Load(ctx, cfg.Lists, OwnNames(cfg))
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := &Filter{Config: cfg, Lists: lists.Lists, exceptions: x, set: lists.Set, loader: loader, took: time.Since(began)}
	if err := f.compile(); err != nil {
		return nil, err
	}
	return f, nil
}

// compile makes the policy of the configuration, the exceptions and the lists.
func (f *Filter) compile() error {
	spec := f.Config.Policy
	spec.Rules = slices.Concat(spec.Rules, f.exceptions.rules(f.Config))
	p, err := policy.Compile(spec, f.set, len(f.Waiting()) == 0)
	if err != nil {
		return fmt.Errorf("compile the policy: %w", err)
	}
	f.Policy = p
	return nil
}

// assemble is Assemble for what is to be in force now, with the exceptions that are.
func (d *Daemon) assemble(ctx context.Context, cfg *config.Config) (*Filter, error) {
	cfg.Policy.Built = d.build.Time
	s := d.current.Load()
	if s == nil || s.filter.exceptions.problem != "" { // somebody may have mended them since
		return assemble(ctx, cfg, d.loader, readExceptions(cfg.DataDir))
	}
	return assemble(ctx, cfg, d.loader, s.filter.exceptions)
}

// OwnNames are the school's own zones: no list may cover them. Where the configuration extends others, those of the
// farthest one: a site's zone must not take names out of its trust's lists.
func OwnNames(cfg *config.Config) []blocklist.Name {
	var own []blocklist.Name
	spec := &cfg.Policy
	for spec.Base != nil {
		spec = spec.Base
	}
	for _, z := range spec.Zones {
		own = append(own, z.Names...)
	}
	return own
}

// ListProblems returns a problem for each list whose source cannot be used now, with its place in
// the configuration: in refused the required ones, in warned the others. A server that fails does not
// refuse a list that it served before, nor one that has not been asked for yet.
func (f *Filter) ListProblems() (refused, warned config.Errors) {
	for _, l := range f.Lists {
		p := config.Error{
			File: cmp.Or(l.File, f.Config.File), Line: l.Line, Column: l.Column, Path: "categories." + f.category(l) + ".lists",
		}
		if l.List != nil {
			for _, w := range l.List.Warnings {
				if w.Line == 0 { // about the list as a whole: it shrank, or is not as long as it says
					about := p
					about.Problem = "list " + l.ID + " " + w.Reason
					warned = append(warned, about)
				}
			}
		}
		if l.Err == nil {
			continue
		}
		p.Problem = "list " + l.ID + ": " + Reason(l)
		switch {
		case f.NeedsService(l):
			p.Problem, p.Hint = "list "+l.ID+": can't be judged here", "only the service has the key"
			warned = append(warned, p)
		case isUnasked(l):
			warned = append(warned, p)
		case isFetched(l.Spec) && l.List != nil:
			p.Hint = "its content" + f.of(l.Modified) + " stays in use"
			warned = append(warned, p)
		case isFetched(l.Spec) && l.Required:
			p.Hint = "the list is required: see that it can be fetched"
			refused = append(refused, p)
		case l.Required && f.Config.Policy.Categories[l.Category].Locked:
			p.Hint = "the list is required: put it there"
			refused = append(refused, p)
		case l.Required:
			p.Hint = "the list is required: put it there, or say required: false"
			refused = append(refused, p)
		case l.List == nil:
			p.Hint = "nothing of this list is blocked"
			warned = append(warned, p)
		default:
			p.Hint = "its content" + f.of(l.Modified) + " stays in use"
			warned = append(warned, p)
		}
	}
	return refused, warned
}

// isUnasked reports whether a list is one of a server that nobody has ever asked for it.
func isUnasked(l feed.Loaded) bool { return isFetched(l.Spec) && l.List == nil && l.Checked.IsZero() }

// Reason is why a list that has an Err is not as its source has it.
func Reason(l feed.Loaded) string {
	if isUnasked(l) {
		return "not fetched yet; schoolgate fetches it once it runs"
	}
	return l.Err.Error()
}

// NeedsService reports whether a list can't be read by this process because only the service is given the
// key that it is encrypted to. What a server's list lacks is known as text alone, from the state of the lists.
func (f *Filter) NeedsService(l feed.Loaded) bool {
	return f.Config.IdentityElsewhere && l.List == nil && l.Err != nil && strings.Contains(l.Err.Error(), "there is no key")
}

// waiting are the required lists that have nothing to serve. While there is one the policy is not ready.
func (f *Filter) waiting() []feed.Loaded {
	return slices.DeleteFunc(slices.Clone(f.Lists), func(l feed.Loaded) bool { return l.List != nil || !l.Required })
}

// Waiting says for what the policy waits, required lists above all, and what is the matter with each.
func (f *Filter) Waiting() []string {
	var out []string
	for _, l := range f.waiting() {
		out = append(out, fmt.Sprintf("list %s of category %s: %s", l.ID, f.category(l), Reason(l)))
	}
	if f.exceptions.lost {
		out = append(out, exceptionsFile+" to be mended: "+f.exceptions.problem)
	}
	return out
}

// waitsFor says in a few words for what the policy waits.
func (f *Filter) waitsFor() string {
	if f.exceptions.lost {
		return exceptionsFile + ", which can't be read"
	}
	return "a required list"
}

// category is the name of the list's category.
func (f *Filter) category(l feed.Loaded) string {
	return f.Config.Policy.Categories[l.Category].Name
}

// selfTest reports whether a list holds only a name with which schools test their filter, and so
// does not stand for the real list.
func selfTest(l feed.Spec) bool { return l.Builtin == "iwf" || l.Builtin == "ctiru" }

// locked returns the locked categories with the number of their entries, in the file's order.
func (f *Filter) locked() []lockedCategory {
	var out []lockedCategory
	for i, c := range f.Config.Policy.Categories {
		if !c.Locked {
			continue
		}
		lc := lockedCategory{Name: c.Name}
		for _, l := range f.Lists {
			if int(l.Category) == i && l.List != nil && !selfTest(l.Spec) {
				lc.Enforceable += l.List.Enforceable
				lc.Unenforceable += l.List.Unenforceable
			}
		}
		out = append(out, lc)
	}
	return out
}

// weakened says how f falls short of the locked categories that were in force before: what is no
// longer locked, no longer there, or has lost all its entries.
func (f *Filter) weakened(before []lockedCategory) []string {
	now := f.locked()
	var out []string
	for _, b := range before {
		i := slices.IndexFunc(now, func(n lockedCategory) bool { return n.Name == b.Name })
		switch {
		case i < 0 && slices.ContainsFunc(f.Config.Policy.Categories, func(c policy.Category) bool { return c.Name == b.Name }):
			out = append(out, fmt.Sprintf("category %s was locked and no longer is", b.Name))
		case i < 0:
			out = append(out, fmt.Sprintf("the locked category %s is gone", b.Name))
		case b.Enforceable > 0 && now[i].Enforceable == 0,
			b.Enforceable+b.Unenforceable > 0 && now[i].Enforceable+now[i].Unenforceable == 0:
			out = append(out, fmt.Sprintf("the locked category %s had %s and has none", b.Name, Plural(b.Enforceable+b.Unenforceable, "entry", "entries")))
		}
	}
	return out
}

// vainAllows names the allow rules for names in locked categories: they load, and lift nothing.
func (f *Filter) vainAllows() config.Errors {
	locked := f.categories(func(c policy.Category) bool { return c.Locked })
	var out config.Errors
	for _, r := range f.Config.Policy.Rules {
		for _, n := range r.Names {
			if r.Allow && f.set.Match([]byte(n))&locked != 0 {
				// The name may be of a confidential list: the line says which rule it is.
				out = append(out, config.Error{
					File: cmp.Or(r.File, f.Config.File), Line: r.Line, Column: 1, Path: "rules",
					Problem: "this rule allows a name of a locked category: it has no effect",
				})
				break
			}
		}
	}
	return append(out, f.heldAllows(time.Now())...)
}

// heldAllows names the allow rules of a site for names that what it extends blocks or monitors: for those groups they
// lift nothing.
func (f *Filter) heldAllows(now time.Time) (out config.Errors) {
	base := f.Config.Policy.Base
	if base == nil {
		return nil
	}
	locked := f.categories(func(c policy.Category) bool { return c.Locked })
	for _, r := range f.Config.Policy.Rules[len(base.Rules):] {
		var held []string
		for _, n := range r.Names {
			if r.Allow && f.set.Match([]byte(n))&locked == 0 {
				held = append(held, f.Policy.HeldBack(r.Groups, n, now)...)
			}
		}
		if held != nil {
			slices.Sort(held)
			out = append(out, config.Error{
				File: cmp.Or(r.File, f.Config.File), Line: r.Line, Column: 1, Path: "rules",
				Problem: fmt.Sprintf("this rule allows a name that %s does not let through for %s: it has no effect there", base.File, strings.Join(slices.Compact(held), ", ")),
				Hint:    "have it say local: may_loosen in the category or the group",
			})
		}
	}
	return out
}

// Notes says what is missing without being wrong: a category without a list, and a list of which
// only the self-test name is there.
func (f *Filter) Notes() []string {
	var out []string
	for i, c := range f.Config.Policy.Categories {
		if c.TrialOf != "" {
			continue
		}
		real, test := 0, 0
		for _, l := range f.Config.Lists {
			switch {
			case int(l.Category) != i:
			case selfTest(l):
				test++
			default:
				real++
			}
		}
		switch {
		case real == 0 && test > 0:
			out = append(out, c.Name+": the real list is not loaded (self-test name only)")
		case real == 0:
			out = append(out, c.Name+": the category has no list")
		}
	}
	return out
}

// Summary counts what is in the filter, for people.
func (f *Filter) Summary() string {
	entries, loaded, categories := 0, 0, 0
	for _, c := range f.Config.Policy.Categories {
		if c.TrialOf == "" {
			categories++
		}
	}
	for _, l := range f.Lists {
		if l.List != nil {
			loaded++
			entries += l.List.Enforceable
		}
	}
	return strings.Join([]string{
		Plural(len(f.Config.Policy.Groups), "group", "groups"),
		Plural(categories, "category", "categories"),
		Plural(loaded, "list", "lists") + " with " + Plural(entries, "entry", "entries"),
		Plural(len(f.Config.Policy.Rules), "rule", "rules"),
	}, ", ")
}

// Plural is a number with the right word behind it, for people.
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
