package alert

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Register is the record as digests read it and note in it what they have told. *breach.Log is one, and documents the
// methods.
type Register interface {
	Flush(ctx context.Context) error
	Told(ctx context.Context, route string) (breach.Told, error)
	Happened(ctx context.Context, from, to time.Time, yield func(breach.Digestible) error) error
	Unclosed(ctx context.Context, before time.Time, yield func(breach.Digestible) error) error
	NamesOf(ctx context.Context, d *breach.Digestible) ([]breach.NameCount, error)
	Digest(ctx context.Context, route string, told breach.Told, alerts ...breach.Alert) error
	Head() breach.Head
}

// wrongAhead is how far ahead of now something can't have been told, but by a clock that was wrong.
const wrongAhead = 26 * time.Hour

// digests is what Dispatcher.Digest knows between its calls.
type digests struct {
	register Register
	told     map[string]breach.Told // by route
}

// Digest puts the digests that are due into the outbox: of each route the newest that is, with all that happened
// since the last one. Nothing is sent where nothing happened and nothing is open. Run calls it every few seconds; call
// it yourself where you set the clock.
func (d *Dispatcher) Digest(ctx context.Context) error {
	d.digesting.Lock()
	defer d.digesting.Unlock()
	if d.digests.register == nil {
		return nil
	}
	var errs []error
	for route, routes := range d.config.Load().digestRoutes() {
		if err := d.digest(ctx, route, routes); err != nil {
			errs = append(errs, fmt.Errorf("digest %s: %w", route, err))
			delete(d.digests.told, route) // whether it was stored is not known
		}
	}
	return errors.Join(errs...)
}

// digestRoutes returns the routes with a digest: those together that match the same and send at the same times.
func (c *Config) digestRoutes() map[string][]Route {
	together := map[string][]Route{}
	for _, r := range c.Routes {
		if r.Digest.Days != 0 && r.About == "" {
			together[r.digestKey()] = append(together[r.digestKey()], r)
		}
	}
	return together
}

// digestKey names what a route tells, and when, in the record. To whom is not in it: a receiver that is added is told
// as much as the others.
func (r Route) digestKey() string {
	var key strings.Builder
	for _, c := range []struct {
		name  string
		words []string
	}{
		{"severity", r.Severities}, {"category", r.Categories}, {"group", r.Groups}, {"site", r.Sites}, {"during", r.During}, {"outside", r.Outside},
	} {
		if len(c.words) > 0 {
			fmt.Fprintf(&key, "%s %s, ", c.name, strings.Join(slices.Sorted(slices.Values(c.words)), " "))
		}
	}
	return fmt.Sprintf("%sdays %07b at minute %d", &key, r.Digest.Days, r.Digest.Minute)
}

func (d *Dispatcher) digest(ctx context.Context, route string, routes []Route) (err error) {
	told, known := d.digests.told[route]
	if !known {
		if told, err = d.digests.register.Told(ctx, route); err != nil {
			return err
		}
		d.digests.told[route] = told
	}
	config, now := d.config.Load(), d.now()
	due := routes[0].Digest.last(now, config.zone())
	var alerts []breach.Alert
	switch {
	case told.Until.Sub(now) > wrongAhead:
		due = now // to begin anew is better than silence until that time comes
	case !due.After(told.Until):
		return nil
	default:
		if alerts, err = d.compose(ctx, config, routes, told, due); err != nil {
			return err
		}
	}
	told.Until = due
	if err := d.digests.register.Digest(ctx, route, told, alerts...); err != nil {
		return err
	}
	d.digests.told[route] = told
	return nil
}

// compose makes the alerts of a digest, one for each receiver that is told something.
func (d *Dispatcher) compose(ctx context.Context, config *Config, routes []Route, told breach.Told, due time.Time) ([]breach.Alert, error) {
	register := d.digests.register
	if err := register.Flush(ctx); err != nil {
		return nil, err
	}
	pages := map[string]*digestPage{} // by receiver
	add := func(put func(*digestPage, *breach.Digestible)) func(breach.Digestible) error {
		return func(i breach.Digestible) error {
			for _, name := range config.digestReceivers(routes, &i) {
				if pages[name] == nil {
					pages[name] = newDigestPage(told.Until, due)
				}
				put(pages[name], &i)
			}
			return nil
		}
	}
	if err := register.Happened(ctx, told.Until, due, add((*digestPage).happened)); err != nil {
		return nil, err
	}
	if err := register.Unclosed(ctx, due, add((*digestPage).unclosed)); err != nil {
		return nil, err
	}
	var alerts []breach.Alert
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		r := config.receiver(name)
		body, err := pages[name].body(ctx, register, config, r != nil && r.Full, d.now())
		if err != nil {
			return nil, err
		}
		alerts = append(alerts, breach.Alert{ID: digestID(told.Nonce, name, due), Receiver: name, Type: typeDigest, Body: body})
	}
	return alerts, nil
}

// digestReceivers returns the names of those who are told of an incident by one of the routes, each once, as Told does.
// Alertmanager is for what goes on, and is sent no digest.
func (c *Config) digestReceivers(routes []Route, i *breach.Digestible) []string {
	names := c.told(Subject{
		Severity: i.Severity, Category: i.Category, Group: i.Group, Site: i.Site, Time: i.First, Client: i.Client,
		AlertTo: i.AlertTo, AlertToSet: i.AlertToSet,
	}, func(yield func(*Route) bool) {
		for i := range routes {
			if !yield(&routes[i]) {
				return
			}
		}
	})
	return slices.DeleteFunc(names, func(name string) bool {
		r := c.receiver(name)
		return r != nil && r.Type == TypeAlertmanager
	})
}

// digestID is another one for each record, route, receiver and due time, and the same however often it is made.
func digestID(nonce, receiver string, due time.Time) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", nonce, receiver, due.Unix()))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// sendDigests sends what is due until ctx ends.
func (d *Dispatcher) sendDigests(ctx context.Context) {
	for {
		if err := d.Digest(ctx); err != nil && ctx.Err() == nil {
			d.logger.Warn("a digest is late; it is tried again", "error", err)
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// severityRank orders severities, the gravest last.
func severityRank(s string) policy.Severity {
	severity, _ := policy.ParseSeverity(s)
	return severity
}

// graver orders incidents for a list that may be cut off: the gravest first, then those of which there was most.
func graver(a, b *breach.Digestible) int {
	return cmp.Or(cmp.Compare(severityRank(b.Severity), severityRank(a.Severity)), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Seq, b.Seq))
}
