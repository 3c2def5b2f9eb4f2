package report

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/policy/breach"
	"schoolgate/policy/breach/breachtest"
)

var update = flag.Bool("update", false, "write the golden files")

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func london(t testing.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/London")
	must(t, err)
	return zone
}

// school is what a report is told of a school's configuration, for the autumn of 2026.
func school(t testing.TB) Input {
	t.Helper()
	zone := london(t)
	allowed, err := blocklist.ParseName("museum.example")
	must(t, err)
	private, err := blocklist.ParseName("clinic.example")
	must(t, err)
	return Input{
		Site: "winchelsea", Zone: zone,
		From: time.Date(2026, 10, 5, 0, 0, 0, 0, zone), To: time.Date(2026, 11, 2, 0, 0, 0, 0, zone),
		Made: time.Date(2026, 11, 3, 9, 30, 0, 0, zone),
		Categories: []Category{
			{Name: "iwf", Title: "Child sexual abuse (IWF list)"},
			{Name: "pornography", Title: "Pornography"},
			{Name: "self_harm", Title: "Self-harm, suicide and eating disorders"},
			{Name: "gambling", Title: "Gambling"},
			{Name: "bypass", Title: "Ways round the filter (VPN, proxy, Tor)"},
			{Name: "gaming", Title: "Gaming"},
			{Name: "social_networks", Title: "Social networks"},
			{Name: "drugs", Title: "Drugs and substance abuse"},
		},
		Groups: []Group{
			{Name: "early_years", OnlySites: 2, SafeSearch: true, YouTube: "strict"},
			{Name: "year7", OnlySites: -1, Blocked: []string{"pornography", "self_harm", "bypass"}, Timed: []string{"gaming"}, Watched: []string{"drugs"}, SafeSearch: true, YouTube: "moderate"},
			{Name: "sen_unit", OnlySites: -1, Small: true},
		},
		Locked: []string{"iwf"},
		Rules: []policy.Rule{
			{Allow: true, Names: []blocklist.Name{allowed}, Added: time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC), Reason: "history, <i>year 9</i>", By: "it@school.example", Groups: []string{"year7", "year9"}},
			{Allow: true, Names: []blocklist.Name{private}, Client: &policy.ClientPattern{User: "a.pupil"}, Reason: "for A. Pupil", Expires: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)},
			{Allow: true, Names: []blocklist.Name{private}, Reason: "it is over", Expires: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		},
		Lists: []List{
			{Category: "iwf", Name: "lists/iwf.txt", Entries: 120, NotEnforceable: 9880, Age: 26 * time.Hour, AgeKnown: true},
			{Category: "iwf", Name: "builtin:iwf", Entries: 1, SelfTest: true},
			{Category: "pornography", Name: "ut1:adult", Entries: 4600000, Age: 3 * day, AgeKnown: true},
			{Category: "pornography", Name: "builtin:pornography", Entries: 400},
			{Category: "gambling", Name: "https://lists.example/gambling.txt", Missing: true},
			{Category: "gaming", Name: "ut1:games", Entries: 20000, Age: 10 * time.Minute, AgeKnown: true, OnTrial: true},
		},
		Kept: []string{"Attempts and incidents without concern: 365 days."},
	}
}

