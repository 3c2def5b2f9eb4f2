package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// relay hands what comes over UDP to a server that is told later, and answers back: the same server under
// another address, so that no configuration shows that it is.
func relay(t *testing.T) (addr string, to chan<- string) {
	t.Helper()
	outside, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := make(chan string, 1)
	var running sync.WaitGroup
	running.Go(func() {
		buf := make([]byte, 4096)
		server, known := "", false
		for {
			n, from, err := outside.ReadFrom(buf)
			if err != nil {
				return
			}
			if !known {
				server, known = <-target, true
			}
			packet := append([]byte(nil), buf[:n]...)
			running.Go(func() {
				conn, err := net.Dial("udp", server)
				if err != nil {
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				answer := make([]byte, 4096)
				if _, err := conn.Write(packet); err != nil {
					return
				}
				if n, err := conn.Read(answer); err == nil {
					_, _ = outside.WriteTo(answer[:n], from)
				}
			})
		}
	})
	t.Cleanup(func() { outside.Close(); running.Wait() })
	return outside.LocalAddr().String(), target
}

func TestAnUpstreamThatLeadsBackIsNamed(t *testing.T) {
	t.Parallel()
	back, to := relay(t)
	s := newSchool(t)
	s.write("schoolgate.yaml", fmt.Sprintf("%supstreams: {servers: [\"udp://%s\"]}\n", baseYAML, back))
	s.start()
	to <- s.Addrs().DNS[0].String()

	q, err := new(dns.Msg).SetQuestion("www.example.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answer, err := s.resolver.Ask(ctx, q, netip.MustParseAddrPort("127.0.0.1:5353"), "udp", false)
	m := new(dns.Msg)
	if err != nil || m.Unpack(answer) != nil || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v %v", m, err)
	}
	if want := "upstream udp://" + back + " leads back to this resolver: questions sent to it came back"; !slices.Contains(s.Problems(), want) {
		t.Errorf("problems %q, want %q among them", s.Problems(), want)
	}
	if st := s.status(nil); len(st.Upstreams) != 1 || !st.Upstreams[0].LeadsBack {
		t.Errorf("%+v", st.Upstreams)
	}
}
