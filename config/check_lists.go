package config

import (
	"path/filepath"
	"slices"
	"strings"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/policy"
)

// guards fills what all fetched lists are held to.
func (c *checker) guards() {
	c.cfg.Never = feed.NeverBlocked()
	for _, n := range c.guard.never.all {
		c.cfg.Never = append(c.cfg.Never, n.v)
	}
}

// add adds a category and its lists. iwf and ctiru begin with their own self-test list, so that a
// match of a self-test name is never taken for one of the real list.
func (c *checker) add(w *category, p policy.Category) {
	base := feed.Spec{
		Category: blocklist.Category(len(c.cfg.Policy.Categories)), Confidential: p.Confidential, Locked: p.Locked,
		File: c.fileOf(w.place), Line: max(w.line, 1), Column: max(w.column, 1),
	}
	c.cfg.Policy.Categories = append(c.cfg.Policy.Categories, p)
	_, isFixed := fixed(p.Name)
	if isFixed {
		s := base
		s.ID, s.Builtin = "builtin:"+p.Name, p.Name
		c.cfg.Lists = append(c.cfg.Lists, s)
	}
	first := map[string]place{}
	for i := range w.lists {
		l := &w.lists[i]
		s := base
		s.File, s.Line, s.Column = c.fileOf(l.place), l.line, l.column
		if !c.source(l, &s) {
			continue
		}
		if other, again := first[s.ID]; again {
			c.fail(l.place, "first "+other.onLine(l.place), "%s is written twice in %s", s.ID, p.Name)
			continue
		}
		first[s.ID] = l.place
		if isFixed && s.Builtin == p.Name {
			continue // it has that already
		}
		c.terms(l, &s)
		s.Required = l.required.v
		if !l.required.written() {
			s.Required = s.Path != "" && (p.Locked || p.Severity >= policy.SeverityHigh)
		}
		c.cfg.Lists = append(c.cfg.Lists, s)
	}
}

// source fills where a list comes from, and how it is to be read as far as that follows. It reports
// whether the source is known.
func (c *checker) source(l *list, s *feed.Spec) bool {
	var written []string
	for _, source := range []struct {
		key string
		at  place
	}{{"path", l.path.place}, {"url", l.url.place}, {"catalogue", l.catalogue.place}, {"zone", l.zone.place}} {
		if source.at.written() {
			written = append(written, source.key)
		}
	}
	switch {
	case l.builtin.written():
		s.ID, s.Builtin = "builtin:"+l.builtin.v, l.builtin.v
		if l.builtin.v == "helplines" {
			c.fail(l.place, "remove it", "helplines are never blocked")
		} else if known := blocklist.Builtins(); !slices.Contains(known, l.builtin.v) {
			c.fail(l.place, nearest(l.builtin.v, known), "there is no builtin list %q", l.builtin.v)
		}
	case len(written) > 1:
		c.fail(l.place, "make two lists of it", "has both %s and %s", written[0], written[1])
		return false
	case l.path.written():
		s.ID, s.Path = c.listPath(l.path), c.path(l.path)
		c.regularFile(l.path)
	case l.url.written():
		c.published(l, s)
	case l.catalogue.written():
		c.inCatalogue(l, s)
	case l.zone.written():
		c.transferred(l, s)
	case !c.failed(l.place):
		c.fail(l.place, "write path, url, catalogue or zone, or builtin:NAME in place of the mapping", "has no source")
	}
	return s.ID != ""
}

// listPath is what a list is called that is a file: its path as it is written, or, where the file that has it lies in
// another directory, relative to that of the configuration.
func (c *checker) listPath(p value[string]) string {
	if p.file == nil || p.file.dir == c.top.dir {
		return p.v
	}
	if rel, err := filepath.Rel(c.top.dir, c.path(p)); err == nil {
		return rel
	}
	return c.path(p)
}

// fileOf names the file of a place to those who know only one, "" for that one.
func (c *checker) fileOf(p place) string {
	if p.file == nil || p.file == c.top {
		return ""
	}
	return p.file.name
}

// published fills a list that has a url. One with a member is called URL#MEMBER: a category may have
// several of one archive.
func (c *checker) published(l *list, s *feed.Spec) {
	u := l.url.v
	if u == nil {
		return
	}
	s.ID, s.URL, s.SHA256, s.Member = u.String(), u.String(), l.sha256.v, l.member.v
	if s.Member != "" {
		s.ID += "#" + s.Member
	}
	if u.Scheme == "http" && s.SHA256 == "" && !loopback(u) && !c.failed(l.sha256.place) {
		c.warn(l.url.place, "use https://, or write sha256", "anybody on the way can change the list")
	}
}

