//go:build e2e

package e2e_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var kills = flag.Int("kills", 8, "how often the program is killed at a random moment")

const killedYAML = `version: 1
listen: {dns: ["127.0.0.1:%d"], metrics: "127.0.0.1:%d"}
data_dir: data
upstreams: {servers: ["udp://127.0.0.1:9"]}
categories:
  drugs: {severity: high, lists: [{path: drugs.txt}]}
groups:
  pupils: {clients: [127.0.0.0/8], block: [drugs]}
default_group: pupils
alerts:
  quiet: 1s
  receivers: {dsl: {type: webhook, url: %q, secret_file: hook.secret, detail: full}}
  routes: [{severity: [critical, high, medium, low], to: [dsl]}, {about: system, to: [dsl]}]
`

// answered is what was answered, and when.
type answered struct {
	mu  sync.Mutex
	all map[string]answer // by client and name
}

type answer struct {
	at   time.Time
	life int // of the program
}

// flood asks for blocked names of one client, each a new one, until stop is closed.
func (a *answered) flood(t *testing.T, client string, port, life int, stop <-chan struct{}) {
	t.Helper()
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(client)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	c := &dns.Conn{Conn: conn}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		name := fmt.Sprintf("n%d-%d.drugs.example.", life, n)
		_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
		if err := c.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
			continue
		}
		if r, err := c.ReadMsg(); err != nil || r.Rcode != dns.RcodeNameError || r.Question[0].Name != name {
			continue // it was killed
		}
		a.mu.Lock()
		a.all[client+" "+name] = answer{time.Now(), life}
		a.mu.Unlock()
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
	}
}

func TestKilledAtAnyMomentItLosesNothingAndTellsNothingTwice(t *testing.T) {
	ids := map[string]map[string]bool{} // of alerts, by what they say
	var taking sync.Mutex
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Type string
			Data struct {
				Incident string
				Count    int64
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || m.Data.Incident == "" {
			return // about the system
		}
		about := m.Type + " " + m.Data.Incident
		if m.Type == "incident.continued" {
			about += fmt.Sprint(" ", m.Data.Count)
		}
		taking.Lock()
		defer taking.Unlock()
		if ids[about] == nil {
			ids[about] = map[string]bool{}
		}
		ids[about][r.Header.Get("webhook-id")] = true
	}))
	defer receiver.Close()
	s := &school{dir: t.TempDir(), dns: freePort(t), metrics: freePort(t)}
	s.config = filepath.Join(s.dir, "schoolgate.yaml")
	write(t, s.config, fmt.Sprintf(killedYAML, s.dns, s.metrics, receiver.URL))
	write(t, filepath.Join(s.dir, "hook.secret"), secret)
	write(t, filepath.Join(s.dir, "drugs.txt"), "drugs.example\n")

	seen := &answered{all: map[string]answer{}}
	var killedAt []time.Time
	for life := range *kills {
		s.start(t)
		stop := make(chan struct{})
		var clients sync.WaitGroup
		for c := range 4 {
			clients.Go(func() { seen.flood(t, fmt.Sprintf("127.0.%d.%d", life%200, 10+c), s.dns, life, stop) })
		}
		time.Sleep(time.Duration(rand.IntN(1200)) * time.Millisecond)
		killedAt = append(killedAt, time.Now())
		s.kill(t)
		close(stop)
		clients.Wait()
	}
	s.start(t)
	if !strings.Contains(s.command(t, "audit", "verify"), "the chain is whole") {
		t.Error("the chain is not whole")
	}
	recorded := map[string]bool{}
	for _, b := range s.breaches(t) {
		recorded[b["client"].(map[string]any)["ip"].(string)+" "+b["query"].(map[string]any)["name"].(string)] = true
	}
	var oldest time.Duration // of what was lost
	lost := 0
	for what, a := range seen.all {
		if !recorded[what] {
			lost++
			oldest = max(oldest, killedAt[a.life].Sub(a.at))
		}
	}
	t.Logf("%d kills; %d breaches were answered, %d recorded, %d lost, of which the oldest was %v old", *kills, len(seen.all), len(recorded), lost, oldest)
	// How old is for the disk to say; that it is a matter of one transaction is not.
	if oldest > 5*time.Second {
		t.Errorf("a breach was lost %v after it was answered", oldest)
	}
	if len(seen.all) < 10**kills {
		t.Error("there was no load")
	}
	s.stop(t)
	taking.Lock()
	defer taking.Unlock()
	for about, all := range ids {
		if len(all) != 1 {
			t.Errorf("%s was told under %d ids", about, len(all))
		}
	}
	t.Logf("%d alerts", len(ids))
	if len(ids) == 0 {
		t.Error("nobody was told of anything")
	}
}
