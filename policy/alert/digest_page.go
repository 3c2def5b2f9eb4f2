package alert

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"schoolgate/policy/breach"
)

const (
	// maxListed is how many incidents a digest lists of each kind, before its size bounds them; maxTotals how many
	// categories and groups.
	maxListed, maxTotals = 40, 40
	// maxDigestNames is how many names of one incident.
	maxDigestNames = 5
)

// digestData is what a digest says.
type digestData struct {
	Site    string `json:"site"`
	From    string `json:"from"`
	To      string `json:"to"`
	Message string `json:"message"` // all of it in words
	// Count is how often something was asked for from then to then, in so many incidents.
	Count         int64 `json:"count"`
	IncidentCount int   `json:"incident_count"`
	// OpenCount is how many incidents are not closed, those that came since included.
	OpenCount int           `json:"open_count"`
	Totals    []digestTotal `json:"totals"` // most first
	// Incidents came or went on since, and Open are older and not closed: the gravest of each first, as many as there is
	// room for.
	Incidents []digestIncident `json:"incidents"`
	Open      []digestIncident `json:"open"`
	URL       string           `json:"url,omitempty"` // of the console's list of incidents
	Chain     breach.Head      `json:"chain"`
}

// digestTotal is how much a group tried in a category.
type digestTotal struct {
	Category  string `json:"category"`
	Title     string `json:"title"`
	Group     string `json:"group"`
	Incidents int    `json:"incidents"`
	Count     int64  `json:"count"`
}

type digestIncident struct {
	Incident string `json:"incident"`
	Severity string `json:"severity"`
	Category string `json:"category"`
	Title    string `json:"title"`
	Group    string `json:"group"`
	Action   string `json:"action"`
	State    string `json:"state"`
	Count    int64  `json:"count"` // from then to then; of an older one, in all
	First    string `json:"first"`
	Last     string `json:"last"`
	Age      string `json:"age"` // in words, since first
	URL      string `json:"url,omitempty"`
	Note     string `json:"note,omitempty"`
	// Only in full:
	Client *breach.Client     `json:"client,omitempty"`
	Names  []breach.NameCount `json:"names,omitempty"`
}

// digestPage gathers what one receiver is told.
type digestPage struct {
	from, to  time.Time
	count     int64
	incidents int
	open      int
	oldest    time.Time // of those open
	totals    map[digestKind]*digestTotal
	new, old  gravest
	told      map[int64]bool // those of new, by seq
}

type digestKind struct{ category, title, group string }

func newDigestPage(from, to time.Time) *digestPage {
	return &digestPage{from: from, to: to, totals: map[digestKind]*digestTotal{}, told: map[int64]bool{}}
}

// happened takes an incident with what there was of it.
func (p *digestPage) happened(i *breach.Digestible) {
	p.incidents++
	p.count += i.Count
	kind := digestKind{i.Category, i.Title, i.Group}
	t := p.totals[kind]
	if t == nil {
		t = &digestTotal{Category: clip(i.Category, maxText), Title: clip(i.Title, maxText), Group: clip(i.Group, maxText)}
		p.totals[kind] = t
	}
	t.Incidents++
	t.Count += i.Count
	p.new.add(i)
	p.told[i.Seq] = true
}

// unclosed takes an incident that is not closed.
func (p *digestPage) unclosed(i *breach.Digestible) {
	p.open++
	if p.oldest.IsZero() || i.First.Before(p.oldest) {
		p.oldest = i.First
	}
	if !p.told[i.Seq] {
		p.old.add(i)
	}
}

// gravest keeps the gravest of many incidents.
type gravest []breach.Digestible

func (g *gravest) add(i *breach.Digestible) {
	*g = append(*g, *i)
	if len(*g) >= 20*maxListed {
		*g = g.sorted()
	}
}

// sorted returns those that are listed, the gravest first.
func (g *gravest) sorted() []breach.Digestible {
	slices.SortFunc(*g, func(a, b breach.Digestible) int { return graver(&a, &b) })
	return (*g)[:min(len(*g), maxListed)]
}

