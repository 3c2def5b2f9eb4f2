package resolver

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// refusal is why a connection was refused or closed, or what came over one was not taken.
type refusal uint8

const (
	refusedFull       refusal = iota // there are as many connections as there may be
	refusedPerAddress                // its address has as many as one may have
	refusedEvicted                   // it was idle, and closed to make room for another
	refusedHandshake                 // the TLS handshake failed, or took too long
	refusedSlow                      // a query that was begun did not arrive in time
	refusedMalformed                 // what came is no query in the form of the transport
	refusedBusy                      // more was asked at one time than is answered at one time
	refusalCount
)

// String returns the word of metrics.
func (r refusal) String() string {
	return [...]string{"full", "per_address", "evicted", "handshake", "slow", "malformed", "busy"}[r]
}

// refusals counts by transport and reason. UDP has no connections.
type refusals [transportCount][refusalCount]atomic.Uint64

func (r *refusals) add(t transport, why refusal) { r[t][why].Add(1) }

func (r *refusals) register(reg prometheus.Registerer) {
	for t := overTCP; t < transportCount; t++ {
		for why := range refusalCount {
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name:        "schoolgate_refused_connections_total",
				Help:        "Connections that were refused or closed, and requests over them that were not taken.",
				ConstLabels: prometheus.Labels{"transport": t.String(), "reason": why.String()},
			}, func() float64 { return float64(r[t][why].Load()) }))
		}
	}
}

// Refused is how often something was refused over a transport for a reason, in the words of metrics.
type Refused struct {
	Transport string `json:"transport"`
	Reason    string `json:"reason"`
	Count     uint64 `json:"count"`
}

// stats returns what is not 0.
func (r *refusals) stats() []Refused {
	var out []Refused
	for t := overTCP; t < transportCount; t++ {
		for why := range refusalCount {
			if n := r[t][why].Load(); n > 0 {
				out = append(out, Refused{t.String(), why.String(), n})
			}
		}
	}
	return out
}
