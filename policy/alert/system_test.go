package alert

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"schoolgate/policy/breach"
)

func TestSystemMessages(t *testing.T) {
	const text = "The list iwf is two days old."
	config := func(url string) Config {
		return Config{
			Site: "winchelsea", Receivers: []Receiver{webhook("it", url+"it"), webhook("dsl", url+"dsl")},
			Routes: []Route{{Severities: []string{"high"}, To: []string{"dsl"}}, {About: AboutSystem, To: []string{"it"}}, {About: AboutSystem, To: []string{"it"}}},
		}
	}
	type sent struct{ id, body, to string }
	// bubble runs do with a Dispatcher on an outbox in memory, whose receivers answer with status.
	bubble := func(t *testing.T, status func() int, do func(t *testing.T, d *Dispatcher, outbox *memory, got func() []sent)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			outbox := newMemory()
			var mu sync.Mutex
			var all []sent
			d, stop := run(t, Options{Config: config("http://it.example/"), Outbox: outbox, Transport: transport(func(r *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(r.Body)
				must(t, err)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, sent{r.Header.Get("Webhook-Id"), string(body), r.URL.Path[1:]})
				return response(status()), nil
			})})
			do(t, d, outbox, func() []sent {
				time.Sleep(time.Second)
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				got := all
				all = nil
				return got
			})
			stop()
		})
	}
	ok := func() int { return 200 }

	t.Run("go to the routes about the system, once", func(t *testing.T) {
		bubble(t, ok, func(t *testing.T, d *Dispatcher, _ *memory, got func() []sent) {
			d.System(t.Context(), text)
			all := got()
			const want = `{"type":"system","timestamp":"2000-01-01T00:00:00.000Z","data":{"site":"winchelsea",` +
				`"message":"The list iwf is two days old.","chain":{"seq":42,"hash":"abc"}}}`
			if len(all) != 1 || all[0].body != want || !strings.HasPrefix(all[0].id, "msg_") {
				t.Errorf("got %+v", all)
			}
		})
	})
	t.Run("at most once a day while it lasts", func(t *testing.T) {
		bubble(t, ok, func(t *testing.T, d *Dispatcher, _ *memory, got func() []sent) {
			sent := 0
			for range 72 { // hours
				d.System(t.Context(), text)
				sent += len(got())
				time.Sleep(time.Hour - time.Second)
			}
			if sent != 3 {
				t.Errorf("sent %d times in three days", sent)
			}
			d.System(t.Context(), "Something else.")
			if n := len(got()); n != 1 {
				t.Errorf("another message was sent %d times", n)
			}
		})
	})
	t.Run("are sent though the outbox can't be written, and stored when it can", func(t *testing.T) {
		status := atomic.Int32{}
		status.Store(500)
		bubble(t, func() int { return int(status.Load()) }, func(t *testing.T, d *Dispatcher, outbox *memory, got func() []sent) {
			outbox.setBroken(true)
			d.System(t.Context(), text)
			first := got()
			if len(first) != 1 {
				t.Fatalf("sent %d times", len(first))
			}
			outbox.setBroken(false)
			status.Store(200)
			time.Sleep(unstoredPause + lookAgain)
			second := got()
			if len(second) != 1 || second[0] != first[0] || len(outbox.settled()) != 1 {
				t.Errorf("first %+v, then %+v, settled %+v", first, second, outbox.settled())
			}
		})
	})
	t.Run("say that a receiver fails, but not to itself", func(t *testing.T) {
		failingFor := func() int { return 500 }
		bubble(t, failingFor, func(t *testing.T, d *Dispatcher, outbox *memory, got func() []sent) {
			must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Body: []byte("{}")}))
			time.Sleep(time.Minute)
			if n := len(got()); n != 2 {
				t.Fatalf("%d tries in a minute", n)
			}
			time.Sleep(10 * time.Minute)
			var messages []string
			for _, s := range got() {
				if strings.Contains(s.body, `"message"`) {
					messages = append(messages, s.body)
				}
			}
			if len(messages) < 1 || !strings.Contains(messages[0], "The receiver dsl does not take alerts.") {
				t.Errorf("got %q", messages)
			}
			time.Sleep(10 * time.Hour)
			for _, s := range got() {
				if strings.Contains(s.body, "The receiver "+s.to) {
					t.Errorf("the receiver %s is told that it fails: %s", s.to, s.body)
				}
			}
		})
	})
	t.Run("after a restart the same day are the same alert", func(t *testing.T) {
		if a, b := systemID(text, "it", tenPast), systemID(text, "it", tenPast.Add(time.Hour)); a != b {
			t.Errorf("ids %s and %s", a, b)
		}
		ids := map[string]bool{
			systemID(text, "it", tenPast): true, systemID(text, "dsl", tenPast): true, systemID("x", "it", tenPast): true,
			systemID(text, "it", tenPast.AddDate(0, 0, 1)): true,
		}
		if len(ids) != 4 {
			t.Errorf("only %d ids", len(ids))
		}
	})
}
