package breachtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Lived is a past as the record's own writer writes it: with its tallies, alerts and chain, which verifies.
type Lived struct {
	// Start is the midnight in UTC of the first of Days days. In five of seven there is school, but for thirteen weeks of
	// fifty-two; the others have a twentieth of what a school day has.
	Start time.Time
	Days  int
	// Breaches is how many there are, within a few in a hundred, of Devices devices in Groups groups. Fifty are an
	// incident, most of which have few, and some thousands.
	Breaches, Devices, Groups int
	// Progress is told how much is written at the end of each day. May be nil.
	Progress func(day int, breaches int64)
}

// kinds are what is tried: how many incidents of a thousand.
var kinds = []struct {
	name, title string
	severity    policy.Severity
	share       int
	locked      bool
}{
	{"gaming", "Gaming", policy.SeverityLow, 430, false},
	{"social_networks", "Social networks", policy.SeverityLow, 290, false},
	{"streaming", "Streaming", policy.SeverityLow, 90, false},
	{"gambling", "Gambling", policy.SeverityMedium, 60, false},
	{"chat", "Chat with strangers", policy.SeverityMedium, 30, false},
	{"bypass", "Ways round the filter (VPN, proxy, Tor)", policy.SeverityHigh, 45, false},
	{"pornography", "Pornography", policy.SeverityHigh, 34, false},
	{"self_harm", "Self-harm, suicide and eating disorders", policy.SeverityHigh, 12, false},
	{"drugs", "Drugs", policy.SeverityMedium, 7, false},
	{"extremism", "Extremism and racial hatred", policy.SeverityCritical, 1, false},
	{"iwf", "Child sexual abuse (IWF list)", policy.SeverityCritical, 1, true},
}

// watched is the kind that the oldest groups are not kept from, only seen at.
const watched = "social_networks"

// aMean is how many breaches an incident has on average.
const aMean = 50

// Write makes the record in a directory, which takes some 40 µs for each breach, and returns the path of its database.
func (p Lived) Write(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, "breach.db")
	w := &life{Lived: p, random: rand.New(rand.NewPCG(5, 8))} //nolint:gosec // the same Lived makes the same past
	if w.policy, err = w.school(); err != nil {
		return "", err
	}
	w.devices = w.all()
	w.now.Store(p.Start.UnixMilli())
	w.log, err = breach.Open(breach.Options{ //nolint:contextcheck // it has none
		Path: path, Settings: breach.Settings{Site: "winchelsea", Quiet: 10 * time.Minute},
		Now: func() time.Time { return time.UnixMilli(w.now.Load()) }, Router: w,
	})
	if err != nil {
		return "", err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.log.Run(running) }()
	err = w.live(ctx)
	stop()
	return path, errors.Join(err, <-ended)
}

// life is a Lived while it is written.
type life struct {
	Lived
	random  *rand.Rand
	policy  *policy.Policy
	devices []device
	log     *breach.Log
	now     atomic.Int64 // Unix milliseconds

	// The writer's own while it runs; the others read them when it has answered.
	opened []opened
	alerts []string
}

type device struct {
	policy.Client
	group uint16
}

// opened is an incident that somebody will look at.
type opened struct {
	id    string
	grave bool
}

// try is one question that is a breach.
type try struct {
	at     int64 // milliseconds since the midnight
	device int
	kind   int
	name   int
}

func (w *life) school() (*policy.Policy, error) {
	spec := policy.Spec{Access: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	var blocked, others []string
	var sources []blocklist.Source
	for i, k := range kinds {
		spec.Categories = append(spec.Categories, policy.Category{Name: k.name, Title: k.title, Severity: k.severity, Locked: k.locked, Confidential: k.locked})
		blocked = append(blocked, k.name)
		if k.name != watched {
			others = append(others, k.name)
		}
		n, err := blocklist.ParseName(k.name + ".example")
		if err != nil {
			return nil, err
		}
		sources = append(sources, blocklist.Source{ID: "builtin:" + k.name, Category: blocklist.Category(i), List: blocklist.ListOf(n)})
	}
	for i := range w.Groups {
		g := policy.Group{Name: fmt.Sprintf("year%d%c", 7+i/6, 'a'+i%6), Clients: []netip.Prefix{netip.PrefixFrom(w.address(i, 0), 24)}, Block: blocked}
		if i >= w.Groups*4/5 {
			g.Block, g.Monitor = others, []string{watched}
		}
		spec.Groups = append(spec.Groups, g)
	}
	spec.DefaultGroup = spec.Groups[0].Name
	return policy.Compile(spec, blocklist.Build(sources), true)
}

func (w *life) address(group, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 20, byte(group), byte(host)})
}

// all are the devices: of nine in ten the MAC address is known, of two in three the name, and to one in five somebody has
// signed in.
func (w *life) all() (devices []device) {
	for i := range w.Devices {
		c := policy.Client{Addr: w.address(i%w.Groups, 1+i/w.Groups)}
		if i%10 > 0 {
			c.MAC = fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255)
		}
		if i%3 > 0 {
			c.Name = fmt.Sprintf("pad-%04d.school.internal", i)
		}
		if i%5 == 0 {
			c.User = fmt.Sprintf("pupil%04d", i)
		}
		group, _ := w.policy.Identify(c.Addr)
		devices = append(devices, device{c, group})
	}
	return devices
}

