package config

import (
	"time"

	"gopkg.in/yaml.v3"

	"schoolgate/policy"
)

type category struct {
	name
	title        value[string]
	severity     value[policy.Severity]
	locked       value[bool]
	confidential value[bool]
	risk         value[string]
	lists        []list
	local        value[string]
}

func (c *category) fields() []field {
	return []field{
		{key: "title", kind: one(&c.title, text()), doc: "What people read in alerts and reports. The category's name where it is not written"},
		{
			key: "severity", kind: one(&c.severity, severity("critical", "high", "medium", "low", "none")), def: "high", graded: true,
			doc: "How grave a breach is. `none`: blocked and counted, but no breach",
		},
		{key: "locked", kind: one(&c.locked, boolean()), def: "false", graded: true, doc: "Blocked for everybody, always; nothing lifts it"},
		{key: "confidential", kind: one(&c.confidential, boolean()), def: "false", graded: true, doc: "Its names appear in no record, log, alert, page or metric"},
		{
			key: "risk", kind: one(&c.risk, enum("content", "contact", "conduct", "commerce")),
			doc: "Which of the four kinds of risk of “Keeping children safe in education” it is, for reports. What the category's name says where it is not written, else `content`",
		},
		{key: "lists", kind: sections(&c.lists), doc: "The lists of its names, each a mapping, `builtin:NAME` or a catalogue's name such as `ut1:games`; `[]` is valid. Put a new list on `trial` first"},
		{key: "local", kind: one(&c.local, localKind()), doc: "`may_loosen`: a file that extends this one may unblock the category, allow its names, and change what is written here"},
	}
}

type calendar struct {
	place
	terms   []term
	closed  values[dates]
	periods []period
	local   value[string]
}

func (c *calendar) fields() []field {
	return []field{
		{key: "terms", kind: sections(&c.terms), doc: "The days of school; every day where there is none"},
		{key: "closed", kind: many(&c.closed, dateRange()), def: "[]", doc: "Days without school inside a term: a date, or the first and last one with a slash"},
		{key: "periods", kind: periods{&c.periods}, doc: "Times by name, on school days unless `always`"},
		{key: "local", kind: one(&c.local, localKind()), doc: "`may_loosen`: a file that extends this one may set `timezone`, add terms, closed days, and times to the periods of schedules here"},
	}
}

type term struct {
	place
	from, to value[time.Time]
}

func (t *term) fields() []field {
	return []field{
		{key: "from", kind: one(&t.from, date()), need: true, doc: "The first day"},
		{key: "to", kind: one(&t.to, date()), need: true, doc: "The last day"},
	}
}

// period is a name for times of the day.
type period struct {
	name
	times []timeSpan
}

// periods binds a mapping from names to lists of time spans.
type periods struct{ dst *[]period }

func (k periods) read(r *report, n *yaml.Node, at place) {
	for key, n := range names(r, n, at) {
		p := period{name: name{at.key(n, key.Value), key.Value}}
		sections(&p.times).read(r, n, p.place)
		*k.dst = append(*k.dst, p)
	}
}

func (k periods) shape() shape {
	return shape{words: "mapping by name", fields: new(timeSpan).fields(), below: ".NAME[]"}
}

type timeSpan struct {
	place
	days     value[week]
	from, to value[int]
	always   value[bool]
}

func (t *timeSpan) fields() []field {
	return []field{
		{key: "days", kind: one(&t.days, days()), def: "mon-sun", doc: "`mon-fri`, or `mon,wed`"},
		{key: "from", kind: one(&t.from, clock()), need: true, doc: "`HH:MM`, on the clock of `timezone`"},
		{key: "to", kind: one(&t.to, clock()), need: true, doc: "`HH:MM`; before `from`: on the next day, and the span belongs to the day on which it starts"},
		{key: "always", kind: one(&t.always, boolean()), def: "false", doc: "On days without school too"},
	}
}
