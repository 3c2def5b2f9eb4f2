//go:build !race

package daemon

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/policy/breach"
)

var dayQuestions = flag.Int("questions", 2_000_000, "of the replayed school day")

// attempt is a question for something that the policy blocks.
type attempt struct {
	at     time.Duration // after midnight
	client netip.Addr
	name   string
}

// schoolDay is a made-up day of 1,200 devices, the same one for the same seed.
type schoolDay struct {
	random   *rand.Rand
	attempts []attempt // by time
	matter   []attempt // those of which somebody has to know
}

const (
	dayBegins = 8*time.Hour + 45*time.Minute
	dayEnds   = 15*time.Hour + 30*time.Minute
	devices   = 1200
	wanted    = 3000 // attempts
	mattering = 40   // of those
)

func newSchoolDay(seed uint64) *schoolDay {
	d := &schoolDay{random: rand.New(rand.NewPCG(seed, 1200))}
	free := d.random.Perm(devices)
	take := func() netip.Addr { // a device that nothing else is said of
		n := free[0]
		free = free[1:]
		return netip.AddrFrom4([4]byte{10, 20, byte(n / 250), byte(1 + n%250)})
	}
	// Those that matter: somebody tries, fails, and may try again, for some minutes.
	kinds := []string{"selfharm", "extremism", "pornography", "pornography", "bypass"}
	for len(d.attempts) < mattering {
		client, kind := take(), kinds[d.random.IntN(len(kinds))]
		at := d.moment(dayBegins, dayEnds-20*time.Minute)
		for n := range min(1+d.random.IntN(5), mattering-len(d.attempts)) {
			d.try(at, client, fmt.Sprintf("site%d.%s.example", n, kind))
			at += time.Duration(5+d.random.IntN(170)) * time.Second
		}
	}
	d.matter = slices.Clone(d.attempts)
	// Apps that look for a way round by themselves.
	for range 15 {
		d.try(d.moment(dayBegins, dayEnds), take(), "update.app.bypass.example")
	}
	// Adverts for gambling, five names a page, and games, most of them at lunch, until there are 3,000.
	for len(d.attempts) < wanted {
		client := take()
		if d.random.IntN(3) == 0 {
			at := d.moment(dayBegins, dayEnds)
			for n := range 5 {
				d.try(at+time.Duration(n)*80*time.Millisecond, client, fmt.Sprintf("ad%d.gambling.example", n))
			}
			continue
		}
		at := d.moment(12*time.Hour+10*time.Minute, 13*time.Hour)
		for n := range 5 + d.random.IntN(10) {
			d.try(at, client, fmt.Sprintf("server%d.gaming.example", n))
			at += time.Duration(d.random.IntN(60)) * time.Second
		}
	}
	d.attempts = d.attempts[:wanted]
	slices.SortStableFunc(d.attempts, func(a, b attempt) int { return cmp.Compare(a.at, b.at) })
	return d
}

func (d *schoolDay) moment(from, to time.Duration) time.Duration {
	return from + time.Duration(d.random.Int64N(int64(to-from)))
}

func (d *schoolDay) try(at time.Duration, client netip.Addr, name string) {
	d.attempts = append(d.attempts, attempt{at, client, name})
}

const schoolDayYAML = `version: 1
site: replayed
timezone: Europe/London
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"}
data_dir: data
access: {rate_limit: {queries_per_second: 0}}
categories:
  selfharm: {severity: critical, lists: [{path: selfharm.txt}]}
  extremism: {severity: critical, lists: [{path: extremism.txt}]}
  pornography: {severity: high, lists: [{path: pornography.txt}]}
  bypass: {severity: high, lists: [{path: bypass.txt}]}
  gambling: {severity: medium, lists: [{path: gambling.txt}]}
  gaming: {severity: low, lists: [{path: gaming.txt}]}
groups:
  pupils: {clients: [10.20.0.0/16], block: [selfharm, extremism, pornography, bypass, gambling, gaming]}
default_group: pupils
alerts:
  receivers: {dsl: {type: webhook, url: %q, secret_file: hook.secret, detail: full}}
  routes:
    - {severity: [critical, high], to: [dsl]}
    - {severity: [medium, low], to: [dsl], digest: "mon-fri 15:45"}
    - {about: system, to: [dsl]}
`

