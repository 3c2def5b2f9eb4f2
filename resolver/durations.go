package resolver

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durations is schoolgate_query_duration_seconds: histograms by outcome, into which what was answered in
// one round goes at once. The library's takes one value at a time, each with a look at the clock.
type durations struct {
	desc *prometheus.Desc
	of   [outcomeCount]struct {
		buckets [len(latencyBuckets) + 1]atomic.Uint64 // the last one: longer than all
		nanos   atomic.Uint64                          // the sum
	}
}

// counts are numbers of queries that took the same time.
type counts [outcomeCount]uint32

func newDurations() *durations {
	return &durations{desc: prometheus.NewDesc("schoolgate_query_duration_seconds", "Time from a query's arrival to its response.", []string{"outcome"}, nil)}
}

func (d *durations) observe(o outcome, took time.Duration, n uint32) {
	h := &d.of[o]
	i, _ := slices.BinarySearch(latencyBuckets[:], took.Seconds())
	h.buckets[i].Add(uint64(n))
	h.nanos.Add(uint64(max(took, 0)) * uint64(n))
}

// observeAll observes what was counted, and counts anew.
func (d *durations) observeAll(c *counts, took time.Duration) {
	for o, n := range c {
		if n > 0 {
			d.observe(outcome(o), took, n)
			c[o] = 0
		}
	}
}

// Describe implements prometheus.Collector.
func (d *durations) Describe(to chan<- *prometheus.Desc) { to <- d.desc }

// Collect implements prometheus.Collector.
func (d *durations) Collect(to chan<- prometheus.Metric) {
	for o := range outcomeCount {
		h := &d.of[o]
		sum, count, buckets := float64(h.nanos.Load())/1e9, uint64(0), make(map[float64]uint64, len(latencyBuckets))
		for i := range h.buckets {
			count += h.buckets[i].Load()
			if i < len(latencyBuckets) {
				buckets[latencyBuckets[i]] = count
			}
		}
		to <- prometheus.MustNewConstHistogram(d.desc, count, sum, buckets, o.String())
	}
}
