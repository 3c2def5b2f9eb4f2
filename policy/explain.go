package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
)

// Explanation is a decision with the way that led to it. Its JSON is that of the command `explain`.
type Explanation struct {
	Verdict    string      `json:"verdict"` // allow, block, monitor, rewrite, local, refuse or fail
	Group      string      `json:"group"`
	Category   string      `json:"category"`
	Categories []string    `json:"categories"`
	Rule       ExplainRule `json:"rule"`
	// Steps are sentences, one for each step that was reached, in order.
	Steps []string `json:"steps"`
	// ChangesAt is when the decision next changes by itself, RFC 3339, or "".
	ChangesAt string `json:"changes_at"`
}

// ExplainRule is what decided: the entry of a list, or a rule of the configuration.
type ExplainRule struct {
	List   string `json:"list,omitempty"`
	Entry  string `json:"entry,omitempty"`
	Via    string `json:"via,omitempty"`
	Line   int    `json:"line,omitempty"` // of the configuration
	File   string `json:"file,omitempty"` // of the base that has the line; "" for the configuration's own
	ID     string `json:"id,omitempty"`   // of an exception
	Reason string `json:"reason,omitempty"`
	By     string `json:"by,omitempty"`
}

// step is one of the steps of the package comment, as Explain numbers them.
type step int

const (
	stepAccess step = iota + 1
	stepLocked
	stepLocal
	stepSpecial
	stepRules
	stepOnly
	stepCategories
	stepSafeSearch
	stepAnswer
)

// Explain judges as Identify and Decide do, and says why.
func (p *Policy) Explain(client netip.Addr, name blocklist.Name, at time.Time) Explanation {
	return p.ExplainClient(Client{Addr: client}, name, at)
}

// ExplainClient is Explain for a client of which more may be known than its address.
func (p *Policy) ExplainClient(client Client, name blocklist.Name, at time.Time) Explanation {
	said := client.Addr
	client.Addr = client.Addr.Unmap().WithZone("")
	groupIndex, by := p.Place(&client, "")
	if !p.MayAsk(client.Addr) {
		groupIndex = p.defaultGroup
	}
	h := p.hoursAt(at)
	g := asking{&p.groups[groupIndex], h.groups[groupIndex]}
	ex := Explanation{Group: g.Name, Categories: []string{}, Steps: []string{}}
	if !p.MayAsk(client.Addr) {
		ex.Verdict = "refuse"
		ex.say(stepAccess, "access: %v is not in access.allow: refused", said)
		return ex
	}
	ex.say(stepAccess, "access: %v may ask, and is in group %s %s%s", said, g.Name, by.words(&client), p.notMoved(&client, by))

	facts := p.Facts([]byte(name))
	who := &Who{Group: groupIndex, Client: client}
	v := p.decide(g, who, []byte(name), facts, at)
	// Where no period changes what the name is listed under, only rules can end.
	timed := p.clockIsWrong(at) || p.isTimed(groupIndex, facts.Listed)
	next := func(t time.Time) time.Time {
		if !timed {
			return p.nextExpiry(t)
		}
		return p.nextChange(h, t)
	}
	for t := next(at); !t.IsZero() && t.Before(at.Add(foresight)); t = next(t) {
		h = p.hoursAt(t)
		if p.decide(asking{g.group, h.groups[groupIndex]}, who, []byte(name), facts, t) != v {
			ex.ChangesAt = t.In(p.spec.Calendar.zone()).Format(time.RFC3339)
			break
		}
	}
	a := p.Attribution(Event{Policy: p, Verdict: v, Name: name})
	ex.Category = a.Category
	if v.Categories != 0 {
		ex.Categories = a.Categories
	}
	ex.Rule = ExplainRule{List: a.List, Entry: a.Entry, Via: v.Via.String()}
	ex.Verdict = map[Action]string{
		Passthru: "allow", Monitor: "monitor", Block: "block", LocalData: "local", Forward: "local",
		NXDomain: "local", SelfData: "local", Localhost: "local", NotReady: "fail",
	}[v.Action]
	var own *Verdict
	if p.base != nil && !p.passes(g, facts) {
		judged := p.judge(g, who, []byte(name), facts, at)
		if v.graver(judged) {
			own = &judged
		}
	}
	p.steps(&ex, v, own, a, g, name, at)
	return ex
}

// isTimed reports whether a period changes some of the categories for a group, by what it has itself or by the base.
func (p *Policy) isTimed(groupIndex uint16, categories blocklist.Categories) bool {
	if slices.ContainsFunc(p.groups[groupIndex].changes, func(c change) bool { return (c.block|c.unblock)&categories != 0 }) {
		return true
	}
	return p.base != nil && p.heldBy[groupIndex] != holdsNothing && p.base.isTimed(uint16(p.heldBy[groupIndex]), categories)
}