// live lets the days pass.
func (w *life) live(ctx context.Context) error {
	weights, sum := make([]float64, w.Days), 0.0
	for day := range weights {
		weights[day] = 1
		if week := day / 7 % 52; w.Start.AddDate(0, 0, day).Weekday()%6 == 0 || week >= 39 || week == 7 || week == 15 || week == 16 {
			weights[day] = 0.05
		}
		sum += weights[day]
	}
	total, tries := int64(0), 0.0
	for day, weight := range weights {
		tries += float64(w.Breaches) * weight / sum
		today := w.plan(int(tries) - int(total))
		total += int64(len(today))
		if err := w.day(ctx, w.Start.AddDate(0, 0, day).UnixMilli(), today); err != nil {
			return fmt.Errorf("day %d: %w", day, err)
		}
		if w.Progress != nil {
			w.Progress(day, total)
		}
	}
	return nil
}

// plan draws the incidents of a day, of so many breaches in all.
func (w *life) plan(breaches int) (all []try) {
	for left := breaches; left > 0; {
		// Log-normal: the half has ten or fewer, one in a thousand more than three thousand.
		size := int(math.Ceil(aMean * math.Exp(1.75*w.random.NormFloat64()-1.75*1.75/2)))
		size = min(size, 20_000, left)
		left -= size
		// A tenth of the devices does more than a third of it.
		who := int(math.Pow(w.random.Float64(), 1.8) * float64(w.Devices))
		kind, share := 0, w.random.IntN(1000)
		for share >= kinds[kind].share {
			share -= kinds[kind].share
			kind++
		}
		at, first := w.moment(), w.random.IntN(50_000)
		// A name a second at most, and 40 minutes apart at most.
		apart := int64(1000 + w.random.IntN(max(1, min(2_400_000, 2_400_000/size))))
		for i := range size {
			one := try{at + int64(i)*apart, who, kind, first + i}
			if one.at >= 86_400_000 {
				break
			}
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b try) int { return cmp.Compare(a.at, b.at) })
	return all
}

// moment draws when an incident begins: nine in ten in lessons and breaks, the others in the evening.
func (w *life) moment() int64 {
	const hour = 3_600_000
	if w.random.IntN(10) > 0 {
		return 8*hour + 2*hour/3 + w.random.Int64N(7*hour)
	}
	return 16*hour + w.random.Int64N(6*hour)
}

// day has tried what was planned, minute by minute, and lets the incidents be dealt with at its end.
func (w *life) day(ctx context.Context, midnight int64, plan []try) error {
	var again []try
	for len(plan) > 0 || len(again) > 0 {
		minute := int64(math.MaxInt64)
		for _, all := range [][]try{plan, again} {
			if len(all) > 0 {
				minute = min(minute, all[0].at/60_000)
			}
		}
		w.now.Store(midnight + minute*60_000 + 59_999)
		end := (minute + 1) * 60_000
		old := again
		again = nil
		for _, t := range old {
			if t.at >= end {
				again = append(again, t)
				continue
			}
			if err := w.ask(midnight, t); err != nil {
				return err
			}
		}
		for len(plan) > 0 && plan[0].at < end {
			if err := w.ask(midnight, plan[0]); err != nil {
				return err
			}
			if w.random.IntN(4) == 0 { // one in four comes again, two minutes later
				t := plan[0]
				t.at += 120_000
				again = append(again, t)
			}
			plan = plan[1:]
		}
		if err := w.log.Tick(ctx); err != nil {
			return err
		}
		if err := w.deliver(ctx); err != nil {
			return err
		}
	}
	w.now.Store(midnight + 86_399_000)
	if err := w.log.Flush(ctx); err != nil {
		return err
	}
	if err := w.deliver(ctx); err != nil {
		return err
	}
	return w.dealWith(ctx)
}

func (w *life) ask(midnight int64, t try) error {
	n, err := blocklist.ParseName(fmt.Sprintf("cdn%d.site%d.%s.example", t.name%7, t.name, kinds[t.kind].name))
	if err != nil {
		return err
	}
	d := &w.devices[t.device]
	at := time.UnixMilli(midnight + t.at)
	w.log.Record(policy.Event{
		Time: at, Client: d.Client, Policy: w.policy, Verdict: w.policy.Decide(d.group, []byte(n), at), Name: n, Type: 1, Transport: "udp",
	})
	return nil
}

// Route has an alert leave at once for what is grave.
func (w *life) Route(n breach.Notice) []breach.Alert {
	grave := n.Attribution.Severity >= policy.SeverityHigh
	if n.Kind == breach.IncidentOpened {
		w.opened = append(w.opened, opened{n.Incident, grave})
	}
	if !grave {
		return nil
	}
	id := fmt.Sprintf("lived-%s-%d", n.Incident, n.Count)
	w.alerts = append(w.alerts, id)
	return []breach.Alert{{ID: id, Receiver: "dsl", Type: n.Kind, Incident: n.Incident, Body: []byte("{}"), Created: n.Time}}
}

func (w *life) deliver(ctx context.Context) error {
	for _, id := range w.alerts {
		if err := w.log.Settle(ctx, map[string]breach.Outcome{id: {State: breach.Delivered, Status: "HTTP 200"}}); err != nil {
			return err
		}
	}
	w.alerts = nil
	return nil
}

// dealWith closes what is grave, but for three in a hundred, and looks at one in fifty of the others.
func (w *life) dealWith(ctx context.Context) error {
	today := w.opened
	w.opened = nil
	for _, i := range today {
		hand := w.random.IntN(100)
		if !i.grave && hand >= 2 {
			continue
		}
		err := w.log.SeeIncident(ctx, i.id, "dsl")
		switch {
		case err != nil || i.grave && hand < 1:
		case hand < 3:
			err = w.log.NoteIncident(ctx, i.id, "dsl", "spoke to the form tutor, who will see the parents on Friday")
		default:
			outcome := "spoken_to"
			if hand < 80 {
				outcome = breach.OutcomeNoConcern
			}
			err = w.log.CloseIncident(ctx, i.id, "dsl", outcome, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
