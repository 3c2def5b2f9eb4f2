package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"schoolgate/config"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
	"schoolgate/resolver"
)

// Refused says why a configuration was not taken. Whatever was in force before still is.
type Refused struct {
	Reasons []string
}

func (e *Refused) Error() string { return strings.Join(e.Reasons, "; ") }

func refused(err error) *Refused {
	if already, ok := errors.AsType[*Refused](err); ok {
		return already
	}
	problems, ok := errors.AsType[config.Errors](err)
	if !ok {
		return &Refused{Reasons: strings.Split(err.Error(), "\n")}
	}
	r := new(Refused)
	for _, p := range problems {
		r.Reasons = append(r.Reasons, p.Error())
	}
	return r
}

// snapshot is all that a reload replaces, as one value. It does not change.
type snapshot struct {
	filter *Filter
	since  time.Time
	// accepted is what a later reload or start is compared to: nil until every required list has
	// been there once.
	accepted *accepted
	// refused is why the last reload was not taken; nil where it was.
	refused *Refused
	// listsRefused is why the lists as they are on disk are not those in force; nil where they are.
	listsRefused *Refused
	// fallback is why the file was refused at start, so that what is in force is the last accepted
	// configuration; nil where it is the file's.
	fallback *Refused
	// keepFailed is why the accepted configuration could not be written down.
	keepFailed error
}

// Reload reads the configuration again, with the lists that changed, and puts it in force: all or
// nothing. who is for the audit. The warnings are of a configuration that was taken; the error is a
// *Refused, and then nothing has changed. Safe for concurrent use: all who ask while one reload waits for
// another get the outcome of the one that waits.
func (d *Daemon) Reload(ctx context.Context, who string) (warnings []string, err error) {
	d.askedMu.Lock()
	r := d.asked
	if r != nil {
		d.askedMu.Unlock()
		<-r.done
		return r.warnings, r.err
	}
	r = &reload{done: make(chan struct{})}
	d.asked = r
	d.askedMu.Unlock()

	d.mu.Lock()
	defer d.mu.Unlock()
	d.askedMu.Lock()
	d.asked = nil // what changes from here on is for the next one
	d.askedMu.Unlock()
	d.background.run(func() { r.warnings, r.err = d.reload(ctx, who) })
	close(r.done)
	return r.warnings, r.err
}

// reload is one that has been asked for.
type reload struct {
	done     chan struct{} // closed once the others are set
	warnings []string
	err      error
}

// reload is Reload, with mu held.
func (d *Daemon) reload(ctx context.Context, who string) (warnings []string, err error) {
	d.systemd.reloading()
	defer func() { d.systemd.ready(d.statusLine()) }()

	now := d.current.Load()
	next, err := d.prepare(ctx, now)
	if err == nil {
		err = d.swap(ctx, now, next, who)
	}
	if err != nil {
		r := refused(err)
		changed := *now
		changed.refused = r
		d.current.Store(&changed)
		d.audit(ctx, breach.Act{Who: who, What: "config.refused", Detail: strings.Join(append([]string{d.refusedHash(now)}, r.Reasons...), "; ")})
		d.telemetry.reloaded(false, d.now())
		for _, reason := range r.Reasons {
			d.log.Error("reload refused; the configuration before serves on", "by", who, "reason", reason)
		}
		d.raise()
		return nil, r
	}
	warnings = next.WarningTexts()
	for _, w := range warnings {
		d.log.Warn("configuration", "warning", w)
	}
	d.raise()
	return warnings, nil
}

// refusedHash says which configuration was refused, as far as it can be read, and which one serves on.
func (d *Daemon) refusedHash(now *snapshot) string {
	hash := "none"
	if files, err := config.Files(d.path); err == nil {
		hash = config.HashFiles(files)
	}
	return fmt.Sprintf("hash %s; in force stays %s", hash, now.filter.Config.Hash)
}

// prepare does everything of a reload that can fail, and touches nothing that serves.
func (d *Daemon) prepare(ctx context.Context, now *snapshot) (*Filter, error) {
	cfg, err := readConfig(d.path)
	if err != nil {
		return nil, err
	}
	if err := now.accepted.cutOff(cfg.Files); err != nil {
		return nil, err
	}
	if err := needsRestart(now.filter.Config, cfg, d.consoleAt.address); err != nil {
		return nil, err
	}
	if _, problems := cfg.TLS.Load(); problems != nil {
		return nil, problems
	}
	next, err := d.assemble(ctx, cfg)
	if err == nil {
		next, err = d.fetchMissing(ctx, next)
	}
	if err != nil {
		return nil, err
	}
	d.telemetry.listsRead(next)
	if missing, _ := next.ListProblems(); missing != nil {
		return nil, missing
	}
	if waiting := next.Waiting(); waiting != nil {
		return nil, &Refused{Reasons: waiting}
	}
	if now.accepted != nil {
		if weaker := next.weakened(now.accepted.Locked); weaker != nil {
			for i := range weaker {
				weaker[i] += " (a locked category is weakened at a start only, which is recorded and alerted)"
			}
			return nil, &Refused{Reasons: weaker}
		}
	}
	return next, nil
}

// store puts a snapshot in force that the caller goes on to change. Called with mu held.
func (d *Daemon) store(s snapshot) { d.current.Store(&s) }

// needsRestart names the changed fields that hold for the life of the process. console is where it was opened at
// the start, "" for nowhere.
func needsRestart(now, next *config.Config, console string) error {
	r := new(Refused)
	differ := func(key string, same bool) {
		if !same {
			r.Reasons = append(r.Reasons, key+" has changed: restart schoolgate for that")
		}
	}
	differ("listen.dns", slices.Equal(now.Listen, next.Listen))
	differ("listen.dot", slices.Equal(now.DoT, next.DoT))
	differ("listen.doh", slices.Equal(now.DoH, next.DoH))
	differ("listen.doq", slices.Equal(now.DoQ, next.DoQ))
	differ("listen.page", slices.Equal(now.Page, next.Page))
	// A token that is taken away is no longer good at once, whether or not it was the last.
	differ("listen.console", next.Console == "" || console == "" || console == next.Console)
	if console == "" && next.Console != "" {
		r.Reasons = append(r.Reasons, "api.tokens has a first token, for which listen.console is opened: restart schoolgate for that")
	}
	differ("listen.metrics", now.Metrics == next.Metrics)
	differ("data_dir", now.DataDir == next.DataDir)
	differ("cache.entries", now.CacheEntries == next.CacheEntries)
	differ("confidential_key", reflect.DeepEqual(now.Identity, next.Identity))
	differ("guard.never", slices.Equal(now.Never, next.Never))
	if r.Reasons != nil {
		return r
	}
	return nil
}

// swap puts a prepared filter in force, and writes down who did it. Called with mu held.
func (d *Daemon) swap(ctx context.Context, now *snapshot, next *Filter, who string) error {
	d.identities.Apply(next.Config.Sources)
	if err := d.resolver.Apply(settings(next)); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	d.tls.use(next.Config.TLS)
	d.alerts.Apply(next.Config.Alerts)
	d.record.Apply(next.Config.Record)
	d.queries.Apply(next.Config.QueryLog)
	s := &snapshot{filter: next, since: d.now(), accepted: now.accepted}
	d.store(*s) // whoever asks is told of what serves, whatever the record is busy with
	d.accept(ctx, s, who, "config.reload")
	d.auditQueryLog(ctx, who, now.filter.Config.QueryLog, next.Config.QueryLog)
	d.current.Store(s)
	d.giveBack(now.filter, next)
	d.refresh.wake()
	d.telemetry.reloaded(true, s.since)
	d.log.Info("configuration in force", "by", who, "hash", next.Config.Hash, "filter", next.Summary())
	return nil
}

