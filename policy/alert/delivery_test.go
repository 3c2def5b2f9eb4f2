package alert

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"schoolgate/policy/breach"
)

func TestAnAlertIsAStandardWebhook(t *testing.T) {
	type delivery struct {
		method, id, contentType, agent string
		body                           []byte
		verified                       error
	}
	deliveries := make(chan delivery, 1)
	s := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		verifier, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(secret))
		if err != nil {
			t.Error(err)
		}
		deliveries <- delivery{
			r.Method, r.Header.Get("Webhook-Id"), r.Header.Get("Content-Type"), r.Header.Get("User-Agent"), body,
			verifier.Verify(body, r.Header), // with its tolerance of five minutes for the timestamp
		}
		w.WriteHeader(http.StatusNoContent)
	})
	outbox := newMemory()
	run(t, Options{Config: Config{Receivers: []Receiver{webhook("dsl", s.URL)}}, Outbox: outbox})
	must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Body: []byte(`{"type":"test"}`)}))

	got := <-deliveries
	want := delivery{http.MethodPost, "msg_1", "application/json", "schoolgate", []byte(`{"type":"test"}`), nil}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(delivery{})); diff != "" {
		t.Error(diff)
	}
	eventually(t, "settled", func() bool { return len(outbox.settled()) == 1 })
	if diff := cmp.Diff([]settled{{"msg_1", breach.Outcome{State: breach.Delivered, Status: "HTTP 204"}}}, outbox.settled()); diff != "" {
		t.Error(diff)
	}
}

func TestTwoSecretsSignTwice(t *testing.T) {
	other := []byte("fedcba9876543210fedcba9876543210")
	verified := make(chan []error, 1)
	s := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		body := []byte(readAll(t, r))
		var errs []error
		for _, key := range [][]byte{secret, other, []byte("another one, that is of neither.")} {
			verifier, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(key))
			if err != nil {
				t.Error(err)
			}
			errs = append(errs, verifier.Verify(body, r.Header))
		}
		verified <- errs
	})
	r := webhook("dsl", s.URL)
	r.Secrets = [][]byte{secret, other}
	d := dispatcher(t, Config{Receivers: []Receiver{r}})
	if got := d.Test(t.Context(), "dsl"); !got[0].OK {
		t.Errorf("got %+v", got)
	}
	if errs := <-verified; errs[0] != nil || errs[1] != nil || errs[2] == nil {
		t.Errorf("by the first, the second and a third secret: %v", errs)
	}
}

// hijack answers with bytes as they are and closes the connection.
func hijack(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, answer)
	}
}

