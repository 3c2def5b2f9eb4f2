package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/cmd/schoolgate/daemon"
)

// queryType is a type of the IANA registry that a device may well ask for, or any by its number
// (RFC 3597 §5).
var queryType = regexp.MustCompile(`^(?i:A|AAAA|ANY|CAA|CERT|CNAME|DNAME|DNSKEY|DS|HINFO|HTTPS|LOC|MX|NAPTR|NS|NSEC|NSEC3|` +
	`NSEC3PARAM|OPENPGPKEY|PTR|RRSIG|SMIMEA|SOA|SPF|SRV|SSHFP|SVCB|TLSA|TXT|URI|TYPE[0-9]{1,5})$`)

func setupExplain(fs *flag.FlagSet) action {
	client := fs.String("client", "", "the `ADDRESS` that asks; needed")
	at := fs.String("at", "", "the `TIME` of the question; now, where it is not given")
	asJSON := jsonFlag(fs)
	failIfBlocked := fs.Bool("fail-if-blocked", false, "exit with 1 if the name is blocked")
	return func(ctx context.Context, inv *invocation) error {
		if host := hostOfURL(inv.args[0]); host != "" {
			return wrongUse("explain: that is a web address; ask for its host: %s", host)
		}
		name, err := blocklist.ParseName(inv.args[0])
		if err != nil {
			return wrongUse("explain: %w", err)
		}
		// The decision is about the name: every type of it is answered alike.
		if len(inv.args) > 1 && !queryType.MatchString(inv.args[1]) {
			return wrongUse("explain: %q is not a query type", inv.args[1])
		}
		if *client == "" {
			return wrongUse("explain: who asks? (--client ADDRESS)")
		}
		addr, err := netip.ParseAddr(*client)
		if err != nil {
			return wrongUse("explain: --client: %q is not an IP address", *client)
		}
		ex, err := inv.explain(ctx, addr, name, *at)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(inv.stdout, ex.Explanation)
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

// explain asks the running schoolgate, whose lists may be last good copies. Where none runs with this
// configuration it reads the lists itself.
func (inv *invocation) explain(ctx context.Context, client netip.Addr, name blocklist.Name, at string) (daemon.Explained, error) {
	cfg, err := inv.inForce()
	if err != nil {
		return daemon.Explained{}, err
	}
	when := time.Now()
	if at != "" {
		if when, _, err = parseTime(at, cfg.Timezone); err != nil {
			return daemon.Explained{}, wrongUse("explain: --at: %w", err)
		}
		at = when.Format(time.RFC3339)
	}
	running, _, err := inv.running(ctx, cfg)
	if err != nil {
		return daemon.Explained{}, err
	}
	var ex daemon.Explained
	if running != nil {
		ex, err = running.Explain(ctx, name.String(), client.String(), at)
	} else {
		var filter *daemon.Filter
		if filter, err = assemble(ctx, cfg, nil); err == nil {
			ex.Explanation, ex.Waiting = filter.Policy.Explain(client, name, when.In(cfg.Timezone)), filter.Waiting()
		}
	}
	for _, w := range ex.Waiting {
		fmt.Fprintln(inv.stderr, "warning: waiting for", w)
	}
	return ex, err
}

// hostOfURL is the host of a web address, "" where the text is none.
func hostOfURL(text string) string {
	if !strings.Contains(text, "/") {
		return ""
	}
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
