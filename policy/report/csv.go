package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"schoolgate/policy/breach"
)

// CSV writes the figures as one table (RFC 4180) with a header, safe to be opened in a spreadsheet. The reference is
// deploy/docs/reports.md:
//
//	figure, category, group, action, severity, detail, from, to, value, before
//
// Each row is one figure of the days from and to, both included. What does not apply is empty. A value that governors are
// not told is in words.
func (r *Report) CSV(w io.Writer) error {
	t := &csvTable{csv: csv.NewWriter(w), from: r.in.From.In(r.in.Zone).Format(time.DateOnly), to: r.in.To.Add(-time.Second).In(r.in.Zone).Format(time.DateOnly)}
	t.cells("figure", "category", "group", "action", "severity", "detail", "from", "to", "value", "before")
	t.row(line{figure: "attempts", value: r.Total.csv(), before: r.TotalBefore.csv()})
	t.row(line{figure: "requests_of_devices", value: r.Repeats.csv()})
	for _, c := range r.Categories {
		t.row(line{figure: "attempts_by_category", category: c.Name, detail: c.Title, value: c.Now.csv(), before: c.Before.csv()})
	}
	for _, g := range r.Groups {
		t.row(line{figure: "attempts_by_group", group: g.Name, value: g.Now.csv(), before: g.Before.csv()})
	}
	for _, k := range r.Risks {
		t.row(line{figure: "attempts_by_risk", detail: k.Name, value: k.Now.csv(), before: k.Before.csv()})
	}
	for _, c := range r.Cells {
		t.row(line{figure: "attempts_by_category_and_group", category: c.Category, group: c.Group, action: c.Action, value: count(c.Breaches)})
		t.row(line{figure: "requests_by_category_and_group", category: c.Category, group: c.Group, action: c.Action, value: count(c.Count)})
	}
	for _, b := range r.Weeks {
		t.row(line{figure: "attempts_by_week", detail: b.Start.Format(time.DateOnly), value: b.Now.csv()})
	}
	for _, b := range r.Hours {
		t.row(line{figure: "attempts_by_hour", detail: b.Label, value: b.Now.csv()})
	}
	for _, s := range r.Severities {
		t.row(line{figure: "incidents_opened", severity: s.Severity, value: s.Opened.csv(), before: s.Before.csv()})
		t.row(line{figure: "incidents_closed", severity: s.Severity, value: s.Closed.csv()})
		for _, wait := range []struct {
			detail string
			is     Wait
		}{{"seen_median", s.Seen}, {"seen_longest", s.SeenWorst}, {"closed_median", s.Until}, {"closed_longest", s.UntilWorst}} {
			if wait.is >= 0 {
				t.row(line{figure: "minutes_until", severity: s.Severity, detail: wait.detail, value: count(int64(time.Duration(wait.is) / time.Minute))})
			}
		}
	}
	for _, o := range r.Outcomes {
		t.row(line{figure: "incidents_by_outcome", detail: o.Outcome, value: o.Count.csv()})
	}
	for _, a := range r.Open {
		for i, f := range []Figure{a.Critical, a.High, a.Medium, a.Low} {
			t.row(line{figure: "incidents_open_now", severity: severities[i], detail: a.Title, value: f.csv()})
		}
	}
	t.row(line{figure: "sites_asked_for", value: r.Requests.Total.csv()})
	t.row(line{figure: "sites_asked_for_allowed", value: r.Requests.Allowed.csv()})
	for _, l := range r.Lists {
		t.row(line{figure: "list_entries", category: l.Name, detail: l.Oldest, value: count(int64(l.Entries))})
		t.row(line{figure: "list_entries_that_need_a_url_filter", category: l.Name, value: count(int64(l.NeedURL))})
	}
	for _, c := range r.Changes.Counts {
		t.row(line{figure: "changes", detail: c.What, value: c.Count.csv()})
	}
	t.row(line{figure: "self_tests", value: count(int64(len(r.SelfTests)))})
	t.csv.Flush()
	return t.csv.Error()
}

// line is a row of the table, but for the days.
type line struct{ figure, category, group, action, severity, detail, value, before string }

// csvTable writes rows. The first error stays with its writer.
type csvTable struct {
	csv      *csv.Writer
	from, to string
}

func (t *csvTable) row(l line) {
	t.cells(l.figure, l.category, l.group, l.action, l.severity, Text(l.detail), t.from, t.to, l.value, l.before)
}

func (t *csvTable) cells(cells ...string) {
	for i := range cells {
		cells[i] = breach.Inert(cells[i])
	}
	_ = t.csv.Write(cells) // Flush says it again
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

// csv is a figure without the marks that are for people.
func (f Figure) csv() string {
	if f.Instead != "" {
		return f.Instead
	}
	return count(f.N)
}