func TestHowAReceiverMayAnswerWhateverItsType(t *testing.T) {
	var followed atomic.Bool
	elsewhere := receiver(t, func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	asks := func(code int, retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(code)
		}
	}
	const second, hour = time.Second, time.Hour
	for what, c := range map[string]struct {
		answer http.HandlerFunc // nil: nobody listens
		state  breach.State
		status string
		after  time.Duration // until the next try, at least; at most a tenth more
	}{
		"200":                      {status(200), breach.Delivered, "HTTP 200", 0},
		"202":                      {status(202), breach.Delivered, "HTTP 202", 0},
		"500":                      {status(500), breach.Pending, "HTTP 500", 5 * second},
		"502":                      {status(502), breach.Pending, "HTTP 502", 5 * second},
		"504":                      {status(504), breach.Pending, "HTTP 504", 5 * second},
		"429 without a time":       {status(429), breach.Pending, "HTTP 429", 5 * second},
		"404":                      {status(404), breach.Pending, "HTTP 404", 5 * second},
		"410 stops":                {status(410), breach.Gone, "HTTP 410", 0},
		"410, whatever it asks":    {asks(410, "60"), breach.Gone, "HTTP 410", 0},
		"nobody listens":           {nil, breach.Pending, "connection refused", 5 * second},
		"429 with seconds":         {asks(429, "3600"), breach.Pending, "HTTP 429", hour},
		"503 with a date":          {asks(503, tenPast.Add(2*hour).Format(http.TimeFormat)), breach.Pending, "HTTP 503", 2*hour - second},
		"a date that is past":      {asks(503, tenPast.Add(-hour).Format(http.TimeFormat)), breach.Pending, "HTTP 503", 5 * second},
		"sooner than the schedule": {asks(429, "1"), breach.Pending, "HTTP 429", 5 * second},
		"a week is too long":       {asks(429, "604800"), breach.Pending, "HTTP 429", 24 * hour},
		"nonsense for a time":      {asks(429, "-5"), breach.Pending, "HTTP 429", 5 * second},
		"a redirect is not followed": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusMovedPermanently)
		}, breach.Pending, "HTTP 301 (a redirect is not followed)", 5 * second},
		"307 is not followed either": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, breach.Pending, "HTTP 307 (a redirect is not followed)", 5 * second},
		"it closes at once":                    {hijack(""), breach.Pending, "EOF", 5 * second},
		"it closes within the header":          {hijack("HTTP/1.1 200 OK\r\nContent-"), breach.Pending, "transport connection broken", 5 * second},
		"it closes within the body":            {hijack("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), breach.Delivered, "HTTP 200", 0},
		"it is no HTTP":                        {hijack("220 mail.example ESMTP\r\n"), breach.Pending, "malformed HTTP", 5 * second},
		"a header without end":                 {hijack("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100_000) + "\r\n\r\n"), breach.Pending, "exceeded 65536 bytes", 5 * second},
		"a body of a gigabyte is not read out": {endless, breach.Delivered, "HTTP 200", 0},
	} {
		for _, kind := range Types() {
			if kind == TypeEmail {
				continue
			}
			url := "http://127.0.0.1:1/token-in-the-path" // port 1 has no listener
			if c.answer != nil {
				url = receiver(t, c.answer).URL + "/token-in-the-path"
			}
			outbox := newMemory()
			outbox.alerts = []breach.Alert{{ID: "msg_1", Receiver: "dsl", Body: incidentBody(notice(nil), "", false)}}
			run(t, Options{
				Config: Config{Receivers: []Receiver{{Name: "dsl", Type: kind, URL: url, Secrets: [][]byte{secret}}}}, Outbox: outbox,
				Now: func() time.Time { return tenPast },
			})
			eventually(t, "settled", func() bool { return len(outbox.settled()) == 1 })
			got := outbox.settled()[0].Outcome
			if got.State != c.state || !strings.Contains(got.Status, c.status) || strings.Contains(got.Status, "token") {
				t.Errorf("%s by %s: it is %q, %q; want %q, %q", what, kind, got.State, got.Status, c.state, c.status)
			}
			if c.state == breach.Pending {
				if wait := got.Next.Sub(tenPast); wait < c.after || wait > c.after+c.after/10 {
					t.Errorf("%s by %s: the next try is in %v, want %v and up to a tenth more", what, kind, wait, c.after)
				}
			}
		}
	}
	if followed.Load() {
		t.Error("a redirect was followed")
	}
}

// endless writes a body until nobody reads it any more.
func endless(w http.ResponseWriter, _ *http.Request) {
	block := bytes.Repeat([]byte("x"), 1<<16)
	for range 1 << 14 {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestAReceiverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newMemory()
		outbox.alerts = []breach.Alert{{ID: "msg_1", Receiver: "dsl"}}
		began := time.Now()
		run(t, Options{
			Config: Config{Receivers: []Receiver{webhook("dsl", "http://dsl.example/hook")}}, Outbox: outbox,
			Transport: transport(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		time.Sleep(Timeout)
		synctest.Wait()
		got := outbox.settled()
		if len(got) != 1 || got[0].Outcome.Status != "no answer within 15s" || got[0].Outcome.Next.Sub(began) < Timeout+5*time.Second {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheTriesOfOneAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type try struct {
			id string
			at time.Time
		}
		var tries []try
		outbox := newMemory()
		_, stop := run(t, Options{
			Config: Config{Receivers: []Receiver{webhook("dsl", "http://dsl.example/hook")}}, Outbox: outbox,
			Transport: transport(func(r *http.Request) (*http.Response, error) {
				tries = append(tries, try{r.Header.Get("Webhook-Id"), time.Now()})
				if got, want := r.Header.Get("Webhook-Timestamp"), strconv.FormatInt(time.Now().Unix(), 10); got != want {
					t.Errorf("try %d bears the time %s, not its own, %s", len(tries), got, want)
				}
				return response(500), nil
			}),
		})
		must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Next: time.Now()}))
		time.Sleep(200 * time.Hour)
		synctest.Wait()
		stop()

		if len(tries) != 10 {
			t.Fatalf("%d tries, want 10", len(tries))
		}
		for i, want := range schedule {
			if i > 0 {
				if wait := tries[i].at.Sub(tries[i-1].at); wait < want || wait > want+want/10 {
					t.Errorf("try %d came %v after the one before, want %v and up to a tenth more", i+1, wait, want)
				}
			}
			if tries[i].id != "msg_1" {
				t.Errorf("try %d has the id %q", i+1, tries[i].id)
			}
		}
		want := settled{"msg_1", breach.Outcome{State: breach.Gone, Status: "HTTP 500"}}
		if diff := cmp.Diff(want, outbox.settled()[9]); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhatWasGivenUpIsSaidAndTriedAgainWhenAsked(t *testing.T) {
	l, _ := record(t, t.TempDir(), func(breach.Notice) []breach.Alert { return nil })
	var up atomic.Bool
	s := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusGone)
		}
	})
	d, _ := run(t, Options{Config: Config{Receivers: []Receiver{webhook("dsl", s.URL)}}, Outbox: l})
	must(t, l.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Body: []byte("{}")}))
	eventually(t, "given up", func() bool { return len(d.Problems()) == 1 })
	want := []string{`alerts: the receiver "dsl" is disabled, for it took none: 0 wait and 1 were given up ` +
		`(once it works: schoolgate alert test dsl, or alert retry msg_1)`}
	if diff := cmp.Diff(want, d.Problems()); diff != "" {
		t.Error(diff)
	}
	up.Store(true)
	must(t, l.Retry(t.Context(), "msg_1"))
	eventually(t, "delivered", func() bool {
		queue, err := l.Queue(t.Context())
		return err == nil && len(queue) == 0
	})
	if got := d.Problems(); got != nil {
		t.Errorf("problems are %q", got)
	}
}

