package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// groups is how many the school has.
const groups = 40

// configuration is that of the school whose past breachtest.Lived writes.
func configuration() string {
	var b strings.Builder
	b.WriteString(`version: 1
site: winchelsea
timezone: Europe/London
data_dir: data
listen: {dns: ["127.0.0.1:5390"], console: "127.0.0.1:5391", metrics: "127.0.0.1:5392"}
upstreams: {servers: ["udp://127.0.0.1:9"]}
retention: {breaches: 400d}   # that nothing is deleted while it is timed
categories:
`)
	low, medium := []string{"gaming", "social_networks", "streaming"}, []string{"gambling", "chat", "drugs"}
	high := []string{"bypass", "pornography", "self_harm", "extremism"}
	var all []string
	for severity, names := range map[string][]string{"low": low, "medium": medium, "high": high} {
		for _, n := range names {
			fmt.Fprintf(&b, "  %s: {severity: %s, lists: []}\n", n, severity)
			all = append(all, n)
		}
	}
	b.WriteString("groups:\n")
	for i := range groups {
		fmt.Fprintf(&b, "  year%d%c: {clients: [10.20.%d.0/24], block: [%s]}\n", 7+i/6, 'a'+i%6, i, strings.Join(all, ", "))
	}
	b.WriteString("default_group: year7a\n")
	return b.String()
}

// command is one that is timed.
type command struct {
	args        []string
	needsDaemon bool
	slow        bool      // once is enough: it reads all of the record
	cells       [4]string // alone warm and cold, running warm and cold
}

// commands are those that people run, with each filter.
func (y *year) commands(ctx context.Context) ([]*command, error) {
	day := func(before int) string { return y.now.AddDate(0, 0, -before).Format(time.DateOnly) }
	narrow := " --from " + day(200) + " --to " + day(199)
	month := " --from " + day(230) + " --to " + day(200)
	whole := " --from " + day(y.days) + " --to " + day(0)
	large, err := y.largest(ctx, day(230), day(200))
	if err != nil {
		return nil, err
	}
	var all []*command
	for _, text := range []string{
		"breaches list",
		"breaches list --json",
		"breaches list --limit 10",
		"breaches list --client 10.20.4.1",
		"breaches list --client 10.20.39.29",
		"breaches list --client 10.99.9.9",
		"breaches list --client mac:02:00:00:00:00:04",
		"breaches list --client name:pad-0004",
		"breaches list --client name:nobody",
		"breaches list --client user:pupil0005",
		"breaches list --category gaming",
		"breaches list --category self_harm",
		"breaches list --category iwf",
		"breaches list --category rule",
		"breaches list --group year7a",
		"breaches list --group year13d",
		"breaches list --group year7a --category iwf",
		"breaches list --group year8c --category drugs",
		"breaches list --severity low",
		"breaches list --severity critical",
		"breaches list --severity critical --category gaming",
		"breaches list --severity high --group year9b",
		"breaches list --client 10.20.4.1 --category pornography",
		"breaches list --client 10.20.4.1 --group year12a",
		"breaches list" + narrow,
		"breaches list" + month,
		"breaches list" + whole,
		"breaches list --from 2019-01-01 --to 2019-12-31",
		"breaches list --category bypass --group year10a" + narrow,
		"breaches list --category gambling" + month,
		"breaches list --group year11b" + month,
		"breaches list --client 10.20.7.3" + month,
		"breaches list --client 10.20.7.3 --severity high" + whole,
		"breaches list --json --category self_harm --severity high" + whole,
		"incidents list",
		"incidents list --state open",
		"incidents list --state new",
		"incidents list --state closed",
		"incidents list --state in_hand",
		"incidents list --category pornography",
		"incidents list --category iwf --state closed",
		"incidents list --group year7a",
		"incidents list --severity critical",
		"incidents list --client 10.20.4.1",
		"incidents list --client name:pad-0004",
		"incidents list --client name:nobody",
		"incidents list" + narrow,
		"incidents list" + whole,
		"incidents list --all" + narrow,
		"incidents list --json --severity high" + month,
		"incidents show " + large,
		"incidents show " + large[len(large)-6:],
		"report --from " + day(206) + " --to " + day(200),
		"report --from " + day(230) + " --to " + day(200),
		"report --from " + day(290) + " --to " + day(200),
		"report" + whole,
		"report --governors" + whole,
		"report --format csv" + whole,
		"privacy export --client 10.20.4.1" + whole,
		"privacy export --client name:pad-0004" + month,
		"clients list",
		"status",
		"audit list",
		"incidents list --all --json",
		"audit verify",
		"breaches export",
	} {
		c := &command{args: strings.Fields(text)}
		c.needsDaemon = text == "clients list" || text == "status"
		c.slow = text == "incidents list --all --json" || text == "audit verify" || text == "breaches export"
		all = append(all, c)
	}
	return all, nil
}

// largest returns the ID of the incident of a time that was tried most often.
func (y *year) largest(ctx context.Context, from, to string) (string, error) {
	var out bytes.Buffer
	if err := y.run(ctx, &out, "incidents", "list", "--all", "--json", "--from", from, "--to", to); err != nil {
		return "", err
	}
	var found []struct {
		ID    string
		Count int
	}
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return "", err
	}
	id, count := "", -1
	for _, i := range found {
		if i.Count > count {
			id, count = i.ID, i.Count
		}
	}
	if id == "" {
		return "", fmt.Errorf("no incident from %s to %s", from, to)
	}
	return id, nil
}
