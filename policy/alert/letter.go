package alert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Letter is a message in words, as chats and mail tell it. It is what templates are given: every text in it
// is fit to be shown, and in a chat's template its markup does nothing.
type Letter struct {
	Type    string    // "incident.opened", "incident.continued", "digest", "system", "test"
	Time    time.Time // when the message was made, by the school's clock
	Site    string
	Subject string   // one line
	Summary string   // what happened, a sentence or two
	Facts   []Fact   // what else is known
	Advice  []string // what to do, and who
	URL     string   // of the incident, or of all of them; empty: there is no console
	Chain   string   // the newest link of the record's chain, "42:5f70…", for audit verify --anchor

	// Of an incident:
	Incident    string // its ID
	Severity    string // "critical", "high", "medium", "low"
	Category    string
	Title       string // of the category
	Group       string
	Action      string // "block" or "monitor"
	Count       int64
	First, Last time.Time // by the school's clock
	// With detail: full only. Names are written as "www.example[.]org", so that they become no link.
	Client breach.Client
	Names  []breach.NameCount
}

// Fact is something known: "Group", "year7".
type Fact struct{ Label, Value string }

// maxLetterNames is how many names a letter lists.
const maxLetterNames = 20

// letter returns the letter of a message, with times in a zone. What is no message is a letter that says so:
// somebody must still look.
func letter(body []byte, zone *time.Location) Letter {
	var m struct {
		Type      string          `json:"type"`
		Timestamp time.Time       `json:"timestamp"`
		Data      json.RawMessage `json:"data"`
	}
	var incident incidentData
	var words textData
	if json.Unmarshal(body, &m) != nil {
		m.Type = ""
	}
	l := Letter{Type: m.Type, Time: m.Timestamp.In(zone)}
	switch m.Type {
	case breach.IncidentOpened, breach.IncidentContinued:
		if json.Unmarshal(m.Data, &incident) == nil {
			l.incident(&incident, zone)
			return l
		}
	case typeDigest:
		var digest digestData
		if json.Unmarshal(m.Data, &digest) == nil {
			l.digest(&digest, zone)
			return l
		}
	case typeSystem, typeTest:
		if json.Unmarshal(m.Data, &words) == nil {
			l.words(&words)
			return l
		}
	}
	l.Subject, l.Summary = "schoolgate: a message", "There is a message that cannot be shown here. See schoolgate status."
	return l
}

// words fills the letter of a system or test message.
func (l *Letter) words(t *textData) {
	l.Site, l.Summary, l.Chain = shownText(t.Site), clean(t.Message, maxMessage), chain(t.Chain)
	l.Facts = []Fact{{"Site", l.Site}}
	if l.Type == typeTest {
		l.Subject = "schoolgate test: " + l.Site
		return
	}
	l.Subject = "schoolgate at " + l.Site + " needs a look"
	l.Advice = []string{"For IT: schoolgate status and /healthz say more."}
}

// incident fills the letter of an incident.
func (l *Letter) incident(d *incidentData, zone *time.Location) {
	first, _ := time.Parse(time.RFC3339, d.First)
	last, _ := time.Parse(time.RFC3339, d.Last)
	l.Site, l.Incident, l.Severity, l.Category = shownText(d.Site), clean(d.Incident, maxShown), clean(d.Severity, maxShown), clean(d.Category, maxShown)
	l.Title, l.Group, l.Action, l.Count = shownText(d.Title), shownText(d.Group), clean(d.Action, maxShown), d.Count
	l.First, l.Last, l.Chain, l.URL = first.In(zone), last.In(zone), chain(d.Chain), d.URL
	if d.Client != nil {
		l.Client = breach.Client{
			IP: clean(d.Client.IP, maxShown), MAC: clean(d.Client.MAC, maxShown),
			Name: shownText(d.Client.Name), User: shownText(d.Client.User),
		}
	}
	for _, n := range d.Names[:min(len(d.Names), maxLetterNames)] {
		l.Names = append(l.Names, breach.NameCount{Name: shownName(n.Name), Count: n.Count})
	}

	l.Subject = fmt.Sprintf("%s: %s, group %s, %s", capital(l.Severity), l.Title, l.Group, l.Site)
	if l.Type == breach.IncidentContinued {
		l.Subject = "Goes on: " + l.Subject
	}
	l.Summary = l.sentence(d.Note != "")
	l.facts(len(d.Names))
	l.Advice = l.advice()
}

