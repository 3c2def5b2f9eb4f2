package config

import (
	"fmt"
	"slices"
	"strings"

	"schoolgate/policy"
)

// effect is a group with all that it inherits.
type effect struct {
	does     map[string]string // by category: "block", "monitor" or ""
	schedule []string          // in words
	only     []string          // names, sorted
	onlySet  bool
	safe     policy.SafeSearch
	alertTo  []string
	shared   bool
	trust    bool // of what devices say of themselves
}

// effects resolves the inheritance of all groups, as package policy does.
func effects(cfg *Config) map[string]*effect {
	byName := map[string]*policy.Group{}
	for i := range cfg.Policy.Groups {
		byName[cfg.Policy.Groups[i].Name] = &cfg.Policy.Groups[i]
	}
	all := map[string]*effect{}
	for name, g := range byName {
		e := &effect{does: map[string]string{}}
		var not []string
		onlySet, safeSet, alertSet, sharedSet, trustSet := false, false, false, false, false
		for ; g != nil; g = byName[g.Inherit] {
			for _, c := range g.Monitor {
				if e.does[c] == "" {
					e.does[c] = "monitor"
				}
			}
			not = append(not, g.Unblock...)
			for _, c := range g.Block {
				if !slices.Contains(not, c) {
					e.does[c] = "block"
				}
			}
			for _, c := range g.Schedule {
				for _, b := range c.Block {
					e.schedule = append(e.schedule, fmt.Sprintf("blocks %s during %s", b, c.During))
				}
				for _, u := range c.Unblock {
					e.schedule = append(e.schedule, fmt.Sprintf("unblocks %s during %s", u, c.During))
				}
			}
			if g.OnlySet && !onlySet {
				onlySet, e.onlySet = true, true
				for _, n := range g.Only {
					e.only = append(e.only, n.String())
				}
				slices.Sort(e.only)
			}
			if g.SafeSearchSet && !safeSet {
				safeSet, e.safe = true, g.SafeSearch
			}
			if g.AlertToSet && !alertSet {
				alertSet, e.alertTo = true, g.AlertTo
			}
			if g.SharedSet && !sharedSet {
				sharedSet, e.shared = true, g.Shared
			}
			if g.TrustIdentitySet && !trustSet {
				trustSet, e.trust = true, g.TrustIdentity
			}
		}
		all[name] = e
	}
	for _, c := range cfg.Policy.Categories {
		for _, e := range all {
			if c.Locked {
				e.does[c.Name] = "block"
			}
		}
	}
	return all
}

// locks tells of categories that concern everybody: locked ones, and their severity.
func (d *differ) locks() {
	for _, c := range categoriesOf(d.newer, d.older) {
		was, is := find(d.older, c), find(d.newer, c)
		switch {
		case was == nil:
			d.say("", "other", c, "category %s is new", c)
		case is == nil && !was.Locked:
			d.say("", "other", c, "category %s is no more", c)
		case is == nil:
			d.say("", "frees", c, "category %s is no more, and was locked (a reload refuses that)", c)
		}
		switch {
		case d.lockChanged(c) && is != nil && is.Locked:
			d.say("", "blocks", c, "%s is locked: blocked for everybody, always", c)
		case d.lockChanged(c) && is != nil:
			d.say("", "frees", c, "%s is no longer locked (a reload refuses that)", c)
		}
		if was == nil || is == nil {
			continue
		}
		if was.Severity != is.Severity {
			d.say("", "other", c, "breaches of %s are %v, before %v", c, is.Severity, was.Severity)
		}
		if was.Confidential != is.Confidential {
			d.say("", "other", c, "the names of %s are %s", c, map[bool]string{true: "confidential", false: "no longer confidential"}[is.Confidential])
		}
	}
}

// lockChanged reports whether a category is locked in one of the two only: that is told for everybody.
func (d *differ) lockChanged(category string) bool {
	was, is := find(d.older, category), find(d.newer, category)
	return (was != nil && was.Locked) != (is != nil && is.Locked)
}

func find(cfg *Config, category string) *policy.Category {
	i := slices.IndexFunc(cfg.Policy.Categories, func(c policy.Category) bool { return c.Name == category && c.TrialOf == "" })
	if i < 0 {
		return nil
	}
	return &cfg.Policy.Categories[i]
}

// categoriesOf are the names of the categories of both, in the order of the first.
func categoriesOf(cfgs ...*Config) (names []string) {
	for _, cfg := range cfgs {
		for _, c := range cfg.Policy.Categories {
			if c.TrialOf == "" && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// missing are those of a that b does not have; nil for none.
func missing(a, b []string) (out []string) {
	for _, s := range a {
		if !slices.Contains(b, s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// listed joins some names, not too many.
func listed(names []string) string {
	const most = 8
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing but locked categories"
	}
	return listed(names)
}

func orRoutes(receivers []string) string {
	if len(receivers) == 0 {
		return "whom the routes name"
	}
	return listed(receivers)
}

// youtubeText is the word of the configuration.
func youtubeText(y policy.YouTube) string { return [...]string{"off", "moderate", "strict"}[y] }

// queryLog says what is kept otherwise of what devices ask.
func (d *differ) queryLog() {
	if before, after := d.older.QueryLog.Mode, d.newer.QueryLog.Mode; before != after {
		d.say("", "other", "", "query_log is %s, before %s", after, before)
	}
	if before, after := d.older.QueryLog.Retention, d.newer.QueryLog.Retention; before != after {
		d.say("", "other", "", "questions that are written down are kept for %s, before %s", formatDuration(after), formatDuration(before))
	}
}
