package alert

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"schoolgate/policy/breach"
)

// How many categories and groups, and incidents of each kind, the letter of a digest lists, and how many characters a
// line of it has: a card of Teams may have 28 kB.
const maxLetterTotals, maxLetterIncidents, maxLetterLine = 12, 10, 300

// digest fills the letter of a digest: its totals and incidents are facts.
func (l *Letter) digest(d *digestData, zone *time.Location) {
	l.Site, l.Count, l.URL, l.Chain = shownText(d.Site), d.Count, d.URL, chain(d.Chain)
	l.Subject = fmt.Sprintf("Digest of %s: %s, %d not closed", l.Site, plural(d.IncidentCount, "incident"), d.OpenCount)
	lines := strings.Split(d.Message, "\n") // the first says how much came, the last what is open
	l.Summary = clean(lines[0], maxMessage)
	if last := len(lines) - 1; last > 0 {
		l.Summary += " " + clean(lines[last], maxMessage)
	}
	list := func(label string, values []string, all int) {
		for i, v := range values {
			if i > 0 {
				label = ""
			}
			l.Facts = append(l.Facts, Fact{label, v})
		}
		if more := all - len(values); more > 0 && len(values) > 0 {
			l.Facts = append(l.Facts, Fact{"", fmt.Sprintf("and %d more", more)})
		}
	}
	var totals []string
	for _, t := range d.Totals[:min(len(d.Totals), maxLetterTotals)] {
		totals = append(totals, fmt.Sprintf("%s, group %s: %s, in %s", shownText(t.Title), shownText(t.Group), times(t.Count), plural(t.Incidents, "incident")))
	}
	list("In all", totals, len(d.Totals))
	list("Incidents", inLetter(d.Incidents, zone), d.IncidentCount)
	list("Still open", inLetter(d.Open, zone), len(d.Open))
	l.Facts = append(l.Facts, Fact{"Site", l.Site})
	l.Advice = []string{
		"For the safeguarding lead: look at what is not closed, and close it with what came of it.",
		"Devices asked; that is no proof that somebody looked: apps and pages ask for names by themselves.",
	}
}

// inLetter is a line for each of some incidents.
func inLetter(all []digestIncident, zone *time.Location) (lines []string) {
	for i := range all[:min(len(all), maxLetterIncidents)] {
		d := &all[i]
		last, _ := time.Parse(time.RFC3339, d.Last)
		parts := []string{
			capital(clean(d.Severity, maxShown)) + ": " + shownText(d.Title), "group " + shownText(d.Group), times(d.Count),
			"last " + last.In(zone).Format("Mon 2 Jan 15:04"), map[string]string{
				breach.StateNew: "nobody has looked yet", breach.StateSeen: "seen", breach.StateInHand: "in hand", breach.StateClosed: "closed",
			}[d.State],
		}
		if c := d.Client; c != nil {
			parts = append(parts, shownText(c.Name), clean(c.IP, maxShown), clean(c.MAC, maxShown), shownText(c.User))
		}
		if d.Note != "" {
			parts = append(parts, "person unknown")
		}
		for _, n := range d.Names {
			parts = append(parts, fmt.Sprintf("%s (%d)", shownName(n.Name), n.Count))
		}
		lines = append(lines, clean(strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", "), maxLetterLine))
	}
	return lines
}

// link is what the button to the console says.
func (l *Letter) link() string {
	if l.Incident == "" {
		return "Open the incidents"
	}
	return "Open the incident"
}