// inCatalogue fills a list that the catalogue knows.
func (c *checker) inCatalogue(l *list, s *feed.Spec) {
	if l.catalogue.v == "" {
		return
	}
	known, ok := feed.Lookup(l.catalogue.v)
	if !ok {
		var names []string
		for _, listing := range feed.Catalogue() {
			names = append(names, listing.Name)
		}
		c.fail(l.catalogue.place, nearest(strings.ToLower(l.catalogue.v), names), "there is no list %q in the catalogue", l.catalogue.v)
		return
	}
	s.ID, s.URL, s.Member, s.Format = known.Name, known.URL, known.Member, known.Format
}

// transferred fills a list that is a zone.
func (c *checker) transferred(l *list, s *feed.Spec) {
	z := &l.zone
	if z.name.v == "" {
		return
	}
	s.ID, s.Format = "zone:"+z.name.v.String(), blocklist.FormatRPZ
	s.Zone = &feed.Zone{Name: z.name.v}
	for _, a := range z.servers.all {
		s.Zone.Servers = append(s.Zone.Servers, a.v)
	}
	if len(z.servers.all) == 0 && z.servers.written() && !c.failed(z.servers.place) {
		c.fail(z.servers.place, "", "there is no server")
	}
	if l.format.v != "" && l.format.v != string(blocklist.FormatRPZ) {
		c.fail(l.format.place, "leave it out", "a zone is always rpz")
	}
	if z.tsig.written() {
		s.Zone.TSIG = &feed.TSIG{Name: z.tsig.name.v.String() + ".", Algorithm: z.tsig.algorithm.v, Secret: c.tsigSecret(&z.tsig)}
	}
}

// tsigSecret reads the key of a transfer.
func (c *checker) tsigSecret(t *tsig) []byte {
	if t.secretFile.written() && t.secretEnv.written() {
		c.fail(t.secretEnv.place, needSecret, "has two secrets")
	}
	if !t.secretFile.written() && !t.secretEnv.written() && !c.failed(t.place) {
		c.fail(t.place, needSecret, "a key needs a secret")
	}
	text, at, ok := c.secretText(t.secretFile, t.secretEnv)
	if !ok {
		return nil
	}
	key, err := parseTSIG(text)
	c.failSecret(at, err)
	return key
}

// terms fills what a list is held to, and refuses the keys that say nothing of such a source.
func (c *checker) terms(l *list, s *feed.Spec) {
	if l.format.v != "" {
		s.Format = blocklist.Format(l.format.v)
	}
	s.Addresses = l.addresses.v
	for _, n := range l.canaries.all {
		s.Canaries = append(s.Canaries, n.v)
	}
	if l.trial.written() && s.Locked {
		c.fail(l.trial.place, "leave it out", "a list of a locked category can't be on trial: what is locked is always blocked")
	}
	s.Trial = l.trial.v

	const ofURL = "leave it out"
	if !l.url.written() {
		c.without(l.sha256.place, l.sha256.v != "", ofURL, "url")
		c.without(l.member.place, l.member.v != "", ofURL, "url")
	}
	if s.URL == "" && s.Zone == nil {
		c.without(l.refresh.place, true, "leave it out: a file is read again when it has changed", "url, catalogue and zone")
		c.without(l.minShare.place, true, "leave it out: whoever edits a file may cut it down", "url, catalogue and zone")
		return
	}
	s.Refresh = l.refresh.v
	s.MinShare = c.guard.minShare.v
	if l.minShare.written() {
		s.MinShare = l.minShare.v
	}
	if s.MinShare == 0 {
		s.MinShare = -1
	}
	if s.Confidential && !c.confidentialKey.written() {
		c.fail(l.place, "write confidential_key, or fetch it to a file and write path", "a confidential list is fetched only where there is a key to encrypt it with")
	}
}

// without refuses a key that only lists of other sources have.
func (c *checker) without(p place, asks bool, hint, sources string) {
	if p.written() && asks {
		c.fail(p, hint, "is for %s lists only", sources)
	}
}

// trials adds a category for each that has lists on trial. It comes after everything that knows
// categories by name: no group has these.
func (c *checker) trials() {
	shadow := map[blocklist.Category]blocklist.Category{}
	for i := range c.cfg.Lists {
		s := &c.cfg.Lists[i]
		if s.Trial == 0 {
			continue
		}
		of, known := shadow[s.Category]
		if !known {
			p := c.cfg.Policy.Categories[s.Category]
			of = blocklist.Category(len(c.cfg.Policy.Categories))
			c.cfg.Policy.Categories = append(c.cfg.Policy.Categories, policy.Category{
				Name: p.Name + " (on trial)", Title: p.Title + ": list on trial",
				Severity: min(p.Severity, policy.SeverityLow), Confidential: p.Confidential, TrialOf: p.Name,
			})
			shadow[s.Category] = of
		}
		s.TrialCategory, s.TrialName = of, c.cfg.Policy.Categories[s.Category].Name
	}
}
