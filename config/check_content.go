package config

import (
	"cmp"
	"slices"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// selfTest are the categories that always exist, with the lists that they always have.
var selfTest = []policy.Category{
	{Name: "iwf", Title: "Child sexual abuse (IWF list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
	{Name: "ctiru", Title: "Unlawful terrorist content (CTIRU list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
}

// fixed returns the one of selfTest that has the name.
func fixed(name string) (policy.Category, bool) {
	i := slices.IndexFunc(selfTest, func(s policy.Category) bool { return s.Name == name })
	if i < 0 {
		return policy.Category{}, false
	}
	return selfTest[i], true
}

// contents fills the categories and their lists.
func (c *checker) contents() {
	for _, always := range selfTest {
		if !slices.ContainsFunc(c.categories, func(w category) bool { return w.name.name == always.Name }) {
			c.add(&category{name: name{name: always.Name}}, always)
		}
	}
	own := 0
	count := func(at place) {
		if own++; own == mostCategories+1 {
			c.fail(at, "give one several lists", "there can be %d categories beside iwf and ctiru, those with a list on trial counted twice", mostCategories)
		}
	}
	for i := range c.categories {
		w := &c.categories[i]
		p := policy.Category{
			Name: w.name.name, Title: w.title.v, Severity: w.severity.v,
			Locked: w.locked.v, Confidential: w.confidential.v,
		}
		always, isFixed := fixed(p.Name)
		switch {
		case isFixed:
			c.keepFixed(w)
			p = always
			p.Title = cmp.Or(w.title.v, always.Title)
		case p.Name == "rule" || p.Name == "only" || p.Name == "none":
			c.fail(w.place, "choose another", "%q names the breaches of rules and of only", p.Name)
		case p.Name == "helplines":
			c.fail(w.place, "they are never blocked, recorded or alerted", "helplines can't be a category")
		default:
			p.Title = cmp.Or(p.Title, p.Name)
			count(w.place)
		}
		if i := slices.IndexFunc(w.lists, func(l list) bool { return l.trial.v > 0 }); i >= 0 {
			count(w.lists[i].trial.place)
		}
		if w.risk.v != "" {
			if c.cfg.Risks == nil {
				c.cfg.Risks = map[string]string{}
			}
			c.cfg.Risks[p.Name] = w.risk.v
		}
		c.add(w, p)
	}
}

// mostCategories leaves room for iwf, ctiru and helplines.
const mostCategories = blocklist.MaxCategories - 3

// keepFixed refuses a file that says of iwf or ctiru what it can't.
func (c *checker) keepFixed(w *category) {
	const hint = "leave it out: always locked, confidential and critical"
	if w.locked.written() && !w.locked.v {
		c.fail(w.locked.place, hint, "%s can't be unlocked", w.name.name)
	}
	if w.confidential.written() && !w.confidential.v {
		c.fail(w.confidential.place, hint, "%s can't be made public", w.name.name)
	}
	if w.severity.written() && w.severity.v != policy.SeverityCritical {
		c.fail(w.severity.place, hint, "%s can't be less than critical", w.name.name)
	}
}

// calendarDays fills the calendar.
func (c *checker) calendarDays() {
	into := &c.cfg.Policy.Calendar
	into.Zone = c.timezone.v
	for _, t := range c.calendar.terms {
		if t.from.written() && t.to.written() && t.to.v.Before(t.from.v) && !c.failed(t.place) {
			c.fail(t.place, "", "the term ends before it begins")
		}
		into.Terms = append(into.Terms, policy.Days{From: t.from.v, To: t.to.v})
	}
	for _, d := range c.calendar.closed.all {
		into.Closed = append(into.Closed, policy.Days{From: d.v.from, To: d.v.to})
	}
	for _, p := range c.calendar.periods {
		if len(p.times) == 0 && !c.failed(p.place) {
			c.fail(p.place, "", "the period has no times")
		}
		period := policy.Period{Name: p.name.name}
		for _, t := range p.times {
			switch {
			case !t.from.written() || !t.to.written() || c.failed(t.place):
			case t.from.v == t.to.v:
				c.fail(t.place, "00:00 to 24:00 is the whole day", "is empty")
			case t.from.v == 24*60:
				c.fail(t.from.place, "use 00:00", "a time span can't begin at 24:00")
			}
			span := policy.Span{Days: uint8(t.days.v), From: t.from.v, To: t.to.v, Always: t.always.v}
			if !into.Occurs(span) && !c.failed(t.place) {
				c.warn(t.place, "see its days, calendar.terms and calendar.closed, or write always: true", "this time never comes: none of its days is a school day")
			}
			period.Times = append(period.Times, span)
		}
		into.Periods = append(into.Periods, period)
	}
}