// accept audits that s is in force and keeps its configuration as the one to fall back on. What is
// not ready is audited, and kept once its required lists are there.
func (d *Daemon) accept(ctx context.Context, s *snapshot, who, what string) {
	f, before := s.filter, "none"
	if s.accepted != nil {
		before = s.accepted.Hash
	}
	detail := []string{fmt.Sprintf("hash %s, before %s", f.Config.Hash, before), f.Summary()}
	if mode := f.Config.QueryLog.Mode; mode != querylog.Counts {
		detail = append(detail, "query_log "+mode)
	}
	for _, w := range f.vainAllows() {
		detail = append(detail, w.Error())
	}
	if tellers := f.Config.Sources.Tellers(); tellers != "" {
		detail = append(detail, "believes of who has signed in: "+tellers)
	}
	if s.fallback != nil {
		detail = append(detail, "the last accepted configuration, because the file's was refused: "+s.fallback.brief())
	}
	if !f.Policy.Ready() {
		detail = append(detail, "not ready: waits for "+f.waitsFor())
	}
	d.audit(ctx, breach.Act{Who: who, What: what, Detail: strings.Join(detail, "; ")})
	d.keep(s)
}

// keep writes down the configuration of s, with what its locked categories hold, unless it is not one to
// fall back on.
func (d *Daemon) keep(s *snapshot) {
	f := s.filter
	if !f.Policy.Ready() || s.fallback != nil {
		return
	}
	s.accepted = &accepted{Path: f.Config.Path, Hash: f.Config.Hash, Time: d.now().UTC(), Locked: f.locked()}
	s.accepted.remember(f.Config.Files)
	if s.keepFailed = s.accepted.write(f.Config.DataDir); s.keepFailed != nil {
		d.log.Error("the accepted configuration was not kept", "error", s.keepFailed)
	}
}

// audit writes down an act. Where the record cannot take it, the log has it.
func (d *Daemon) audit(ctx context.Context, act breach.Act) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	if err := d.record.Audit(ctx, act); err != nil {
		d.log.Error("an act was not audited", "who", act.Who, "what", act.What, "detail", act.Detail, "error", err)
	}
}

// auditTimeout bounds the wait for the record's writer, which a full disk may keep busy.
const auditTimeout = 5 * time.Second

// awaitLists reads the lists again from disk, every few seconds, until every required one is there. It
// asks no server: that is for refreshLists.
func (d *Daemon) awaitLists(ctx context.Context) {
	tick := time.NewTicker(listRetry)
	defer tick.Stop()
	for !d.current.Load().filter.Policy.Ready() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := d.takeUp(ctx, "schoolgate"); err != nil && ctx.Err() == nil {
				d.log.Error("take up the lists", "error", err)
			}
		}
	}
}

// listRetry is how often a required list that has never been there is looked for.
const listRetry = 3 * time.Second

// ErrUnreadable says that there is no configuration file, or that it cannot be read.
var ErrUnreadable = errors.New("the configuration cannot be read")

// readConfig loads a configuration; without a path, the built-in one.
func readConfig(path string) (*config.Config, error) {
	if path == "" {
		return config.Default()
	}
	yaml, err := config.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return config.Parse(yaml, path)
}

// settings are the resolver's share of a filter.
func settings(f *Filter) resolver.Settings {
	c := f.Config
	return resolver.Settings{
		Policy: f.Policy, Upstreams: c.Upstreams, Zones: c.Zones, Records: c.Records, Cache: c.Cache, Blocking: c.Blocking,
		Access: c.Access, CountClients: c.KeepClients > 0, LogQuestions: c.QueryLog.Mode == querylog.Full,
	}
}

// Warnings says what is not right with a filter that is nevertheless in force. What has no place in
// the file has line 0.
func (f *Filter) Warnings() config.Errors {
	_, lists := f.ListProblems()
	pair, _ := f.Config.TLS.Load() // what is wrong with it is a problem, not a warning
	out := slices.Concat(f.Config.Warnings, f.Config.TLS.Warnings(pair, time.Now(), f.Config.Timezone), lists, f.vainAllows(), f.idleExceptions(time.Now()))
	if len(f.Config.NotEnforced) > 0 {
		out = append(out, config.Error{File: f.Config.File, Problem: "not yet enforced: " + strings.Join(f.Config.NotEnforced, ", ")})
	}
	return out
}

// WarningTexts are the Warnings as lines for people.
func (f *Filter) WarningTexts() []string {
	out := []string{}
	for _, w := range f.Warnings() {
		out = append(out, WarningText(w))
	}
	return out
}

// WarningText is a warning as a line for people, without a place where it has none.
func WarningText(w config.Error) string {
	if w.Line == 0 {
		return w.Problem
	}
	return w.Error()
}
