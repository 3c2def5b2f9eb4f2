package report

import (
	"strings"
	"time"

	"schoolgate/policy"
)

// Reach is what a group may reach, in words.
type Reach struct {
	Group string
	// OnlySites is how many sites an allow-list has; less than 0 where there is none, and all else is open.
	OnlySites int
	// Blocked, Timed and Watched are titles of categories, those that are blocked for everybody left out.
	Blocked, Timed, Watched []string
	Search                  string
}

// LastingRule is an exception that lasts.
type LastingRule struct {
	Names, For, Why, Who string
	Added, Expires       string // days
}

// Policy is what is in force when the report is made.
type Policy struct {
	Everybody []string // titles of the categories that are blocked for everybody, always
	Groups    []Reach
	Rules     []LastingRule // none for governors
	More      int           // how many are not in Rules
	Lasting   int           // how many there are
}

// policyNow fills what is in force.
func (r *Report) policyNow() {
	titles := func(of []string) (titles []string) {
		for _, name := range of {
			title, _ := r.category(name)
			titles = append(titles, title)
		}
		return titles
	}
	r.Now.Everybody = titles(r.in.Locked)
	for _, g := range r.in.Groups {
		r.Now.Groups = append(r.Now.Groups, Reach{
			Group: g.Name, OnlySites: g.OnlySites, Blocked: titles(g.Blocked), Timed: titles(g.Timed), Watched: titles(g.Watched), Search: inSearch(&g),
		})
	}
	for i := range r.in.Rules {
		rule := &r.in.Rules[i]
		if !rule.Expires.IsZero() && !r.in.Made.Before(rule.Expires) {
			continue
		}
		r.Now.Lasting++
		switch {
		case r.in.Governors:
		case len(r.Now.Rules) == maxChanges:
			r.Now.More++
		default:
			r.Now.Rules = append(r.Now.Rules, r.lasting(rule))
		}
	}
}

func inSearch(g *Group) string {
	engines := "as they come"
	if g.SafeSearch {
		engines = "safe"
	}
	if g.YouTube != "" {
		return engines + ", YouTube " + g.YouTube
	}
	return engines
}

func (r *Report) lasting(rule *policy.Rule) LastingRule {
	var names []string
	for _, n := range rule.Names {
		names = append(names, strings.TrimSuffix(n.String(), "."))
	}
	day := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.In(r.in.Zone).Format("2 Jan 2006")
	}
	l := LastingRule{Names: strings.Join(names, ", "), For: strings.Join(rule.Groups, ", "), Why: rule.Reason, Who: rule.By, Added: day(rule.Added), Expires: day(rule.Expires)}
	switch {
	case rule.Client != nil:
		l.For = "one device or person"
	case l.For == "":
		l.For = "everybody"
	}
	return l
}
