package breach

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// due returns the alerts due for a receiver at the clock's time.
func (r *record) due(t testing.TB, receiver string) []Alert {
	t.Helper()
	alerts, err := r.Due(t.Context(), receiver, r.clock.Now(), 100)
	if err != nil {
		t.Fatal(err)
	}
	return alerts
}

func (r *record) queueStates(t testing.TB) []QueueState {
	t.Helper()
	states, err := r.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return states
}

func (r *record) enqueue(t testing.TB, alerts ...Alert) {
	t.Helper()
	if err := r.Enqueue(t.Context(), alerts...); err != nil {
		t.Fatal(err)
	}
}

func (r *record) settle(t testing.TB, id string, o Outcome) {
	t.Helper()
	if err := r.Settle(t.Context(), map[string]Outcome{id: o}); err != nil {
		t.Fatal(err)
	}
}

func TestAnAlertIsStoredWithItsIncident(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r := start(t, dir, c, nil, nil)
	r.ask(t, school(t, nil), pupil, "pornography.example")
	select {
	case <-r.Wake():
	default:
		t.Error("nobody is woken")
	}
	got := r.due(t, "dsl")
	if len(got) != 1 || !strings.HasPrefix(got[0].ID, "msg_") || !ulid.MatchString(got[0].ID[4:]) {
		t.Fatalf("got %+v", got)
	}
	want := []Alert{{
		ID: got[0].ID, Receiver: "dsl", Type: IncidentOpened, Incident: r.incidentsOf(t, Filter{})[0].ID,
		Body: []byte(`{"type":"incident.opened"}`), Created: tenPast.Local(), Next: tenPast.Local(),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]QueueState{{Receiver: "dsl", Length: 1, Oldest: tenPast.Local()}}, r.queueStates(t)); diff != "" {
		t.Error(diff)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, c, nil, nil)
	if diff := cmp.Diff(want, r.due(t, "dsl")); diff != "" {
		t.Error("after a restart:", diff)
	}
}

