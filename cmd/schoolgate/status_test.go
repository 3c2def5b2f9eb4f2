package main

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"schoolgate/clients"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/resolver"
)

func TestStatusSaysWhatAnUpstreamIsAskedWithout(t *testing.T) {
	var out bytes.Buffer
	if err := printStatus(&invocation{stdout: &out}, daemon.Status{Upstreams: []daemon.UpstreamStatus{
		{Server: "udp://192.0.2.1:53", Healthy: true, RTTMillis: 1, Queries: 9, Without: []string{"edns", "0x20"}},
		{Server: "udp://192.0.2.2:53", Healthy: true, RTTMillis: 1, Queries: 9},
	}}); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"udp://192.0.2.1:53 answers, asked without edns and 0x20 1.0 ms", "udp://192.0.2.2:53 answers 1.0 ms"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}

func TestStatusSaysWhatStandsOutOfWhoAsks(t *testing.T) {
	monday := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	router := netip.MustParseAddr("10.0.0.10")
	var out bytes.Buffer
	if err := printStatus(&invocation{stdout: &out}, daemon.Status{
		Clients: clients.Stats{Clients: 412, Silent: 9, Still: 2, Uncounted: 7},
		Busy:    []clients.Client{{Addr: router, Group: "year7", Hour: 41200, Times: 52, Names: 900}},
		Throngs: []resolver.Throng{{Client: router, Names: 2000, Last: monday}, {Client: netip.MustParseAddr("10.0.0.11"), Names: 3000, Last: monday}},
		Falls:   []clients.Fall{{Group: "year8", From: monday, Asked: 40, Least: 1200, Weeks: 3}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nclients        412 addresses in the last days; 9 asked and ask no more, of which 2 are still on the network (`schoolgate clients list --silent`)\n" +
			"               7 questions are counted to nobody, as too many addresses asked at a time\n" +
			"  ! 10.0.0.10 (group year7) asks like many devices: 41200 questions in the last hour, 52 times as many as the median client, for some 900 names. " +
			"Where it is a router or resolver, give it a group of its own (groups: many_behind_one: {clients: [10.0.0.10], inherit: year7, shared: true}), " +
			"or, where it says for whom it asks, name it in access.trusted_forwarders\n" +
			"  ! 10.0.0.11 asks like many devices, for some 3000 names in ten minutes: where it is a router or resolver, let it be in a group that says shared: true, or in access.trusted_forwarders (last Mon 11:00)\n" +
			"  ! group year8 asked 40 questions on Mon 2026-11-23 from 11:00, and 1200 at least at that hour in the 3 weeks before: " +
			"where it is at school as usual, it may have found another resolver (`schoolgate clients list --silent`)\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %s\ngot %s", want, out.String())
		}
	}
}

func TestThoseThatAreStillThereStandFirst(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 11, 23, hour, 0, 0, 0, time.UTC) }
	c := func(n byte, last, seen, lease int, still bool) clients.Client {
		out := clients.Client{Addr: netip.AddrFrom4([4]byte{10, 20, 0, n}), Group: "year7", Last: at(last), Silent: true, Still: still}
		if seen > 0 {
			out.Seen = at(seen)
		}
		if lease > 0 {
			out.Lease = at(lease)
		}
		return out
	}
	list := []clients.Client{c(1, 11, 0, 0, false), c(2, 9, 0, 18, false), c(3, 10, 12, 0, true), c(4, 8, 13, 18, true), c(5, 10, 10, 0, false)}
	slices.SortStableFunc(list, bySignOfLife)
	var out bytes.Buffer
	if err := printClients(&out, list); err != nil {
		t.Fatal(err)
	}
	want := `CLIENT     MAC  GROUP  LAST ASKED  HOUR  DAY  NAMES  MEDIAN  ON THE NETWORK
10.20.0.4  -    year7  Mon 08:00   0     0    0      -       seen Mon 13:00         SILENT, AND STILL THERE
10.20.0.3  -    year7  Mon 10:00   0     0    0      -       seen Mon 12:00         SILENT, AND STILL THERE
10.20.0.2  -    year7  Mon 09:00   0     0    0      -       lease until Mon 18:00  silent
10.20.0.1  -    year7  Mon 11:00   0     0    0      -       -                      silent
10.20.0.5  -    year7  Mon 10:00   0     0    0      -       seen Mon 10:00         silent
`
	got := regexp.MustCompile(`(?m) +$`).ReplaceAllString(out.String(), "")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