// body writes the page, as much as its receiver may know and as has room.
func (p *digestPage) body(ctx context.Context, register Register, c *Config, full bool, now time.Time) ([]byte, error) {
	data := digestData{
		Site: clip(c.Site, maxText), From: stamp(p.from), To: stamp(p.to), Message: clip(p.words(c.zone(), now), 4*maxMessage),
		Count: p.count, IncidentCount: p.incidents, OpenCount: p.open, Totals: p.sortedTotals(), Chain: register.Head(),
	}
	if c.ConsoleURL != "" {
		data.URL = c.ConsoleURL + "/incidents"
	}
	var err error
	if data.Incidents, err = listed(ctx, register, c, p.new.sorted(), full, now); err != nil {
		return nil, err
	}
	if data.Open, err = listed(ctx, register, c, p.old.sorted(), full, now); err != nil {
		return nil, err
	}
	for {
		body := encode(message{typeDigest, stamp(now), data})
		if len(body) <= maxBody {
			return body, nil
		}
		// The longest list is cut, from its end.
		switch n := max(len(data.Incidents), len(data.Open), len(data.Totals)); n {
		case len(data.Open):
			data.Open = data.Open[:n*3/4]
		case len(data.Incidents):
			data.Incidents = data.Incidents[:n*3/4]
		default:
			data.Totals = data.Totals[:n*3/4]
		}
	}
}

func listed(ctx context.Context, register Register, c *Config, all []breach.Digestible, full bool, now time.Time) ([]digestIncident, error) {
	list := make([]digestIncident, 0, len(all))
	for n := range all {
		i := &all[n]
		d := digestIncident{
			Incident: i.ID, Severity: i.Severity, Category: clip(i.Category, maxText), Title: clip(i.Title, maxText),
			Group: clip(i.Group, maxText), Action: i.Action, State: i.State, Count: i.Count,
			First: stamp(i.First), Last: stamp(i.Last), Age: age(now.Sub(i.First)),
		}
		if c.ConsoleURL != "" {
			d.URL = c.ConsoleURL + "/incidents/" + i.ID
		}
		if i.Shared {
			d.Note = personUnknown
		}
		if full {
			d.Client = &breach.Client{
				MAC: clip(i.Client.MAC, maxText), Name: clip(i.Client.Name, maxText), User: clip(i.Client.User, maxText),
			}
			if i.Client.Addr.IsValid() {
				d.Client.IP = i.Client.Addr.String()
			}
			names, err := register.NamesOf(ctx, i)
			if err != nil {
				return nil, err
			}
			d.Names = names[:min(len(names), maxDigestNames)]
		}
		list = append(list, d)
	}
	return list, nil
}

func (p *digestPage) sortedTotals() []digestTotal {
	totals := []digestTotal{}
	for _, t := range p.totals {
		totals = append(totals, *t)
	}
	slices.SortFunc(totals, func(a, b digestTotal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Category, b.Category), cmp.Compare(a.Title, b.Title), cmp.Compare(a.Group, b.Group))
	})
	return totals[:min(len(totals), maxTotals)]
}

// maxWords is how many categories and groups the words name.
const maxWords = 12

// words says what happened, a line for each thing. What is named in them is of the configuration.
func (p *digestPage) words(zone *time.Location, now time.Time) string {
	const day = "Mon 2 Jan 15:04"
	from, to := p.from.In(zone).Format(day), p.to.In(zone).Format(day)
	lines := []string{fmt.Sprintf("From %s to %s devices asked for what the school blocks or watches %s, in %s.",
		from, to, times(p.count), plural(p.incidents, "incident"))}
	if p.incidents == 0 {
		lines[0] = fmt.Sprintf("From %s to %s nothing new came.", from, to)
	}
	totals := p.sortedTotals()
	for i, t := range totals[:min(len(totals), maxWords)] {
		lines = append(lines, fmt.Sprintf("%s, group %s: %s, in %s.", oneLine(t.Title), oneLine(t.Group), times(t.Count), plural(t.Incidents, "incident")))
		if more := len(p.totals) - i - 1; i == maxWords-1 && more > 0 {
			lines = append(lines, fmt.Sprintf("And %d more kinds.", more))
		}
	}
	switch p.open {
	case 0:
		lines = append(lines, "No incident is open.")
	case 1:
		lines = append(lines, fmt.Sprintf("One incident is not closed yet; it came %s ago.", age(now.Sub(p.oldest))))
	default:
		lines = append(lines, fmt.Sprintf("%d incidents are not closed yet, the oldest of which came %s ago.", p.open, age(now.Sub(p.oldest))))
	}
	return strings.Join(lines, "\n")
}

// age is a length of time for people, in the largest unit that says something.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return plural(int(d/(24*time.Hour)), "day")
	case d >= 2*time.Hour:
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(max(d, 0)/time.Minute), "minute")
}

func times(n int64) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// oneLine keeps a text from a configuration on the line that it is on.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