// acts are what was done in that autumn.
var autumn = []struct{ at, who, what, why, detail string }{
	{"2026-10-06T09:12:00+01:00", "device 10.20.3.4", "unblock.request", "chess club, for the match on Friday", "chess.example for group year7, blocked as gaming"},
	{"2026-10-06T11:00:00+01:00", "device 10.20.3.9", "unblock.request", "we need it too", "chess.example for group year7, blocked as gaming"},
	{"2026-10-07T10:00:00+01:00", "it@school.example", "exceptions.add", "chess club", "exception 0123abcd: allow chess.example for group year7 until 2026-10-09T16:00:00+01:00"},
	{"2026-10-08T10:00:00+01:00", "device 10.20.3.4", "unblock.request", "history <script>alert(1)</script>", "www.museum.example for group year9, blocked as gaming"},
	{"2026-10-08T10:30:00+01:00", "device 10.20.3.5", "unblock.request", "=HYPERLINK(\"http://evil.example\")", "games.example for group year8, blocked as gaming"},
	{"2026-10-09T16:00:00+01:00", "schoolgate", "exceptions.end", "chess club", "exception 0123abcd: allow chess.example for group year7 until 2026-10-09T16:00:00+01:00: has ended"},
	{"2026-10-12T08:00:00+01:00", "SIGHUP", "config.reload", "", "hash 0f0f, before 1e1e; 12 lists, 4,620,521 entries"},
	{"2026-10-13T08:00:00+01:00", "SIGHUP", "config.refused", "", "hash 0f0f; in force stays 1e1e; schoolgate.yaml:41:13: groups.year7.block: no category \"gameing\""},
	{"2026-10-14T03:00:00+01:00", "schedule", "lists.update", "", "ut1:games: 20,000 entries, before 19,800"},
	{"2026-10-15T03:00:00+01:00", "schedule", "lists.update", "", "ut1:games: 20,010 entries, before 20,000"},
	{"2026-10-19T08:00:00+01:00", "it@school.example", "exceptions.remove", "", "exception 00ff00ff: allow news.example for everybody until 2026-12-01T00:00:00Z, added by it@school.example: a lesson"},
	{"2026-10-20T16:00:00+01:00", "it", "selftest.passed", "", "groups year7, staff: 41 checks ok, 0 failed, 2 not tested; configuration 0f0f; age of lists: ut1:games 5 h; sha256 of 2026-10-20T150000.000Z.json 1e1e"},
	{"2026-11-02T09:00:00+00:00", "it", "exceptions.add", "", "exception 0123abce: allow other.example for 10.20.3.4 until 2026-11-09T16:00:00+00:00"},
}

// past is a record of six weeks up to then.
func past(t testing.TB, incidents int) string {
	t.Helper()
	path, err := breachtest.Write(t.Context(), t.TempDir(), breachtest.Past{Start: time.Date(2026, 9, 21, 0, 0, 0, 0, time.UTC), Weeks: 6, Incidents: incidents})
	must(t, err)
	return path
}

// did puts acts into a record behind the back of its writer.
func did(t testing.TB, path string, acts []struct{ at, who, what, why, detail string }) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	for _, a := range acts {
		at, err := time.Parse(time.RFC3339, a.at)
		must(t, err)
		_, err = db.ExecContext(t.Context(), `INSERT INTO audit SELECT max(seq) + 1, ?, ?, ?, ?, ?, zeroblob(16), zeroblob(32)
			FROM (SELECT max(seq) AS seq FROM link UNION ALL SELECT 0)`, at.UnixMilli(), a.what, a.who, a.why, a.detail)
		must(t, err)
	}
}

func reader(t testing.TB, path string) *breach.Reader {
	t.Helper()
	r, err := breach.OpenReader(path)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// made makes a report and returns both of its forms.
func made(t testing.TB, path string, in Input) (r *Report, html, table string) {
	t.Helper()
	r, err := Make(t.Context(), reader(t, path), in)
	must(t, err)
	var page, figures bytes.Buffer
	must(t, r.HTML(&page))
	must(t, r.CSV(&figures))
	return r, page.String(), figures.String()
}

// huge is the record of a school in which one category is nearly everything.
func huge(t testing.TB) string {
	t.Helper()
	path := past(t, 3000)
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "UPDATE tally SET breaches = breaches * 9173, count = count * 30011 WHERE category = 'gaming'")
	must(t, err)
	return path
}

func TestReportsAreAsTheyWereReviewed(t *testing.T) {
	for what, c := range map[string]struct {
		path      func(testing.TB) string
		governors bool
	}{
		"autumn":           {func(t testing.TB) string { path := past(t, 3000); did(t, path, autumn); return path }, false},
		"autumn_governors": {func(t testing.TB) string { path := past(t, 3000); did(t, path, autumn); return path }, true},
		"empty":            {func(t testing.TB) string { return past(t, 0) }, false},
		"empty_governors":  {func(t testing.TB) string { return past(t, 0) }, true},
		"huge":             {huge, false},
	} {
		t.Run(what, func(t *testing.T) {
			in := school(t)
			in.Governors = c.governors
			_, html, table := made(t, c.path(t), in)
			for ending, got := range map[string]string{"html": html, "csv": table} {
				golden := filepath.Join("testdata", what+"."+ending)
				if *update {
					must(t, os.WriteFile(golden, []byte(got), 0o600))
				}
				want, err := os.ReadFile(golden)
				must(t, err)
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("%s (-want +got): %s", golden, diff)
				}
			}
		})
	}
}