func TestAReceiverThatFailsIsSaid(t *testing.T) {
	l, _ := record(t, t.TempDir(), func(breach.Notice) []breach.Alert { return nil })
	d, err := New(Options{Config: Config{Receivers: []Receiver{webhook("dsl", "http://127.0.0.1:1/")}}, Outbox: l})
	must(t, err)
	must(t, l.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Body: []byte("{}")}))
	for try := range failing {
		if got := d.Problems(); got != nil {
			t.Errorf("after %d tries: %q", try, got)
		}
		must(t, l.Settle(t.Context(), map[string]breach.Outcome{"msg_1": {State: breach.Pending, Next: time.Now()}}))
	}
	problems := d.Problems()
	if len(problems) != 1 || !strings.HasPrefix(problems[0], `alerts: the receiver "dsl" does not take them: 1 wait, the oldest since 20`) {
		t.Errorf("problems are %q", problems)
	}
}

func TestAnAlertOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	var ids []string
	var mu sync.Mutex
	var up atomic.Bool
	s := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, r.Header.Get("Webhook-Id"))
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	tries := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ids)
	}
	config := Config{Receivers: []Receiver{webhook("dsl", s.URL)}}
	silent := func(breach.Notice) []breach.Alert { return nil }

	l, stopRecord := record(t, dir, silent)
	_, stop := run(t, Options{Config: config, Outbox: l})
	must(t, l.Enqueue(t.Context(), breach.Alert{Receiver: "dsl", Body: []byte("{}")}))
	eventually(t, "a try", func() bool { return tries() == 1 })
	stop()
	stopRecord()

	up.Store(true)
	l, _ = record(t, dir, silent)
	_, stop = run(t, Options{Config: config, Outbox: l, Now: func() time.Time { return time.Now().Add(time.Minute) }})
	eventually(t, "delivered", func() bool {
		queue, err := l.Queue(t.Context())
		return err == nil && len(queue) == 0
	})
	stop()
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("the tries had the ids %q", ids)
	}
}

