package querylog

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"schoolgate/policy"
)

// newNames returns a function that makes names up, each another one.
func newNames() func() string {
	random := rand.New(rand.NewPCG(1, 1))
	return func() string { return fmt.Sprintf("%x.%x.example", random.Uint64(), random.Uint32()) }
}

// schoolDay asks n questions of 1,200 devices between 8:30 and 16:30, of 30,000 names of which few are asked often, and takes a turn
// each five seconds.
func schoolDay(b *testing.B, dir string, n int) *desk {
	b.Helper()
	s := fullSettings()
	d := open(b, dir, s)
	random := rand.New(rand.NewPCG(7, 7))
	spread := rand.NewZipf(random, 1.2, 8, 29_999)
	words := []string{"cdn", "www", "api", "static", "telemetry", "images", "login", "classroom", "maps", "edge"}
	var keys [][]byte
	for i := range 30_000 {
		keys = append(keys, []byte(key(b, fmt.Sprintf("%s.%s-%x.%s", words[i%10], words[i/10%10], i*2654435761%1000003, []string{"com", "co.uk", "net", "org"}[i%4]))))
	}
	var clients []policy.Client
	for i := range 1200 {
		clients = append(clients, policy.Client{
			Addr: netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)}), MAC: fmt.Sprintf("00:11:22:33:%02x:%02x", i>>8, i&255), Name: fmt.Sprintf("y7-ipad-%d", i),
		})
	}
	at := noon.Add(-210 * time.Minute)
	gap := 8 * time.Hour / time.Duration(n)
	next := at.Add(writeEvery)
	for range n {
		at = at.Add(time.Duration(random.ExpFloat64() * float64(gap)))
		if at.After(next) {
			d.now = at
			if err := d.turn(b.Context(), false); err != nil {
				b.Fatal(err)
			}
			next = at.Add(writeEvery)
		}
		d.Question(0, policy.Question{
			Time: at, Client: clients[random.IntN(len(clients))], Policy: d.policy, Category: policy.CategoryNone,
			Type: []uint16{1, 1, 28, 65}[random.IntN(4)], Transport: "udp", Outcome: "allowed", Name: keys[spread.Uint64()],
		})
	}
	d.now = at
	if err := d.turn(b.Context(), true); err != nil {
		b.Fatal(err)
	}
	if lost := d.Status().Dropped; lost > 0 {
		b.Fatalf("%d lost", lost)
	}
	return d
}

// BenchmarkFind looks in a day of two million questions for what one client asked in an hour, in the whole day, and for
// one who is not there.
func BenchmarkFind(b *testing.B) {
	const n = 2_000_000
	dir := b.TempDir()
	begun := time.Now()
	d := schoolDay(b, dir, n)
	b.Logf("%d questions written in %v: %.1f octets each", n, time.Since(begun), float64(d.files.bytes())/n)
	for _, c := range []struct {
		what, client string
		from, to     time.Time
	}{
		{"hour", "10.20.2.17", noon.Add(-time.Hour), noon},
		{"hour before and after", "10.20.2.17", noon.Add(-time.Hour), noon.Add(time.Hour)},
		{"day", "y7-ipad-529", time.Time{}, time.Time{}},
		{"nobody", "10.99.9.9", time.Time{}, time.Time{}},
	} {
		b.Run(c.what, func(b *testing.B) {
			found := 0
			for b.Loop() {
				found = 0
				err := NewReader(dir, nil).Export(b.Context(), c.client, c.from, c.to, func(Question) error { found++; return nil })
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(found), "questions")
		})
	}
	b.Run("erase", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			if _, err := Erase(b.Context(), dir, fmt.Sprintf("10.20.0.%d", i%256), noon.Add(-time.Hour), noon); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkQuestion is what a question costs the data path, with its share of Run's work, and without.
func BenchmarkQuestion(b *testing.B) {
	d := open(b, b.TempDir(), fullSettings())
	q := policy.Question{
		Time: noon, Client: pupil, Policy: d.policy, Category: policy.CategoryNone, Type: 1, Transport: "udp", Outcome: "allowed", Name: []byte(key(b, "www.bbc.co.uk")),
	}
	b.Run("hand over", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if n++; n%maxLane == 0 {
				d.lanes[0].giveBack(d.lanes[0].take())
			}
			d.Question(0, q)
		}
	})
	b.Run("with writing", func(b *testing.B) {
		n := 0
		for b.Loop() {
			if n++; n%wakeAt == 0 {
				if err := d.turn(b.Context(), false); err != nil {
					b.Fatal(err)
				}
			}
			d.Question(0, q)
		}
	})
}

func TestAQuestionIsHandedOverWithoutAllocating(t *testing.T) {
	d := open(t, t.TempDir(), fullSettings())
	q := policy.Question{Time: noon, Client: pupil, Policy: d.policy, Name: []byte(key(t, "www.bbc.co.uk"))}
	for range 2 { // both buffers of the lane
		for range 2000 {
			d.Question(0, q)
		}
		d.lanes[0].giveBack(d.lanes[0].take())
	}
	if n := testing.AllocsPerRun(1000, func() { d.Question(0, q) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
