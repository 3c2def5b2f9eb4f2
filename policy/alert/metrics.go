package alert

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy/breach"
)

// metrics are those of the delivery. What waits is read from the outbox at each scrape.
type metrics struct {
	d     *Dispatcher
	tries *prometheus.CounterVec
}

// The results of a try, as metrics have them.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed"
	resultGone      = "gone"
)

func newMetrics(d *Dispatcher) *metrics {
	return &metrics{d, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "schoolgate_alerts_total", Help: "Tries to deliver an alert, by how they ended.",
	}, []string{"receiver", "result"})}
}

func (m *metrics) register(reg prometheus.Registerer) error {
	return errors.Join(reg.Register(m.tries), reg.Register(m))
}

// applied has the series of each receiver there from the start.
func (m *metrics) applied(c *Config) {
	for _, r := range c.Receivers {
		for _, result := range []string{resultDelivered, resultFailed, resultGone} {
			m.tries.WithLabelValues(r.Name, result)
		}
	}
}

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

func queueLength() *prometheus.Desc {
	return prometheus.NewDesc("schoolgate_alert_queue_length", "Alerts that wait for a receiver.", []string{"receiver"}, nil)
}

func queueAge() *prometheus.Desc {
	return prometheus.NewDesc("schoolgate_alert_queue_age_seconds", "Age of the oldest alert that waits for a receiver; 0 where none does.", []string{"receiver"}, nil)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueLength()
	ch <- queueAge()
}

// Collect implements prometheus.Collector. While the outbox cannot be read there are no numbers, which
// is better than wrong ones.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	if m.d.outbox == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	queues, err := m.d.outbox.Queue(ctx)
	if err != nil {
		return
	}
	length, age := make(map[string]float64), make(map[string]float64)
	for _, r := range m.d.config.Load().Receivers {
		length[r.Name] = 0
	}
	for _, q := range queues {
		length[q.Receiver] = float64(q.Length)
		if q.Length > 0 {
			age[q.Receiver] = max(0, m.d.now().Sub(q.Oldest).Seconds())
		}
	}
	for name, n := range length {
		ch <- prometheus.MustNewConstMetric(queueLength(), prometheus.GaugeValue, n, name)
		ch <- prometheus.MustNewConstMetric(queueAge(), prometheus.GaugeValue, age[name], name)
	}
}
