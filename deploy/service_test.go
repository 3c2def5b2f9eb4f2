package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds each wait for the program. It passes only where something is wrong.
const patience = time.Minute

// service is a running schoolgate, started as systemd starts it.
type service struct {
	config string // the file's path
	cmd    *exec.Cmd
	notify *net.UnixConn
	stderr bytes.Buffer
	done   chan error
	status struct {
		Listen struct {
			DNS     []string `json:"dns"`
			Metrics string   `json:"metrics"`
		} `json:"listen"`
	}
}

// start runs `schoolgate serve` on a configuration, to which it adds the listeners and a data
// directory, and waits until it says that it is ready. The test's end stops it.
func start(t *testing.T, dir, config string, env ...string) *service {
	t.Helper()
	s := &service{done: make(chan error, 1)}
	s.config = write(t, filepath.Join(dir, "schoolgate.yaml"), config+`
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0", console: ""}
data_dir: data
`)
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	var err error
	if s.notify, err = net.ListenUnixgram("unixgram", address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.notify.Close() }) // of no further interest
	s.cmd = exec.Command(program, "serve", "--config", s.config)
	s.cmd.Env = append(os.Environ(), append(env, "NOTIFY_SOCKET="+address.Name)...)
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	t.Cleanup(func() { s.stop(t) })
	s.await(t, "READY=1")
	out, code := run(t, dir, program, "status", "--json", "--config", s.config)
	if code != 0 {
		t.Fatalf("status: exit %d: %s", code, out)
	}
	if err := json.Unmarshal([]byte(out), &s.status); err != nil {
		t.Fatalf("status --json: %v: %s", err, out)
	}
	return s
}

// await reads what the service tells systemd until it says the line.
func (s *service) await(t *testing.T, line string) {
	t.Helper()
	if err := s.notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := s.notify.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %s from the service: %v", line, err)
		}
		for said := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(said) == line {
				return
			}
		}
	}
}

// stop ends the service as systemd does, and is a no-op the second time.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	select {
	case err := <-s.done:
		if err != nil {
			t.Errorf("the service ended with %v\n%s", err, s.stderr.String())
		}
	case <-time.After(patience):
		t.Errorf("the service does not stop\n%s", s.stderr.String())
		if err := s.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		t.Logf("it was killed: %v", <-s.done)
	}
	s.cmd = nil
}

// shortDir is a temporary directory whose path leaves room for the name of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sg") //nolint:usetesting // t.TempDir's path holds the test's name: too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// unitSettings returns the values of a setting in the service unit.
func unitSettings(t *testing.T, name string) []string {
	t.Helper()
	var values []string
	for _, m := range regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllSubmatch(read(t, "schoolgate.service"), -1) {
		values = append(values, string(m[1]))
	}
	if values == nil {
		t.Fatalf("schoolgate.service has no %s=", name)
	}
	return values
}

const smallConfig = `version: 1
site: test
upstreams: {servers: ["udp://127.0.0.1:9"]}
categories:
  gaming: {title: Gaming, severity: low, lists: [{path: games.txt}]}
groups:
  pupils: {clients: [127.0.0.0/8], block: [gaming]}
default_group: pupils
`

