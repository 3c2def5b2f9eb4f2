package bundle

import (
	"bytes"
	_ "embed" // the page and its style
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"

	"schoolgate/policy/breach"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// maxRows is how many rows of a table the page shows.
const maxRows = 300

// view is what the page shows.
type view struct {
	*breach.Case
	Style           template.CSS
	Site, Version   string
	Summary, Answer string
	Device          string
	Looks           string
	Notes           []noteRow
	Names           []breach.NameCount
	NamesLeftOut    int64
	Timeline        []timeRow
	TimelineMore    int64
	Around          []timeRow
	AroundMore      bool
	Questions       []timeRow
	QuestionsMore   bool
	Acts            []noteRow
	Persons         []string
	Anchor          string
}

type noteRow struct{ Time, Who, What, Text string }

type timeRow struct{ Time, Name, What, Count string }

// page writes the readable form. It needs nothing from anywhere, and runs no script.
func page(c *breach.Case, o Options) ([]byte, error) {
	t, err := template.New("incident").Funcs(template.FuncMap{"plain": oneLine, "when": when, "outcome": outcome}).Parse(pageHTML)
	if err != nil {
		return nil, err
	}
	v := view{
		Case: c, Style: template.CSS(pageCSS), Site: oneLine(o.Site), Version: o.Version, //nolint:gosec // G203: it is ours
		Summary: summary(c), Answer: answer(c.Action), Device: device(c.Client), Looks: looks(c.LooksLike.Kind),
		Anchor: fmt.Sprintf("%d:%s", c.Head.Seq, c.Head.Hash),
	}
	v.Names, v.NamesLeftOut = c.Names, c.DistinctNames-int64(len(c.Names))
	for _, n := range c.Whole.Notes {
		v.Notes = append(v.Notes, noteRow{when(n.Time), oneLine(n.By), done(n), manyLines(n.Text)})
	}
	for _, a := range c.Acts {
		what := map[string]string{"incidents.show": "looked at it", "incidents.export": "took it out"}[a.What]
		if what == "" {
			what = a.What
		}
		v.Acts = append(v.Acts, noteRow{when(a.Time), oneLine(a.Who), what, manyLines(a.Why)})
	}
	v.rows()
	for _, s := range c.Sealed {
		if p := oneLine(s.Person); len(v.Persons) == 0 || v.Persons[len(v.Persons)-1] != p {
			v.Persons = append(v.Persons, p)
		}
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.Bytes(), err
}

// rows fills the tables.
func (v *view) rows() {
	for i, e := range v.Case.Timeline {
		if i == maxRows {
			break
		}
		v.Timeline = append(v.Timeline, breachRow(&e.Breach, ""))
	}
	v.TimelineMore = int64(len(v.Case.Timeline)-len(v.Timeline)) + v.TimelineLeftOut
	for i := range v.Case.Around {
		if v.AroundMore = v.AroundLeftOut || i == maxRows; i == maxRows {
			break
		}
		b := &v.Case.Around[i]
		v.Around = append(v.Around, breachRow(b, oneLine(b.Category)+", "+acted(b.Action)))
	}
	for i, q := range v.Case.Questions {
		if v.QuestionsMore = v.QuestionsLeftOut || i == maxRows; i == maxRows {
			break
		}
		v.Questions = append(v.Questions, timeRow{when(q.Time), name(q.Name), oneLine(q.Outcome), ""})
	}
}

func breachRow(b *breach.Breach, what string) timeRow {
	row := timeRow{Time: when(b.Time), Name: name(b.Query.Name), What: what, Count: "once"}
	if b.Count > 1 {
		row.Count = fmt.Sprintf("%d times, the last at %s", b.Count, clock(b.Last))
	}
	return row
}

// summary is the incident in one sentence, of what is known.
func summary(c *breach.Case) string {
	names := "for names that are kept confidential"
	if !c.Confidential {
		names = "for " + plural(c.DistinctNames, "name", "different names")
	}
	return fmt.Sprintf("A device asked %s %s in the category “%s”, between %s and %s.", plural(c.Count, "time", "times"), names, oneLine(c.Title),
		when(c.First), when(c.Last))
}

func answer(action string) string {
	if action == "monitor" {
		return "It was given the address: the school watches this category and does not block it."
	}
	return "It was not given the address: the school blocks this category."
}

func acted(action string) string {
	return map[string]string{"block": "blocked", "monitor": "let through"}[action]
}

func looks(kind string) string {
	switch kind {
	case breach.LooksPerson:
		return "It may be somebody trying one thing after the other"
	case breach.LooksBackground:
		return "It may be a device or an app by itself"
	}
	return "It can’t be told whether it was somebody or a device by itself"
}

// device says what is known of who asked.
func device(c breach.Client) string {
	var parts []string
	for _, p := range []struct{ what, value string }{
		{"signed in as ", c.User}, {"called ", c.Name}, {"address ", c.IP}, {"hardware address ", c.MAC},
	} {
		if p.value != "" {
			parts = append(parts, p.what+oneLine(p.value))
		}
	}
	if parts == nil {
		return "nothing is known of it"
	}
	return strings.Join(parts, ", ")
}

func done(n breach.Note) string {
	switch n.What {
	case "seen":
		return "has seen it"
	case "note":
		return "noted"
	case "closed":
		return "closed it: " + outcome(n.Outcome)
	case "raised":
		return "made it graver: now " + n.Severity
	}
	return n.What
}

// outcome is one of breach.Outcomes in words.
func outcome(o string) string {
	if words := map[string]string{
		"no_concern": "no concern", "spoken_to": "spoken to", "parents_told": "parents told", "social_care": "referred to children’s social care",
		"police": "reported to the police", "ceop": "reported to CEOP", "iwf": "reported to the Internet Watch Foundation",
		"lado": "referred to the LADO (about an adult who works with children)", "other": "other, see the note",
	}[o]; words != "" {
		return words
	}
	return o
}

// when is a time as people write it, by the school's clock.
func when(stamp string) string { return written(stamp, "Mon 2 Jan 2006, 15:04:05") }

func clock(stamp string) string { return written(stamp, "15:04:05") }

func written(stamp, layout string) string {
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return stamp
	}
	return at.Format(layout)
}

// name is a name without its final dot. Its bytes are escaped already, as in RFC 1035.
func name(n string) string { return oneLine(strings.TrimSuffix(n, ".")) }

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// oneLine is a text from devices or people on one line. What turns the direction of writing around, and what steers
// a terminal, is replaced; what else is invisible is left out.
func oneLine(s string) string { return strings.ReplaceAll(manyLines(s), "\n", " ") }

func manyLines(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t' || unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return unicode.ReplacementChar
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}