// TestSumsAreThoseOfTheBreaches: what the report says is what `breaches export` has, counted one by one.
func TestSumsAreThoseOfTheBreaches(t *testing.T) {
	zone, random := london(t), rand.New(rand.NewPCG(3, 4))
	now := time.Date(2026, 10, 19, 0, 5, 0, 0, zone)
	var clock atomic.Int64 // what the record's own goroutine is told
	clock.Store(now.UnixNano())
	path := filepath.Join(t.TempDir(), "breach.db")
	l, err := breach.Open(breach.Options{Path: path, Now: func() time.Time { return time.Unix(0, clock.Load()) }})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	p := lists(t)
	for range 1500 { // over the change of the clocks
		now = now.Add(time.Duration(random.IntN(900)) * time.Second)
		clock.Store(now.UnixNano())
		client := netip.AddrFrom4([4]byte{10, 20, 0, byte(random.IntN(9))})
		if random.IntN(4) == 0 {
			client = netip.AddrFrom4([4]byte{10, 1, 0, byte(random.IntN(3))})
		}
		n, err := blocklist.ParseName(fmt.Sprintf("n%d.%s.example", random.IntN(3), []string{"gaming", "gambling", "drugs"}[random.IntN(3)]))
		must(t, err)
		group, _ := p.Identify(client)
		for range 1 + random.IntN(3) {
			l.Record(policy.Event{Time: now, Client: policy.Client{Addr: client}, Policy: p, Verdict: p.Decide(group, []byte(n), now), Name: n, Type: 1, Transport: "udp"})
		}
		must(t, l.Flush(t.Context()))
	}
	cancel()
	must(t, <-ended)

	in := school(t)
	in.From, in.To = time.Date(2026, 10, 19, 0, 0, 0, 0, zone), time.Date(2026, 11, 2, 0, 0, 0, 0, zone)
	_, _, table := made(t, path, in)
	want := map[string]int64{}
	err = reader(t, path).Breaches(t.Context(), breach.Filter{From: in.From, To: in.To, Zone: zone}, func(b breach.Breach) error {
		at, err := time.Parse(time.RFC3339, b.Time)
		monday := at.In(zone).AddDate(0, 0, -(int(at.In(zone).Weekday())+6)%7)
		for _, key := range []string{
			"attempts", "attempts_by_category " + b.Category, "attempts_by_group " + b.Group,
			"attempts_by_week " + monday.Format(time.DateOnly), "attempts_by_hour " + at.In(zone).Format("15:00"),
			"attempts_by_category_and_group " + b.Category + " " + b.Group + " " + b.Action,
		} {
			want[key]++
		}
		want["requests_of_devices"] += b.Count
		want["requests_by_category_and_group "+b.Category+" "+b.Group+" "+b.Action] += b.Count
		return err
	})
	must(t, err)
	rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	must(t, err)
	got := map[string]int64{}
	for _, row := range rows[1:] {
		figure, detail := row[0], row[5]
		if figure == "attempts_by_category" {
			detail = ""
		}
		key := strings.Join(strings.Fields(strings.Join([]string{figure, row[1], row[2], row[3], detail}, " ")), " ")
		if n, err := strconv.ParseInt(row[8], 10, 64); err == nil && n > 0 && (strings.HasPrefix(figure, "attempts") || strings.HasPrefix(figure, "requests_")) && figure != "attempts_by_risk" {
			got[key] = n
		}
	}
	if len(want) < 30 {
		t.Fatalf("only %d sums", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// lists is a policy whose lists hold one name each, named after the category.
func lists(t testing.TB) *policy.Policy {
	t.Helper()
	all := []string{"gaming", "gambling", "drugs"}
	spec := policy.Spec{
		Access: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Groups: []policy.Group{
			{Name: "year7", Clients: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, Block: all},
			{Name: "staff", Clients: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Block: all[:2], Monitor: all[2:]},
		},
		DefaultGroup: "year7",
	}
	var sources []blocklist.Source
	for i, name := range all {
		spec.Categories = append(spec.Categories, policy.Category{Name: name, Title: strings.ToUpper(name), Severity: policy.Severity(1 + i)})
		n, err := blocklist.ParseName(name + ".example")
		must(t, err)
		sources = append(sources, blocklist.Source{ID: name, Category: blocklist.Category(i), List: blocklist.ListOf(n)})
	}
	p, err := policy.Compile(spec, blocklist.Build(sources), true)
	must(t, err)
	return p
}

func TestAReportIsInPlainWords(t *testing.T) {
	path := past(t, 3000)
	did(t, path, autumn)
	_, html, _ := made(t, path, school(t))
	for _, jargon := range []string{"NXDOMAIN", "NODATA", "SERVFAIL", "CNAME", "QNAME", "RPZ", "EDNS", "TTL", "upstream", "resolver", "DNS", "FQDN", "hash"} {
		if regexp.MustCompile(`(?i)\b` + jargon + `\b`).MatchString(withoutStyle(html)) {
			t.Errorf("it says %s", jargon)
		}
	}
	for _, wanted := range []string{
		"9,880 of 4,630,400 entries need a URL filter",
		"allowed for a time, for group year7, until 9 October 2026, 16:00", "allowed by a rule of 20 October 2026", "still blocked",
		"The configuration was changed", "An exception was made: allows chess.example for group year7 until 9 October 2026, 16:00",
		"groups year7, staff: 41 checks ok, 0 failed, 2 not tested", "everything but 2 sites", "one device or person", "It can’t", "a list is missing", "365 days",
	} {
		if !strings.Contains(html, strings.ReplaceAll(wanted, "It can’t", "It can&#39;t")) && !strings.Contains(html, wanted) {
			t.Errorf("it does not say %q", wanted)
		}
	}
}

func withoutStyle(html string) string {
	head, rest, _ := strings.Cut(html, "<style>")
	_, body, _ := strings.Cut(rest, "</style>")
	return head + body
}

func TestAReportNeedsNothingElse(t *testing.T) {
	path := past(t, 300)
	did(t, path, autumn)
	_, html, _ := made(t, path, school(t))
	for _, foreign := range []string{"<script", "<link", "<img", "src=", "url(http", "@import", "href=", "onload", "onerror"} {
		if strings.Contains(strings.ToLower(html), foreign) {
			t.Errorf("it has %q", foreign)
		}
	}
	if charts, described := strings.Count(html, "<svg class="), strings.Count(html, "<desc id="); charts != 4 || described != 4 {
		t.Errorf("%d charts, %d of them described", charts, described)
	}
}

// TestGovernorsAreToldOfNoChild: neither by name nor by a number.
func TestGovernorsAreToldOfNoChild(t *testing.T) {
	in := school(t)
	in.Governors = true
	path := past(t, 3000)
	did(t, path, autumn)
	r, html, table := made(t, path, in)
	for _, text := range []string{html, table} {
		for _, said := range []string{"10.20.", "chess", "museum", "match on Friday", "HYPERLINK", "0123abcd"} {
			if strings.Contains(text, said) {
				t.Errorf("it says %q", said)
			}
		}
	}
	shown := map[string]string{}
	for _, row := range append(r.Categories, r.Groups...) {
		shown[row.Name] = row.Now.String()
	}
	if diff := cmp.Diff(map[string]string{
		"sen_unit": "fewer than 5 devices", "staff": "not shown", // else the unit's could be worked out
		"iwf": "fewer than 5 devices", "self_harm": "not shown",
		"gaming": "10,400", "social_networks": "6,940", "bypass": "750", "gambling": "1,170", "pornography": "540",
		"year7": "3,720", "year8": "3,740", "year9": "3,750", "year10": "3,780", "year11": "3,620",
	}, shown); diff != "" {
		t.Error(diff)
	}
	for _, s := range r.Severities {
		for _, f := range []Figure{s.Opened, s.Closed, s.Before} {
			if f.Shown() && f.N%Few != 0 {
				t.Errorf("%s: incidents are told as %v", s.Severity, f)
			}
		}
	}
	// A group that a policy makes small is so however many addresses its one device had.
	in.Groups = append(in.Groups, Group{Name: "year8", Small: true})
	r, _, _ = made(t, path, in)
	for _, row := range r.Groups {
		if hidden := !row.Now.Shown(); hidden != (row.Name == "year8" || row.Name == "sen_unit") {
			t.Errorf("%s: %v", row.Name, row.Now)
		}
	}
}

func TestWhatIsHiddenCannotBeWorkedOut(t *testing.T) {
	for what, c := range map[string]struct {
		now  []int64
		few  []bool
		want []string
	}{
		"nothing small":                      {[]int64{50, 60}, []bool{false, false}, []string{"50", "60"}},
		"one small, and the next with it":    {[]int64{50, 200, 60}, []bool{false, true, false}, []string{"not shown", "fewer than 5 devices", "60"}},
		"two small hide each other":          {[]int64{50, 7, 9}, []bool{false, true, true}, []string{"50", "fewer than 5 devices", "fewer than 5 devices"}},
		"a number under five is few devices": {[]int64{3, 9, 50}, []bool{false, false, false}, []string{"fewer than 5 devices", "not shown", "50"}},
		"nothing is nothing":                 {[]int64{0, 50}, []bool{true, false}, []string{"0", "50"}},
		"alone":                              {[]int64{8}, []bool{true}, []string{"fewer than 5 devices"}},
	} {
		var rows []Row
		for i := range c.now {
			rows = append(rows, Row{Now: Figure{N: c.now[i]}, few: c.few[i]})
		}
		protect(rows)
		var got []string
		for _, r := range rows {
			got = append(got, r.Now.String())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func TestEveryCategoryHasAKindOfRisk(t *testing.T) {
	for category, want := range map[string]string{"gambling": Commerce, "chat": Contact, "bypass": Conduct, "pornography": Content, "of the school's own": Content} {
		if got := RiskOf(category); got != want {
			t.Errorf("%s is %s", category, got)
		}
	}
	in := school(t)
	in.Categories = append(in.Categories, Category{Name: "own", Risk: Commerce})
	if _, risk := (&Report{in: in}).category("own"); risk != Commerce {
		t.Errorf("what the configuration says is not heard: %s", risk)
	}
}

func TestThePeriodBeforeHasAsManyDays(t *testing.T) {
	zone := london(t)
	for _, c := range []struct{ from, to, before string }{
		{"2026-10-05", "2026-11-02", "2026-09-07"}, {"2026-03-30", "2026-04-06", "2026-03-23"}, {"2026-10-25", "2026-10-26", "2026-10-24"},
	} {
		from, err := time.ParseInLocation(time.DateOnly, c.from, zone)
		must(t, err)
		to, err := time.ParseInLocation(time.DateOnly, c.to, zone)
		must(t, err)
		if got := dayBefore(Input{From: from, To: to, Zone: zone}).Format("2006-01-02 15:04"); got != c.before+" 00:00" {
			t.Errorf("%s to %s: %s", c.from, c.to, got)
		}
	}
}

// BenchmarkAYear makes the report of a year with five million breaches of 1,200 devices, which takes minutes to write:
// it has to take less than a second.
func BenchmarkAYear(b *testing.B) {
	start := time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC)
	path, err := breachtest.Write(b.Context(), b.TempDir(), breachtest.Past{Start: start, Weeks: 39, Incidents: 500_000})
	must(b, err)
	r := reader(b, path)
	in := school(b)
	in.From, in.To, in.Made = start, start.AddDate(1, 0, 0), start.AddDate(1, 0, 0)
	for _, governors := range []bool{false, true} {
		in.Governors = governors
		b.Run(fmt.Sprintf("governors=%v", governors), func(b *testing.B) {
			for b.Loop() {
				report, err := Make(b.Context(), r, in)
				must(b, err)
				must(b, report.HTML(io.Discard))
			}
		})
	}
}

var hostile = []string{
	"<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3",
	"\u202eevil", "a\nb\tc\x00d\x1b[31m", "{{.Site}}", "&lt;b&gt;", "\xff\xfe", strings.Repeat("x", 5000),
}

func TestHostileTextsAreInert(t *testing.T) {
	for _, h := range hostile {
		path := past(t, 30)
		db, err := sql.Open("sqlite", path)
		must(t, err)
		_, err = db.ExecContext(t.Context(), "INSERT INTO tally SELECT DISTINCT hour, ?, ?, 'block', 10, 10 FROM tally", h, h)
		must(t, err)
		must(t, db.Close())
		did(t, path, []struct{ at, who, what, why, detail string }{
			{"2026-10-06T09:12:00+01:00", h, "unblock.request", h, "chess.example for group " + h + ", blocked as " + h},
			{"2026-10-06T09:12:00+01:00", h, "exceptions.add", h, h},
			{"2026-10-06T09:12:00+01:00", h, "selftest.failed", h, h},
			{"2026-10-06T09:12:00+01:00", h, h, h, h},
		})
		in := school(t)
		in.Site = h
		in.Categories = append(in.Categories, Category{Name: h, Title: h})
		in.Lists = append(in.Lists, List{Category: h, Name: h})
		_, html, table := made(t, path, in)
		for _, bad := range []string{"<script", "<img", "\u202e", "\x1b", "\x00"} {
			if strings.Contains(html, bad) {
				t.Errorf("%q: the page has %q", h, bad)
			}
		}
		rows, err := csv.NewReader(strings.NewReader(table)).ReadAll()
		must(t, err)
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") || strings.ContainsAny(cell, "\x00\x1b\u202e\n") {
					t.Errorf("%q: a cell is %q", h, cell)
				}
			}
		}
	}
}
