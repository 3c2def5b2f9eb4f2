package report

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy/breach"
)

// acts are those that a report is about: of the period, and exceptions that were added since.
type acts struct {
	all   []act
	later []act // exceptions that were added after it
}

type act struct {
	breach.RecordedAct
	at time.Time
}

func readActs(ctx context.Context, record *breach.Reader, in Input) (a acts, err error) {
	err = record.Acts(ctx, breach.ActFilter{From: in.From, Zone: in.Zone}, func(r breach.RecordedAct) error {
		at, err := time.Parse(time.RFC3339, r.Time)
		if err != nil {
			return err
		}
		switch {
		case at.Before(in.To):
			a.all = append(a.all, act{r, at})
		case r.What == "exceptions.add":
			a.later = append(a.later, act{r, at})
		}
		return nil
	})
	return a, err
}

// Requests are those to open a site that is blocked, from the block page.
type Requests struct {
	Total, Allowed, Waiting Figure
	List                    []Request // none for governors
	More                    int       // how many are not in List
}

// Request is a site that a group asked for.
type Request struct {
	Name, Group, Category string
	Why                   string // the newest reason that was given
	Times                 int
	First                 time.Time
	Outcome               string // in words
	Allowed               bool
}

// maxRequests is how many of them are listed, maxChanges how many changes.
const maxRequests, maxChanges = 100, 200

var (
	requestForm = regexp.MustCompile(`^(\S+) for group (.+), blocked as (.*)$`)
	allowForm   = regexp.MustCompile(`^exception \S+: allow (.+?) for (.+?) until (\S+)`)
)

// requests fills what was asked for and what came of it.
func (r *Report) requests(a *acts) {
	var all []*Request
	for _, act := range a.all {
		m := requestForm.FindStringSubmatch(act.Detail)
		if act.What != "unblock.request" || m == nil {
			continue
		}
		i := slices.IndexFunc(all, func(q *Request) bool { return q.Name == m[1] && q.Group == m[2] })
		if i < 0 {
			title, _ := r.category(m[3])
			all = append(all, &Request{Name: m[1], Group: m[2], Category: title, First: act.at})
			i = len(all) - 1
		}
		all[i].Times++
		all[i].Why = act.Why
	}
	allowed := 0
	for _, q := range all {
		if q.Outcome = r.outcome(a, q); q.Outcome != "" {
			q.Allowed = true
			allowed++
		} else {
			q.Outcome = "still blocked"
		}
	}
	r.Requests = Requests{Total: r.figure(int64(len(all))), Allowed: r.figure(int64(allowed)), Waiting: r.figure(int64(len(all) - allowed))}
	if r.in.Governors {
		return
	}
	for _, q := range all[:min(len(all), maxRequests)] {
		r.Requests.List = append(r.Requests.List, *q)
	}
	r.Requests.More = len(all) - len(r.Requests.List)
}

// outcome says what lets a site through that was asked for; "" for nothing. Whether an exception for one device is for
// the one that asked is not said: a person sees to that.
func (r *Report) outcome(a *acts, q *Request) string {
	name, err := blocklist.ParseName(q.Name)
	if err != nil {
		return ""
	}
	for _, act := range slices.Concat(a.all, a.later) {
		m := allowForm.FindStringSubmatch(act.Detail)
		if act.What != "exceptions.add" || m == nil || act.at.Before(q.First) {
			continue
		}
		covers := slices.ContainsFunc(strings.Split(m[1], ", "), func(text string) bool {
			n, err := blocklist.ParseName(text)
			return err == nil && n.Covers(name)
		})
		if group, is := strings.CutPrefix(m[2], "group "); covers && (!is || group == q.Group) {
			return "allowed for a time, for " + m[2] + ", until " + r.moment(m[3])
		}
	}
	for _, rule := range r.in.Rules {
		covers := slices.ContainsFunc(rule.Names, func(n blocklist.Name) bool { return n.Covers(name) })
		if rule.Allow && covers && rule.Client == nil && (len(rule.Groups) == 0 || slices.Contains(rule.Groups, q.Group)) {
			if rule.Added.IsZero() {
				return "allowed by a rule"
			}
			return "allowed by a rule of " + rule.Added.Format("2 January 2006")
		}
	}
	return ""
}

// moment is a time in a text for people; what is none stays as it is.
func (r *Report) moment(text string) string {
	t, err := time.Parse(time.RFC3339, strings.TrimSuffix(text, ";"))
	if err != nil {
		return text
	}
	return t.In(r.in.Zone).Format("2 January 2006, 15:04")
}
