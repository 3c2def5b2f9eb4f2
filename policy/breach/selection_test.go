package breach

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

// many is a record of devices with and without a MAC address, a name and a user, some of which are found out late or
// change, and whose groups, categories and severities meet in all ways.
func many(t *testing.T) *record {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 1))
	r := open(t)
	graver := func(s *policy.Spec) { s.Categories[gaming].Severity = policy.SeverityCritical }
	policies := []*policy.Policy{school(t, nil), school(t, graver)}
	names := []string{"", "pad-1", "pad-1.school.internal", "pad-10", "pad-1-x", "pad-1!"}
	for step := range 400 {
		p := policies[step/100%2]
		i := random.IntN(6)
		addr := []netip.Addr{pupil, pupil2, teacher, controller}[i%4]
		e := ask(t, p, addr, fmt.Sprintf("n%d.%s.example", random.IntN(30), []string{"pornography", "gaming", "gambling"}[random.IntN(3)]), r.clock.Now())
		e.Client.MAC = []string{"", "02:00:00:00:00:01", "02:00:00:00:00:02"}[i%3]
		e.Client.User = []string{"", "alice"}[i%2]
		e.Client.Name = names[random.IntN(len(names))]
		r.Record(e)
		if random.IntN(5) == 0 {
			r.tick(t, time.Duration(random.IntN(40))*time.Minute)
		}
	}
	r.tick(t, 0)
	return r
}

// filters calls do with the ways in which a filter selects breaches, put together.
func filters(do func(Filter)) {
	for _, client := range []string{
		"", "10.1.0.9", "10.99.9.9", "mac:02:00:00:00:00:01", "user:alice", "user:bob", "name:pad-1", "name:pad-1.school.internal", "name:pad",
	} {
		for _, group := range []string{"", "staff", "sixthform"} {
			for _, category := range []string{"", "gaming", "iwf"} {
				for _, severity := range []string{"", "critical", "low"} {
					for _, hours := range [][2]time.Duration{{}, {2, 0}, {3, 9}, {-1, 9000}} { // after the first breach; 0: no end
						f := Filter{Client: client, Group: group, Category: category, Severity: severity}
						if hours[0] != 0 {
							f.From = tenPast.Add(hours[0] * time.Hour)
						}
						if hours[1] != 0 {
							f.To = tenPast.Add(hours[1] * time.Hour)
						}
						do(f)
					}
				}
			}
		}
	}
}

func TestAFilterSelectsWhatALookAtEachBreachSelects(t *testing.T) {
	r := many(t)
	all := r.breaches(t, Filter{})
	stored := reader(t, r.path)
	selected := map[string]bool{}
	filters(func(f Filter) {
		var want []Breach
		for _, b := range all {
			at, client := instant(b.Time), b.Client.policy()
			if f.Client != "" {
				if p, err := policy.ParseClientPattern(f.Client); err != nil || !p.Matches(&client) {
					continue
				}
			}
			if f.Group != "" && b.Group != f.Group || f.Category != "" && b.Category != f.Category || f.Severity != "" && b.Severity != f.Severity ||
				!f.From.IsZero() && at.Before(f.From) || !f.To.IsZero() && !at.Before(f.To) {
				continue
			}
			want = append(want, b)
		}
		for _, newest := range []int{0, 1, 7} {
			want := want
			if newest > 0 {
				want = want[max(0, len(want)-newest):]
			}
			f.Newest = newest
			var got []Breach
			must(t, stored.Breaches(t.Context(), f, func(b Breach) error { got = append(got, b); return nil }))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v: %s", f, diff)
			}
		}
		if len(want) > 0 {
			selected["client "+f.Client], selected["group "+f.Group], selected["category "+f.Category], selected["severity "+f.Severity] = true, true, true, true
		}
	})
	for _, what := range []string{"client mac:02:00:00:00:00:01", "client user:alice", "client name:pad-1", "client 10.1.0.9", "group staff", "category gaming", "severity critical"} {
		if !selected[what] {
			t.Errorf("%s selected nothing", what)
		}
	}
}

