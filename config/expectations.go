package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// Expectation is what a policy test says of one question.
type Expectation struct {
	Line, Column int
	// Client or Group says who asks: exactly one is set.
	Client netip.Addr
	Group  string
	// At is when, by the school's clock; the zero time: now.
	At   time.Time
	Name blocklist.Name
	Want string // a verdict of policy.Explanation
	// Category is that of the block or of what is monitored; "": whichever.
	Category string
}

// LoadExpectations reads a file of policy tests for a configuration: a list of expectations, or a mapping that
// has it under `tests`. The error is an Errors where the file is wrong, and another one where it can't be read.
func LoadExpectations(path string, cfg *Config) ([]Expectation, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseExpectations(data, path, cfg)
}

func parseExpectations(data []byte, path string, cfg *Config) ([]Expectation, error) {
	r := &report{file: path}
	root := parse(r, data)
	if root == nil {
		return nil, r.errors
	}
	var f expectations
	at := place{line: root.Line, column: root.Column}
	if root.Kind == yaml.SequenceNode {
		sections(&f.tests).read(r, root, at)
	} else {
		mapping(&f).read(r, root, at)
	}
	if len(f.tests) == 0 && len(r.errors) == 0 {
		r.fail(at, `write - {group: year7, name: www.example.org, want: allow}`, "%s has no test", filepath.Base(path))
	}
	var all []Expectation
	for i := range f.tests {
		all = append(all, f.tests[i].check(r, cfg))
	}
	if len(r.errors) > 0 {
		r.errors.sort(nil)
		return nil, r.errors
	}
	return all, nil
}

// expectations is a file of policy tests as it is written.
type expectations struct {
	place
	tests []expectation
}

func (e *expectations) fields() []field {
	return []field{{key: "tests", kind: sections(&e.tests), need: true, doc: "What is expected"}}
}

type expectation struct {
	place
	client   value[netip.Addr]
	group    value[string]
	at       value[wallTime]
	name     value[blocklist.Name]
	want     value[string]
	category value[string]
}

func (e *expectation) fields() []field {
	return []field{
		{key: "client", kind: one(&e.client, clientAddress()), doc: "The address that asks"},
		{key: "group", kind: one(&e.group, reference("group")), doc: "The group of whoever asks, instead"},
		{key: "at", kind: one(&e.at, dateAndTime()), doc: "When; now where it is not written"},
		{key: "name", kind: one(&e.name, domain()), need: true, doc: "The name that is asked for"},
		{key: "want", kind: one(&e.want, enum("allow", "block", "monitor", "rewrite", "local", "refuse", "fail")), need: true, doc: "The verdict, as `explain` has it"},
		{key: "category", kind: one(&e.category, reference("category")), doc: "The category that is to decide"},
	}
}

// check looks at what may be wrong together, and with the configuration.
func (e *expectation) check(r *report, cfg *Config) Expectation {
	var groups []string
	for _, g := range cfg.Policy.Groups {
		groups = append(groups, g.Name)
	}
	categories := []string{"rule", "only"}
	for _, c := range cfg.Policy.Categories {
		if c.TrialOf == "" {
			categories = append(categories, c.Name)
		}
	}
	switch {
	case r.failed(e.place):
	case e.client.written() && e.group.written():
		r.fail(e.place, "make two tests of it", "has both client and group")
	case !e.client.written() && !e.group.written():
		r.fail(e.place, "write client: ADDRESS or group: NAME", "does not say who asks")
	case e.group.written() && !slices.Contains(groups, e.group.v):
		r.fail(e.group.place, nearest(e.group.v, groups), "there is no group %q", e.group.v)
	}
	switch {
	case r.failed(e.place) || !e.category.written():
	case !slices.Contains(categories, e.category.v):
		r.fail(e.category.place, nearest(e.category.v, categories), "there is no category %q", e.category.v)
	case e.want.v != "block" && e.want.v != "monitor":
		r.fail(e.category.place, "leave it out", "only what is blocked or monitored has a category")
	}
	return Expectation{
		Line: max(e.line, 1), Column: max(e.column, 1), Client: e.client.v, Group: e.group.v, At: e.at.v.in(cfg.Policy.Calendar),
		Name: e.name.v, Want: e.want.v, Category: e.category.v,
	}
}

func clientAddress() scalar[netip.Addr] {
	return scalar[netip.Addr]{
		words: "address", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (netip.Addr, error) {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return netip.Addr{}, wrong(`write "10.20.3.4"`, "%q is not an address", s)
			}
			return a.Unmap(), nil
		},
	}
}

// wallTime is a moment, or a time on the school's clock.
type wallTime struct {
	t    time.Time
	wall bool // t's zone is not meant
}

// in is the moment by the clock of a calendar; the zero time where there is none.
func (w wallTime) in(c policy.Calendar) time.Time {
	zone := c.Zone
	if zone == nil {
		zone = time.UTC
	}
	t := w.t
	switch {
	case t.IsZero():
		return t
	case w.wall:
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, zone)
	}
	return t.In(zone)
}

func dateAndTime() scalar[wallTime] {
	return scalar[wallTime]{
		words: "date and time", schema: object{"type": "string", "pattern": "^" + dateRule},
		parse: func(s string) (wallTime, error) {
			if t, err := time.Parse(time.RFC3339, s); err == nil {
				return wallTime{t, false}, nil
			}
			for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.DateOnly} {
				if t, err := time.Parse(layout, s); err == nil {
					return wallTime{t, true}, nil
				}
			}
			return wallTime{}, wrong("write 2026-11-20 10:15, which is meant by the school's clock, or 2026-11-20T10:15:00Z", "%q is not a date and time", s)
		},
	}
}

// Place is where the test stands, as Error has it.
func (e *Expectation) Place(file string) string {
	return fmt.Sprintf("%s:%d:%d", file, e.Line, e.Column)
}
