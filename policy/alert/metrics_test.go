package alert

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"schoolgate/policy/breach"
)

func TestMetrics(t *testing.T) {
	l, _ := record(t, t.TempDir(), func(breach.Notice) []breach.Alert { return nil })
	registry := prometheus.NewRegistry()
	s := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.URL.Path[1:])
		must(t, err)
		w.WriteHeader(code)
	})
	d, _ := run(t, Options{Config: Config{Receivers: []Receiver{webhook("a", s.URL+"/200")}}, Outbox: l, Registerer: registry})
	expect := func(want string) {
		t.Helper()
		var err error
		eventually(t, "the metrics", func() bool {
			err = testutil.GatherAndCompare(registry, strings.NewReader(want), "schoolgate_alerts_total", "schoolgate_alert_queue_length")
			return err == nil || t.Context().Err() != nil
		})
	}
	const length = `
		# HELP schoolgate_alert_queue_length Alerts that wait to be delivered.
		# TYPE schoolgate_alert_queue_length gauge
	`
	const total = `
		# HELP schoolgate_alerts_total Tries to deliver an alert, by how they ended.
		# TYPE schoolgate_alerts_total counter
	`
	expect(length + `schoolgate_alert_queue_length{receiver="a"} 0
	` + total + `
		schoolgate_alerts_total{receiver="a",result="delivered"} 0
		schoolgate_alerts_total{receiver="a",result="failed"} 0
		schoolgate_alerts_total{receiver="a",result="gone"} 0
	`)
	d.Apply(Config{
		Receivers: []Receiver{webhook("a", s.URL+"/200"), webhook("b", s.URL+"/500"), webhook("c", s.URL+"/410")},
		Routes:    []Route{{About: AboutSystem, To: []string{"nobody"}}}, // else a were told that c is disabled
	})
	for _, name := range []string{"a", "b", "c"} {
		must(t, l.Enqueue(t.Context(), breach.Alert{Receiver: name, Body: []byte("{}")}))
	}
	expect(length + `
		schoolgate_alert_queue_length{receiver="a"} 0
		schoolgate_alert_queue_length{receiver="b"} 1
		schoolgate_alert_queue_length{receiver="c"} 0
	` + total + `
		schoolgate_alerts_total{receiver="a",result="delivered"} 1
		schoolgate_alerts_total{receiver="a",result="failed"} 0
		schoolgate_alerts_total{receiver="a",result="gone"} 0
		schoolgate_alerts_total{receiver="b",result="delivered"} 0
		schoolgate_alerts_total{receiver="b",result="failed"} 1
		schoolgate_alerts_total{receiver="b",result="gone"} 0
		schoolgate_alerts_total{receiver="c",result="delivered"} 0
		schoolgate_alerts_total{receiver="c",result="failed"} 0
		schoolgate_alerts_total{receiver="c",result="gone"} 1
	`)
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() != "schoolgate_alert_queue_age_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			if waits := m.GetLabel()[0].GetValue() == "b"; waits != (m.GetGauge().GetValue() > 0) {
				t.Errorf("the oldest alert for %s has an age of %v", m.GetLabel()[0].GetValue(), m.GetGauge().GetValue())
			}
		}
	}
}
