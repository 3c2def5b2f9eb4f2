package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"schoolgate/blocklist"
)

// queryType is how a type is written (RFC 1035 §3.2.2, RFC 3597 §5).
var queryType = regexp.MustCompile(`^[A-Z][A-Z0-9-]*$`)

func setupExplain(fs *flag.FlagSet) action {
	client := fs.String("client", "", "the `ADDRESS` that asks; needed")
	at := fs.String("at", "", "the `TIME` of the question; now, where it is not given")
	asJSON := jsonFlag(fs)
	failIfBlocked := fs.Bool("fail-if-blocked", false, "exit with 1 if the name is blocked")
	return func(ctx context.Context, inv *invocation) error {
		name, err := blocklist.ParseName(inv.args[0])
		if err != nil {
			return wrongUse("explain: %w", err)
		}
		// The decision is about the name: every type of it is answered alike.
		if len(inv.args) > 1 && !queryType.MatchString(strings.ToUpper(inv.args[1])) {
			return wrongUse("explain: %q is not a query type", inv.args[1])
		}
		if *client == "" {
			return wrongUse("explain: who asks? (--client ADDRESS)")
		}
		addr, err := netip.ParseAddr(*client)
		if err != nil {
			return wrongUse("explain: --client: %q is not an IP address", *client)
		}
		filter, err := inv.assemble(ctx)
		if err != nil {
			return err
		}
		when := time.Now()
		if *at != "" {
			if when, _, err = parseTime(*at, filter.Config.Timezone); err != nil {
				return wrongUse("explain: --at: %w", err)
			}
		}
		missing, _ := filter.ListProblems(inv.path())
		for _, m := range missing {
			fmt.Fprintln(inv.stderr, m)
		}

		ex := filter.Policy.Explain(addr, name, when.In(filter.Config.Timezone))
		if *asJSON {
			err = printJSON(inv.stdout, ex)
		} else {
			fmt.Fprintf(inv.stdout, "%s: %s asked by %v\n", ex.Verdict, name, addr)
			err = table(inv.stdout, func(line func(string, ...any)) {
				for _, row := range [][2]string{
					{"group", ex.Group},
					{"category", ex.Category},
					{"categories", strings.Join(ex.Categories, ", ")},
					{"list", ex.Rule.List},
					{"entry", ex.Rule.Entry},
					{"reason", ex.Rule.Reason},
					{"changes at", ex.ChangesAt},
				} {
					if row[1] != "" {
						line("  %s\t%s", row[0], row[1])
					}
				}
			})
			for _, s := range ex.Steps {
				fmt.Fprintln(inv.stdout, "  "+s)
			}
		}
		if err == nil && *failIfBlocked && ex.Verdict == "block" {
			return errNo()
		}
		return err
	}
}
