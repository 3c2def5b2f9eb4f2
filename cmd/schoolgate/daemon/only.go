package daemon

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

// OnlySuggestion is what may be missing in the allow-list of a group.
type OnlySuggestion struct {
	Group string `json:"group"`
	// Since is when counting began: the start of schoolgate, or when the group got its allow-list.
	Since time.Time `json:"since"`
	Only  []string  `json:"only"` // as it is
	// Names is what was refused after a page, most often first; those to propose have no Not.
	Names []OnlyName `json:"names"`
	// Add is what to add, a name above others in place of them.
	Add []string `json:"add"`
	// Missed is how many refusals are not counted, as there were too many names.
	Missed uint64 `json:"missed"`
}

// OnlyName is a name that the allow-list refused.
type OnlyName struct {
	Name  string   `json:"name"`
	After int      `json:"after"` // how often within ten seconds of an allowed name
	Alone int      `json:"alone"` // how often without
	Pages []string `json:"pages"` // of the allow-list, after which it was
	// Network says that it looks like a network that delivers content for others.
	Network bool `json:"content_network"`
	// Not is why it is not proposed; "" where it is.
	Not string `json:"not"`
}

const (
	// A name is proposed that followed pages so often, and at least as often as it came without: what devices ask for
	// all the time follows pages only by chance.
	onlyLeast = 3
	// onlyBelow is how many names below one domain make it the domain that is proposed.
	onlyBelow = 3
	// onlyShown bounds what is shown.
	onlyShown = 50
)

// contentNetworks are domains, and labels, of networks that deliver for others.
var contentNetworks = regexp.MustCompile(`(^|\.)(akamai(zed|hd|edge)?\.net|edge(key|suite)\.net|cloudfront\.net|fastly(lb)?\.net|azureedge\.net|azurefd\.net|` +
	`cloudflare\.(com|net)|b-cdn\.net|cdn77\.org|cdn77-ssl\.net|stackpathcdn\.com|kxcdn\.com|gstatic\.com|googleapis\.com|googleusercontent\.com|` +
	`jsdelivr\.net|unpkg\.com|bootstrapcdn\.com|typekit\.net|llnwd\.net|edgecastcdn\.net|bunnycdn\.com|imgix\.net|cloudinary\.com)$|` +
	`(^|\.)(cdn[0-9]*|static[0-9]*|assets?[0-9]*|media[0-9]*|img[0-9]*|images?[0-9]*)[.-]`)

// plainHost is what may be pasted into a configuration as it is.
var plainHost = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)+$`)

// suggestOnly finds what a group's allow-list may lack, for the pages at or below page; "" for all. ok is false where the
// group has none.
func (d *Daemon) suggestOnly(group string, page blocklist.Name) (out OnlySuggestion, ok bool) {
	f := d.Filter()
	p := f.Policy
	since, refused, missed, ok := d.resolver.OnlyRefused(group)
	i := slices.Index(p.Groups(), group)
	if !ok || i < 0 {
		return out, false
	}
	only, _ := p.Only(uint16(i))
	out = OnlySuggestion{Group: group, Since: since.In(f.Config.Timezone), Missed: missed, Only: []string{}, Names: []OnlyName{}, Add: []string{}}
	for _, n := range only {
		out.Only = append(out.Only, n.String())
	}
	for _, r := range refused {
		if p.Confidential(r.Name) || coveredBy(r.Name, only) != "" { // it is allowed meanwhile
			continue
		}
		if n, of := onlyName(p, r, only, page); of && len(out.Names) < onlyShown {
			out.Names = append(out.Names, n)
		}
	}
	out.Add = onlyAdd(p, out.Names)
	return out, true
}

// onlyName describes a name for a suggestion; of is false where it followed none of the pages.
func onlyName(p *policy.Policy, r resolver.OnlyRefused, only []blocklist.Name, page blocklist.Name) (out OnlyName, of bool) {
	out = OnlyName{Name: r.Name.String(), After: r.After, Alone: r.Alone, Pages: []string{}}
	if page != "" {
		out.After = 0
	}
	for _, after := range r.Pages {
		entry := coveredBy(after.Name, only)
		if entry == "" || page != "" && !page.Covers(after.Name) {
			continue
		}
		if page != "" {
			out.After += after.Count
		}
		if !slices.Contains(out.Pages, entry.String()) {
			out.Pages = append(out.Pages, entry.String())
		}
	}
	slices.Sort(out.Pages)
	out.Network = contentNetworks.MatchString(out.Name)
	categories := listedIn(p, r.Name)
	switch {
	case len(categories) > 0:
		out.Not = "listed as " + strings.Join(categories, ", ")
	case !plainHost.MatchString(out.Name):
		out.Not = "no host's name"
	case out.After < onlyLeast:
		out.Not = "too seldom yet"
	case out.Alone > out.After:
		out.Not = "asked for without a page more often"
	}
	return out, len(out.Pages) > 0
}

// coveredBy is the longest entry of an allow-list that has a name; "" for none.
func coveredBy(name blocklist.Name, only []blocklist.Name) (entry blocklist.Name) {
	for _, n := range only {
		if n.Covers(name) && len(n) > len(entry) {
			entry = n
		}
	}
	return entry
}

// listedIn names the categories whose lists have a name.
func listedIn(p *policy.Policy, name blocklist.Name) (categories []string) {
	for c := range p.Facts([]byte(name)).Listed.All() {
		category := p.Categories()[c]
		if of := category.TrialOf; of != "" {
			category.Name = of
		}
		if !slices.Contains(categories, category.Name) {
			categories = append(categories, category.Name)
		}
	}
	return categories
}

// onlyAdd is what to add for the names that are proposed: themselves, or, where there are several below one registered
// domain, that. A domain below which everybody may have a name counts as none (publicsuffix.org).
func onlyAdd(p *policy.Policy, names []OnlyName) []string {
	below := map[string]int{}
	domainOf := func(name string) string {
		domain, err := publicsuffix.EffectiveTLDPlusOne(name)
		if err != nil {
			return name
		}
		return domain
	}
	for _, n := range names {
		if n.Not == "" {
			below[domainOf(n.Name)]++
		}
	}
	add := []string{}
	for _, n := range names {
		if n.Not != "" {
			continue
		}
		name := n.Name
		if domain := domainOf(name); below[domain] >= onlyBelow && !contentNetworks.MatchString(domain) {
			if key, err := blocklist.ParseName(domain); err == nil && len(listedIn(p, key)) == 0 {
				name = domain
			}
		}
		if !slices.Contains(add, name) {
			add = append(add, name)
		}
	}
	slices.Sort(add)
	return add
}

func (d *Daemon) onlyHandler(w http.ResponseWriter, r *http.Request) {
	var page blocklist.Name
	if text := r.FormValue("for"); text != "" {
		var err error
		if page, err = blocklist.ParseName(text); err != nil {
			writeText(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	out, ok := d.suggestOnly(r.FormValue("group"), page)
	if !ok {
		writeText(w, http.StatusBadRequest, "group "+r.FormValue("group")+" has no allow-list (only) in force")
		return
	}
	writeJSON(w, out)
}

// SuggestOnly asks what the allow-list of a group may lack, for the pages at or below one; "" for all.
func (c *Client) SuggestOnly(ctx context.Context, group, page string) (OnlySuggestion, error) {
	var out OnlySuggestion
	err := c.do(ctx, http.MethodGet, "/only?"+url.Values{"group": {group}, "for": {page}}.Encode(), nil, &out)
	return out, err
}
