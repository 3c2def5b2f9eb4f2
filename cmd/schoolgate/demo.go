package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/policy/breach"
	"schoolgate/resolver/dnswire"
)

// demoConfig is the demo's school. It is a file like any school's, and what reads it is what reads
// theirs. Its placeholders are the addresses of this run.
const demoConfig = `version: 1
site: demo
listen: {dns: ["127.0.0.1:0"], console: "", metrics: "%[1]s"}
data_dir: data
upstreams: {servers: ["udp://%[2]s"]}
categories:
  pornography: {title: Pornography, severity: high, lists: [builtin:pornography, {path: lists/pornography.txt}]}
  bypass: {title: Ways round the filter, severity: high, lists: [builtin:bypass, {path: lists/bypass.txt}]}
  gambling: {title: Gambling, severity: medium, lists: [builtin:gambling, {path: lists/gambling.txt}]}
  drugs: {title: Drugs, severity: medium, lists: [{path: lists/drugs.txt}]}
  gaming: {title: Gaming, severity: low, lists: [builtin:gaming, {path: lists/gaming.txt}]}
  encrypted_dns: {title: Encrypted DNS, severity: none, lists: [builtin:encrypted_dns]}
groups:
  early_years:
    clients: [10.10.0.0/16, 127.0.0.2/32]
    only: [bbc.co.uk, phonicsplay.co.uk]
  year7:
    clients: [10.20.0.0/16, 127.0.0.7/32]
    block: [pornography, bypass, gambling, drugs, gaming, encrypted_dns]
  year10:
    clients: [10.21.0.0/16, 127.0.0.10/32]
    block: [pornography, bypass, gambling, encrypted_dns]
    monitor: [drugs]
  staff:
    clients: [10.1.0.0/16, 127.0.0.20/32]
    block: [pornography]
    alert_to: [headteacher]
  guests:
    clients: [172.16.0.0/16]
    inherit: year7
default_group: guests
alerts:
  quiet: %[4]s
  receivers:
    dsl: {type: webhook, url: "%[3]s/dsl", secret_file: hook.secret, detail: full}
    headteacher: {type: webhook, url: "%[3]s/headteacher", secret_file: hook.secret, detail: full}
    office: {type: webhook, url: "%[3]s/office", secret_file: hook.secret, detail: full}
  routes:
    - {severity: [critical, high], to: [dsl]}
    - {severity: [medium, low], to: [office]}
    - {about: system, to: [office]}
`

// demoLists are the demo's own lists, of places that do not exist.
func demoLists() map[string]string {
	return map[string]string{
		"pornography.txt": "adult-videos.example\nhot-pictures.example\n",
		"bypass.txt":      "tunnel-vpn.example\nfree-proxy.example\n",
		"gambling.txt":    "lucky-casino.example\n",
		"drugs.txt":       "legal-highs.example\n",
		"gaming.txt":      "blockgame.example\n",
	}
}

// demoKey signs the demo's alerts. It protects nothing.
const demoKey = "a key for a demonstration, no secret"

// demoSecret is demoKey as a configuration has it.
func demoSecret() string { return "whsec_" + base64.StdEncoding.EncodeToString([]byte(demoKey)) }

