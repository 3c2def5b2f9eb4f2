package alert

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"schoolgate/policy/breach"
)

// paced runs a Dispatcher in a bubble with so many alerts for a receiver of a type, and returns when each try
// came, counted from the start. answer is given the number of the try.
func paced(t *testing.T, kind string, alerts int, lasts time.Duration, answer func(try int) *http.Response) (tries []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		outbox, began := newMemory(), time.Now()
		_, stop := run(t, Options{
			Config: Config{Receivers: []Receiver{{Name: "r", Type: kind, URL: "http://r.example/hook", Secrets: [][]byte{secret}}}}, Outbox: outbox,
			Transport: transport(func(*http.Request) (*http.Response, error) {
				tries = append(tries, time.Since(began))
				return answer(len(tries)), nil
			}),
		})
		for i := range alerts {
			must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: fmt.Sprint(i), Receiver: "r", Body: incidentBody(notice(nil), "", false), Next: began}))
		}
		time.Sleep(lasts)
		synctest.Wait()
		stop()
	})
	return tries
}

func ok(int) *http.Response { return response(200) }

func TestEachTypeHasItsPace(t *testing.T) {
	for kind, want := range map[string]time.Duration{
		TypeWebhook: 0, TypeAlertmanager: 0, TypeSlack: time.Second, TypeGoogleChat: time.Second, TypeTeams: time.Second,
	} {
		tries := paced(t, kind, 40, time.Minute, ok)
		if len(tries) != 40 {
			t.Errorf("%s: %d alerts arrived in a minute, want 40", kind, len(tries))
		}
		for i := 1; i < len(tries); i++ {
			if gap := tries[i] - tries[i-1]; gap != want {
				t.Errorf("%s: alert %d came %v after the one before, want %v", kind, i, gap, want)
			}
		}
	}
}

func TestABusyReceiverIsLeftAloneAsLongAsItSays(t *testing.T) {
	for what, c := range map[string]struct {
		status int
		after  string
		most   time.Duration // the pause that is kept at least, and a tenth more
	}{
		"429 with a time":                   {429, "120", 2 * time.Minute},
		"503 with a time":                   {503, "120", 2 * time.Minute},
		"a day is too long for what is new": {429, "86400", time.Hour},
	} {
		tries := paced(t, TypeSlack, 3, 3*time.Hour, func(try int) *http.Response {
			if try > 1 {
				return response(200)
			}
			r := response(c.status)
			r.Header.Set("Retry-After", c.after)
			return r
		})
		if len(tries) < 3 || tries[1] < c.most || tries[1] > c.most+c.most/10 {
			t.Errorf("%s: the tries came at %v, want none for %v after the first", what, tries, c.most)
		}
	}
}

func TestABusyReceiverThatSaysNoTimeIsAskedLessAndLess(t *testing.T) {
	for _, status := range []int{429, 502, 503, 504} {
		tries := paced(t, TypeGoogleChat, 9, 4*time.Minute, func(int) *http.Response { return response(status) })
		if len(tries) < 9 {
			t.Fatalf("%d: only %d tries", status, len(tries))
		}
		for i := 1; i < 8; i++ {
			want := min(time.Second<<(i-1), maxBackOff)
			if gap := tries[i] - tries[i-1]; gap < want || gap > want+want/10 {
				t.Errorf("%d: try %d came %v after the one before, want %v and up to a tenth more", status, i+1, gap, want)
			}
		}
	}
	tries := paced(t, TypeGoogleChat, 6, time.Minute, func(try int) *http.Response { return response(map[bool]int{true: 429, false: 200}[try == 1]) })
	if gap := tries[3] - tries[2]; gap != time.Second {
		t.Errorf("once it takes them again the pause is %v", gap)
	}
}

// told is what a receiver was sent, by its URL's host.
type told struct{ host, body string }

// disabling runs a Dispatcher on a record in a bubble, in which the receiver dsl answers as answer says, and
// do does something. It returns what the others were told.
func disabling(t *testing.T, config Config, answer func() int, do func(t *testing.T, d *Dispatcher, outbox *memory)) (others []told, tries int) {
	t.Helper()
	var mu sync.Mutex
	synctest.Test(t, func(t *testing.T) {
		outbox := newMemory()
		d, stop := run(t, Options{Config: config, Outbox: outbox, Transport: transport(func(r *http.Request) (*http.Response, error) {
			body := readAll(t, r)
			mu.Lock()
			defer mu.Unlock()
			if r.URL.Host == "dsl.example" || r.URL.Host == "new.example" {
				tries++
				if r.URL.Host == "new.example" {
					return response(200), nil
				}
				return response(answer()), nil
			}
			others = append(others, told{r.URL.Host, body})
			return response(200), nil
		})})
		do(t, d, outbox)
		synctest.Wait()
		stop()
	})
	return others, tries
}

func withRoutes(routes ...Route) Config {
	return Config{Site: "winchelsea", Routes: routes, Receivers: []Receiver{
		webhook("dsl", "http://dsl.example/"), webhook("it", "http://it.example/"), webhook("head", "http://head.example/"),
	}}
}

func send(t *testing.T, outbox *memory, ids ...string) {
	t.Helper()
	for _, id := range ids {
		must(t, outbox.Enqueue(t.Context(), breach.Alert{ID: id, Receiver: "dsl", Body: incidentBody(notice(nil), "", false), Next: time.Now(), Created: time.Now()}))
	}
	time.Sleep(time.Minute)
}

