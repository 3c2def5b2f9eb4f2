package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy"
	"schoolgate/policy/breach"
	"schoolgate/policy/report"
)

func setupReport(fs *flag.FlagSet) action {
	from := fs.String("from", "", "first `DAY`, included; needed")
	to := fs.String("to", "", "last `DAY`, included; needed")
	format := fs.String("format", "html", "`FORMAT`: html, a page that prints, or csv")
	governors := fs.Bool("governors", false, "the form for governors: names no child and no device, and no small number")
	out := fs.String("o", "", "write it to this `FILE`, which only its owner can read; without it to standard output")
	by := fs.String("by", "", "`WHO` asks for it, for the audit; without it the user of this system")
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		in := report.Input{Site: cfg.Site, Zone: cfg.Timezone, Made: time.Now(), Governors: *governors}
		if in.From, in.To, err = parseDays(*from, *to, cfg.Timezone); err != nil {
			return err
		}
		if *format != "html" && *format != "csv" {
			return wrongUse("--format: %q is not one (use html or csv)", *format)
		}
		if err := reportInput(ctx, inv, cfg, &in); err != nil {
			return err
		}
		// First that it is made, so that nothing is looked at unseen. What waits is written down with it.
		form := *format
		if *governors {
			form += " for governors"
		}
		act := breach.Act{
			Who: cmp.Or(strings.TrimSpace(*by), systemUser()), What: "report.made",
			Detail: fmt.Sprintf("%s to %s, %s", in.From.Format(time.DateOnly), in.To.AddDate(0, 0, -1).Format(time.DateOnly), form),
		}
		r, err := openRecord(cfg) //nolint:contextcheck // it has none
		if err != nil {
			return err
		}
		defer r.Close()
		if err := changeRecord(ctx, cfg, func(c *daemon.Client) error { return c.Audit(ctx, act) },
			func(record *breach.Log) error { return record.Audit(ctx, act) }); err != nil {
			return err
		}
		made, err := report.Make(ctx, r, in)
		if err != nil {
			return err
		}
		var page bytes.Buffer
		write := made.HTML
		if *format == "csv" {
			write = made.CSV
		}
		if err := write(&page); err != nil {
			return err
		}
		return writeOut(inv.stdout, *out, page.Bytes())
	}
}

// parseDays reads a span of days: both are needed, and the second is of it.
func parseDays(from, to string, zone *time.Location) (first, last time.Time, err error) {
	for _, f := range []struct {
		name, text string
		into       *time.Time
	}{{"--from", from, &first}, {"--to", to, &last}} {
		if f.text == "" {
			return first, last, wrongUse("report: which days? (--from 2026-09-01 --to 2026-12-18)")
		}
		if *f.into, err = time.ParseInLocation(time.DateOnly, f.text, zone); err != nil {
			return first, last, wrongUse("%s: %q is not a day (use 2026-11-20)", f.name, f.text)
		}
	}
	if last.Before(first) {
		return first, last, wrongUse("report: the last day is before the first one")
	}
	return first, last.AddDate(0, 0, 1), nil
}

// writeOut writes to a file, whole or not at all, or to standard output where path is "".
func writeOut(stdout io.Writer, path string, content []byte) error {
	if path == "" {
		_, err := stdout.Write(content)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*") // mode 0600
	if err != nil {
		return exitError{2, err}
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return exitError{2, errors.Join(err, os.Remove(f.Name()))}
	}
	return nil
}

// reportInput fills what a report says of the configuration and its lists.
func reportInput(ctx context.Context, inv *invocation, cfg *config.Config, in *report.Input) error {
	seen := map[string]bool{}
	for _, c := range cfg.Policy.Categories {
		if !seen[c.Name] { // one with lists on trial is there twice
			seen[c.Name] = true
			in.Categories = append(in.Categories, report.Category{Name: c.Name, Title: c.Title, Risk: cfg.Risks[c.Name]})
			if c.Locked {
				in.Locked = append(in.Locked, c.Name)
			}
		}
	}
	p, err := policy.Compile(cfg.Policy, blocklist.Build(nil), true)
	if err != nil {
		return err
	}
	for i := range cfg.Policy.Groups {
		g := &cfg.Policy.Groups[i]
		in.Groups = append(in.Groups, groupNow(p, uint16(i), cfg.Policy.Calendar.Moments(in.Made), report.Group{
			Name: g.Name, Small: g.Name != cfg.Policy.DefaultGroup && isSmall(g),
		}))
	}
	in.Rules = slices.DeleteFunc(slices.Clone(cfg.Policy.Rules), func(r policy.Rule) bool { return !r.Allow })
	lists, _, _, err := listStatus(ctx, inv)
	if err != nil {
		return err
	}
	for _, l := range lists {
		in.Lists = append(in.Lists, report.List{
			Category: l.Category, Name: l.List, Entries: l.Entries, NotEnforceable: l.NotEnforceable,
			Age: time.Duration(l.AgeSeconds) * time.Second, AgeKnown: l.Modified != "",
			Missing: l.State == "missing", OnTrial: l.OnTrial, SelfTest: l.SelfTest,
		})
	}
	for _, k := range []struct {
		what string
		kept time.Duration
	}{
		{"Attempts and incidents without concern", cfg.Retention.Breaches},
		{"Incidents of concern, and these sums", cfg.Retention.Incidents},
		{"The record of changes", cfg.Retention.Audit},
	} {
		in.Kept = append(in.Kept, fmt.Sprintf("%s: %s.", k.what, daemon.Plural(int(k.kept/(24*time.Hour)), "day", "days")))
	}
	return nil
}

// groupNow fills what a group may reach, at moments that show all hours of the calendar.
func groupNow(p *policy.Policy, group uint16, moments []time.Time, g report.Group) report.Group {
	g.OnlySites = -1
	if names, set := p.Only(group); set {
		g.OnlySites = len(names)
	}
	always, ever, watched := ^blocklist.Categories(0), blocklist.Categories(0), blocklist.Categories(0)
	for _, at := range moments {
		blocked, monitored := p.Handles(group, at)
		always, ever, watched = always&blocked, ever|blocked, watched|monitored
	}
	for i, c := range p.Categories() {
		of := blocklist.Category(i)
		switch {
		case c.Locked || c.TrialOf != "":
		case always.Has(of):
			g.Blocked = append(g.Blocked, c.Name)
		case ever.Has(of):
			g.Timed = append(g.Timed, c.Name)
		case watched.Has(of):
			g.Watched = append(g.Watched, c.Name)
		}
	}
	now := moments[0]
	safe := func(name string) string {
		key, err := blocklist.ParseName(name)
		if err != nil {
			return "" // they are ours
		}
		return p.SafeHost(p.Decide(group, []byte(key), now)).String()
	}
	g.SafeSearch = safe("www.google.com") != ""
	switch safe("www.youtube.com") {
	case "restrict.youtube.com":
		g.YouTube = "strict"
	case "restrictmoderate.youtube.com":
		g.YouTube = "moderate"
	}
	return g
}

// isSmall reports whether fewer than five devices can be in a group, as far as its definition says. A name with a
// wildcard, and a host name of this resolver, may be of many.
func isSmall(g *policy.Group) bool {
	room := len(g.MACs) + len(g.Devices)
	for _, p := range g.Clients {
		free := p.Addr().BitLen() - p.Bits()
		if free >= bits.Len(report.Few-1) {
			return false
		}
		room += 1 << free
	}
	return room < report.Few && len(g.Hosts) == 0 && !slices.ContainsFunc(g.Devices, func(d string) bool { return strings.ContainsAny(d, "*?") })
}
