package daemon

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"schoolgate/blocklist/feed"
)

// Problems returns a line for each thing that is wrong; none when all is well.
func (d *Daemon) Problems() []string {
	return slices.Concat(d.ownProblems(), d.record.Problems(), d.alerts.Problems())
}

// ownProblems are those that the daemon sends system alerts about; the record and the dispatcher
// speak for themselves. A line stays the same for as long as its cause does, so that it is sent once.
func (d *Daemon) ownProblems() []string {
	s := d.current.Load()
	var out []string
	if s.fallback != nil {
		out = append(out, "the configuration was refused at start; the last accepted one serves: "+s.fallback.brief())
	}
	if s.refused != nil {
		out = append(out, "the last reload was refused; the configuration before serves on: "+s.refused.brief())
	}
	if built := d.build.Time; d.now().Before(built) {
		out = append(out, "the clock is wrong: it shows a time before this program was made ("+built.UTC().Format(time.DateOnly)+
			"), so whatever depends on the time is blocked; set it (timedatectl set-ntp true)")
	}
	if p := s.filter.exceptions.problem; p != "" {
		out = append(out, p)
	}
	if s.keepFailed != nil {
		out = append(out, s.keepFailed.Error())
	}
	if s.listsRefused != nil {
		out = append(out, "the lists on disk were refused; those before serve on: "+s.listsRefused.brief())
	}
	for _, l := range s.filter.Lists {
		if l.Err != nil && !d.isAhead(l) {
			out = append(out, s.filter.listProblem(l))
		}
	}
	out = append(out, d.tls.problems(d.now(), s.filter.Config.Timezone)...)
	out = append(out, d.identities.Problems()...)
	out = append(out, d.queries.Problems()...)
	for _, u := range d.resolver.Stats().Upstreams {
		switch {
		case u.LeadsBack:
			out = append(out, "upstream "+u.Server+" leads back to this resolver: questions sent to it came back")
		case !u.Healthy:
			out = append(out, "upstream "+u.Server+" does not answer")
		}
	}
	return out
}

// listProblem says what is the matter with a list that has an Err.
func (f *Filter) listProblem(l feed.Loaded) string {
	name := fmt.Sprintf("list %s of category %s", l.ID, f.category(l))
	switch {
	case l.List != nil:
		return fmt.Sprintf("%s could not be refreshed and keeps its %s%s: %v", name, Plural(entries(l), "entry", "entries"), f.of(l.Modified), l.Err)
	case l.Required && l.Confidential && f.Config.Identity == nil:
		return fmt.Sprintf("%s is required and cannot be read; confidential lists are kept on disk only where there is a key to encrypt them with "+
			"(confidential_key), so questions are answered SERVFAIL until it is back: %v", name, l.Err)
	case l.Required:
		return fmt.Sprintf("%s is required and has never been there, so that queries fail: %v", name, l.Err)
	}
	return fmt.Sprintf("%s is missing: %v", name, l.Err)
}

// of is the time of a list's content by the school's clock, as the end of what it is the time of.
func (f *Filter) of(modified time.Time) string {
	if modified.IsZero() {
		return ""
	}
	return modified.In(f.Config.Timezone).Format(" of 2006-01-02 15:04")
}

// isAhead reports whether a list is about to be fetched for the first time since the start, and there is
// none until then: that is no problem yet.
func (d *Daemon) isAhead(l feed.Loaded) bool {
	return isUnasked(l) ||
		isFetched(l.Spec) && l.List == nil && l.Checked.Before(d.started) && !nextFetch(d.loader, l.Spec).After(d.now())
}

// brief is the first reason, and how many there are besides.
func (e *Refused) brief() string {
	if len(e.Reasons) == 1 {
		return e.Reasons[0]
	}
	return fmt.Sprintf("%s (and %d more)", e.Reasons[0], len(e.Reasons)-1)
}

// watchHealth logs what is wrong, and alerts IT to it.
func (d *Daemon) watchHealth(ctx context.Context) {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		d.raise()
		d.logHealth() //nolint:contextcheck // the dispatcher bounds its own wait
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// healthInterval is how soon IT learns of a problem that no reload brought about.
const healthInterval = 15 * time.Second

// raise alerts IT to each problem; the dispatcher sends the same one once a day at most.
func (d *Daemon) raise() {
	for _, p := range d.ownProblems() {
		d.tellIT(p)
	}
}

// logHealth says once in the log that a problem is there, and once that it is gone.
func (d *Daemon) logHealth() {
	now := map[string]string{}
	for _, p := range d.Problems() {
		now[withoutCounts(p)] = p
	}
	d.loggedMu.Lock()
	defer d.loggedMu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if _, said := d.logged[key]; !said {
			d.log.Warn("health", "problem", now[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(d.logged)) {
		if _, still := now[key]; !still {
			d.log.Info("health", "resolved", d.logged[key])
		}
	}
	d.logged = now
}

// counts are the numbers of a problem that change while it stays the same one. Those of addresses and
// versions are part of it: they touch a dot or a colon.
var counts = regexp.MustCompile(`(^|[ (])([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+Z|[0-9]+\b)`)

func withoutCounts(problem string) string { return counts.ReplaceAllString(problem, "$1") }

// tellIT has a system alert sent. It does not wait, for the record's writer calls it too, and that is
// who stores the alert. Where too many wait the message is dropped: what goes on being wrong is told
// again.
func (d *Daemon) tellIT(message string) {
	select {
	case d.forIT <- message:
	default:
	}
}

// alertIT sends what tellIT was told.
func (d *Daemon) alertIT(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-d.forIT:
			d.alerts.System(ctx, message)
		}
	}
}

// statusLine is what `systemctl status` shows.
func (d *Daemon) statusLine() string {
	s := d.current.Load()
	switch {
	case !s.filter.Policy.Ready():
		return "waiting for " + s.filter.waitsFor() + "; until then what is filtered is answered with SERVFAIL"
	case s.fallback != nil:
		return "the configuration was refused; serving the last accepted one"
	case s.refused != nil:
		return "serving; the last reload was refused"
	}
	return "serving: " + s.filter.Summary()
}
