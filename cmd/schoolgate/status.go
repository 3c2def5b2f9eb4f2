package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/querylog"
)

func setupStatus(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		client, err := daemon.Dial(ctx, cfg.DataDir)
		if err != nil {
			return err
		}
		s, err := client.Status(ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, s)
		}
		return printStatus(inv, s)
	}
}

// printLimits has a line for each limit that refused something.
func printLimits(w io.Writer, s daemon.Status) {
	l := s.Limits
	if l.RateLimited > 0 {
		var lately []string
		for _, o := range l.Lately {
			client := o.Client.String()
			if o.Client.Is6() && !o.Client.IsLinkLocalUnicast() {
				client += "/64"
			}
			lately = append(lately, fmt.Sprintf("%s (%d, last %s)", client, o.Queries, o.Last.Format("Mon 15:04:05")))
		}
		fmt.Fprintf(w, "over the limit %s, lately of %s\n", daemon.Plural(int(l.RateLimited), "question", "questions"), strings.Join(lately, ", "))
	}
	if l.ForwardOverload > 0 {
		fmt.Fprintf(w, "overload       %s failed, as too many were waiting for upstreams\n", daemon.Plural(int(l.ForwardOverload), "question", "questions"))
	}
	if l.ProxyRefused > 0 {
		fmt.Fprintf(w, "proxies        %s named no client, and were dropped\n", daemon.Plural(int(l.ProxyRefused), "packet or connection", "packets and connections"))
	}
}

// printQueryLog says what is kept of questions.
func printQueryLog(w io.Writer, q querylog.Status) {
	fmt.Fprintf(w, "query log      %s", q.Mode)
	if q.Files > 0 {
		fmt.Fprintf(w, "; questions since %s: %s, %d of %d MiB", q.Oldest, daemon.Plural(q.Files, "file", "files"), (q.Bytes+1<<20-1)>>20, q.MaxBytes>>20)
	}
	if q.Waiting > 0 {
		fmt.Fprintf(w, "; %s in memory wait for the disk", daemon.Plural(q.Waiting, "question", "questions"))
	}
	if q.Dropped > 0 {
		fmt.Fprintf(w, "; %s lost since the start", daemon.Plural(int(q.Dropped), "question", "questions"))
	}
	fmt.Fprintln(w)
}