// words says by what of a client its group was found.
func (b By) words(c *Client) string {
	switch b {
	case ByMAC:
		return "by its MAC " + c.MAC
	case ByName:
		return "by its name " + c.Name
	case ByHost:
		return "by the host name that it asks"
	case ByAddress:
		return "by its address"
	case ByDefault:
	}
	return "as an unknown client (default_group)"
}

// notMoved says into which groups a client is not let, though what it says of itself names it as theirs.
func (p *Policy) notMoved(c *Client, by By) string {
	var b strings.Builder
	from, _ := p.ofAddress(c.Addr)
	for _, says := range [...]By{ByMAC, ByName} {
		if to, named := p.devices.find(says, c, ""); named && says > by && !p.admits(to, from) {
			fmt.Fprintf(&b, "; %s it would be in group %s, which does not block all that group %s blocks and does not say trust_identity",
				says.words(c), p.groups[to].Name, p.groups[from].Name)
		}
	}
	return b.String()
}

// foresight is how far ahead Explain looks for a change: over the longest holiday.
const foresight = 400 * 24 * time.Hour

func (ex *Explanation) say(n step, format string, args ...any) {
	ex.Steps = append(ex.Steps, fmt.Sprintf("%d. ", n)+fmt.Sprintf(format, args...))
}

// steps tells the way to the verdict: the steps that said nothing, then the one that decided. own, where it is not nil,
// is what the configuration would have decided without its base.
func (p *Policy) steps(ex *Explanation, v Verdict, own *Verdict, a Attribution, g asking, name blocklist.Name, at time.Time) {
	locked := v.Action == Block && v.Categories&p.locked != 0
	if locked {
		ex.say(stepLocked, "locked categories: blocked for everybody as %s%s", strings.Join(a.Categories, ", "), entryText(a))
		return
	}
	ex.say(stepLocked, "locked categories: none has the name")

	switch {
	case v.Action == LocalData:
		ex.say(stepLocal, "records: answered here")
		return
	case v.Action == Forward:
		ex.say(stepLocal, "zones: forwarded to the servers of zone %v, unfiltered", p.spec.Zones[v.Index].Names[0])
		return
	case v.Action == NXDomain && v.Index >= 0:
		ex.say(stepLocal, "zones: zone %v is not open to group %s: does not exist", p.spec.Zones[v.Index].Names[0], g.Name)
		return
	}
	switch {
	case own != nil && own.Action == LocalData:
		ex.say(stepLocal, "records: one has the name%s", p.overruled(g))
	case own != nil && (own.Action == Forward || own.Action == NXDomain):
		ex.say(stepLocal, "zones: zone %v has the name%s", p.spec.Zones[own.Index].Names[0], p.overruled(g))
	default:
		ex.say(stepLocal, "records and zones: none has the name")
	}

	if is, special := map[Action]string{
		NXDomain: "does not exist", SelfData: "this resolver itself", Localhost: "this machine",
	}[v.Action]; special {
		ex.say(stepSpecial, "special names: %s", is)
		return
	}
	ex.say(stepSpecial, "special names: not one")

	if own != nil && own.Rule >= 0 {
		why := p.overruled(g)
		if own.Action == Block {
			why = "; " + p.spec.Base.File + " tells of it as something graver"
		}
		ex.say(stepRules, "%s%s", p.byRule(p.spec.Rules[own.Rule]), why)
	}
	switch {
	case v.Action == NotReady:
		ex.say(stepRules, "a required list has never been loaded: SERVFAIL, never open by accident")
		return
	case v.Allowed && v.Rule < 0:
		ex.say(stepRules, "help lines: never blocked, recorded or alerted")
	case v.Rule >= 0:
		r := p.spec.Rules[v.Rule]
		ex.Rule = ExplainRule{List: a.List, Entry: a.Entry, Via: ViaRule.String(), Line: r.Line, File: r.File, ID: r.ID, Reason: r.Reason, By: r.By}
		ex.say(stepRules, "%s", p.byRule(r))
		if !r.Allow {
			return
		}
	case own != nil && own.Rule >= 0:
	default:
		ex.say(stepRules, "rules and exceptions: none for the name%s", p.expired(name, at))
	}
	if v.Allowed {
		p.safeStep(ex, v, g)
		besides := ""
		if v.Held {
			besides = ", and against all that " + p.spec.Base.File + " blocks"
		}
		ex.say(stepAnswer, "answer: looked up; what it leads to is checked against locked categories and blocking rules%s", besides)
		return
	}

	if v.Category == CategoryOnly {
		ex.say(stepOnly, "only: outside the allow-list of group %s: blocked", g.Name)
		return
	}
	if own != nil && own.Category == CategoryOnly {
		ex.say(stepOnly, "only: outside the allow-list of group %s; %s tells of it as something graver", g.Name, p.spec.Base.File)
	} else if g.OnlySet {
		ex.say(stepOnly, "only: in the allow-list of group %s", g.Name)
	} else {
		ex.say(stepOnly, "only: group %s has no allow-list", g.Name)
	}

	what, timed := strings.Join(a.Categories, ", ")+entryText(a), p.timed(g.group, name, at)
	if v.Action == Block {
		ex.say(stepCategories, "categories: blocked for group %s as %s%s", g.Name, what, timed)
		return
	}
	switch {
	case v.Categories&p.trials != 0:
		after := "monitored for group " + g.Name
		if v.Categories&p.trialsOf(g.block) != 0 {
			after = "blocked for group " + g.Name
		}
		ex.say(stepCategories, "categories: only a list on trial has the name, for %s: would be %s; until the trial ends it resolves, and is recorded",
			what, after)
	case v.Action == Monitor:
		ex.say(stepCategories, "categories: monitored for group %s as %s: resolves, and is recorded%s", g.Name, what, timed)
	default:
		ex.say(stepCategories, "categories: %s%s", p.elsewhere(name, g.group), timed)
	}
	p.safeStep(ex, v, g)
	ex.say(stepAnswer, "answer: looked up; each name and address that it leads to is judged as well")
}

