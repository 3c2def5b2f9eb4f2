package config

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

type category struct {
	name
	title        value[string]
	severity     value[policy.Severity]
	locked       value[bool]
	confidential value[bool]
	lists        []list
}

func (c *category) fields() []field {
	return []field{
		{key: "title", kind: one(&c.title, text()), doc: "What people read in alerts and reports. The category's name where it is not written"},
		{
			key: "severity", kind: one(&c.severity, severity("critical", "high", "medium", "low", "none")), def: "high",
			doc: "How grave a breach is. `none`: blocked and counted, but no breach",
		},
		{key: "locked", kind: one(&c.locked, boolean()), def: "false", doc: "Blocked for everybody, always; nothing lifts it"},
		{key: "confidential", kind: one(&c.confidential, boolean()), def: "false", doc: "Its names appear in no record, log, alert, page or metric"},
		{key: "lists", kind: sections(&c.lists), doc: "The lists of its names; `[]` is valid. Put a new list on trial first"},
	}
}

// list is one entry of lists: a mapping, or builtin:NAME.
type list struct {
	place
	builtin   value[string]
	path      value[string]
	url       value[*url.URL]
	format    value[string]
	addresses value[bool]
	required  value[bool]
	refresh   value[time.Duration]
	sha256    value[string]
	trial     value[bool]
}

func (l *list) fields() []field {
	return []field{
		{key: "path", kind: one(&l.path, filePath()), doc: "A file with the list"},
		{key: "url", kind: one(&l.url, webURL()), doc: "Where the list is published; a later version fetches it"},
		{
			key: "format", kind: one(&l.format, listFormat()),
			doc: "Found by looking where it is not written",
		},
		{
			key: "addresses", kind: one(&l.addresses, boolean()), def: "false",
			doc: "Lines with IP addresses block answers that hold them; such a breach is at most `low`",
		},
		{
			key: "required", kind: one(&l.required, boolean()),
			doc: "No name is looked up until the list has been loaded once, and a reload without it is refused. True for `path` lists of locked, critical and high categories where it is not written",
		},
		{key: "refresh", kind: one(&l.refresh, duration(time.Minute, year)), def: "24h", doc: "How often a `url` list is fetched"},
		{key: "sha256", kind: one(&l.sha256, blank(sha256Digest())), def: `""`, later: true, doc: "What a `url` list must be, to the byte"},
		{key: "trial", kind: one(&l.trial, boolean()), def: "false", later: true, doc: "Count what the list would block, and block none of it"},
	}
}

func listFormat() scalar[string] {
	words := make([]string, 0, len(blocklist.Formats()))
	for _, f := range blocklist.Formats() {
		words = append(words, string(f))
	}
	return enum(words...)
}

// catalogued is the name of a list in a public collection: "ut1:games".
var catalogued = regexp.MustCompile(`^[a-z][a-z0-9]*:[A-Za-z0-9_.-]+$`)

// short reads a list that is named instead of described.
func (l *list) short(text string) error {
	switch name, builtin := strings.CutPrefix(text, "builtin:"); {
	case builtin:
		l.builtin = value[string]{l.place, name}
		return nil
	case catalogued.MatchString(text):
		return wrong("write {path: FILE} with a copy of the list", "%q: the catalogue of public lists comes in a later version", text)
	case strings.HasPrefix(text, "https://"), strings.HasPrefix(text, "http://"):
		return wrong("write {url: URL}", "%q is not the name of a list", text)
	}
	return wrong("write {path: FILE} or builtin:NAME", "%q is not the name of a list", text)
}

func (l *list) shortSchema() map[string]any {
	return object{"type": "string", "pattern": "^builtin:[a-z0-9_]+$"}
}

type calendar struct {
	place
	terms   []term
	closed  values[dates]
	periods []period
}

func (c *calendar) fields() []field {
	return []field{
		{key: "terms", kind: sections(&c.terms), doc: "The days of school; every day where there is none"},
		{key: "closed", kind: many(&c.closed, dateRange()), def: "[]", doc: "Days without school inside a term: a date, or the first and last one with a slash"},
		{key: "periods", kind: periods{&c.periods}, doc: "Times by name, on school days unless `always`"},
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
