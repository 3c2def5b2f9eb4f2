package resolver_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// wire is what a forger would have to guess of a question.
type wire struct {
	id, port uint16
	upper    []bool // by letter of the name
}

// letters are those of all names here, of which there are enough to tell chance from a pattern.
const letters = "abcdefghijklmnopqrstuvwxyzabcdefghijklmn"

// startListening is a server over UDP that answers every question with nothing, and keeps what it was asked.
func startListening(t *testing.T) (server *upstream, asked func() []wire) {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	var mu sync.Mutex
	var all []wire
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, end, err := dns.UnpackDomainName(buf[:n], 12)
			if err != nil {
				continue
			}
			w := wire{id: binary.BigEndian.Uint16(buf), port: from.Port()}
			for i := range letters {
				w.upper = append(w.upper, buf[13+i] < 'a') // the first label is of letters
			}
			mu.Lock()
			all = append(all, w)
			mu.Unlock()
			copy(buf[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
			_, _ = conn.WriteToUDPAddrPort(buf[:end+4], from)
		}
	})
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	return &upstream{addr: conn.LocalAddr().String()}, func() []wire {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// A fair source fails this less than once in a thousand million runs.
func TestAForgerCanGuessNeitherIDNorPortNorCase(t *testing.T) {
	const questions = 10_000
	name := func(i int) string { return fmt.Sprintf("%s.n%d.example", letters, i) }
	for way, askFor := range map[string]func(t *testing.T, s *server, from, to int){
		"of a worker": func(t *testing.T, s *server, from, to int) {
			if got := burst(t, s.addr, to-from, func(i int) string { return name(from + i) }, 10*time.Second); len(got) != to-from {
				t.Fatalf("%d answers of %d", len(got), to-from)
			}
		},
		"of the forwarder": func(t *testing.T, s *server, from, to int) {
			var asking sync.WaitGroup
			for i := from; i < to; i++ {
				asking.Go(func() {
					packet, err := ask(name(i), dns.TypeA).Pack()
					if err != nil {
						t.Error(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					if _, err := s.Ask(ctx, packet, netip.MustParseAddrPort("127.0.0.1:4000"), "udp", false); err != nil {
						t.Error(err)
					}
				})
			}
			asking.Wait()
		},
	} {
		t.Run(way, func(t *testing.T) {
			up, asked := startListening(t)
			s := start(t, nil, up)
			for i := 0; i < questions; i += 200 {
				askFor(t, s, i, i+200)
			}
			all := asked()
			if len(all) < questions {
				t.Fatalf("%d questions", len(all))
			}
			var ids, ports []float64
			for _, w := range all {
				ids, ports = append(ids, float64(w.id)), append(ports, float64(w.port))
			}
			low, high := portRange(t)
			isEven(t, "ids", ids, 0, 65535)
			isEven(t, "ports", ports, low, high)
			for what, r := range map[string]float64{
				"id and port": correlation(ids, ports), "an id and the next": correlation(ids[1:], ids), "a port and the next": correlation(ports[1:], ports),
				"a port and the next id": correlation(ids[1:], ports),
			} {
				if math.Abs(r)*math.Sqrt(questions) > 7 {
					t.Errorf("%s go together: %v", what, r)
				}
			}
			hasFairCase(t, all)
		})
	}
}

// isEven checks that values are as even as chance has it: how many different ones there are, how often
// the most frequent comes, and how they fall into buckets.
func isEven(t *testing.T, what string, values []float64, low, high float64) {
	t.Helper()
	n, size := float64(len(values)), high-low+1
	const buckets = 64
	times, inBucket := map[float64]int{}, [buckets]float64{}
	most := 0
	for _, v := range values {
		if v < low || v > high {
			t.Fatalf("%s: %v is not between %v and %v", what, v, low, high)
		}
		times[v]++
		most = max(most, times[v])
		inBucket[int((v-low)/size*buckets)]++
	}
	// As many as balls in bins: a value comes k times with a probability of about mean^k / k!.
	mean, chance, k := n/size, size, 0
	for ; chance > 1e-9; k++ {
		chance *= mean / float64(k+1)
	}
	if most >= k {
		t.Errorf("%s: one comes %d times; %d has a chance of %.0e", what, most, k, chance)
	}
	different := size * (1 - math.Exp(-mean))
	if off := math.Abs(float64(len(times)) - different); off > 8*math.Sqrt(n*mean/2) {
		t.Errorf("%s: %d different ones, expected %.0f", what, len(times), different)
	}
	chiSquare := 0.0
	for _, observed := range inBucket {
		chiSquare += (observed - n/buckets) * (observed - n/buckets) / (n / buckets)
	}
	// Wilson and Hilferty: the cube root is close to normal. Below, it would be too even for chance.
	const degrees = buckets - 1
	if z := (math.Cbrt(chiSquare/degrees) - (1 - 2.0/9/degrees)) / math.Sqrt(2.0/9/degrees); math.Abs(z) > 7 {
		t.Errorf("%s: chi-square %.1f with %d degrees of freedom, %.1f standard deviations off", what, chiSquare, degrees, z)
	}
}

func correlation(a, b []float64) float64 {
	n := min(len(a), len(b))
	var sumA, sumB, aa, bb, ab float64
	for i := range n {
		sumA, sumB = sumA+a[i], sumB+b[i]
	}
	for i := range n {
		x, y := a[i]-sumA/float64(n), b[i]-sumB/float64(n)
		aa, bb, ab = aa+x*x, bb+y*y, ab+x*y
	}
	return ab / math.Sqrt(aa*bb)
}

// hasFairCase checks that each letter is in upper case half of the time, whatever the one before it, the bits
// of the id and the question before are.
func hasFairCase(t *testing.T, all []wire) {
	t.Helper()
	isFair := func(what string, heads int) {
		t.Helper()
		if off := math.Abs(float64(heads) - float64(len(all))/2); off > 7.5*math.Sqrt(float64(len(all)))/2 {
			t.Errorf("%s: %d times of %d", what, heads, len(all))
		}
	}
	for i := range letters {
		upper, asBefore, asLast := 0, 0, 0
		var asID [16]int
		for n, w := range all {
			upper += one(w.upper[i])
			asBefore += one(w.upper[i] == w.upper[(i+1)%len(letters)])
			for bit := range asID {
				asID[bit] += one(w.upper[i] == (w.id>>bit&1 != 0))
			}
			asLast += one(w.upper[i] == all[(n+1)%len(all)].upper[i])
		}
		isFair(fmt.Sprintf("letter %d is in upper case", i), upper)
		isFair(fmt.Sprintf("letter %d is as the next", i), asBefore)
		for bit, times := range asID {
			isFair(fmt.Sprintf("letter %d is as bit %d of the id", i, bit), times)
		}
		isFair(fmt.Sprintf("letter %d is as in the next question", i), asLast)
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// portRange is the range of which the system takes ports.
func portRange(t *testing.T) (low, high float64) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 49152, 65535 // RFC 6335 §6, as other systems have it
	}
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		t.Fatal(err)
	}
	return low, high
}
