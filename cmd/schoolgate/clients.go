package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"schoolgate/clients"
	"schoolgate/cmd/schoolgate/daemon"
)

func setupClientsList(fs *flag.FlagSet) action {
	silent := fs.Bool("silent", false, "those that asked as devices do, and ask no more; first those that are still on the network")
	busy := fs.Bool("busy", false, "those that ask like many devices")
	group := fs.String("group", "", "those of one `GROUP`")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		if err := knownGroup(cfg, *group); err != nil {
			return wrongUse("clients list: --group: %w", err)
		}
		client, err := daemon.Dial(ctx, cfg.DataDir)
		if err != nil {
			return err
		}
		list, err := client.Clients(ctx)
		if err != nil {
			return err
		}
		if !list.Kept {
			fmt.Fprintln(inv.stderr, "note: nobody is counted, as query_log is none")
		}
		found := slices.DeleteFunc(list.Clients, func(c clients.Client) bool {
			all := !*silent && !*busy
			return *group != "" && c.Group != *group || !all && (!*silent || !c.Silent) && (!*busy || !c.Busy)
		})
		if *silent {
			slices.SortStableFunc(found, bySignOfLife)
		}
		if *asJSON {
			return printJSON(inv.stdout, found)
		}
		return printClients(inv.stdout, found)
	}
}

// bySignOfLife orders those that ask no more by how likely it is that they are there: seen on the network, latest first,
// then with a lease that runs, then by when they asked last.
func bySignOfLife(a, b clients.Client) int {
	rank := func(c clients.Client) int {
		switch {
		case c.Still:
			return 0
		case !c.Lease.IsZero():
			return 1
		}
		return 2
	}
	if d := rank(a) - rank(b); d != 0 || rank(a) > 0 {
		return cmp.Or(d, b.Last.Compare(a.Last))
	}
	return b.Seen.Compare(a.Seen)
}

func printClients(w io.Writer, list []clients.Client) error {
	return table(w, func(line func(string, ...any)) {
		line("CLIENT\tMAC\tGROUP\tLAST ASKED\tHOUR\tDAY\tNAMES\tMEDIAN\tON THE NETWORK\t")
		for _, c := range list {
			median, there := "-", "-"
			if c.Times > 0 {
				median = strconv.Itoa(c.Times) + "x"
			}
			switch {
			case !c.Seen.IsZero():
				there = "seen " + c.Seen.Format("Mon 15:04")
			case !c.Lease.IsZero():
				there = "lease until " + c.Lease.Format("Mon 15:04")
			}
			line("%v\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s", c.Addr, orDash(c.MAC), c.Group, c.Last.Format("Mon 15:04"), c.Hour, c.Day, c.Names, median, there, clientNote(c))
		}
	})
}

// clientNote is what stands out of a client.
func clientNote(c clients.Client) string {
	switch {
	case c.Busy:
		return "asks like many devices"
	case c.Still:
		return "SILENT, AND STILL THERE"
	case c.Silent:
		return "silent"
	case c.Shared:
		return "shared"
	}
	return ""
}

// printClientStatus has a line for each thing that stands out of who asks.
func printClientStatus(w io.Writer, s daemon.Status) {
	if c := s.Clients; c.Clients > 0 {
		fmt.Fprintf(w, "clients        %s in the last days", daemon.Plural(c.Clients, "address", "addresses"))
		if c.Silent > 0 {
			fmt.Fprintf(w, "; %d asked and ask no more, of which %s still on the network (`schoolgate clients list --silent`)", c.Silent, areOf(c.Still))
		}
		fmt.Fprintln(w)
	}
	if n := s.Clients.Uncounted; n > 0 {
		fmt.Fprintf(w, "               %s counted to nobody, as too many addresses asked at a time\n", daemon.Plural(int(n), "question is", "questions are"))
	}
	for _, c := range s.Busy {
		fmt.Fprintf(w, "  ! %v (group %s) asks like many devices: %d questions in the last hour, %d times as many as the median client, for some %d names. %s\n",
			c.Addr, c.Group, c.Hour, c.Times, c.Names, sharedAdvice(c))
	}
	for _, t := range s.Throngs {
		if slices.ContainsFunc(s.Busy, func(c clients.Client) bool { return c.Addr == t.Client }) {
			continue
		}
		fmt.Fprintf(w, "  ! %v asks like many devices, for some %d names in ten minutes: where it is a router or resolver, let it be in a group that says shared: true, or in access.trusted_forwarders (last %s)\n",
			t.Client, t.Names, t.Last.Format("Mon 15:04"))
	}
	for _, f := range s.Falls {
		fmt.Fprintf(w, "  ! %s\n", daemon.FallText(f))
	}
}

func areOf(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}

// sharedAdvice says what to write for an address behind which there are many.
func sharedAdvice(c clients.Client) string {
	return fmt.Sprintf("Where it is a router or resolver, give it a group of its own (groups: many_behind_one: {clients: [%v], inherit: %s, shared: true}), or, where it says for whom it asks, name it in access.trusted_forwarders",
		c.Addr, c.Group)
}

func setupOnlySuggest(fs *flag.FlagSet) action {
	page := fs.String("for", "", "for the pages at or below this `NAME` of the allow-list only")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		group := inv.args[0]
		if err := knownGroup(cfg, group); err != nil {
			return wrongUse("only suggest: %w", err)
		}
		client, err := daemon.Dial(ctx, cfg.DataDir)
		if err != nil {
			return err
		}
		s, err := client.SuggestOnly(ctx, group, *page)
		if daemon.IsWrongUse(err) {
			return wrongUse("only suggest: %w", err)
		}
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, s)
		}
		return printSuggestion(inv.stdout, s)
	}
}

func printSuggestion(w io.Writer, s daemon.OnlySuggestion) error {
	fmt.Fprintf(w, "group %s: what its allow-list refused within ten seconds of a name that it allows, counted since %s\n", s.Group, s.Since.Format(time.RFC3339))
	if len(s.Names) == 0 {
		fmt.Fprintln(w, "nothing yet: open the pages on a device of the group, and ask again")
		return nil
	}
	fmt.Fprintln(w)
	if err := table(w, func(line func(string, ...any)) {
		line("NAME\tAFTER A PAGE\tWITHOUT\tPAGES\tLOOKS LIKE\tPROPOSED")
		for _, n := range s.Names {
			looks, proposed := "-", "yes"
			if n.Network {
				looks = "a content network"
			}
			if n.Not != "" {
				proposed = "no: " + n.Not
			}
			line("%s\t%d\t%d\t%s\t%s\t%s", n.Name, n.After, n.Alone, strings.Join(n.Pages, ", "), looks, proposed)
		}
	}); err != nil {
		return err
	}
	if s.Missed > 0 {
		fmt.Fprintf(w, "%s more, of names for which there was no room\n", daemon.Plural(int(s.Missed), "refusal", "refusals"))
	}
	if len(s.Add) == 0 {
		fmt.Fprintln(w, "\nnothing to propose yet")
		return nil
	}
	fmt.Fprintf(w, "\nTo be pasted once somebody has looked at each name, for it opens all below it:\n\n    only: [%s]\n", strings.Join(append(s.Only, s.Add...), ", "))
	return nil
}
