package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// The self-test asks the running resolver itself, as a client of each group, and compares what the policy in force
// promises with what comes back on the wire. It leaves no breach, and one act in the audit, chained with the record.

// The outcomes of a check.
const (
	CheckOK        = "ok"
	CheckFailed    = "FAILED"
	CheckNotTested = "not tested"
)

// SelfTest is what a self-test found.
type SelfTest struct {
	Time      time.Time   `json:"time"`
	Site      string      `json:"site"`
	By        string      `json:"by"`
	Config    string      `json:"config"` // hash of the configuration in force
	Groups    []GroupTest `json:"groups"`
	OK        int         `json:"ok"`
	Failed    int         `json:"failed"`
	NotTested int         `json:"not_tested"`
	// File is where it is kept, and SHA256, in hex, of what is there; in the file itself both are left out.
	File   string `json:"file,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// GroupTest is what was found of one group.
type GroupTest struct {
	Group  string  `json:"group"`
	Client string  `json:"client"` // the address that was asked as; "" where there is none
	Checks []Check `json:"checks"`
}

// Check is one promise of a policy, and whether it holds.
type Check struct {
	What   string `json:"what"` // "category gaming"
	Name   string `json:"name"` // that was asked for; "" where none was
	Result string `json:"result"`
	Why    string `json:"why"`
}

// selfTestNames are the public names with which schools test their filter, by category.
var selfTestNames = map[string]string{"iwf": "iwf.testfiltering.com", "ctiru": "ctiru.testfiltering.com"}

const (
	sampled  = 50 // names of each list that are looked at
	askedFor = 3  // names of each list that are asked for
	// selfTestWait bounds each question.
	selfTestWait = 5 * time.Second
	// maxFailuresTold bounds the list of failures in the audit.
	maxFailuresTold = 20
)

func (d *Daemon) selfTestHandler(w http.ResponseWriter, r *http.Request) {
	f, group, by := d.Filter(), r.FormValue("group"), r.FormValue("by")
	if by == "" {
		writeText(w, http.StatusBadRequest, "who asks?")
		return
	}
	if groups := f.Policy.Groups(); group != "" && !slices.Contains(groups, group) {
		writeText(w, http.StatusBadRequest, fmt.Sprintf("there is no group %q (there is: %s)", group, strings.Join(groups, ", ")))
		return
	}
	if !f.Policy.Ready() {
		writeText(w, http.StatusUnprocessableEntity, "schoolgate waits for a list and answers nothing yet (see `schoolgate status`): nothing was tested")
		return
	}
	t := selfTester{filter: f, at: d.now().In(f.Config.Timezone), ask: d.Ask}
	out := t.run(r.Context(), group)
	if err := r.Context().Err(); err != nil {
		return // whoever asked has gone
	}
	if d.Filter() != f {
		writeText(w, http.StatusUnprocessableEntity, "the policy or a list changed while it was tested: do it again")
		return
	}
	out.By = by
	err := out.keep(filepath.Join(f.Config.DataDir, selfTestDir))
	if err == nil {
		act := breach.Act{Who: by, What: "selftest.passed", Detail: out.detail(f)}
		if out.Failed > 0 {
			act.What = "selftest.failed"
		}
		err = d.record.Audit(context.WithoutCancel(r.Context()), act)
	}
	if err != nil {
		writeText(w, http.StatusUnprocessableEntity, "the self-test was not written down: "+err.Error())
		return
	}
	writeJSON(w, out)
}

// SelfTest has the running schoolgate test itself as a group, or as each for "".
func (c *Client) SelfTest(ctx context.Context, group, by string) (out SelfTest, err error) {
	err = c.do(ctx, http.MethodPost, "/selftest", url.Values{"group": {group}, "by": {by}}, &out)
	return out, err
}

// detail is what the audit, and the report, say of it.
func (s *SelfTest) detail(f *Filter) string {
	var groups, failures []string
	for _, g := range s.Groups {
		groups = append(groups, g.Group)
		for _, c := range g.Checks {
			if c.Result == CheckFailed {
				failures = append(failures, g.Group+" "+c.What+" ("+c.Why+")")
			}
		}
	}
	if more := len(failures) - maxFailuresTold; more > 0 {
		failures = append(failures[:maxFailuresTold], fmt.Sprintf("and %d more", more))
	}
	var ages []string
	for _, l := range f.Lists {
		if l.List != nil && !l.Modified.IsZero() {
			ages = append(ages, fmt.Sprintf("%s %d h", f.category(l), int(max(0, s.Time.Sub(l.Modified))/time.Hour)))
		}
	}
	text := fmt.Sprintf("groups %s: %d checks ok, %d failed, %d not tested", strings.Join(groups, ", "), s.OK, s.Failed, s.NotTested)
	if failures != nil {
		text += "; failed: " + strings.Join(failures, "; ")
	}
	text += "; configuration " + s.Config
	if ages != nil {
		text += "; age of lists: " + strings.Join(ages, ", ")
	}
	return text + "; sha256 of " + filepath.Base(s.File) + " " + s.SHA256
}

// selfTester tests what is in force at a moment.
type selfTester struct {
	filter *Filter
	at     time.Time
	ask    func(ctx context.Context, packet []byte, from netip.AddrPort, transport string, unrecorded bool) ([]byte, error)
}

func (t *selfTester) run(ctx context.Context, only string) SelfTest {
	p := t.filter.Policy
	out := SelfTest{Time: t.at, Site: p.Site(), Config: t.filter.Config.Hash, Groups: []GroupTest{}}
	samples := t.samples()
	for i, name := range p.Groups() {
		if only != "" && name != only {
			continue
		}
		g := groupTester{selfTester: t, group: uint16(i), checks: []Check{}}
		var found bool
		if g.client, found = t.clientOf(uint16(i)); found {
			g.run(ctx, samples)
			out.Groups = append(out.Groups, GroupTest{name, g.client.String(), g.checks})
		} else {
			g.say("group", "", CheckNotTested, "no address that may ask is of this group alone")
			out.Groups = append(out.Groups, GroupTest{name, "", g.checks})
		}
		for _, c := range g.checks {
			switch c.Result {
			case CheckOK:
				out.OK++
			case CheckFailed:
				out.Failed++
			default:
				out.NotTested++
			}
		}
	}
	return out
}

// clientOf finds an address that belongs to a group, far up in its ranges, where seldom a device is.
func (t *selfTester) clientOf(group uint16) (netip.Addr, bool) {
	p := t.filter.Policy
	for _, prefix := range append(p.Clients(group), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.0/8")) {
		last := prefix.Masked().Addr().AsSlice()
		for bit := prefix.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 1 << (7 - bit%8)
		}
		addr, _ := netip.AddrFromSlice(last)
		if addr.Is4() && !prefix.IsSingleIP() {
			addr = addr.Prev() // the last one is for broadcasts
		}
		for range 512 { // past the ranges of others at its end
			if !prefix.Contains(addr) {
				break
			}
			if of, mayAsk := p.Identify(addr); mayAsk && of == group {
				return addr, true
			}
			addr = addr.Prev()
		}
		if of, mayAsk := p.Identify(prefix.Addr()); mayAsk && of == group {
			return prefix.Addr(), true
		}
	}
	return netip.Addr{}, false
}

// sample is what a list's own text has.
type sample struct {
	list     string
	category blocklist.Category
	names    []blocklist.Name
	missing  bool   // it is not loaded: nothing of it is blocked
	why      string // there are none
}

// samples takes a few names of the text of each list that blocks.
func (t *selfTester) samples() (all []sample) {
	categories := t.filter.Policy.Categories()
	for _, l := range t.filter.Lists {
		if of := categories[l.Category]; of.TrialOf != "" || of.Confidential || selfTest(l.Spec) {
			continue
		}
		s := sample{list: l.ID, category: l.Category}
		var err error
		switch s.names, err = t.filter.loader.Sample(l.Spec, OwnNames(t.filter.Config), sampled); {
		case l.List == nil:
			s.missing = true
		case err != nil:
			s.why = err.Error()
		case len(s.names) == 0:
			s.why = "the list begins without names"
		}
		all = append(all, s)
	}
	return all
}

// groupTester asks as one group.
type groupTester struct {
	*selfTester
	group  uint16
	client netip.Addr
	checks []Check
}

func (g *groupTester) say(what, name, result, why string) {
	g.checks = append(g.checks, Check{what, name, result, why})
}

func (g *groupTester) run(ctx context.Context, samples []sample) {
	p := g.filter.Policy
	blocks, _ := g.filter.Policy.Handles(g.group, g.at)
	for c := range blocks.All() {
		g.category(ctx, c, samples)
	}
	g.only(ctx)
	for _, name := range []string{"www.google.com", "www.bing.com", "duckduckgo.com", "www.youtube.com"} {
		v := g.decide(name)
		if host := p.SafeHost(v); host != "" {
			result, why := judgeSafe(g.question(ctx, name), host.String())
			g.say("safe search", name, result, why)
		}
	}
	for _, name := range []string{"use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com", "resolver.arpa"} {
		if v := g.decide(name); v.Action == policy.NXDomain || v.Action == policy.Block || v.Action == policy.SelfData {
			result, why := judgeAbsent(g.question(ctx, name))
			g.say("way round", name, result, why)
		}
	}
	g.outsideResolvers(ctx, blocks)
	if _, set := p.Only(g.group); !set {
		for _, name := range []string{"www.bbc.co.uk", "www.gov.uk", "www.nhs.uk"} {
			g.open(ctx, "ordinary name", name)
		}
	}
}

// decide is what the policy promises of a name.
func (g *groupTester) decide(name string) policy.Verdict {
	key, err := blocklist.ParseName(name)
	if err != nil {
		return policy.Verdict{} // all names are those of the program, or of a list that was read
	}
	who := &policy.Who{Group: g.group, Client: policy.Client{Addr: g.client}}
	return g.filter.Policy.DecideKnown(who, []byte(key), g.filter.Policy.Facts([]byte(key)), g.at)
}

// category checks that names which the lists of a category have are blocked.
func (g *groupTester) category(ctx context.Context, c blocklist.Category, samples []sample) {
	of := g.filter.Policy.Categories()[c]
	what := "category " + of.Name
	if name := selfTestNames[of.Name]; name != "" {
		result, why := judgeBlocked(g.question(ctx, name), g.filter.Config.Blocking.Answer)
		g.say(what, name, result, strings.TrimPrefix(why+"; self-test name only: it proves nothing of the list", "; "))
		return
	}
	if of.Confidential {
		g.say(what, "", CheckNotTested, "its names are confidential")
		return
	}
	lists := 0
	for _, s := range samples {
		if s.category == c {
			lists++
			g.list(ctx, what+", list "+s.list, s)
		}
	}
	if lists == 0 {
		g.say(what, "", CheckNotTested, "it has no list that blocks")
	}
}

func (g *groupTester) list(ctx context.Context, what string, s sample) {
	switch {
	case s.missing:
		g.say(what, "", CheckFailed, "the list is not loaded: nothing of it is blocked")
		return
	case s.why != "":
		g.say(what, "", CheckNotTested, s.why)
		return
	}
	asked, listed := 0, false
	for _, n := range s.names {
		if asked == askedFor {
			return
		}
		name := n.String()
		listed = listed || g.filter.Policy.Facts([]byte(n)).Listed.Has(s.category)
		if g.decide(name).Action != policy.Block {
			continue // a rule, a zone or a help line lets it through; what the list itself has is seen below
		}
		result, why := judgeBlocked(g.question(ctx, name), g.filter.Config.Blocking.Answer)
		g.say(what, name, result, why)
		asked++
	}
	switch {
	case !listed:
		g.say(what, "", CheckFailed, "none of its first names is in force (see `schoolgate lists status`; reload)")
	case asked == 0:
		g.say(what, "", CheckNotTested, "rules or zones let its first names through")
	}
}

// only checks an allow-list.
func (g *groupTester) only(ctx context.Context) {
	names, set := g.filter.Policy.Only(g.group)
	if !set {
		return
	}
	const outside = "outside-the-allow-list.example"
	if g.decide(outside).Action == policy.Block {
		result, why := judgeBlocked(g.question(ctx, outside), g.filter.Config.Blocking.Answer)
		g.say("allow-list, outside", outside, result, why)
	}
	if len(names) > 0 {
		g.open(ctx, "allow-list, inside", names[0].String())
	}
}

// outsideResolvers checks that the best-known resolver outside is shut, where the group blocks such.
func (g *groupTester) outsideResolvers(ctx context.Context, blocks blocklist.Categories) {
	const name = "dns.google"
	promised := slices.ContainsFunc(slices.Collect(blocks.All()), func(c blocklist.Category) bool {
		of := g.filter.Policy.Categories()[c].Name
		return of == "encrypted_dns" || of == "bypass"
	})
	switch {
	case g.decide(name).Action == policy.Block:
		result, why := judgeBlocked(g.question(ctx, name), g.filter.Config.Blocking.Answer)
		g.say("way round", name, result, why)
	case promised:
		g.say("way round", name, CheckNotTested, "no list that the group blocks has it")
	}
}

// open checks that a name which nobody means to block is not blocked.
func (g *groupTester) open(ctx context.Context, what, name string) {
	v := g.decide(name)
	switch {
	case v.Action == policy.Block && v.Rule >= 0:
		g.say(what, name, CheckNotTested, "a rule blocks it")
	case v.Action == policy.Block:
		g.say(what, name, CheckFailed, "blocked as "+g.filter.Policy.CategoryName(v.Category))
	default:
		result, why := judgeOpen(g.question(ctx, name))
		g.say(what, name, result, why)
	}
}

// errNoAnswer says that the resolver sent none.
var errNoAnswer = errors.New("no answer")

// question asks for the IPv4 address of a name, as a device does.
func (g *groupTester) question(ctx context.Context, name string) reply {
	packet, err := packQuestion(name)
	if err != nil {
		return reply{err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, selfTestWait)
	defer cancel()
	answer, err := g.ask(ctx, packet, netip.AddrPortFrom(g.client, 53053), "udp", true)
	if err == nil && answer == nil {
		err = errNoAnswer
	}
	if err != nil {
		return reply{err: err}
	}
	return readReply(answer)
}