func TestServiceUnit(t *testing.T) {
	t.Run("its commands are the program's", func(t *testing.T) {
		for _, line := range append(unitSettings(t, "ExecStart"), unitSettings(t, "ExecReload")...) {
			if rest, ours := strings.CutPrefix(line, "/usr/local/bin/schoolgate "); ours {
				checkCommand(t, rest)
			} else if line != "/bin/kill -HUP $MAINPID" {
				t.Errorf("an unknown command: %s", line)
			}
		}
	})

	// systemd wants the binary to be there.
	dir := t.TempDir()
	unit := strings.ReplaceAll(string(read(t, "schoolgate.service")), "/usr/local/bin/schoolgate", program)
	path := write(t, filepath.Join(dir, "schoolgate.service"), unit)

	t.Run("systemd understands it", func(t *testing.T) {
		out, code := run(t, dir, tool(t, "systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", path)
		if code != 0 || out != "" {
			t.Errorf("exit %d: %s", code, out)
		}
	})

	t.Run("its exposure is under 2.0", func(t *testing.T) {
		out, code := run(t, dir, tool(t, "systemd-analyze"), "security", "--no-pager", "--offline=true", "--threshold=20", path)
		if code != 0 {
			t.Errorf("exit %d: %s", code, out)
		}
	})

	t.Run("nothing of its memory reaches a disk", func(t *testing.T) {
		if got := unitSettings(t, "LimitCORE"); got[0] != "0" {
			t.Errorf("LimitCORE=%s", got[0])
		}
	})
}

func TestServiceTellsSystemd(t *testing.T) {
	if got := unitSettings(t, "Type"); got[0] != "notify" {
		t.Fatalf("Type=%s", got[0])
	}
	unitSettings(t, "WatchdogSec") // is set
	dir := shortDir(t)
	write(t, filepath.Join(dir, "games.txt"), "games.example\n")
	s := start(t, dir, smallConfig, "WATCHDOG_USEC=500000") // READY=1

	t.Run("the watchdog hears of it", func(t *testing.T) { s.await(t, "WATCHDOG=1") })

	t.Run("the documented backup copies the record while it is in use", func(t *testing.T) {
		question(t, s.status.Listen.DNS[0], "www.games.example")
		if out, code := run(t, dir, program, "breaches", "export", "--config", s.config); code != 0 || strings.Count(out, "\n") != 1 {
			t.Fatalf("breaches export: exit %d: %s", code, out)
		}
		line := regexp.MustCompile("(?m)^sudo sqlite3 /var/lib/schoolgate/breach.db (.*)$").FindSubmatch(read(t, "docs/install.md"))
		if line == nil {
			t.Fatal("docs/install.md has no backup with sqlite3")
		}
		copied := filepath.Join(dir, "copy.db")
		command := strings.ReplaceAll(string(line[1]), "/var/backups/schoolgate-breach.db", copied)
		if out, code := run(t, dir, "sh", "-c", tool(t, "sqlite3")+" data/breach.db "+command); code != 0 {
			t.Fatalf("backup: exit %d: %s", code, out)
		}
		if out, _ := run(t, dir, "sqlite3", copied, "PRAGMA integrity_check; SELECT count(*) FROM breach"); out != "ok\n1\n" {
			t.Errorf("the copy: %s", out)
		}
	})

	t.Run("a reload has a beginning and an end", func(t *testing.T) {
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.await(t, "RELOADING=1")
		s.await(t, "READY=1")
	})

	t.Run("a reload of a wrong file fails for who types it, and the old policy serves", func(t *testing.T) {
		good := read(t, s.config)
		write(t, s.config, string(good)+"nonsense: 1\n")
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.await(t, "RELOADING=1")
		s.await(t, "READY=1")
		out, code := run(t, dir, program, "check", "--config", s.config)
		if line := bytes.Count(good, []byte("\n")) + 1; code != 1 || !strings.Contains(out, fmt.Sprintf("schoolgate.yaml:%d:1: ", line)) {
			t.Errorf("check: exit %d: %s", code, out)
		}
		if metrics := scrape(t, s); metrics["schoolgate_config_last_reload_successful"].series[0].value != "0" {
			t.Errorf("schoolgate_config_last_reload_successful is not 0")
		}
	})

	t.Run("a stop is announced", func(t *testing.T) {
		s.stop(t)
		s.await(t, "STOPPING=1")
	})
}

// question is a DNS question over UDP, type A, and its answer.
func question(t *testing.T, server, name string) []byte {
	t.Helper()
	packet := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // id 1, RD, one question
	for label := range strings.SplitSeq(name, ".") {
		packet = append(append(packet, byte(len(label))), label...)
	}
	packet = append(packet, 0, 0, 1, 0, 1)
	conn, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1500)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return answer[:n]
}