// sentence says what is known of an incident.
func (l *Letter) sentence(shared bool) string {
	who := "A device in group " + l.Group
	if shared {
		who = "A device behind an address of group " + l.Group + " that many people share (person unknown)"
	}
	done := "blocked"
	if l.Action != "block" {
		done = "let through and recorded"
	}
	what := l.Title
	if l.Category == policy.CategoryNameRule {
		what = "what a rule of the school blocks"
	}
	from, to := l.First.Format("15:04"), l.Last.Format("15:04")
	if l.First.Format(time.DateOnly) != l.Last.Format(time.DateOnly) {
		from, to = l.First.Format("15:04 on Mon 2 Jan"), l.Last.Format("15:04 on Mon 2 Jan")
	}
	switch {
	case l.Type == breach.IncidentContinued:
		return fmt.Sprintf("%s goes on asking for %s: %s since %s, last at %s (%s).", who, what, times(l.Count), from, to, done)
	case l.Count <= 1:
		return fmt.Sprintf("%s asked for %s once, at %s (%s).", who, what, to, done)
	case from == to:
		return fmt.Sprintf("%s asked for %s %s at %s (%s).", who, what, times(l.Count), to, done)
	}
	return fmt.Sprintf("%s asked for %s %s between %s and %s (%s).", who, what, times(l.Count), from, to, done)
}

// facts fills what else is known of an incident, for which so many names were told.
func (l *Letter) facts(names int) {
	add := func(label, value string) {
		if value != "" {
			l.Facts = append(l.Facts, Fact{label, value})
		}
	}
	add("Severity", l.Severity)
	add("Category", l.Title)
	add("Group", l.Group)
	add("Site", l.Site)
	add("When", l.Last.Format("Monday 2 January 2006, 15:04"))
	c := l.Client
	add("Device", strings.Join(slices.DeleteFunc([]string{c.Name, c.IP, c.MAC}, func(s string) bool { return s == "" }), ", "))
	add("Signed in", c.User)
	for i, n := range l.Names {
		label := ""
		if i == 0 {
			label = "Asked for"
		}
		l.Facts = append(l.Facts, Fact{label, fmt.Sprintf("%s (%d)", n.Name, n.Count)})
	}
	if more := names - len(l.Names); more > 0 {
		l.Facts = append(l.Facts, Fact{"", fmt.Sprintf("and %d more", more)})
	}
	add("Incident", l.Incident)
}

// mapped is the letter with a function applied to every text that is data, not to the URL.
func (l Letter) mapped(f func(string) string) Letter {
	for _, s := range []*string{
		&l.Site, &l.Subject, &l.Summary, &l.Chain, &l.Incident, &l.Severity, &l.Category, &l.Title, &l.Group, &l.Action,
		&l.Client.IP, &l.Client.MAC, &l.Client.Name, &l.Client.User,
	} {
		*s = f(*s)
	}
	l.Facts, l.Advice, l.Names = slices.Clone(l.Facts), slices.Clone(l.Advice), slices.Clone(l.Names)
	for i := range l.Facts {
		l.Facts[i] = Fact{f(l.Facts[i].Label), f(l.Facts[i].Value)}
	}
	for i := range l.Advice {
		l.Advice[i] = f(l.Advice[i])
	}
	for i := range l.Names {
		l.Names[i].Name = f(l.Names[i].Name)
	}
	return l
}

// chain is a link of the chain as audit verify --anchor takes it.
func chain(h breach.Head) string {
	if h.Hash == "" {
		return ""
	}
	return fmt.Sprintf("%d:%s", h.Seq, clean(h.Hash, maxShown))
}

func capital(s string) string {
	if s == "" {
		return "Incident"
	}
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}
