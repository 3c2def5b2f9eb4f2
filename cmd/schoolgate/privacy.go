package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// privacyFlags are the flags that say of whom and of when.
type privacyFlags struct {
	client, from, to, by, reason *string
}

func setPrivacyFlags(fs *flag.FlagSet) privacyFlags {
	return privacyFlags{
		client: fs.String("client", "", "the `CLIENT`: mac:MAC, name:NAME, user:USER, or an address, which may be another's another day; needed"),
		from:   fs.String("from", "", "first `TIME` or date, included; needed"),
		to:     fs.String("to", "", "last `TIME`, not included, or date, included; needed"),
		by:     fs.String("by", "", "`WHO` does it, for the audit; without it the user of this system"),
		reason: fs.String("reason", "", "`WHY`, for the audit"),
	}
}

// parse checks the flags.
func (p privacyFlags) parse(command string, cfg *config.Config) (e breach.Erasure, err error) {
	switch {
	case *p.client == "":
		return e, wrongUse("%s: whose? (--client mac:MAC, name:NAME, user:USER or an address)", command)
	case *p.from == "", *p.to == "":
		return e, wrongUse("%s: of which time? (--from DATE --to DATE: an address alone may be another device's another day)", command)
	}
	if e.Client, err = policy.ParseClientPattern(*p.client); err != nil {
		return e, wrongUse("%s: --client: %w", command, err)
	}
	if e.From, e.To, err = parseSpan(*p.from, *p.to, cfg.Timezone); err != nil {
		return e, err
	}
	e.By, e.Reason = cmp.Or(strings.TrimSpace(*p.by), systemUser()), strings.TrimSpace(*p.reason)
	return e, nil
}

// systemUser is who calls, as far as the system knows: whoever became root by sudo is not root.
func systemUser() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// personal is what is kept of a client: the answer to a subject access request.
type personal struct {
	Site      string            `json:"site"`
	Client    string            `json:"client"`
	From      time.Time         `json:"from"`
	To        time.Time         `json:"to"`
	Made      time.Time         `json:"made"`
	Incidents []breach.Incident `json:"incidents"`
	Breaches  []breach.Breach   `json:"breaches"`
}

func setupPrivacyExport(fs *flag.FlagSet) action {
	flags := setPrivacyFlags(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		e, err := flags.parse("privacy export", cfg)
		if err != nil {
			return err
		}
		// First that it is looked at, so that nothing is looked at unseen.
		act := breach.Act{Who: e.By, What: "privacy.export", Why: e.Reason, Detail: "what is kept of one client, of the time from " +
			e.From.UTC().Format(time.RFC3339) + " to " + e.To.UTC().Format(time.RFC3339)}
		if err := changeRecord(ctx, cfg, func(c *daemon.Client) error { return c.Audit(ctx, act) },
			func(record *breach.Log) error { return record.Audit(ctx, act) }); err != nil {
			return err
		}
		r, err := openRecord(cfg) //nolint:contextcheck // it has none
		if err != nil {
			return err
		}
		defer r.Close()
		found := personal{
			Site: cfg.Site, Client: e.Client.String(), From: e.From.In(cfg.Timezone), To: e.To.In(cfg.Timezone), Made: time.Now().In(cfg.Timezone),
			Incidents: []breach.Incident{}, Breaches: []breach.Breach{},
		}
		filter := breach.Filter{From: e.From, To: e.To, Client: e.Client.String(), Zone: cfg.Timezone}
		if err := r.Breaches(ctx, filter, func(b breach.Breach) error { found.Breaches = append(found.Breaches, b); return nil }); err != nil {
			return err
		}
		// An incident is the client's where a breach is: its device name may have been found out only after it began.
		for _, b := range found.Breaches {
			if n := len(found.Incidents); n > 0 && found.Incidents[n-1].ID == b.Incident {
				continue
			}
			err := r.Incidents(ctx, breach.Filter{ID: b.Incident, Zone: cfg.Timezone}, func(i breach.Incident) error {
				found.Incidents = append(found.Incidents, i)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return printJSON(inv.stdout, found)
	}
}

func setupPrivacyErase(fs *flag.FlagSet) action {
	flags := setPrivacyFlags(fs)
	incidents := fs.Bool("include-incidents", false, "also incidents that are of concern: all that were not closed with no_concern; needs --by and --reason")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		e, err := flags.parse("privacy erase", cfg)
		if err != nil {
			return err
		}
		if e.Incidents = *incidents; e.Incidents && (strings.TrimSpace(*flags.by) == "" || e.Reason == "") {
			return wrongUse("privacy erase: who decides that incidents of concern go, and why? (--by WHO --reason WHY)")
		}
		var erased daemon.Erased
		err = changeRecord(ctx, cfg, func(c *daemon.Client) (err error) {
			erased, err = c.Erase(ctx, e)
			return err
		}, func(record *breach.Log) (err error) {
			erased.Erased, err = record.Erase(ctx, e)
			erased.Copies = append([]string{}, record.Copies()...)
			return err
		})
		if err != nil {
			return err
		}
		for _, path := range erased.Copies {
			fmt.Fprintf(inv.stderr, "warning: %s is an older copy of the record, which may still hold it: delete it when you need it no more\n", path)
		}
		if *asJSON {
			return printJSON(inv.stdout, erased)
		}
		fmt.Fprintf(inv.stdout, "erased: %d incidents with %d breaches\n", erased.Incidents, erased.Breaches)
		if erased.Kept > 0 {
			fmt.Fprintf(inv.stdout, "kept: %d incidents that were not closed with no_concern (--include-incidents --by WHO --reason WHY erases them too)\n", erased.Kept)
		}
		return nil
	}
}

// changeRecord has the running schoolgate change its record, or changes it where none runs.
func changeRecord(ctx context.Context, cfg *config.Config, running func(*daemon.Client) error, stored func(*breach.Log) error) error {
	client, err := dial(ctx, cfg)
	if err != nil {
		return err
	}
	if client != nil {
		return running(client)
	}
	return withRecord(ctx, cfg, stored)
}
