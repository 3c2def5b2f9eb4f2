package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"schoolgate/cmd/schoolgate/daemon"
)

func setupSelftest(fs *flag.FlagSet) action {
	group := fs.String("group", "", "ask as this `GROUP` only")
	by := fs.String("by", "", "`WHO` tests, for the audit; without it the user of this system")
	fromClient := fs.Bool("from-client", false, "on a pupil's device: is an outside resolver reachable? Needs no configuration, and is not recorded")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		if *fromClient {
			if *group != "" || *by != "" {
				return wrongUse("selftest: --from-client knows no --group and no --by")
			}
			return fromClientTest(ctx, inv.stdout, outsideResolvers(), hasDNS, *asJSON)
		}
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		client, err := daemon.Dial(ctx, cfg.DataDir)
		if errors.Is(err, daemon.ErrNotRunning) {
			return wrongUse("selftest: %w: start schoolgate first", err)
		} else if err != nil {
			return err
		}
		found, err := client.SelfTest(ctx, *group, cmp.Or(strings.TrimSpace(*by), systemUser()))
		if daemon.IsWrongUse(err) {
			return wrongUse("selftest: %w", err)
		} else if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(inv.stdout, found)
		} else {
			err = printSelfTest(inv.stdout, &found)
		}
		if err == nil && found.Failed > 0 {
			return errNo()
		}
		return err
	}
}

func printSelfTest(w io.Writer, found *daemon.SelfTest) error {
	err := table(w, func(line func(string, ...any)) {
		for _, g := range found.Groups {
			line("%s (asked as %s)", g.Group, cmp.Or(g.Client, "nobody"))
			for _, c := range g.Checks {
				line("  %s\t%s\t%s\t%s", c.Result, c.What, orDash(c.Name), c.Why)
			}
		}
	})
	fmt.Fprintf(w, "%d ok, %d failed, %d not tested; from a pupil's device: not tested (`schoolgate selftest --from-client`, there)\nrecorded in the audit, and whole in %s\n",
		found.OK, found.Failed, found.NotTested, found.File)
	return err
}
