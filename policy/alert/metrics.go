package alert

import (
	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy/breach"
)

// metrics are those of the delivery. What waits is read from the outbox at each scrape.
type metrics struct {
	*Dispatcher
	tries       *prometheus.CounterVec
	length, age *prometheus.Desc
}

// The results of a try, as metrics have them.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed" // to be tried again, or given up
	resultGone      = "gone"   // and its receiver is disabled
)

func newMetrics(d *Dispatcher) *metrics {
	return &metrics{
		Dispatcher: d,
		tries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "schoolgate_alerts_total",
			Help: "Tries to deliver an alert, by how they ended.",
		}, []string{"receiver", "result"}),
		length: prometheus.NewDesc("schoolgate_alert_queue_length",
			"Alerts that wait to be delivered.", []string{"receiver"}, nil),
		age: prometheus.NewDesc("schoolgate_alert_queue_age_seconds",
			"Age of the oldest alert that waits to be delivered; 0 where none does.", []string{"receiver"}, nil),
	}
}

// applied has the series of each receiver there from the start.
func (m *metrics) applied(c *Config) {
	for _, r := range c.Receivers {
		for _, result := range []string{resultDelivered, resultFailed, resultGone} {
			m.tries.WithLabelValues(r.Name, result)
		}
	}
}

// tried counts a try after which an alert is in this state.
func (m *metrics) tried(receiver string, state breach.State) {
	result := resultFailed
	switch state {
	case breach.Delivered:
		result = resultDelivered
	case breach.Gone:
		result = resultGone
	case breach.Pending, breach.Failed:
	}
	m.tries.WithLabelValues(receiver, result).Inc()
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- m.length
	descs <- m.age
}

// Collect implements prometheus.Collector, for the receivers of the configuration.
func (m *metrics) Collect(values chan<- prometheus.Metric) {
	queues := map[string]breach.QueueState{}
	for _, q := range m.queue() {
		queues[q.Receiver] = q
	}
	for _, r := range m.config.Load().Receivers {
		q, age := queues[r.Name], 0.0
		if q.Length > 0 {
			age = max(0, m.now().Sub(q.Oldest).Seconds())
		}
		values <- prometheus.MustNewConstMetric(m.length, prometheus.GaugeValue, float64(q.Length), r.Name)
		values <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, age, r.Name)
	}
}
