package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"schoolgate/clients"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
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
	// Questions are those that query_log: full has written down.
	Questions []querylog.Question `json:"questions"`
	// Asked is how much it asked, not what.
	Asked []clients.Client `json:"asked"`
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
			Incidents: []breach.Incident{}, Breaches: []breach.Breach{}, Questions: []querylog.Question{},
		}
		if found.Asked, err = askedBy(ctx, inv, cfg, daemon.WhoseOf(e)); err != nil {
			return err
		}
		filter := breach.Filter{From: e.From, To: e.To, Client: e.Client.String(), Zone: cfg.Timezone}
		if err := r.Breaches(ctx, filter, func(b breach.Breach) error { found.Breaches = append(found.Breaches, b); return nil }); err != nil {
			return err
		}
		err = querylog.NewReader(cfg.DataDir, cfg.Timezone).Export(ctx, found.Client, e.From, e.To, func(q querylog.Question) error {
			found.Questions = append(found.Questions, q)
			return nil
		})
		if damaged, ok := errors.AsType[*querylog.DamagedError](err); ok {
			fmt.Fprintf(inv.stderr, "warning: %v\n", damaged)
		} else if err != nil {
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
			if erased.Questions, err = querylog.Erase(ctx, cfg.DataDir, e.Client.String(), e.From, e.To); err != nil {
				return err
			}
			erased.Erased, err = record.Erase(ctx, e)
			erased.Copies = append([]string{}, record.Copies()...)
			if err == nil {
				erased.Clients, err = daemon.ForgetStoredClients(cfg, daemon.WhoseOf(e))
			}
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
		if erased.Questions > 0 {
			fmt.Fprintf(inv.stdout, "erased from the query log: %s\n", daemon.Plural(erased.Questions, "question", "questions"))
		}
		if erased.Clients > 0 {
			fmt.Fprintf(inv.stdout, "forgotten: how much %s asked (clients list)\n", daemon.Plural(erased.Clients, "address", "addresses"))
		}
		if e.Client.Name+e.Client.User != "" {
			fmt.Fprintln(inv.stderr, "note: how much it asked (clients list) is kept by address and MAC: erase that by --client with one of those")
		}
		if erased.Kept > 0 {
			fmt.Fprintf(inv.stdout, "kept: %d incidents that were not closed with no_concern (--include-incidents --by WHO --reason WHY erases them too)\n", erased.Kept)
		}
		return nil
	}
}

// askedBy is what is kept of how much a client asked.
func askedBy(ctx context.Context, inv *invocation, cfg *config.Config, w clients.Whose) ([]clients.Client, error) {
	running, err := dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var all []clients.Client
	if running != nil {
		list, err := running.Clients(ctx)
		if err != nil {
			return nil, err
		}
		all = list.Clients
	} else if all, err = daemon.ListStoredClients(cfg); err != nil {
		fmt.Fprintf(inv.stderr, "warning: how much it asked is not known: %v\n", err)
	}
	return append([]clients.Client{}, slices.DeleteFunc(all, func(c clients.Client) bool { return !w.Has(c) })...), nil
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