// lastOf is what has become of an alert.
func lastOf(outbox *memory, id string) (state breach.State) {
	for _, s := range outbox.settled() {
		if s.ID == id {
			state = s.Outcome.State
		}
	}
	return state
}

func TestA410DisablesAReceiverAndAnotherIsTold(t *testing.T) {
	for what, c := range map[string]struct {
		routes []Route
		want   []string
	}{
		"those who are told about the system":     {[]Route{{About: AboutSystem, To: []string{"it"}}}, []string{"it.example"}},
		"everybody else where it is that one":     {[]Route{{About: AboutSystem, To: []string{"dsl"}}}, []string{"it.example", "head.example"}},
		"everybody else where there is none such": {nil, []string{"it.example", "head.example"}},
	} {
		t.Run(what, func(t *testing.T) {
			others, tries := disabling(t, withRoutes(c.routes...), func() int { return 410 }, func(t *testing.T, _ *Dispatcher, outbox *memory) {
				send(t, outbox, "msg_1", "msg_2", "msg_3")
				time.Sleep(24 * time.Hour)
			})
			if tries != 1 {
				t.Errorf("it was tried %d times", tries)
			}
			if len(others) != len(c.want) {
				t.Fatalf("told were %+v, want %q", others, c.want)
			}
			for _, o := range others {
				if !strings.Contains(o.body, "The receiver dsl is disabled, for it takes no alerts: HTTP 410.") || strings.Contains(o.body, "pornography") {
					t.Errorf("%s was told %s", o.host, o.body)
				}
			}
		})
	}
}

func TestThreeDaysOfFailureDisableAReceiver(t *testing.T) {
	_, tries := disabling(t, withRoutes(), func() int { return 500 }, func(t *testing.T, _ *Dispatcher, outbox *memory) {
		send(t, outbox, "msg_1")
		time.Sleep(100 * time.Hour)
		if got := lastOf(outbox, "msg_1"); got != breach.Gone {
			t.Errorf("after the last try it is %s", got)
		}
		send(t, outbox, "msg_2")
	})
	if tries != len(schedule) {
		t.Errorf("it was tried %d times, want %d", tries, len(schedule))
	}
}

func TestOneAlertThatAReceiverCannotTakeDisablesNothing(t *testing.T) {
	try := 0
	_, tries := disabling(t, withRoutes(), func() int { try++; return map[bool]int{true: 200, false: 400}[try == 2] }, func(t *testing.T, _ *Dispatcher, outbox *memory) {
		send(t, outbox, "msg_1", "msg_2") // the second is delivered
		time.Sleep(100 * time.Hour)
		if got := lastOf(outbox, "msg_1"); got != breach.Failed {
			t.Errorf("after the last try it is %s", got)
		}
		send(t, outbox, "msg_3")
	})
	if want := len(schedule) + 3; tries != want {
		t.Errorf("it was tried %d times, want %d", tries, want)
	}
}

func TestWhatEnablesAReceiver(t *testing.T) {
	for what, c := range map[string]struct {
		enable func(t *testing.T, d *Dispatcher)
		want   int // tries after it: the alerts and, of a test, itself
	}{
		"a test that it takes": {func(t *testing.T, d *Dispatcher) { t.Helper(); d.Test(t.Context(), "dsl") }, 1 + 3},
		"another address":      {func(_ *testing.T, d *Dispatcher) { d.Apply(moved(func(r *Receiver) { r.URL = "http://new.example/" })) }, 3},
		"another secret": {func(_ *testing.T, d *Dispatcher) {
			d.Apply(moved(func(r *Receiver) { r.Secrets = [][]byte{secret, secret} }))
		}, 3},
		"not the same again": {func(_ *testing.T, d *Dispatcher) { d.Apply(withRoutes()) }, 0},
	} {
		t.Run(what, func(t *testing.T) {
			var status atomic.Int32
			status.Store(410)
			_, tries := disabling(t, withRoutes(), func() int { return int(status.Load()) }, func(t *testing.T, d *Dispatcher, outbox *memory) {
				send(t, outbox, "msg_1", "msg_2", "msg_3")
				status.Store(200)
				c.enable(t, d)
				time.Sleep(time.Minute)
			})
			if tries != 1+c.want {
				t.Errorf("it was tried %d times, want %d", tries, 1+c.want)
			}
		})
	}
}

func moved(change func(*Receiver)) Config {
	config := withRoutes()
	change(&config.Receivers[0])
	return config
}

func TestAReceiverIsDisabledOverARestart(t *testing.T) {
	dir := t.TempDir()
	var tries atomic.Int32
	s := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		tries.Add(1)
		w.WriteHeader(http.StatusGone)
	})
	silent := func(breach.Notice) []breach.Alert { return nil }
	config := Config{Receivers: []Receiver{webhook("dsl", s.URL)}}
	for range 2 {
		l, stopRecord := record(t, dir, silent)
		d, stop := run(t, Options{Config: config, Outbox: l})
		must(t, l.Enqueue(t.Context(), breach.Alert{Receiver: "dsl", Body: []byte("{}")}))
		eventually(t, "disabled", func() bool {
			p := d.Problems()
			return len(p) == 1 && strings.HasPrefix(p[0], `alerts: the receiver "dsl" is disabled, for it took none:`)
		})
		due, err := l.Due(t.Context(), "dsl", time.Now().Add(time.Hour), 10)
		if err != nil || len(due) != 0 {
			t.Errorf("due are %+v, %v", due, err)
		}
		stop()
		stopRecord()
	}
	if n := tries.Load(); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
}