func setupDemo(fs *flag.FlagSet) action {
	length := fs.Duration("length", 45*time.Second, "`TIME` that the day takes")
	seed := fs.Uint64("seed", 1, "`NUMBER` of the day: the same one asks the same questions; when an alert arrives may differ")
	once := fs.Bool("once", false, "end when the day ends")
	return func(ctx context.Context, inv *invocation) (err error) {
		if inv.config != "" {
			return wrongUse("demo: it has a configuration of its own")
		}
		if *length < time.Second {
			return wrongUse("demo: --length: a day takes at least 1s")
		}
		ctx, _, stop := signals(ctx)
		defer stop()
		dir, err := os.MkdirTemp("", "schoolgate-demo-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		s := &show{screen: newScreen(bare(inv.stdout), inv.env), dir: dir, length: *length, once: *once, decisions: map[string]int{}}
		err = s.run(ctx, inv, schoolDay(*seed))
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
}

// show is one run of the demo.
type show struct {
	*screen
	dir    string
	length time.Duration
	once   bool
	daemon *daemon.Daemon

	front *demoFront

	mu         sync.Mutex
	decisions  map[string]int // by verdict
	unrecorded int            // blocked, and no breach
	alerts     int            // taken by the receivers
}

// run plays the day on a schoolgate of its own, then serves until ctx ends. All that it starts has
// ended when it returns.
func (s *show) run(ctx context.Context, inv *invocation, day []question) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	upstream, err := listenDemoUpstream(ctx)
	if err != nil {
		return err
	}
	defer upstream.conn.Close()
	parts.Go(upstream.serve)
	receiver, err := listenDemoReceiver(ctx, []byte(demoKey), s.alerted)
	if err != nil {
		return err
	}
	defer receiver.listener.Close()
	parts.Go(receiver.serve)

	if s.front, err = listenDemoFront(5300); err != nil {
		s.front, err = listenDemoFront(0)
	}
	if err != nil {
		return err
	}
	defer s.front.close()
	s.front.answer = s.askedByUser

	path, err := s.writeFiles(ctx, upstream, receiver)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(inv.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s.daemon, err = daemon.New(ctx, daemon.Options{Path: path, Build: build(), Logger: log})
	if err != nil {
		return startError(inv.stderr, err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- s.daemon.Run(serving) }()
	parts.Go(func() { s.front.serve(ctx) })

	s.introduce()
	err = s.play(ctx, day)
	if err == nil {
		err = s.summarise(ctx)
	}
	if err == nil && !s.once {
		s.text("%s", s.invitation())
		<-ctx.Done()
	}
	s.front.close()
	stop()
	return errors.Join(err, <-served)
}

// writeFiles writes the demo's configuration and what belongs to it, and returns its path.
func (s *show) writeFiles(ctx context.Context, upstream *demoUpstream, receiver *demoReceiver) (string, error) {
	files := map[string]string{
		"hook.secret": demoSecret(),
		"demo.yaml": fmt.Sprintf(demoConfig, freePort(ctx, "127.0.0.1:9053"),
			upstream.conn.LocalAddr(), "http://"+receiver.listener.Addr().String(), s.quiet()),
	}
	for name, text := range demoLists() {
		files[filepath.Join("lists", name)] = text
	}
	if err := os.Mkdir(filepath.Join(s.dir, "lists"), 0o700); err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(files[name]), 0o600); err != nil {
			return "", err
		}
	}
	return s.path(), nil
}

func (s *show) path() string { return filepath.Join(s.dir, "demo.yaml") }

// quiet is the least time between two alerts about one incident: ten minutes in a school, less here.
func (s *show) quiet() time.Duration { return max(time.Second, s.length/9).Round(time.Second) }

// freePort returns addr if nobody listens there over TCP, else the same with port 0.
func freePort(ctx context.Context, addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return net.JoinHostPort(host, "0")
	}
	tcp.Close()
	return addr
}

func (s *show) introduce() {
	addrs := s.daemon.Addrs()
	again := s.quiet().Seconds() / s.length.Seconds() * (dayEnd - dayStart)
	about := fmt.Sprintf("A made-up school day, 08:45–15:30, in %v. The resolver, the record and the alerts are the real ones; "+
		"the names, the devices and the answers from upstream are made up. No network is used. "+
		"An incident that goes on alerts again after %.0f minutes here, after 10 in a school.", s.length, again)
	s.text("%s", strings.Join(wrap(about, lineWidth), "\n"))
	s.text("DNS on %v, metrics on http://%s/metrics\n", s.front.udp.LocalAddr(), addrs.Metrics)
}

