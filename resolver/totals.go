package resolver

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Total is how many questions of a group had an outcome and a category since the start.
type Total struct {
	Group    string
	Outcome  string // as the label of schoolgate_queries_total
	Category string // "" where none decided
	N        uint64
}

// Totals returns what the metrics have counted, each question in one Total: those without a category are
// those of an outcome that no category has. It costs what a scrape of these metrics costs.
func (r *Resolver) Totals() []Total {
	type key struct{ group, outcome, category string }
	totals := map[key]uint64{}
	each(r.metrics.queries, func(labels map[string]string, n uint64) {
		totals[key{labels["group"], labels["outcome"], ""}] += n
	})
	categories := func(outcome outcome, of *prometheus.CounterVec) {
		each(of, func(labels map[string]string, n uint64) {
			whole := key{labels["group"], outcome.String(), ""}
			n = min(n, totals[whole]) // one may be counted between the two looks
			totals[whole] -= n
			totals[key{labels["group"], outcome.String(), labels["category"]}] += n
		})
	}
	categories(outcomeBlocked, r.metrics.blocked)
	categories(outcomeMonitored, r.metrics.monitored)
	out := make([]Total, 0, len(totals))
	for k, n := range totals {
		if n > 0 {
			out = append(out, Total{k.group, k.outcome, k.category, n})
		}
	}
	return out
}

// each yields the counters of a vector.
func each(of *prometheus.CounterVec, yield func(labels map[string]string, n uint64)) {
	metrics := make(chan prometheus.Metric)
	go func() {
		of.Collect(metrics)
		close(metrics)
	}()
	for m := range metrics {
		var d dto.Metric
		if m.Write(&d) != nil {
			continue // a counter has nothing that could be wrong
		}
		labels := make(map[string]string, len(d.GetLabel()))
		for _, l := range d.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		yield(labels, uint64(d.GetCounter().GetValue()))
	}
}
