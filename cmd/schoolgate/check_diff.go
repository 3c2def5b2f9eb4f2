package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy/breach"
)

// changed is a difference between two configurations, with what the record says of it.
type changed struct {
	config.Change
	// Asked is how often what it concerns was asked for in the last week, as far as that is recorded. nil where
	// the change concerns no question that could be.
	Asked *asked `json:"asked"`
}

// asked is how often something was asked for.
type asked struct {
	Times   int64              `json:"times"`
	Devices int                `json:"devices"`
	Names   []breach.NameCount `json:"names"` // those most asked for

	devices map[breach.Client]bool
	names   map[string]int64
}

// differences compares a configuration with the older one in a file, which is read as if it stood in the other's
// place.
func differences(ctx context.Context, inv *invocation, older string, cfg *config.Config, filter *daemon.Filter, progress func(feed.Progress)) ([]changed, error) {
	data, err := config.ReadFile(older)
	if err != nil {
		return nil, exitError{2, err}
	}
	before, err := config.ParseBeside(data, older, cmp.Or(cfg.Path, older))
	if err != nil {
		return nil, exitError{2, err}
	}
	all := []changed{}
	for _, c := range config.Diff(before, cfg) {
		all = append(all, changed{Change: c})
	}
	if !daemon.SameLists(before, cfg) {
		old, err := assemble(ctx, before, progress)
		if err != nil {
			return nil, err
		}
		for _, c := range filter.ListChanges(old) {
			all = append(all, changed{Change: c})
		}
	}
	return all, countAsked(ctx, inv, cfg, all)
}

// countAsked reads the record of the last week for what the changes concern.
func countAsked(ctx context.Context, inv *invocation, cfg *config.Config, all []changed) error {
	var counted []*changed
	for i := range all {
		if c := &all[i]; c.Kind == "blocks" || c.Kind == "frees" || c.Kind == "ignores" {
			counted = append(counted, c)
		}
	}
	if counted == nil {
		return nil
	}
	r, err := breach.OpenReader(daemon.RecordPath(cfg)) //nolint:contextcheck // it has none
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		fmt.Fprintln(inv.stderr, "note: there is no record here to be read, so how often names were asked for is not known")
		return nil
	}
	if err != nil {
		return exitError{2, err}
	}
	defer r.Close()
	for _, c := range counted {
		c.Asked = &asked{Names: []breach.NameCount{}, devices: map[breach.Client]bool{}, names: map[string]int64{}}
	}
	err = r.Breaches(ctx, breach.Filter{From: time.Now().AddDate(0, 0, -7)}, func(b breach.Breach) error {
		name, _ := blocklist.ParseName(b.Query.Name) // a confidential one is none
		for _, c := range counted {
			for _, category := range b.Categories {
				if c.Concerns(b.Group, category, name) {
					c.Asked.count(b)
					break
				}
			}
		}
		return nil
	})
	for _, c := range counted {
		c.Asked.sum()
	}
	return err
}

func (a *asked) count(b breach.Breach) {
	a.Times += b.Count
	a.devices[b.Client] = true
	a.names[strings.TrimSuffix(b.Query.Name, ".")] += b.Count
}

func (a *asked) sum() {
	const most = 5
	a.Devices = len(a.devices)
	for _, name := range slices.Sorted(maps.Keys(a.names)) {
		a.Names = append(a.Names, breach.NameCount{Name: name, Count: a.names[name]})
	}
	slices.SortStableFunc(a.Names, func(x, y breach.NameCount) int { return cmp.Compare(y.Count, x.Count) })
	a.Names = a.Names[:min(most, len(a.Names))]
}

// String says it for people.
func (a *asked) String() string {
	if a.Times == 0 {
		return "no attempt on record in the last week"
	}
	var names []string
	for _, n := range a.Names {
		names = append(names, fmt.Sprintf("%s %d", n.Name, n.Count))
	}
	return fmt.Sprintf("%s in the last week, by %s: %s", daemon.Plural(int(a.Times), "attempt", "attempts"),
		daemon.Plural(a.Devices, "device", "devices"), strings.Join(names, ", "))
}

// printDifferences writes a sentence for each change.
func printDifferences(w io.Writer, older string, all []changed) {
	if len(all) == 0 {
		fmt.Fprintf(w, "compared with %s: no difference in what is blocked, for anybody\n", older)
		return
	}
	fmt.Fprintf(w, "compared with %s:\n", older)
	for _, c := range all {
		text := c.Text
		if c.Group != "" {
			text = "group " + c.Group + " " + text
		}
		switch {
		case c.Asked == nil:
		case c.Asked.Times == 0 && c.Kind == "blocks" && !c.Monitored:
			text += "; how often it was asked for is not known, for what is allowed is not recorded"
		default:
			text += "; " + c.Asked.String()
		}
		fmt.Fprintln(w, "  "+text)
	}
}
