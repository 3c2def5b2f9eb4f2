package daemon

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// receiver takes alerts and keeps those that an independent verifier finds well signed, each once: one
// whose delivery a stop broke off comes again, with the same id.
type receiver struct {
	url  string
	mu   sync.Mutex
	ids  map[string]bool
	took []string // type and body
}

var hookSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("a key of at least 24 bytes for a test"))

// withReceiver adds a receiver to a configuration: everything goes to it.
func (s *school) withReceiver(yaml string) (string, *receiver) {
	s.t.Helper()
	verifier, err := webhooks.NewWebhook(hookSecret)
	if err != nil {
		s.t.Fatal(err)
	}
	r := &receiver{ids: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			if err = verifier.Verify(body, req.Header); s.clock != nil { // by another clock
				err = verifier.VerifyIgnoringTimestamp(body, req.Header)
			}
		}
		var message struct{ Type string }
		if err == nil {
			err = json.Unmarshal(body, &message)
		}
		if err != nil {
			s.t.Errorf("an alert that cannot be taken: %v: %s", err, body)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if id := req.Header.Get("webhook-id"); !r.ids[id] {
			r.ids[id] = true
			r.took = append(r.took, message.Type+" "+string(body))
		}
	}))
	s.t.Cleanup(server.Close)
	r.url = server.URL
	s.write("hook.secret", hookSecret)
	return yaml + fmt.Sprintf(`alerts:
  receivers: {it: {type: webhook, url: %q, secret_file: hook.secret, detail: full}}
  routes:
    - {severity: [critical, high, medium, low], to: [it]}
    - {about: system, to: [it]}
`, r.url), r
}

// count returns how many alerts of a type have a text in them.
func (r *receiver) count(kind, text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, took := range r.took {
		if strings.HasPrefix(took, kind+" ") && strings.Contains(took, text) {
			n++
		}
	}
	return n
}

func TestITIsAlertedToWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	yaml, it := s.withReceiver(baseYAML)
	s.configure(yaml)
	s.remove("gaming.txt")
	s.start()
	s.await(func() bool { return it.count("system", "list gaming.txt of category gaming is missing: ") == 1 })

	// A reload that is refused, twice: one alert.
	s.write("schoolgate.yaml", "")
	for range 2 {
		s.refusal()
	}
	s.await(func() bool { return it.count("system", "the last reload was refused; ") == 1 })

	// A start that falls back.
	s.stop()
	s.start()
	s.await(func() bool { return it.count("system", "the configuration was refused at start; ") == 1 })

	// A start that weakens a locked category.
	s.stop()
	s.configure(strings.ReplaceAll(yaml, "locked: true, ", ""))
	s.start()
	s.await(func() bool {
		return it.count("system", "started with a weaker filter: category drugs was locked and no longer is") == 1
	})
	s.stop()
	if n := it.count("system", "the last reload was refused; "); n != 1 {
		t.Errorf("the same problem was sent %d times", n)
	}
}

func TestABlockedQuestionBecomesAnAlert(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	yaml, it := s.withReceiver(baseYAML)
	s.configure(yaml)
	s.start()
	s.dig("pills.example")
	s.await(func() bool { return it.count("incident.opened", `"pills.example"`) == 1 })

	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := client.TestAlerts(t.Context(), "it")
	if err != nil || len(results) != 1 || !results[0].OK || it.count("test", "") != 1 {
		t.Errorf("test alert: %+v %v", results, err)
	}
}
