package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"schoolgate/policy/breach"
)

// Make reads a period of the record, and the one of the same length before it.
func Make(ctx context.Context, record *breach.Reader, in Input) (*Report, error) {
	r := &Report{in: in, before: dayBefore(in)}
	var now, before breach.Summary
	var handled []breach.Handled
	var acts acts
	open := make([][]breach.IncidentCount, len(ages))
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(4) // as many as the record reads for at once
	g.Go(func() (err error) { now, err = record.Summary(reading, in.From, in.To); return err })
	g.Go(func() (err error) { before, err = record.Summary(reading, r.before, in.From); return err })
	g.Go(func() (err error) { handled, err = record.Handled(reading, in.From, in.To); return err })
	g.Go(func() (err error) { acts, err = readActs(reading, record, in); return err })
	g.Go(func() (err error) {
		for i, a := range ages {
			from, to := in.Made.Add(-a.to), in.Made.Add(-a.from)
			if i == 0 {
				to = in.Made.Add(time.Minute) // a clock may have gone back a little
			}
			if a.to == 0 {
				from = time.Unix(0, 0)
			}
			if open[i], err = record.Unclosed(reading, from, to); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if err := r.attempts(ctx, record, &now, &before); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	r.incidents(&now, &before, handled)
	r.openByAge(open)
	r.requests(&acts)
	r.changes(&acts)
	r.policyNow()
	r.lists()
	return r, nil
}

// dayBefore returns when the period before begins: as many days before as there are in this one.
func dayBefore(in Input) time.Time {
	from, to := in.From.In(in.Zone), in.To.In(in.Zone)
	day := func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }
	days := int(day(to).Sub(day(from)) / (24 * time.Hour))
	return time.Date(from.Year(), from.Month(), from.Day()-max(1, days), 0, 0, 0, 0, in.Zone)
}

// attempts fills what was tried.
func (r *Report) attempts(ctx context.Context, record *breach.Reader, now, before *breach.Summary) error {
	categories, groups, risks := rows{}, rows{}, rows{}
	for _, risk := range Risks() {
		risks.of(risk, riskTitles[risk])
	}
	sum := func(s *breach.Summary, add func(*Row, *breach.Tried)) (total, repeats, watched int64) {
		for i := range s.Tried {
			t := &s.Tried[i]
			title, risk := r.category(t.Category)
			add(categories.of(t.Category, title), t)
			add(groups.of(t.Group, t.Group), t)
			add(risks.of(risk, riskTitles[risk]), t)
			total, repeats = total+t.Breaches, repeats+t.Count
			if t.Action == "monitor" {
				watched += t.Breaches
			}
		}
		return total, repeats, watched
	}
	total, repeats, watched := sum(now, func(row *Row, t *breach.Tried) {
		row.Now.N += t.Breaches
		row.Repeats.N += t.Count
		if t.Action == "monitor" {
			row.Watched.N += t.Breaches
		}
	})
	totalBefore, _, _ := sum(before, func(row *Row, t *breach.Tried) { row.Before.N += t.Breaches })
	r.Total, r.TotalBefore, r.Repeats, r.Watched = Figure{N: total}, Figure{N: totalBefore}, Figure{N: repeats}, Figure{N: watched}
	r.Cells = now.Tried
	r.Weeks, r.Hours = r.weeks(now.Hours), r.hours(now.Hours)
	if r.in.Governors {
		if err := r.protect(ctx, record, categories, groups, risks); err != nil {
			return err
		}
	}
	r.Categories, r.Groups = categories.sorted(), groups.sorted()
	for _, risk := range Risks() {
		r.Risks = append(r.Risks, *risks[risk])
	}
	return nil
}

// rows are those of a table, by name.
type rows map[string]*Row

func (r rows) of(name, title string) *Row {
	if r[name] == nil {
		r[name] = &Row{Name: name, Title: title}
	}
	return r[name]
}

// sorted returns them, most first.
func (r rows) sorted() []Row {
	var all []Row
	for _, row := range r {
		all = append(all, *row)
	}
	slices.SortFunc(all, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Now.N, a.Now.N), cmp.Compare(b.Before.N, a.Before.N), cmp.Compare(a.Title, b.Title), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// protect hides what governors are not told.
func (r *Report) protect(ctx context.Context, record *breach.Reader, categories, groups, risks rows) error {
	r.Cells = nil
	r.Total, r.TotalBefore, r.Repeats, r.Watched = atLeast(r.Total.N), atLeast(r.TotalBefore.N), atLeast(r.Repeats.N), atLeast(r.Watched.N)
	isFew := func(row *Row, category, group string) (err error) {
		if row.few, err = record.FewDevices(ctx, category, group, r.in.From, r.in.To, Few); err != nil {
			return err
		}
		row.fewThen, err = record.FewDevices(ctx, category, group, r.before, r.in.From, Few)
		return err
	}
	for name, row := range categories {
		if err := isFew(row, name, ""); err != nil {
			return err
		}
	}
	for name, row := range groups {
		if err := isFew(row, "", name); err != nil {
			return err
		}
		small := slices.ContainsFunc(r.in.Groups, func(g Group) bool { return g.Name == name && g.Small })
		row.few, row.fewThen = row.few || small, row.fewThen || small
	}
	for _, table := range []rows{categories, groups} {
		all := table.sorted()
		protect(all)
		for i := range all {
			*table[all[i].Name] = all[i]
		}
	}
	for name, row := range categories { // what is hidden of it must not be worked out from its kind of risk
		_, risk := r.category(name)
		if !row.Now.Shown() {
			risks[risk].Now, risks[risk].Repeats, risks[risk].Watched = hidden(notShown), hidden(notShown), hidden(notShown)
		}
		if !row.Before.Shown() {
			risks[risk].Before = hidden(notShown)
		}
	}
	weeks := make([]Row, len(r.Weeks))
	for i, w := range r.Weeks {
		weeks[i].Now = w.Now
		if w.Now.N == 0 {
			continue
		}
		from, to := w.Start, w.Start.AddDate(0, 0, 7)
		fewDevices, err := record.FewDevices(ctx, "", "", from, to, Few)
		if err != nil {
			return err
		}
		weeks[i].few = fewDevices
	}
	protect(weeks)
	for i := range weeks {
		r.Weeks[i].Now = weeks[i].Now
	}
	for i := range r.Hours {
		r.Hours[i].Now = atLeast(r.Hours[i].Now.N)
	}
	return nil
}

// weeks are those of the period, from Monday to Sunday, the first and last as far as they are of it.
func (r *Report) weeks(hours []breach.Hour) []Bar {
	var bars []Bar
	from := r.in.From.In(r.in.Zone)
	back := (int(from.Weekday()) + 6) % 7
	for start := time.Date(from.Year(), from.Month(), from.Day()-back, 0, 0, 0, 0, r.in.Zone); start.Before(r.in.To); start = start.AddDate(0, 0, 7) {
		bars = append(bars, Bar{Start: start, Label: start.Format("2 Jan 2006")})
	}
	at := 0
	for _, h := range hours {
		for at+1 < len(bars) && !h.Start.Before(bars[at+1].Start) {
			at++
		}
		bars[at].Now.N += h.Breaches
	}
	return bars
}

// hours are those of the day, by the school's clock.
func (r *Report) hours(hours []breach.Hour) []Bar {
	bars := make([]Bar, 24)
	for i := range bars {
		bars[i].Label = fmt.Sprintf("%02d:00", i)
	}
	for _, h := range hours {
		bars[h.Start.In(r.in.Zone).Hour()].Now.N += h.Breaches
	}
	return bars
}

// category returns what people call a category, and the kind of risk it is.
func (r *Report) category(name string) (title, risk string) {
	for _, c := range r.in.Categories {
		if c.Name == name {
			return cmp.Or(c.Title, c.Name), cmp.Or(c.Risk, RiskOf(name))
		}
	}
	switch name {
	case "rule":
		title = "The school's own rules"
	case "only":
		title = "Outside the list of allowed sites"
	default:
		title = name
	}
	return title, RiskOf(name)
}