func TestASlowReceiverDelaysNoOther(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	slow := receiver(t, func(http.ResponseWriter, *http.Request) { <-release })
	var delivered atomic.Int32
	quick := receiver(t, func(http.ResponseWriter, *http.Request) { delivered.Add(1) })
	outbox := newMemory()
	_, stop := run(t, Options{
		Config: Config{Receivers: []Receiver{webhook("slow", slow.URL), webhook("quick", quick.URL)}}, Outbox: outbox,
	})
	for i := range 50 {
		id := fmt.Sprint(i)
		must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "s" + id, Receiver: "slow"}, breach.Alert{ID: "q" + id, Receiver: "quick"}))
	}
	eventually(t, "all that the quick one is sent", func() bool { return delivered.Load() == 50 })
	for _, s := range outbox.settled() {
		if s.ID[0] == 's' {
			t.Errorf("the slow one has answered: the test shows nothing: %+v", s)
		}
	}
	stop() // does not wait for the slow one either
}

func TestWhatWasDeliveredIsNotSentAgainBecauseTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox, sent := newMemory(), 0
		_, stop := run(t, Options{
			Config: Config{Receivers: []Receiver{webhook("dsl", "http://dsl.example/hook")}}, Outbox: outbox,
			Transport: transport(func(*http.Request) (*http.Response, error) {
				sent++
				outbox.setBroken(true)
				return response(200), nil
			}),
		})
		must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl"}))
		time.Sleep(time.Minute)
		outbox.setBroken(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []settled{{"msg_1", breach.Outcome{State: breach.Delivered, Status: "HTTP 200"}}}
		if diff := cmp.Diff(want, outbox.settled()); diff != "" || sent != 1 {
			t.Error(diff, sent)
		}
		stop()
	})
}

func TestATryThatAStopBreaksOffIsNone(t *testing.T) {
	outbox := newMemory()
	asked := make(chan struct{})
	s := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client has gone
		close(asked)
		<-r.Context().Done()
	})
	_, stop := run(t, Options{Config: Config{Receivers: []Receiver{webhook("dsl", s.URL)}}, Outbox: outbox})
	must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: "msg_1", Receiver: "dsl", Body: []byte("{}")}))
	<-asked
	stop()
	if got := outbox.settled(); len(got) != 0 {
		t.Errorf("it was settled: %+v", got)
	}
}

func TestATryThatEndsWithTheStopIsSettled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	outbox := newMemory()
	d, err := New(Options{
		Config: Config{Receivers: []Receiver{webhook("dsl", "http://dsl.example/hook")}}, Outbox: outbox,
		Transport: transport(func(*http.Request) (*http.Response, error) {
			cancel()
			return response(200), nil
		}),
	})
	must(t, err)
	must(t, outbox.Enqueue(ctx, breach.Alert{ID: "msg_1", Receiver: "dsl"}))
	must(t, d.Run(ctx))
	if got := outbox.settled(); len(got) != 1 || got[0].Outcome.State != breach.Delivered {
		t.Errorf("it would be sent again: %+v", got)
	}
}

