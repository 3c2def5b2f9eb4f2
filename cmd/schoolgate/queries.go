package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
)

func setupQueriesList(fs *flag.FlagSet) action {
	client := fs.String("client", "", "of this `CLIENT`: an address, a MAC address, a device's name or a user's; mac:, name: or user: before it says which; needed")
	from := fs.String("from", "", "first `TIME` or date, included")
	to := fs.String("to", "", "last `TIME`, not included, or date, included")
	by := fs.String("by", "", "`WHO` looks, for the audit; needed")
	reason := fs.String("reason", "", "`WHY`, for the audit; needed")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		look := daemon.Look{Client: strings.TrimSpace(*client), From: *from, To: *to, By: strings.TrimSpace(*by), Why: strings.TrimSpace(*reason)}
		switch {
		case look.Client == "":
			return wrongUse("queries list: whose? (--client CLIENT)")
		case look.By == "":
			return wrongUse("queries list: who looks? (--by WHO)")
		case look.Why == "":
			return wrongUse("queries list: why? (--reason WHY)")
		}
		first, last, err := parseSpan(*from, *to, cfg.Timezone)
		if err != nil {
			return err
		}
		running, err := dial(ctx, cfg)
		if err != nil {
			return err
		}
		if running != nil {
			err = running.Look(ctx, look)
		} else {
			err = withRecord(ctx, cfg, func(record *breach.Log) error { return record.Audit(ctx, look.Act()) })
		}
		switch {
		case errors.Is(err, daemon.ErrNotWritten):
			fmt.Fprintf(inv.stderr, "warning: %v\n", err)
		case err != nil:
			return err
		}
		found := []querylog.Question{}
		err = querylog.NewReader(cfg.DataDir, cfg.Timezone).Export(ctx, look.Client, first, last, func(q querylog.Question) error {
			found = append(found, q)
			return nil
		})
		if damaged, ok := errors.AsType[*querylog.DamagedError](err); ok {
			fmt.Fprintf(inv.stderr, "warning: %v\n", damaged)
		} else if err != nil {
			return exitError{2, err}
		}
		if len(found) == 0 {
			fmt.Fprintln(inv.stderr, "no question matches")
			if cfg.QueryLog.Mode != querylog.Full {
				fmt.Fprintf(inv.stderr, "note: query_log is %s, so what devices ask is not written down\n", cfg.QueryLog.Mode)
			}
		}
		if *asJSON {
			return printJSON(inv.stdout, found)
		}
		return table(inv.stdout, func(line func(string, ...any)) {
			line("TIME\tCLIENT\tGROUP\tOUTCOME\tCATEGORY\tTYPE\tNAME")
			for _, q := range found {
				line("%s\t%s\t%s\t%s\t%s\t%s\t%s", q.Time, clientText(q.Client), q.Group, q.Outcome, orDash(q.Category), q.Query.Type, q.Query.Name)
			}
		})
	}
}

// clientText is what is known of a client, in one cell.
func clientText(c querylog.Client) string {
	var known []string
	for _, text := range []string{c.IP, c.MAC, c.Name, c.User} {
		if text != "" {
			known = append(known, text)
		}
	}
	return orDash(strings.Join(known, " "))
}

func setupQueriesCounts(fs *flag.FlagSet) action {
	from := fs.String("from", "", "first `TIME` or date, included")
	to := fs.String("to", "", "last `TIME`, not included, or date, included")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		first, last, err := parseSpan(*from, *to, cfg.Timezone)
		if err != nil {
			return err
		}
		running, err := dial(ctx, cfg)
		if err != nil {
			return err
		}
		if running != nil {
			if err := running.Flush(ctx); err != nil {
				// What is on disk is shown all the same: it is what there is.
				fmt.Fprintf(inv.stderr, "warning: the newest counts are not yet written down: %v\n", err)
			}
		}
		found := []querylog.HourCount{}
		err = querylog.ReadCounts(ctx, cfg.DataDir, cfg.Timezone, first, last, func(c querylog.HourCount) error {
			found = append(found, c)
			return nil
		})
		if err != nil {
			return exitError{2, err}
		}
		if len(found) == 0 {
			fmt.Fprintln(inv.stderr, "nothing was counted then")
		}
		if *asJSON {
			return printJSON(inv.stdout, found)
		}
		return table(inv.stdout, func(line func(string, ...any)) {
			line("HOUR\tGROUP\tOUTCOME\tCATEGORY\tQUESTIONS")
			for _, c := range found {
				line("%s\t%s\t%s\t%s\t%d", c.Hour, c.Group, c.Outcome, orDash(c.Category), c.Count)
			}
		})
	}
}