func printStatus(inv *invocation, s daemon.Status) error {
	w := inv.stdout
	state := "healthy"
	switch {
	case !s.Ready:
		state = "NOT READY"
	case !s.Healthy:
		state = "NOT HEALTHY"
	}
	fmt.Fprintf(w, "%s: schoolgate %s, process %d, since %s\n", state, s.Version, s.PID, s.Started.Format(time.RFC3339))
	for _, p := range s.Problems {
		fmt.Fprintf(w, "  ! %s\n", p)
	}
	for _, r := range s.Config.Refused {
		fmt.Fprintf(w, "  refused: %s\n", r)
	}
	path := s.Config.Path
	if path == "" {
		path = "(built in)"
	}
	fmt.Fprintf(w, "local time     %s (%s)\n", s.Time.Format("Mon 2006-01-02 15:04:05 MST"), s.Timezone)
	fmt.Fprintf(w, "configuration  %s, in force since %s\n", path, s.Config.Since.Format(time.RFC3339))
	if s.Config.Changed {
		fmt.Fprintf(w, "               the file on disk differs from what is in force since %s\n", s.Config.Since.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "hash           %s\n", s.Config.Hash)
	for _, f := range s.Config.Extends {
		fmt.Fprintf(w, "extends        %s, hash %s\n", f.Path, f.Hash)
	}
	for _, a := range s.Listen.DNS {
		fmt.Fprintf(w, "DNS            %v\n", a)
	}
	for _, l := range encryptedListeners(s.Listen) {
		fmt.Fprintf(w, "%-14s %s\n", l.name, l.at)
	}
	if s.Listen.Console != "" {
		fmt.Fprintf(w, "API            %s\n", apiURL(s.Listen))
	}
	fmt.Fprintf(w, "metrics        %s\n", orDash(s.Listen.Metrics))
	fmt.Fprintf(w, "record         %s, newest hash %s\n", daemon.Plural(int(s.Chain.Seq), "row", "rows"), orDash(s.Chain.Hash))
	fmt.Fprintf(w, "kept for       breaches %s, incidents of concern %s, changes %s\n", s.Retention.Breaches, s.Retention.Incidents, s.Retention.Audit)
	printQueryLog(w, s.QueryLog)
	fmt.Fprintf(w, "cache          %s\n", daemon.Plural(s.Cache, "answer", "answers"))
	if i := s.Identity; i.Devices+i.SignIns > 0 {
		fmt.Fprintf(w, "known          %s: %s, %s, %s by reverse look-up, %s\n", daemon.Plural(i.Devices, "address", "addresses"),
			daemon.Plural(i.Neighbours, "neighbour", "neighbours"), daemon.Plural(i.Leases, "lease", "leases"),
			daemon.Plural(i.Names, "name", "names"), daemon.Plural(i.SignIns, "sign-in", "sign-ins"))
	}
	if n := s.Identity.RADIUS.Refused; n > 0 {
		fmt.Fprintf(w, "RADIUS         %s refused: of others than identity.radius.clients, or with another secret\n", daemon.Plural(int(n), "packet", "packets"))
	}
	if a := s.API; a.Refused+a.Unauthorised > 0 {
		fmt.Fprintf(w, "API refused    %s of %d, and %s with a token that is none of api.tokens\n",
			daemon.Plural(int(a.Refused), "login", "logins"), a.Taken+a.Refused, daemon.Plural(int(a.Unauthorised), "request", "requests"))
	}
	if len(s.Refused) > 0 {
		var each []string
		for _, r := range s.Refused {
			each = append(each, fmt.Sprintf("%s %s %d", r.Transport, r.Reason, r.Count))
		}
		fmt.Fprintf(w, "refused        connections and requests: %s\n", strings.Join(each, ", "))
	}
	if x := s.Exceptions; x.Allow+x.Block+x.NoEffect > 0 {
		fmt.Fprintf(w, "exceptions     %d in force: %d allow, %d block", x.Allow+x.Block, x.Allow, x.Block)
		if x.NoEffect > 0 {
			fmt.Fprintf(w, "; %d without effect, for groups that are not in the configuration", x.NoEffect)
		}
		fmt.Fprintln(w)
	}
	printLimits(w, s)
	printClientStatus(w, s)
	fmt.Fprintln(w)

	if err := table(w, func(line func(string, ...any)) {
		line("UPSTREAM\tSTATE\tROUND TRIP\tQUESTIONS\tFAILURES")
		for _, u := range s.Upstreams {
			state, rtt := "answers", "-"
			switch {
			case u.LeadsBack:
				state = "LEADS BACK HERE"
			case !u.Healthy:
				state = "DOES NOT ANSWER"
			case u.Queries == 0:
				state = "not asked yet"
			case u.RTTMillis == 0:
				state = "no answer yet"
			}
			if len(u.Without) > 0 {
				state += ", asked without " + strings.Join(u.Without, " and ")
			}
			if u.RTTMillis > 0 {
				rtt = fmt.Sprintf("%.1f ms", u.RTTMillis)
			}
			line("%s\t%s\t%s\t%d\t%d", u.Server, state, rtt, u.Queries, u.Failures)
		}
	}); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printLists(w, s.Lists, s.Time); err != nil {
		return err
	}
	printListProblems(w, "!", slices.DeleteFunc(slices.Clone(s.Lists), func(l daemon.ListStatus) bool {
		said := fmt.Sprintf("list %s of category %s ", l.List, l.Category)
		return slices.ContainsFunc(s.Problems, func(p string) bool { return strings.HasPrefix(p, said) })
	}))
	for _, n := range s.Notes {
		fmt.Fprintln(w, n)
	}
	fmt.Fprintln(w)
	return table(w, func(line func(string, ...any)) {
		line("RECEIVER\tALERTS WAITING\tOLDEST")
		for _, q := range s.AlertQueue {
			oldest := orDash(q.Oldest)
			if q.Disabled {
				oldest += " (DISABLED: it took nothing)"
			}
			line("%s\t%d\t%s", q.Receiver, q.Length, oldest)
		}
	})
}
