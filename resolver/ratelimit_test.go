package resolver

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// taken counts how many of n queries at one moment are within the limit.
func taken(l *limiter, client netip.Addr, at time.Duration, limit RateLimit, n int) (within int) {
	for range n {
		if l.take(client, int64(at), limit) {
			within++
		}
	}
	return within
}

func TestABurstAndThenTheRate(t *testing.T) {
	l, limit, client := newLimiter(), RateLimit{Every: time.Second / 10, Burst: 20}, v4(1)
	for _, step := range []struct {
		at   time.Duration
		want int
	}{
		{0, 20},
		{50 * time.Millisecond, 0},
		{100 * time.Millisecond, 1},
		{time.Second, 9},
		{1050 * time.Millisecond, 0},
		{time.Minute, 20},
	} {
		if got := taken(l, client, step.at, limit, 100); got != step.want {
			t.Errorf("at %v: %d of 100 were within the limit, want %d", step.at, got, step.want)
		}
	}
}

func TestWhoAsksBelowTheRateIsNeverOverIt(t *testing.T) {
	l, limit := newLimiter(), RateLimit{Every: time.Second / 3, Burst: 1}
	for i := range 10_000 {
		if !l.take(v4(1), int64(i)*int64(time.Second)/3+int64(i), limit) {
			t.Fatalf("query %d was refused", i)
		}
	}
}

func TestAnIPv6ClientIsItsSlash64AndALinkLocalOneItsAddress(t *testing.T) {
	limit := RateLimit{Every: time.Second, Burst: 1}
	for _, test := range []struct {
		one, other string
		same       bool
	}{
		{"2001:db8::1", "2001:db8::2:3:4:5", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"10.0.0.1", "10.0.0.2", false},
		{"::1", "0.0.0.0", false},
		{"fe80::1%eth0", "fe80::2%eth0", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		l := newLimiter()
		l.take(netip.MustParseAddr(test.one), 0, limit)
		if same := !l.take(netip.MustParseAddr(test.other), 0, limit); same != test.same {
			t.Errorf("%s and %s have one bucket: %v", test.one, test.other, same)
		}
	}
}

// Four hundred thousand forged addresses are twelve for each place of the table.
func TestAForgedFloodNeitherFreesTheGreedyNorStopsTheModest(t *testing.T) {
	l, limit := newLimiter(), RateLimit{Every: time.Second / 500, Burst: 1000}
	greedy, modest := v4(1), v4(2)
	if got := taken(l, greedy, 0, limit, 2000); got != 1000 {
		t.Fatalf("%d of the first 2000 were within the limit", got)
	}
	got := 0
	for i := range uint32(400_000) {
		now := int64(i) * 10 // four milliseconds in all
		l.take(v4(1000+i), now, limit)
		if l.take(greedy, now, limit) {
			got++
		}
		if i%10_000 == 0 && !l.take(modest, now, limit) {
			t.Fatal("a neighbour was refused")
		}
	}
	if got > 3 { // 500 a second for four milliseconds
		t.Errorf("%d queries of the greedy one were let through", got)
	}
	if size := len(l.sets); size != limiterSets {
		t.Errorf("the table has %d sets", size)
	}
}

func TestAChangedLimitHoldsAtOnceAndForgetsNobody(t *testing.T) {
	l, client := newLimiter(), v4(1)
	taken(l, client, 0, RateLimit{Every: time.Second, Burst: 100}, 100) // empty: full again in 100 s
	faster := RateLimit{Every: time.Second / 100, Burst: 10}
	if got := taken(l, client, 0, faster, 10); got != 0 {
		t.Errorf("%d queries out of an empty bucket", got)
	}
	if got := taken(l, client, time.Second, faster, 20); got != 10 {
		t.Errorf("%d queries a second later, want a whole burst", got)
	}
	larger := RateLimit{Every: time.Second / 100, Burst: 30}
	if got := taken(l, client, time.Second, larger, 100); got != 20 {
		t.Errorf("%d more queries in the larger burst, want the 20 that it is larger by", got)
	}
}

func TestManyReadersTakeFromOneBucketWhatIsInIt(t *testing.T) {
	l, limit := newLimiter(), RateLimit{Every: time.Second, Burst: 1000}
	var readers sync.WaitGroup
	var got [8]int
	for i := range got {
		readers.Go(func() { got[i] = taken(l, v4(1), 0, limit, 500) })
	}
	readers.Wait()
	sum := 0
	for _, n := range got {
		sum += n
	}
	if sum != 1000 {
		t.Errorf("%d queries of a burst of 1000", sum)
	}
}

func BenchmarkLimiter(b *testing.B) {
	l, limit := newLimiter(), RateLimit{Every: time.Second / 1_000_000, Burst: 1_000_000}
	var clients [1024]netip.Addr
	for i := range clients {
		clients[i] = v4(uint32(i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.take(clients[i%len(clients)], int64(i), limit)
	}
}