func TestWhichKindIsTheRarestIsFoundAmongManyToo(t *testing.T) {
	r, p := open(t), school(t, nil)
	ask := func(n int, client netip.Addr, category string) {
		for i := range n {
			r.Record(ask(t, p, client, fmt.Sprintf("n%d.%s.example", i, category), tenPast))
		}
		must(t, r.Tick(t.Context()))
	}
	ask(10_500, pupil, "pornography")
	ask(2, pupil, "gaming")
	ask(1, teacher, "gaming")
	stored := reader(t, r.path)
	for what, c := range map[string]struct {
		f    Filter
		want string
	}{
		"one has few":               {Filter{Group: "year7", Category: "gaming"}, "breach_category"},
		"the other has few":         {Filter{Group: "staff", Category: "pornography"}, "breach_group"},
		"both have many":            {Filter{Group: "year7", Category: "pornography"}, "breach_category"},
		"of three the last has few": {Filter{Group: "year7", Category: "pornography", Severity: "low"}, "breach_severity"},
		"nothing has one of them":   {Filter{Group: "nobody", Category: "pornography"}, "breach_group"},
	} {
		kinds, err := c.f.kinds()
		must(t, err)
		i, err := stored.rarest(t.Context(), kinds, 1, r.Head().Seq)
		must(t, err)
		if kinds[i].index != c.want {
			t.Errorf("%s: %s, want %s", what, kinds[i].index, c.want)
		}
	}
}

// TestNoFilterReadsAllBreaches looks at how SQLite would go about each query: what it scans is proportional to the record.
func TestNoFilterReadsAllBreaches(t *testing.T) {
	r := many(t)
	stored := reader(t, r.path)
	seen := map[string]bool{}
	plan := func(query string) (lines []string) {
		t.Helper()
		if seen[query] {
			return nil
		}
		seen[query] = true
		args := make([]any, strings.Count(query, "?"))
		for i := range args {
			args[i] = 1
		}
		rows, err := stored.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		must(t, err)
		lines, err = collect(rows, func(rows *sql.Rows) (line string, err error) {
			var n int
			err = rows.Scan(&n, &n, &n, &line)
			return line, err
		})
		must(t, err)
		for _, line := range lines {
			for _, table := range []string{"breach", "b", "o", "repeat", "incident"} {
				if line == "SCAN "+table || strings.HasPrefix(line, "SCAN "+table+" ") {
					t.Errorf("%s\n%s", query, strings.Join(lines, "\n"))
				}
			}
		}
		return lines
	}
	filters(func(f Filter) {
		s, err := stored.selection(t.Context(), f, 1, 1000)
		must(t, err)
		plan(s.page())
		newest := strings.Join(plan(s.newest()), "\n")
		if f.Client == "" && strings.Contains(newest, "TEMP B-TREE") {
			t.Errorf("%+v: all that it selects is sorted:\n%s", f, newest)
		}
		kinds, err := f.kinds()
		must(t, err)
		for _, k := range kinds {
			plan(k.counted())
		}
	})
	for what, query := range map[string]string{
		"the span of a time": "SELECT min(seq), max(seq) FROM breach WHERE time >= ? AND time < ?",
		"an incident":        timelineQuery,
		"its names":          namesQuery,
		"what a start knows": knownQuery,
	} {
		if lines := plan(query); len(lines) == 0 || !strings.Contains(strings.Join(lines, "\n"), "INDEX breach_") {
			t.Errorf("%s: %q", what, lines)
		}
	}
	if first := plan(openQuery)[0]; first != "SCAN watching" {
		t.Errorf("a start begins with %s", first)
	}
	// Each end is one step: SQLite writes SEARCH for the minimum and maximum of what is ordered.
	for _, table := range [][2]string{{"breach", "time"}, {"incident", "last"}, {"audit", "time"}} {
		plan(endsOf(table[0], table[1]))
	}
}