func TestTheOutbox(t *testing.T) {
	hello := Alert{ID: "a", Receiver: "it", Type: "system", Body: []byte("{}")}

	t.Run("an alert is due until it is delivered, and its body is not kept", func(t *testing.T) {
		r := open(t)
		r.enqueue(t, hello)
		r.settle(t, "a", Outcome{State: Pending, Next: r.clock.Now().Add(5 * time.Second), Status: "HTTP 500"})
		if got := r.due(t, "it"); got != nil {
			t.Errorf("due before its time: %+v", got)
		}
		r.clock.add(5 * time.Second)
		got := r.due(t, "it")
		if len(got) != 1 || got[0].Attempts != 1 || got[0].ID != "a" {
			t.Fatalf("got %+v", got)
		}
		r.settle(t, "a", Outcome{State: Delivered, Status: "HTTP 204"})
		if got := r.due(t, "it"); got != nil {
			t.Errorf("due after delivery: %+v", got)
		}
		if got := r.queueStates(t); len(got) != 0 {
			t.Errorf("it still waits: %+v", got)
		}
		var body []byte
		var attempts int
		if err := raw(t, r.path).QueryRowContext(t.Context(), "SELECT body, attempts FROM outbox").Scan(&body, &attempts); err != nil {
			t.Fatal(err)
		}
		if len(body) != 0 || attempts != 2 {
			t.Errorf("kept %q after %d attempts", body, attempts)
		}
	})
	t.Run("an ID is stored once", func(t *testing.T) {
		r := open(t)
		r.enqueue(t, hello)
		r.enqueue(t, hello, hello)
		if got := r.due(t, "it"); len(got) != 1 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("only what is for the receiver, by time, as many as asked", func(t *testing.T) {
		r := open(t)
		later := tenPast.Add(-time.Minute)
		r.enqueue(t, hello, Alert{ID: "b", Receiver: "it"}, Alert{ID: "c", Receiver: "dsl"}, Alert{ID: "d", Receiver: "it", Next: later})
		got, err := r.Due(t.Context(), "it", tenPast, 2)
		if err != nil || len(got) != 2 || got[0].ID != "d" || got[1].ID != "a" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("a try put off by a clock that was wrong is due", func(t *testing.T) {
		r := open(t)
		r.enqueue(t, hello)
		r.settle(t, "a", Outcome{State: Pending, Next: tenPast.AddDate(5, 0, 0)})
		if got := r.due(t, "it"); len(got) != 1 {
			t.Errorf("got %+v", got)
		}
	})
	for _, state := range []State{Failed, Gone} {
		t.Run("one that is "+string(state)+" is kept until it is to be tried again", func(t *testing.T) {
			r := open(t)
			r.enqueue(t, hello)
			r.settle(t, "a", Outcome{State: state, Status: "HTTP 410"})
			if got := r.due(t, "it"); got != nil {
				t.Errorf("due: %+v", got)
			}
			want := []QueueState{{Receiver: "it", Undelivered: 1, Disabled: state == Gone, Example: "a"}}
			if diff := cmp.Diff(want, r.queueStates(t)); diff != "" {
				t.Error(diff)
			}
			<-r.Wake()
			if err := r.Retry(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			<-r.Wake()
			got := r.due(t, "it")
			if len(got) != 1 || got[0].Attempts != 0 || string(got[0].Body) != "{}" {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("while one is gone nothing is due for its receiver, and for the others it is", func(t *testing.T) {
		r := open(t)
		r.enqueue(t, hello, Alert{ID: "b", Receiver: "it"}, Alert{ID: "c", Receiver: "dsl"})
		r.settle(t, "a", Outcome{State: Gone})
		if got := r.due(t, "it"); got != nil {
			t.Errorf("due: %+v", got)
		}
		if got := r.due(t, "dsl"); len(got) != 1 {
			t.Errorf("due for another: %+v", got)
		}
	})
	for what, again := range map[string]func(r *record) error{
		"Revive":            func(r *record) error { return r.Revive(context.Background(), "it") },
		"Retry of one gone": func(r *record) error { return r.Retry(context.Background(), "a") },
	} {
		t.Run(what+" makes all of its receiver due again, and those of no other", func(t *testing.T) {
			r := open(t)
			r.enqueue(t, hello, Alert{ID: "b", Receiver: "it"}, Alert{ID: "c", Receiver: "it"}, Alert{ID: "d", Receiver: "dsl"}, Alert{ID: "e", Receiver: "it"})
			for id, state := range map[string]State{"a": Gone, "b": Gone, "c": Failed, "d": Gone} {
				r.settle(t, id, Outcome{State: state})
			}
			if err := again(r); err != nil {
				t.Fatal(err)
			}
			if got := r.due(t, "it"); len(got) != 4 {
				t.Errorf("due: %+v", got)
			}
			if got := r.due(t, "dsl"); got != nil {
				t.Errorf("due for another: %+v", got)
			}
		})
	}
	t.Run("Retry of one that failed alone makes it alone due", func(t *testing.T) {
		r := open(t)
		r.enqueue(t, hello, Alert{ID: "b", Receiver: "it"})
		r.settle(t, "a", Outcome{State: Failed})
		r.settle(t, "b", Outcome{State: Failed})
		if err := r.Retry(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := r.due(t, "it"); len(got) != 1 || got[0].ID != "a" {
			t.Errorf("due: %+v", got)
		}
	})
	t.Run("what was delivered or never was can't be tried again", func(t *testing.T) {
		r := open(t)
		r.enqueue(t, hello)
		r.settle(t, "a", Outcome{State: Delivered})
		for _, id := range []string{"a", "b"} {
			if err := r.Retry(t.Context(), id); !errors.Is(err, ErrNoAlert) {
				t.Errorf("%s: %v", id, err)
			}
		}
		if problems := r.Problems(); len(problems) != 0 {
			t.Errorf("a refusal is no fault of the record: %v", problems)
		}
	})
	t.Run("a second outcome changes nothing", func(t *testing.T) {
		r := open(t)
		r.enqueue(t, hello)
		r.settle(t, "a", Outcome{State: Delivered})
		r.settle(t, "a", Outcome{State: Pending})
		if got := r.due(t, "it"); got != nil {
			t.Errorf("got %+v", got)
		}
	})
}

func TestDueIsFoundInAnIndex(t *testing.T) {
	r := open(t)
	for what, query := range map[string]string{
		"due":    dueQuery,
		"queue":  queueQuery,
		"repeat": "SELECT sum(count) FROM repeat WHERE breach = 1",
	} {
		rows, err := raw(t, r.path).QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, "it", 1, 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := collect(rows, func(rows *sql.Rows) (detail string, err error) {
			var id, parent, unused int
			err = rows.Scan(&id, &parent, &unused, &detail)
			return detail, err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range plan {
			if strings.HasPrefix(step, "SCAN outbox") && !strings.Contains(step, "INDEX outbox_") || step == "SCAN repeat" {
				t.Errorf("%s reads the whole table: %s", what, step)
			}
		}
	}
}
