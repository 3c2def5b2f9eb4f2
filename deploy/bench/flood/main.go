// Command flood has many devices ask for blocked names at a steady rate, and prints how long the answers took: each
// from the moment at which its question was due, so that a server which stalls pays for every question that it delays.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

func main() {
	var f flood
	flag.StringVar(&f.addr, "addr", "", "the server's `ADDRESS:PORT`, UDP")
	flag.StringVar(&f.zone, "zone", "blocked.example", "what is below it is asked for")
	flag.StringVar(&f.hook, "hook", "", "takes alerts at this `ADDRESS:PORT` meanwhile")
	flag.IntVar(&f.rate, "rate", 50_000, "questions a second")
	flag.IntVar(&f.devices, "devices", 1200, "each has an address of its own, from 127.1.0.1 on")
	flag.IntVar(&f.names, "names", 50, "of each device; it asks for one after the other")
	flag.DurationVar(&f.time, "time", time.Minute, "how long")
	flag.Parse()
	out, err := f.run()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

type flood struct {
	addr, zone, hook     string
	rate, devices, names int
	time                 time.Duration
}

// result is what came of it. Times are in microseconds.
type result struct {
	Sent    int   `json:"sent"`
	Blocked int   `json:"blocked"` // answered with NXDOMAIN
	Other   int   `json:"other"`   // answered otherwise
	P50     int64 `json:"p50"`
	P99     int64 `json:"p99"`
	P999    int64 `json:"p999"`
	Max     int64 `json:"max"`
	// Seconds is the p99 of each second by itself.
	Seconds []int64 `json:"seconds"`

	// Alerts is how many devices there was an alert of, and how long the first of each took from the device's first question.
	Alerts   int   `json:"alerts"`
	AlertP50 int64 `json:"alert_p50"`
	AlertMax int64 `json:"alert_max"`
}

// batch is how many packets a system call sends and takes at most.
const batch = 64

// socket sends the questions of many devices, each from its own address, many at once: with a socket for each device it
// would be the load that takes its time. Question n has n as its ID, modulo 65,536: at most so many are on their way.
type socket struct {
	*ipv4.PacketConn
	close func() error
	out   []ipv4.Message
	n     int // of questions

	mu      sync.Mutex
	due     [1 << 16]int64 // nanoseconds since the begin; 0 where nothing is waited for
	took    []answered
	blocked int
	other   int
}

type answered struct{ due, took int64 }

func (f *flood) run() (out result, err error) {
	if min(f.rate, f.devices, f.names) < 1 || f.devices > 250*250 || f.time <= 0 {
		return out, errors.New("see -help")
	}
	to, err := net.ResolveUDPAddr("udp", f.addr)
	if err != nil {
		return out, err
	}
	var alerts alerts
	if f.hook != "" {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", f.hook)
		if err != nil {
			return out, err
		}
		defer l.Close()
		go func() { _ = http.Serve(l, &alerts) }() //nolint:gosec // ends with the program
	}
	all := make([]*socket, 4)
	for i := range all {
		if all[i], err = listen(); err != nil {
			return out, err
		}
		defer func() { _ = all[i].close() }()
	}
	begin := time.Now()
	alerts.begin(begin)
	var reading sync.WaitGroup
	for _, s := range all {
		reading.Go(func() { s.read(begin) })
	}
	total := int(f.time.Seconds() * float64(f.rate))
	zone := wire(f.zone)
	for i := 0; i < total; {
		ready := min(total, int(time.Since(begin).Seconds()*float64(f.rate)))
		if ready == i {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		s := all[i/batch%len(all)]
		first := i
		for ; i < ready && i-first < batch; i++ {
			device, name := i%f.devices, i/f.devices%f.names
			s.add(f.due(i), to, address(device), fmt.Sprintf("d%dn%d", device, name), zone)
		}
		if err := s.send(); err != nil {
			return out, err
		}
	}
	time.Sleep(2 * time.Second) // the last answers, and alerts
	for _, s := range all {
		_ = s.close()
	}
	reading.Wait()
	alerts.mu.Lock()
	defer alerts.mu.Unlock()

	out.Sent = total
	var late []int64
	for i := range f.devices {
		if at, ok := alerts.at[address(i).String()]; ok { // its first question was question i
			late = append(late, int64(at)-f.due(i))
		}
	}
	out.Alerts, out.AlertP50, out.AlertMax = len(late), quantile(late, 0.5), quantile(late, 1)
	var took []int64
	seconds := make([][]int64, int(f.time.Seconds())+2)
	for _, s := range all {
		out.Blocked += s.blocked
		out.Other += s.other
		for _, a := range s.took {
			took = append(took, a.took)
			second := a.due / int64(time.Second)
			seconds[second] = append(seconds[second], a.took)
		}
	}
	out.P50, out.P99, out.P999, out.Max = quantile(took, 0.5), quantile(took, 0.99), quantile(took, 0.999), quantile(took, 1)
	for _, s := range seconds {
		if len(s) > 0 {
			out.Seconds = append(out.Seconds, quantile(s, 0.99))
		}
	}
	return out, nil
}

// address is that of a device.
func address(i int) net.IP { return net.IPv4(127, 1, byte(i/250), byte(1+i%250)) }

// alerts is a receiver of webhooks with detail: full. It has when the first of each device came.
type alerts struct {
	mu    sync.Mutex
	start time.Time
	at    map[string]time.Duration
}

func (a *alerts) begin(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.start, a.at = at, map[string]time.Duration{}
}

func (a *alerts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var alert struct {
		Data struct{ Client struct{ IP string } }
	}
	if err := json.NewDecoder(r.Body).Decode(&alert); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, known := a.at[alert.Data.Client.IP]; a.at != nil && !known {
		a.at[alert.Data.Client.IP] = time.Since(a.start)
	}
}

// due is when a question is to be sent, in nanoseconds since the begin.
func (f *flood) due(i int) int64 { return int64(i+1) * int64(time.Second) / int64(f.rate) }

func listen() (*socket, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	s := &socket{PacketConn: ipv4.NewPacketConn(conn), close: conn.Close, out: make([]ipv4.Message, 0, batch)}
	return s, errors.Join(conn.SetReadBuffer(4<<20), conn.SetWriteBuffer(4<<20))
}

// add puts a question into the batch.
func (s *socket) add(due int64, to net.Addr, from net.IP, label string, zone []byte) {
	id := uint16(s.n)
	s.n++
	s.out = append(s.out, ipv4.Message{
		Buffers: [][]byte{question(make([]byte, 0, 128), id, label, zone)},
		OOB:     (&ipv4.ControlMessage{Src: from}).Marshal(),
		Addr:    to,
	})
	s.mu.Lock()
	s.due[id] = due
	s.mu.Unlock()
}

func (s *socket) send() error {
	for left := s.out; len(left) > 0; {
		n, err := s.WriteBatch(left, 0)
		if err != nil {
			return err
		}
		left = left[n:]
	}
	s.out = s.out[:0]
	return nil
}

// read takes answers until the socket is closed.
func (s *socket) read(begin time.Time) {
	in := make([]ipv4.Message, batch)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	for {
		n, err := s.ReadBatch(in, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		now := int64(time.Since(begin))
		s.mu.Lock()
		for _, m := range in[:max(0, n)] {
			msg := m.Buffers[0][:m.N]
			if len(msg) < 12 {
				continue
			}
			id := binary.BigEndian.Uint16(msg)
			due := s.due[id]
			if due == 0 {
				continue
			}
			s.due[id] = 0
			s.took = append(s.took, answered{due, now - due})
			if msg[3]&0xF == 3 {
				s.blocked++
			} else {
				s.other++
			}
		}
		s.mu.Unlock()
	}
}

// quantile returns the q-quantile in microseconds, and sorts.
func quantile(ns []int64, q float64) int64 {
	if len(ns) == 0 {
		return 0
	}
	slices.Sort(ns)
	return ns[min(int(q*float64(len(ns))), len(ns)-1)] / 1000
}

// wire is a name in wire form.
func wire(name string) (out []byte) {
	label := 0
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '.' {
			out = append(append(out, byte(i-label)), name[label:i]...)
			label = i + 1
		}
	}
	return append(out, 0)
}

// question appends a question for the address of a label in a zone, with EDNS.
func question(msg []byte, id uint16, label string, zone []byte) []byte {
	msg = binary.BigEndian.AppendUint16(msg, id)
	msg = append(msg, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, byte(len(label)))
	msg = append(append(msg, label...), zone...)
	msg = append(msg, 0, 1, 0, 1)
	return append(msg, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
}
