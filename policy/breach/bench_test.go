package breach

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

func BenchmarkRecord(b *testing.B) {
	p := school(b, nil)
	b.Run("a repeat", func(b *testing.B) {
		l := &Log{queue: newQueue()}
		e := ask(b, p, pupil, "www.pornography.example", tenPast)
		b.ReportAllocs()
		for b.Loop() {
			l.Record(e)
		}
	})
	b.Run("a repeat among 10,000", func(b *testing.B) {
		l := &Log{queue: newQueue()}
		var events []policy.Event
		e := ask(b, p, pupil, "www.pornography.example", tenPast)
		for i := range 10_000 {
			e.Client.Addr = netip.AddrFrom4([4]byte{10, 20, byte(i >> 8), byte(i)})
			events = append(events, e)
		}
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			l.Record(events[i%len(events)])
			i++
		}
	})
	b.Run("a new one", func(b *testing.B) {
		l := &Log{queue: newQueue()}
		e := ask(b, p, pupil, "www.pornography.example", tenPast)
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			e.Client.Addr = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			if l.Record(e); i%50_000 == 0 {
				l.queue.release(l.queue.take())
			}
			i++
		}
	})
}

// BenchmarkTurn is a transaction of 3,000 repeats, among 10,000 names of one client in turn: 20 ms of
// 150,000 a second. It reports what one repeat costs, Record and its share of the transaction together.
func BenchmarkTurn(b *testing.B) {
	for _, names := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint("among ", names), func(b *testing.B) { turns(b, names, 3000) })
	}
}

func turns(b *testing.B, names, repeats int) {
	b.Helper()
	r, p := open(b), school(b, nil)
	var events []policy.Event
	for i := range names {
		e := ask(b, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast)
		r.Record(e)
		events = append(events, e)
	}
	if err := r.Tick(b.Context()); err != nil {
		b.Fatal(err)
	}
	i := 0
	for range names {
		r.Record(events[i])
		i++
	}
	if err := r.Tick(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for range repeats {
			r.Record(events[i%names])
			i++
		}
		if err := r.Tick(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*repeats), "ns/repeat")
}

// BenchmarkStore is a transaction of different breaches, of 100 clients whose device names are known, and reports rows a
// second. With one breach each it is what a transaction costs: the pages that it writes.
func BenchmarkStore(b *testing.B) {
	for _, rows := range []int{1, 1000} {
		b.Run(fmt.Sprint("at once ", rows), func(b *testing.B) {
			r, p := open(b), school(b, nil)
			e := ask(b, p, pupil, "www.pornography.example", tenPast)
			i := 0
			for b.Loop() {
				for range rows {
					e.Name = blocklist.Name(fmt.Sprintf("\x08%08d", i)) + name(b, "pornography.example")
					e.Client.Addr = netip.AddrFrom4([4]byte{10, 20, 0, byte(i % 100)})
					e.Client.Name = fmt.Sprintf("pad-%02d.school.internal", i%100)
					r.Record(e)
					i++
				}
				if err := r.Tick(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkDurable is the time from Record to a row on disk, the gathering of 20 ms included.
func BenchmarkDurable(b *testing.B) {
	r, p := open(b), school(b, nil)
	stored := reader(b, r.path)
	e := ask(b, p, pupil, "www.pornography.example", tenPast)
	i, slowest := 0, time.Duration(0)
	for b.Loop() {
		e.Name = blocklist.Name(fmt.Sprintf("\x08%08d", i)) + name(b, "pornography.example")
		before, began := r.Head(), time.Now()
		r.Record(e)
		for r.Head() == before {
			time.Sleep(100 * time.Microsecond)
		}
		slowest = max(slowest, time.Since(began))
		i++
	}
	b.ReportMetric(float64(slowest.Milliseconds()), "slowest-ms")
	if _, err := stored.Verify(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBreaches reads 20,000 breaches, of which nothing is gathered, and of which repeats of all wait.
func BenchmarkBreaches(b *testing.B) {
	const rows = 20_000
	r, p := open(b), school(b, nil)
	stored := reader(b, r.path)
	for _, what := range []string{"nothing gathered", "repeats of all gathered"} {
		for i := range rows {
			r.Record(ask(b, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast))
		}
		if err := r.Tick(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				if err := stored.Breaches(b.Context(), Filter{}, func(Breach) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