// safeStep says what safe search makes of a name that passes.
func (p *Policy) safeStep(ex *Explanation, v Verdict, g asking) {
	if host := p.SafeHost(v); host != "" {
		if v.Action == Passthru {
			ex.Verdict = "rewrite"
		}
		ex.say(stepSafeSearch, "safe search: group %s gets %s in its safe form, by the addresses of %v", g.Name, engines[(v.Safe-1)/2].name, host)
		return
	}
	ex.say(stepSafeSearch, "safe search: not for this name and group")
}

// byRule says what a rule or an exception does, and whose it is.
func (p *Policy) byRule(r Rule) string {
	word := "blocked"
	if r.Allow {
		word = "allowed"
	}
	if r.ID != "" {
		return fmt.Sprintf("exceptions: %s by exception %s of %s, until %s: %s", word, r.ID, r.By,
			r.Expires.In(p.spec.Calendar.zone()).Format(time.RFC3339), r.Reason)
	}
	return fmt.Sprintf("rules: %s by the rule in %s: %s", word, r.place(), r.Reason)
}

// place says where a rule stands.
func (r *Rule) place() string {
	if r.File != "" {
		return fmt.Sprintf("line %d of %s", r.Line, r.File)
	}
	return fmt.Sprintf("line %d", r.Line)
}

// overruled says why something of the site's own has no effect for a group.
func (p *Policy) overruled(g asking) string {
	return fmt.Sprintf("; it has no effect: %s does not let group %s have that name, and does not say local: may_loosen", p.spec.Base.File, g.Name)
}

// expired says which rule for the name has ended, for those who wonder.
func (p *Policy) expired(name blocklist.Name, at time.Time) string {
	for _, r := range p.spec.Rules {
		if p.inForce(&r, at) {
			continue
		}
		if slices.ContainsFunc(r.Names, func(n blocklist.Name) bool { return n.Covers(name) }) {
			which := "the one in " + r.place()
			if r.ID != "" {
				which = "exception " + r.ID
			}
			return fmt.Sprintf(" (%s ended at %s)", which, r.Expires.In(p.spec.Calendar.zone()).Format(time.RFC3339))
		}
	}
	return ""
}

// elsewhere says which categories have a name that passes: others may block them.
func (p *Policy) elsewhere(name blocklist.Name, g *group) string {
	var found []string
	for i, c := range p.spec.Categories {
		list, _, ok := p.set.Attribute(name, blocklist.Category(i))
		switch {
		case !ok || p.confidential.Has(blocklist.Category(i)):
		case c.TrialOf != "":
			found = append(found, fmt.Sprintf("%s (list on trial %s)", c.TrialOf, list))
		default:
			found = append(found, fmt.Sprintf("%s (%s)", c.Name, list))
		}
	}
	if found == nil {
		return "none has the name"
	}
	return fmt.Sprintf("group %s neither blocks nor monitors %s", g.Name, strings.Join(found, ", "))
}

// timed says what the periods of the moment change for the name.
func (p *Policy) timed(g *group, name blocklist.Name, at time.Time) string {
	shown := p.set.Match([]byte(name)) &^ p.confidential
	if p.clockIsWrong(at) {
		return fmt.Sprintf("; the clock shows a time before this program was made (%s), so nothing is unblocked and all that periods block is blocked",
			p.spec.Built.Format(time.DateOnly))
	}
	var said []string
	active := p.spec.Calendar.active(at)
	for _, c := range g.changes {
		for _, change := range []struct {
			categories blocklist.Categories
			verb       string
		}{{c.block, "blocks"}, {c.unblock, "unblocks"}} {
			if hit := change.categories & shown; active[c.period] && hit != 0 {
				said = append(said, fmt.Sprintf("period %s %s %s", c.period.Name, change.verb, strings.Join(p.categoryNames(hit), ", ")))
			}
		}
	}
	if said == nil {
		return ""
	}
	return "; " + strings.Join(said, "; ")
}

func entryText(a Attribution) string {
	if a.Confidential || a.Entry == "" {
		return ""
	}
	return fmt.Sprintf(" (entry %s of %s)", a.Entry, a.List)
}