// play asks the day's questions at their times.
func (s *show) play(ctx context.Context, day []question) error {
	ring := bells()
	start := time.Now()
	for _, q := range day {
		for len(ring) > 0 && ring[0].minute <= q.minute {
			if err := s.until(ctx, start, ring[0].minute); err != nil {
				return err
			}
			s.line(bold, "—", "%s", ring[0].what)
			ring = ring[1:]
		}
		if err := s.until(ctx, start, q.minute); err != nil {
			return err
		}
		if err := s.ask(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// until waits for a minute of the day.
func (s *show) until(ctx context.Context, start time.Time, minute float64) error {
	share := (minute - dayStart) / (dayEnd - dayStart)
	timer := time.NewTimer(time.Until(start.Add(time.Duration(share * float64(s.length)))))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	s.at(minute)
	return nil
}

// ask puts a question to the resolver from the device's address, and shows what became of it.
func (s *show) ask(ctx context.Context, q question) error {
	name, err := blocklist.ParseName(q.name)
	if err != nil {
		return err
	}
	packet := dnswire.AppendQuery(nil, 1, []byte(name), q.typ, dnswire.ClassIN, 1232, false, false)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	response, err := s.daemon.Ask(ctx, packet, netip.AddrPortFrom(q.client, 40000), "udp", false)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", q.name, err)
	}
	s.asked(q.client, name, response, "")
	return nil
}

// askedByUser answers a question of the user's own, and shows what became of it.
func (s *show) askedByUser(ctx context.Context, query []byte, from netip.AddrPort, transport string) []byte {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	response, err := s.daemon.Ask(ctx, query, from, transport, false)
	if err != nil {
		return nil // stopped, or late: dig says that nobody answers
	}
	var q dnswire.Query
	if response != nil && q.Parse(query) == dnswire.StatusOK {
		s.asked(from.Addr().Unmap(), blocklist.Name(q.Name()), response, ": resolves, and is recorded")
	}
	return response
}

// asked shows what became of a question. monitored is added where that is what it was.
func (s *show) asked(client netip.Addr, name blocklist.Name, response []byte, monitored string) {
	ex := s.daemon.Filter().Policy.Explain(client, name, time.Now())
	verdict, colour, about := "failed", red, ex.Category
	switch rcode := uint16(response[3] & 0xF); {
	case rcode != dnswire.RcodeSuccess && rcode != dnswire.RcodeNXDomain:
	case ex.Verdict == "block":
		verdict = "blocked"
	case ex.Verdict == "monitor":
		verdict, colour, about = "monitored", yellow, about+monitored
	case ex.Verdict == "local":
		verdict, colour = "local", dim
	default:
		verdict, colour = "allowed", green
	}
	if strings.HasSuffix(name.String(), ".testfiltering.com") {
		about += " (self-test name)"
	}
	s.line(colour, verdict, "%-11s %-11v %-26s %s", ex.Group, client, name, about)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decisions[verdict]++
	if verdict == "blocked" && (ex.Category == "only" || ex.Category == "encrypted_dns") { // demoConfig: of severity none
		s.unrecorded++
	}
}

// alerted shows an alert that a receiver has taken, with the incident that it is about.
func (s *show) alerted(receiver string, a demoAlert) {
	s.mu.Lock()
	s.alerts++
	s.mu.Unlock()
	if a.Data.Incident == "" {
		s.line(pink, "alert", "to %s: %s", receiver, a.Type)
		return
	}
	device := a.Data.Client.IP
	what := strings.TrimPrefix(a.Type, "incident.")
	s.line(bold, "incident", "%s, %s: a device of %s (%s) asked %s", what, a.Data.Severity, a.Data.Group, device, times(a.Data.Count))
	var names []string
	for _, n := range a.Data.Names {
		names = append(names, n.Name)
	}
	if names == nil {
		names = []string{"(names are confidential)"}
	}
	s.line(pink, "alert", "to %s, signature verified: %s: %s", receiver, a.Data.Title, strings.Join(names, ", "))
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// summarise waits for the last alerts of the day, and says what is on the record.
func (s *show) summarise(ctx context.Context) error {
	s.at(dayEnd)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.quiet() + time.Second):
	}
	cfg := s.daemon.Filter().Config
	client, err := daemon.Dial(ctx, cfg.DataDir)
	if err != nil {
		return err
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	record, err := breach.OpenReader(daemon.RecordPath(cfg)) //nolint:contextcheck // it has none
	if err != nil {
		return err
	}
	defer record.Close()
	breaches, attempts, incidents := 0, int64(0), map[string]bool{}
	err = record.Breaches(ctx, breach.Filter{}, func(b breach.Breach) error {
		breaches++
		attempts += b.Count
		incidents[b.Incident] = true
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text("\nThe day is over: %d questions allowed, %d blocked, %d monitored.", s.decisions["allowed"], s.decisions["blocked"], s.decisions["monitored"])
	s.text("On the record: %d attempts in %d breaches, gathered into %d incidents", attempts, breaches, len(incidents))
	s.text("(%d blocked without a breach: severity none, or outside an allow-list).", s.unrecorded)
	s.text("%d alerts delivered.", s.alerts)
	return nil
}

// invitation says what to try while the demo goes on serving.
func (s *show) invitation() string {
	return fmt.Sprintf(`
Still serving, and showing what you ask. In another terminal, as a child of
year 7, of year 10, of the early years, and as staff:
  dig -b 127.0.0.7 %[1]s www.adult-videos.example
  dig -b 127.0.0.10 %[1]s legal-highs.example
  dig -b 127.0.0.2 %[1]s www.youtube.com
  dig -b 127.0.0.20 %[1]s play.blockgame.example
  %[3]s breaches list --config %[2]s
  %[3]s status --config %[2]s
Ctrl-C ends it and removes its data.`, s.front.dig(), s.path(), self())
}
