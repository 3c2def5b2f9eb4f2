//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// site is a school with a configuration of the test's own, and IT's receiver beside the one for
// breaches.
type site struct {
	*school
	it *receiver
}

// newSite writes the configuration: rest, which has categories and groups, behind what all have. It starts
// nothing but the upstream and the receivers.
func newSite(t *testing.T, rest string) *site {
	t.Helper()
	s := &site{school: &school{dir: t.TempDir(), receiver: newReceiver(t)}, it: newReceiver(t)}
	s.dns, s.metrics = freePort(t), freePort(t)
	s.config = filepath.Join(s.dir, "etc", "schoolgate.yaml")
	write(t, s.config, fmt.Sprintf(`version: 1
listen: {dns: ["127.0.0.1:%d"], console: "", metrics: "127.0.0.1:%d"}
data_dir: ./data
access: {rate_limit: {queries_per_second: 0}} # some tests ask from one address as fast as they can
upstreams: {servers: ["udp://127.0.0.1:%d"]}
alerts:
  receivers:
    dsl: {type: webhook, url: "http://%s/hook", secret_file: hook.secret, detail: full}
    it: {type: webhook, url: "http://%s/hook", secret_file: hook.secret, detail: full}
  routes:
    - {severity: [critical, high, medium, low], to: [dsl]}
    - {about: system, to: [it]}
`, s.dns, s.metrics, startUnbound(t), s.receiver.addr, s.it.addr)+rest)
	write(t, filepath.Join(s.dir, "etc", "hook.secret"), secret+"\n")
	return s
}

func (s *site) dataDir() string { return filepath.Join(s.dir, "etc", "data") }

// try runs a command, which may say no: it returns all that it printed, and its exit code.
func (s *site) try(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(program, append(args, "--config", s.config)...)
	cmd.Env = append(cmd.Environ(), s.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// listed is one list of `lists status --json`, as far as the tests look at it.
type listed struct {
	Category, List, State, Problem, Checked, From string
	Entries                                       int
	OnTrial                                       bool   `json:"on_trial"`
	TrialEnds                                     string `json:"trial_ends"`
}

func (s *site) list(t *testing.T, id string) listed {
	t.Helper()
	var all []listed
	out := s.command(t, "lists", "status", "--json")
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("lists status --json: %v in %s", err, out)
	}
	for _, l := range all {
		if l.List == id {
			return l
		}
	}
	t.Fatalf("lists status --json has no list %s: %s", id, out)
	return listed{}
}

// updated is one list of `lists update --json`.
type updated struct {
	Category, List, Error string
	Changed               bool
	Entries               int
	Bytes                 int64
}

// update runs `lists update` for one list, and checks that its exit code says what came of it.
func (s *site) update(t *testing.T, id string) updated {
	t.Helper()
	out, said, code := s.try(t, "lists", "update", id, "--json")
	var all []updated
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 || all[0].List != id {
		t.Fatalf("lists update %s --json: exit %d, %v in %s%s", id, code, err, out, said)
	}
	if want := map[bool]int{true: 0, false: 1}[all[0].Error == ""]; code != want {
		t.Errorf("lists update %s: exit code %d, want %d: %s%s", id, code, want, out, said)
	}
	return all[0]
}

// metric is the value of a series, whose labels are written as the page has them; 0 where there is none.
func (s *site) metric(t *testing.T, series string) float64 {
	t.Helper()
	_, page := s.get("/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(page)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reload has the configuration and the files of lists read again.
func (s *site) reload(t *testing.T) {
	t.Helper()
	r, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/-/reload", s.metrics), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
		t.Fatalf("reload: %d %s", r.StatusCode, body)
	}
}

// blocked checks that a pupil does not get a name, or that it does.
func (s *site) blocked(t *testing.T, name string, want bool) {
	t.Helper()
	outcome := map[bool]string{true: "blocked", false: "NOERROR 1"}[want]
	if r := s.dig(t, pupil, name, "A"); r.outcome(true) != outcome {
		t.Errorf("%s: %s, want %s\n%s", name, r.outcome(true), outcome, r)
	}
}

// question is a question as it goes over the wire, always with the same id; with an OPT record for edns.
func question(name string, typ uint16, edns bool) []byte {
	q := []byte{0x51, 0x51, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	q = append(q, 0)
	q = binary.BigEndian.AppendUint16(q, typ)
	q = append(q, 0, 1)
	if edns {
		q[11] = 1
		q = append(q, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)
	}
	return q
}

// ask sends a question over "udp" or "tcp" and returns the answer.
func (s *school) ask(network, from string, question []byte) ([]byte, error) {
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		question = append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	}
	conn, err := d.DialContext(context.Background(), network, fmt.Sprintf("127.0.0.1:%d", s.dns))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, 65535)
	if network == "tcp" {
		if _, err := io.ReadFull(conn, answer[:2]); err != nil {
			return nil, err
		}
		answer = answer[:binary.BigEndian.Uint16(answer)]
		_, err := io.ReadFull(conn, answer)
		return answer, err
	}
	n, err := conn.Read(answer)
	return answer[:n], err
}

// publisher is a web server that serves lists as the test says.
type publisher struct {
	addr string
	stop func()

	mu    sync.Mutex
	serve http.HandlerFunc
	asked int
}

// publish opens a web server at an address; "127.0.0.1:0" for a free port.
func publish(t *testing.T, addr string, serve http.HandlerFunc) *publisher {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{addr: l.Addr().String(), serve: serve}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked++
		serve := p.serve
		p.mu.Unlock()
		serve(w, r)
	})}
	go func() { _ = server.Serve(l) }()
	p.stop = func() { _ = server.Close() }
	t.Cleanup(p.stop)
	return p
}

func (p *publisher) play(serve http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve = serve
}

// requests is how many there have been.
func (p *publisher) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// text serves a list as it is.
func text(list string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, list) }
}
