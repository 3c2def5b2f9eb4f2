package main

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"

	"schoolgate/resolver/dnswire"
)

// The demo's day, in minutes after midnight.
const (
	dayStart = 8*60 + 45
	dayEnd   = 15*60 + 30
)

// bell is a moment at which the day goes on to something else.
type bell struct {
	minute float64
	what   string
}

func bells() []bell {
	return []bell{
		{dayStart, "registration"},
		{8*60 + 55, "lessons"},
		{10*60 + 40, "break"},
		{11 * 60, "lessons"},
		{12*60 + 10, "lunch"},
		{13*60 + 10, "lessons"},
		{15*60 + 20, "home time"},
	}
}

// question is one that a device asks in the course of the day.
type question struct {
	minute float64
	client netip.Addr
	name   string
	typ    uint16
}

// classroom is a set of devices that use the network in the same way.
type classroom struct {
	prefix  string // of the devices' addresses, without the last octet
	devices int
	sites   []string
	visits  int // a device's, on a day
}

// schoolDay makes up a day, the same one for the same seed: ordinary work, with what a safeguarding
// lead has to know of in between. The names of the bad places are made up too.
func schoolDay(seed uint64) []question {
	r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a day to look at, not a secret
	work := []string{
		"www.bbc.co.uk", "en.wikipedia.org", "classroom.google.com", "www.nationalarchives.gov.uk", "www.khanacademy.org",
		"www.metoffice.gov.uk", "scratch.mit.edu", "www.britannica.com", "outlook.office.com", "www.thenational.academy",
	}
	rooms := []classroom{
		{"10.10.1.", 4, []string{"www.bbc.co.uk", "www.phonicsplay.co.uk"}, 3},
		{"10.20.3.", 12, work, 5},
		{"10.21.4.", 10, work, 4},
		{"10.1.0.", 6, append([]string{"www.gov.uk", "www.tes.com", "www.theguardian.com"}, work...), 5},
		{"172.16.9.", 4, []string{"www.bbc.co.uk", "www.nationalrail.co.uk", "www.theguardian.com"}, 3},
	}
	var day []question
	for _, room := range rooms {
		for device := range room.devices {
			for range room.visits {
				day = append(day, question{
					dayStart + 5 + r.Float64()*(dayEnd-dayStart-10), address(room.prefix, 11+device),
					room.sites[r.IntN(len(room.sites))], pick(r, dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeHTTPS),
				})
			}
		}
	}
	// Telephones try encrypted DNS by themselves: blocked, counted, and no breach.
	for range 14 {
		day = append(day, question{
			dayStart + r.Float64()*(dayEnd-dayStart), address("172.16.9.", 11+r.IntN(4)),
			pick(r, "dns.google", "cloudflare-dns.com"), dnswire.TypeA,
		})
	}
	day = append(day, incidents(r)...)
	slices.SortStableFunc(day, func(a, b question) int { return cmp.Compare(a.minute, b.minute) })
	return day
}

// incidents are what the alerts of the day are about.
func incidents(r *rand.Rand) []question {
	var day []question
	// ask spreads questions of one device over a few minutes.
	ask := func(from, to float64, client netip.Addr, names ...string) {
		for i, name := range names {
			day = append(day, question{from + (to-from)*float64(i)/float64(len(names)), client, name, dnswire.TypeA})
		}
	}
	// The technician asks for the name with which schools test their filter.
	ask(8*60+47, 8*60+48, address("10.1.0.", 11), "iwf.testfiltering.com")
	// One child, in a lesson, again and again.
	ask(9*60+32, 9*60+58, address("10.20.3.", 14), "adult-videos.example", "www.adult-videos.example", "hot-pictures.example",
		"adult-videos.example", "free.adult-videos.example", "hot-pictures.example")
	// A member of staff, once.
	ask(10*60+22, 10*60+23, address("10.1.0.", 15), "hot-pictures.example")
	// A way round the filter.
	ask(11*60+15, 11*60+31, address("10.21.4.", 17), "tunnel-vpn.example", "free-proxy.example", "tunnel-vpn.example", "cdn.tunnel-vpn.example")
	// Games at lunch.
	for device := range 4 {
		from := 12*60 + 14 + r.Float64()*30
		ask(from, from+12, address("10.20.3.", 12+2*device), "play.blockgame.example", "lobby.blockgame.example", "play.blockgame.example")
	}
	// Monitored: it resolves, and somebody asks how they are.
	ask(13*60+40, 13*60+44, address("10.21.4.", 13), "legal-highs.example", "www.legal-highs.example")
	// A help line is never blocked, recorded or alerted.
	ask(13*60+50, 13*60+51, address("10.21.4.", 13), "www.childline.org.uk")
	// The little ones have the few sites that are theirs.
	ask(14*60+5, 14*60+6, address("10.10.1.", 12), "www.youtube.com")
	ask(14*60+30, 14*60+36, address("172.16.9.", 13), "lucky-casino.example", "lucky-casino.example")
	return day
}

func address(prefix string, last int) netip.Addr {
	a := netip.MustParseAddr(prefix + "0").As4()
	a[3] = byte(last)
	return netip.AddrFrom4(a)
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }
