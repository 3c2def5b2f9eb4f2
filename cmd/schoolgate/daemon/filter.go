package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"schoolgate/blocklist"
	"schoolgate/config"
	"schoolgate/policy"
)

// Filter is a configuration joined with its lists: what is in force, or what would be. It does not
// change once assembled.
type Filter struct {
	Config *config.Config
	// Lists are those of Config.Lists, in the same order, as they were read.
	Lists  []blocklist.Loaded
	Policy *policy.Policy

	sources []blocklist.Source
	set     *blocklist.Set
}

// Assemble reads the lists of a configuration and compiles the policy. Where a required list has
// nothing to serve the policy is not ready: it answers what needs no list, and fails the rest.
// old, where it is not nil, lends its index of names when no list has changed.
func Assemble(ctx context.Context, cfg *config.Config, loader *blocklist.Loader, old *Filter) (*Filter, error) {
	f := &Filter{Config: cfg, Lists: loader.Load(ctx, cfg.Lists, ownNames(cfg))}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ready := true
	for _, l := range f.Lists {
		if l.List == nil {
			ready = ready && !l.Required
			continue
		}
		f.sources = append(f.sources, blocklist.Source{ID: l.ID, Category: l.Category, List: l.List})
	}
	if old != nil && slices.Equal(f.sources, old.sources) {
		f.set = old.set
	} else {
		f.set = blocklist.Build(f.sources)
	}
	var err error
	f.Policy, err = policy.Compile(cfg.Policy, f.set, ready)
	if err != nil {
		return nil, fmt.Errorf("compile the policy: %w", err)
	}
	return f, nil
}

// ownNames are the school's own zones: no list may cover them.
func ownNames(cfg *config.Config) []blocklist.Name {
	var own []blocklist.Name
	for _, z := range cfg.Policy.Zones {
		own = append(own, z.Names...)
	}
	return own
}

// ListProblems returns a problem for each list whose source cannot be used now, with its place in
// the configuration, which is called file: in refused the required ones, in warned the others.
func (f *Filter) ListProblems(file string) (refused, warned config.Errors) {
	for _, l := range f.Lists {
		if l.Err == nil {
			continue
		}
		p := config.Error{
			File: file, Line: l.Line, Column: l.Column,
			Path: "categories." + f.category(l) + ".lists", Problem: l.Err.Error(),
		}
		switch {
		case l.Required:
			p.Hint = "the list is required: put it there, or say required: false"
			refused = append(refused, p)
		case l.List == nil:
			p.Hint = "nothing of this list is blocked"
			warned = append(warned, p)
		default:
			p.Hint = "its content of " + l.Modified.Format("2006-01-02 15:04") + " stays in use"
			warned = append(warned, p)
		}
	}
	return refused, warned
}

// category is the name of the list's category.
func (f *Filter) category(l blocklist.Loaded) string {
	return f.Config.Policy.Categories[l.Category].Name
}

// selfTest reports whether a list holds only a name with which schools test their filter, and so
// does not stand for the real list.
func selfTest(l blocklist.Spec) bool { return l.Builtin == "iwf" || l.Builtin == "ctiru" }

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
			out = append(out, fmt.Sprintf("the locked category %s had %d entries and has none", b.Name, b.Enforceable+b.Unenforceable))
		}
	}
	return out
}

// vainAllows names the allow rules for names in locked categories: they load, and lift nothing.
func (f *Filter) vainAllows() []string {
	var locked blocklist.Categories
	for i, c := range f.Config.Policy.Categories {
		if c.Locked {
			locked = locked.With(blocklist.Category(i))
		}
	}
	var out []string
	for _, r := range f.Config.Policy.Rules {
		for _, n := range r.Names {
			if r.Allow && f.set.Match([]byte(n))&locked != 0 {
				// The name may be of a confidential list: the line says which rule it is.
				out = append(out, fmt.Sprintf("the rule at line %d allows a name of a locked category: it has no effect", r.Line))
				break
			}
		}
	}
	return out
}

// Notes says what is missing without being wrong: a category without a list, and a list of which
// only the self-test name is there.
func (f *Filter) Notes() []string {
	var out []string
	for i, c := range f.Config.Policy.Categories {
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
	entries, loaded := 0, 0
	for _, l := range f.Lists {
		if l.List != nil {
			loaded++
			entries += l.List.Enforceable
		}
	}
	return strings.Join([]string{
		plural(len(f.Config.Policy.Groups), "group", "groups"),
		plural(len(f.Config.Policy.Categories), "category", "categories"),
		plural(loaded, "list", "lists") + " with " + plural(entries, "entry", "entries"),
		plural(len(f.Config.Policy.Rules), "rule", "rules"),
	}, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
