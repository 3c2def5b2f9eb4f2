//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startAlertmanager runs Debian's Alertmanager, which sends nothing on; it returns its address.
func startAlertmanager(t *testing.T) string {
	t.Helper()
	const name = "prometheus-alertmanager"
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing (deploy/setup.sh installs it)", name)
		}
		t.Skipf("%s is missing (deploy/setup.sh installs it)", name)
	}
	dir, address := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := filepath.Join(dir, "alertmanager.yml")
	write(t, config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
	cmd := exec.Command(name, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--cluster.listen-address=")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	waitFor(t, name, func() bool {
		r, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return address
}

// firing is an alert as Alertmanager's API shows it.
type firing struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
}

func firingAt(t *testing.T, address string) (all []firing, body string) {
	t.Helper()
	r, err := http.Get("http://" + address + "/api/v2/alerts?active=true")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text.Bytes(), &all); err != nil {
		t.Fatalf("%v: %s", err, &text)
	}
	return all, text.String()
}

func TestAlertmanagerShowsAnIncidentAndNobodysName(t *testing.T) {
	address := startAlertmanager(t)
	s := newSite(t, `
console_url: "https://console.example"
categories:
  pornography: {title: Pornography, severity: high, lists: [builtin:pornography]}
groups:
  year7: {clients: [127.20.0.0/16], block: [pornography]}
default_group: year7
`)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(text), "  routes:\n", "    monitoring: {type: alertmanager, url: \"http://"+address+"\"}\n  routes:\n    - {to: [monitoring]}\n", 1)
	write(t, s.config, config)
	s.start(t)

	began := time.Now()
	s.blocked(t, "www.pornhub.com", true)
	var alerts []firing
	var body string
	waitFor(t, "the incident at Alertmanager", func() bool {
		alerts, body = firingAt(t, address)
		return len(alerts) > 0
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it arrived after %v", took)
	}
	a := alerts[0]
	if len(alerts) != 1 || a.Labels["alertname"] != "SchoolgateIncident" || a.Labels["severity"] != "high" || a.Labels["category"] != "pornography" ||
		a.Labels["group"] != "year7" || a.GeneratorURL != "https://console.example/incidents/"+a.Labels["incident"] {
		t.Errorf("Alertmanager shows %s", body)
	}
	if lasts := time.Until(a.EndsAt); lasts < 50*time.Minute || lasts > 70*time.Minute {
		t.Errorf("it ends in %v", lasts)
	}
	if strings.Contains(body, "pornhub") || strings.Contains(body, pupil) {
		t.Errorf("it names a site or a client: %s", body)
	}

	if out := s.command(t, "alert", "test", "monitoring"); !strings.Contains(out, "HTTP 200") {
		t.Errorf("alert test says %s", out)
	}
	waitFor(t, "the test at Alertmanager", func() bool {
		alerts, body = firingAt(t, address)
		return strings.Contains(body, "SchoolgateTest")
	})
	if len(alerts) != 2 {
		t.Errorf("Alertmanager shows %s", body)
	}
}