func TestReload(t *testing.T) {
	l, _ := record(t, t.TempDir(), func(breach.Notice) []breach.Alert { return nil })
	var first, second atomic.Int32
	a := receiver(t, func(http.ResponseWriter, *http.Request) { first.Add(1) })
	b := receiver(t, func(http.ResponseWriter, *http.Request) { second.Add(1) })
	d, _ := run(t, Options{Outbox: l})
	send := func() { must(t, l.Enqueue(t.Context(), breach.Alert{Receiver: "dsl", Body: []byte("{}")})) }

	send()
	want := []string{`alerts: 1 wait for the receiver "dsl", which the configuration no longer has (put it back, and they are sent)`}
	if diff := cmp.Diff(want, d.Problems()); diff != "" {
		t.Error("an alert for a receiver that is not there:", diff)
	}
	d.Apply(Config{Receivers: []Receiver{webhook("dsl", a.URL)}})
	eventually(t, "it goes to the receiver once there is one", func() bool { return first.Load() == 1 })
	d.Apply(Config{Receivers: []Receiver{webhook("dsl", b.URL)}})
	send()
	eventually(t, "a changed URL holds at once", func() bool { return second.Load() == 1 })
	eventually(t, "no problem", func() bool { return len(d.Problems()) == 0 })
	d.Apply(Config{})
	send()
	if got := d.Problems(); len(got) != 1 {
		t.Errorf("problems are %q", got)
	}
	d.Apply(Config{Receivers: []Receiver{{Name: "dsl", Type: "carrier pigeon"}}})
	want = []string{`alerts: 1 wait for the receiver "dsl": receivers of type "carrier pigeon" are not supported yet`}
	if diff := cmp.Diff(want, d.Problems()); diff != "" {
		t.Error(diff)
	}
	d.Apply(Config{Receivers: []Receiver{webhook("dsl", a.URL)}})
	eventually(t, "a receiver that comes back gets what waited", func() bool { return first.Load() == 2 })
	if second.Load() != 1 {
		t.Error("it was sent to the receiver that was taken out")
	}
}

func TestTestAlerts(t *testing.T) {
	var body []byte
	good := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		verifier, err := standardwebhooks.NewWebhookRaw(secret)
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	bad := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	d, err := New(Options{Config: Config{
		Site:      "winchelsea",
		Receivers: []Receiver{webhook("good", good.URL), webhook("bad", bad.URL), {Name: "pigeon", Type: "carrier pigeon"}},
	}, Now: time.Now})
	must(t, err)

	want := []TestResult{
		{"good", true, "HTTP 200"},
		{"bad", false, "HTTP 403"},
		{"pigeon", false, `receivers of type "carrier pigeon" are not supported yet`},
	}
	if diff := cmp.Diff(want, d.Test(t.Context(), "")); diff != "" {
		t.Error(diff)
	}
	if !bytes.HasPrefix(body, []byte(`{"type":"test","timestamp":"`)) || !bytes.Contains(body, []byte("This is a test of schoolgate's alerts.")) {
		t.Errorf("the body is %s", body)
	}
	if diff := cmp.Diff(want[1:2], d.Test(t.Context(), "bad")); diff != "" {
		t.Error(diff)
	}
	if got := d.Test(t.Context(), "nobody"); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if err := d.Run(t.Context()); err == nil || err.Error() != "alert: no outbox" {
		t.Errorf("Run without an outbox: %v", err)
	}
	if got := d.Problems(); got != nil {
		t.Errorf("problems are %q", got)
	}
}

func TestNoRequestGoesThroughAProxyToLoopback(t *testing.T) {
	transport, ok := newClient(nil).Transport.(*http.Transport)
	if !ok {
		t.Fatal("it has another transport")
	}
	for _, host := range []string{"127.0.0.1:9911", "localhost:9911", "[::1]:9911"} {
		request := httptest.NewRequest(http.MethodPost, "http://"+host+"/hook", nil)
		if proxy, err := transport.Proxy(request); proxy != nil || err != nil {
			t.Errorf("%s: %v, %v", host, proxy, err)
		}
	}
}

func TestReason(t *testing.T) {
	_, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:1")
	if got := reason(err); !strings.Contains(got, "connection refused") {
		t.Errorf("got %q", got)
	}
	if got := reason(errors.New("plain")); got != "plain" {
		t.Errorf("got %q", got)
	}
	_, err = http.NewRequestWithContext(context.Background(), http.MethodPost, "http://it.example/secret\x00", nil)
	if got := reason(err); strings.Contains(got, "secret") {
		t.Errorf("it shows the URL: %q", got)
	}
}
