package breach

import (
	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy"
)

// severities are those that an incident can have.
var severities = [...]policy.Severity{
	policy.SeverityLow, policy.SeverityMedium, policy.SeverityHigh, policy.SeverityCritical,
}

type metrics struct {
	open          [policy.SeverityCritical + 1]prometheus.Gauge // by severity
	dropped       prometheus.Counter
	writeFailures prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	open := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "schoolgate_incidents_open",
		Help: "Incidents that had a breach within the last hour.",
	}, []string{"severity"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "schoolgate_records_dropped_total",
		Help: "Records that were lost because they could not be stored.",
	}, []string{"kind"})
	m := &metrics{
		dropped: dropped.WithLabelValues("breach"),
		writeFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "schoolgate_record_write_failures_total",
			Help: "Transactions of the record that failed. What they held waits and is tried again.",
		}),
	}
	dropped.WithLabelValues("query")
	for _, s := range severities {
		m.open[s] = open.WithLabelValues(s.String())
	}
	for _, c := range []prometheus.Collector{open, dropped, m.writeFailures} {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
