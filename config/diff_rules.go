package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// calendar tells of the times of periods, and of terms and closed days, where a schedule goes by them.
func (d *differ) calendar() {
	was, is := &d.older.Policy.Calendar, &d.newer.Policy.Calendar
	used := map[string]bool{}
	for _, g := range d.newer.Policy.Groups {
		for _, c := range g.Schedule {
			used[c.During] = true
		}
	}
	if len(used) == 0 {
		return
	}
	times := func(c *policy.Calendar, name string) string {
		var spans []string
		for _, p := range c.Periods {
			if p.Name == name {
				for _, s := range p.Times {
					spans = append(spans, spanText(s))
				}
			}
		}
		return strings.Join(spans, ", ")
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if before, after := times(was, name), times(is, name); before != after && before != "" {
			d.say("", "other", "", "period %s is %s, before %s", name, after, before)
		}
	}
	if !slices.EqualFunc(was.Terms, is.Terms, sameDays) {
		d.say("", "other", "", "the terms are %s, before %s", daysText(is.Terms), daysText(was.Terms))
	}
	if !slices.EqualFunc(was.Closed, is.Closed, sameDays) {
		d.say("", "other", "", "the days without school are %s, before %s", daysText(is.Closed), daysText(was.Closed))
	}
	if was.Zone.String() != is.Zone.String() {
		d.say("", "other", "", "times are meant in the zone %s, before %s", is.Zone, was.Zone)
	}
}

func sameDays(a, b policy.Days) bool { return a.From.Equal(b.From) && a.To.Equal(b.To) }

func daysText(all []policy.Days) string {
	var out []string
	for _, d := range all {
		text := d.From.Format(time.DateOnly)
		if !d.To.Equal(d.From) {
			text += "/" + d.To.Format(time.DateOnly)
		}
		out = append(out, text)
	}
	if out == nil {
		return "none"
	}
	return listed(out)
}

func spanText(s policy.Span) string {
	var days []string
	for i := range 7 {
		day := time.Weekday((i + 1) % 7)
		if s.Days>>day&1 == 1 {
			days = append(days, strings.ToLower(day.String()[:3]))
		}
	}
	text := fmt.Sprintf("%s %02d:%02d to %02d:%02d", strings.Join(days, " "), s.From/60, s.From%60, s.To/60, s.To%60)
	if s.Always {
		text += " always"
	}
	return text
}

// rules tells of rules that are new, and of those that are no more.
func (d *differ) rules() {
	before, after := ruleTexts(d.older), ruleTexts(d.newer)
	has := func(all []ruleText, one ruleText) bool {
		return slices.ContainsFunc(all, func(o ruleText) bool { return o.key == one.key })
	}
	for _, r := range after {
		if !has(before, r) {
			c := Change{Kind: "blocks", Text: fmt.Sprintf("a new rule: %s (%s)", r.key, r.reason), Names: []blocklist.Name{r.name}, Groups: d.heirs(d.newer, r.group)}
			if r.allow {
				c.Kind = "frees"
			}
			d.changes = append(d.changes, c)
		}
	}
	for _, r := range before {
		if !has(after, r) {
			c := Change{Kind: "frees", Text: fmt.Sprintf("a rule is no more: %s (%s)", r.key, r.reason), Names: []blocklist.Name{r.name}, Groups: d.heirs(d.newer, r.group)}
			if r.allow {
				c.Kind = "blocks"
			}
			d.changes = append(d.changes, c)
		}
	}
}

// heirs are a group and all that inherit from it; nil for "", everybody.
func (d *differ) heirs(cfg *Config, group string) (all []string) {
	if group == "" {
		return nil
	}
	parent := map[string]string{}
	for _, g := range cfg.Policy.Groups {
		parent[g.Name] = g.Inherit
	}
	for _, g := range cfg.Policy.Groups {
		for name := g.Name; name != ""; name = parent[name] {
			if name == group {
				all = append(all, g.Name)
				break
			}
		}
	}
	return append(all, group)
}

// ruleText is one name of a rule for one group, in words.
type ruleText struct {
	key    string // all that makes a difference to a question
	reason string
	allow  bool
	name   blocklist.Name
	group  string // "": everybody
}

func ruleTexts(cfg *Config) (all []ruleText) {
	for _, r := range cfg.Policy.Rules {
		groups := r.Groups
		if len(groups) == 0 {
			groups = []string{""}
		}
		for _, n := range r.Names {
			for _, g := range groups {
				verb, whom, until := "blocked", "everybody", ""
				if r.Allow {
					verb = "allowed"
				}
				if g != "" {
					whom = "group " + g
				}
				if !r.Expires.IsZero() {
					until = " until " + r.Expires.In(cfg.Timezone).Format(time.RFC3339)
				}
				all = append(all, ruleText{fmt.Sprintf("%s is %s for %s%s", n, verb, whom, until), r.Reason, r.Allow, n, g})
			}
		}
	}
	return all
}

// exempt tells of what is not filtered: zones and records, and who may ask.
func (d *differ) exempt() {
	zones := func(cfg *Config) (names []string) {
		for _, z := range cfg.Policy.Zones {
			for _, n := range z.Names {
				names = append(names, n.String())
			}
		}
		return names
	}
	if more := missing(zones(d.newer), zones(d.older)); more != nil {
		d.say("", "other", "", "questions for %s go to the school's own servers, unfiltered (zones)", listed(more))
	}
	if fewer := missing(zones(d.older), zones(d.newer)); fewer != nil {
		d.say("", "other", "", "questions for %s no longer go to the school's own servers (zones)", listed(fewer))
	}
	switch is := d.newer.Policy.Rebinding; {
	case is == d.older.Policy.Rebinding:
	case is:
		d.say("", "other", "", "public names that lead to the school's own network get no answer (blocking.rebind_protection)")
	default:
		d.say("", "other", "", "public names that lead to the school's own network get an answer (blocking.rebind_protection)")
	}
	access := func(cfg *Config) (all []string) {
		for _, p := range cfg.Policy.Access {
			all = append(all, p.String())
		}
		return all
	}
	if more := missing(access(d.newer), access(d.older)); more != nil {
		d.say("", "other", "", "clients %s may ask too (access.allow)", listed(more))
	}
	if fewer := missing(access(d.older), access(d.newer)); fewer != nil {
		d.say("", "other", "", "clients %s may no longer ask (access.allow)", listed(fewer))
	}
}