// A school's day in time-lapse, which the race detector would make minutes of: what reaches the safeguarding lead is little, and nothing that matters is missing.
func TestASchoolDayIsFewAlertsWithAllThatMatters(t *testing.T) {
	day := newSchoolDay(1)
	s := newSchool(t)
	for _, category := range []string{"selfharm", "extremism", "pornography", "bypass", "gambling", "gaming"} {
		s.write(category+".txt", category+".example\n")
	}
	_, taken := s.withReceiver("")
	s.configure(fmt.Sprintf(schoolDayYAML, taken.url))
	midnight := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC) // a Monday
	var now atomic.Int64
	now.Store(midnight.Add(dayBegins).UnixNano())
	s.clock = func() time.Time { return time.Unix(0, now.Load()).UTC() }
	s.start()

	var ordinary [5000][]byte
	for i := range ordinary {
		ordinary[i] = packed(t, fmt.Sprintf("www.site%d.example.org", i))
	}
	popular := rand.NewZipf(day.random, 1.1, 1, uint64(len(ordinary)-1))
	left, asked := day.attempts, 0
	const step = time.Minute
	for at := dayBegins; at < dayEnds+time.Hour; at += step {
		now.Store(midnight.Add(at).UnixNano())
		for at < dayEnds && asked < int(float64(*dayQuestions)*float64(at+step-dayBegins)/float64(dayEnds-dayBegins)) {
			n := day.random.IntN(devices)
			s.put(ordinary[popular.Uint64()], netip.AddrFrom4([4]byte{10, 20, byte(n / 250), byte(1 + n%250)}))
			asked++
		}
		for len(left) > 0 && left[0].at < at+step {
			now.Store(midnight.Add(left[0].at).UnixNano())
			s.put(packed(t, left[0].name), left[0].client)
			left = left[1:]
		}
		now.Store(midnight.Add(at + step - 1).UnixNano())
		// What the running one does by timers, for which this day is too short.
		if err := errors.Join(s.record.Tick(t.Context()), s.alerts.Digest(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if len(left) > 0 || asked != *dayQuestions {
		t.Fatalf("%d questions were asked, %d attempts were not", asked, len(left))
	}
	s.await(func() bool { return s.queueLength() == 0 })

	breaches := 0
	r, err := breach.OpenReader(RecordPath(s.Filter().Config))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Breaches(t.Context(), breach.Filter{}, func(breach.Breach) error { breaches++; return nil }); err != nil {
		t.Fatal(err)
	}
	if breaches != wanted {
		t.Errorf("%d breaches are recorded, want %d", breaches, wanted)
	}
	taken.mu.Lock()
	defer taken.mu.Unlock()
	kinds, told := map[string]int{}, map[string]bool{}
	for _, took := range taken.took {
		kind, body, _ := strings.Cut(took, " ")
		kinds[kind]++
		var m struct {
			Data struct {
				Client breach.Client
				Names  []breach.NameCount
			}
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		for _, n := range m.Data.Names {
			told[m.Data.Client.IP+" "+n.Name] = true
		}
	}
	for _, a := range day.matter {
		if !told[a.client.String()+" "+a.name] {
			t.Errorf("nobody is told that %v asked for %s", a.client, a.name)
		}
	}
	t.Logf("%d questions, %d breaches, %d alerts: %v", asked, breaches, len(taken.took), kinds)
	if kinds["digest"] != 1 {
		t.Errorf("%d digests, want that of 15:45", kinds["digest"])
	}
	if len(taken.took) > 60 {
		t.Errorf("%d alerts: %v", len(taken.took), kinds)
	}
}

// put asks without waiting for anything that a client would wait for.
func (s *school) put(packet []byte, client netip.Addr) {
	s.t.Helper()
	if _, err := s.Ask(s.t.Context(), packet, netip.AddrPortFrom(client, 4000), "udp", false); err != nil {
		s.t.Fatal(err)
	}
}

func packed(t *testing.T, name string) []byte {
	t.Helper()
	packet, err := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

func (s *school) queueLength() (n int) {
	s.t.Helper()
	queues, err := s.record.Queue(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, q := range queues {
		n += q.Length
	}
	return n
}
