package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/resolver/dnswire"
)

// Exchange puts a question, a whole message, to one encrypted server over a connection for it alone, and
// returns the response. It is for the few questions of schoolgate's own that cannot go through a Resolver.
// bootstrap are asked where the server is, if it is written with a name.
func Exchange(ctx context.Context, u Upstream, bootstrap []Upstream, query []byte) ([]byte, error) {
	return exchangeOnce(ctx, newPlace(u, bootstrapOnce(bootstrap), nil), query)
}

var errNotEncrypted = errors.New("is not an encrypted server")

func exchangeOnce(ctx context.Context, p *place, query []byte) ([]byte, error) {
	if !p.upstream.Encrypted() {
		return nil, fmt.Errorf("%s %w", p.upstream, errNotEncrypted)
	}
	if len(query) < headerLen {
		return nil, dnswire.ErrFormat
	}
	x := newExchanger(p, func() {})
	defer x.close()
	sent := append([]byte(nil), query...)
	sent[0], sent[1] = 0, 0
	response, err := x.exchange(ctx, sent)
	if err == nil && !dnswire.IsAnswer(response, query) {
		err = dnswire.ErrMismatch
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", p.upstream, err)
	}
	copy(response, query[:2])
	return response, nil
}

// bootstrapOnce is a bootstrap that asks servers of which nothing is known, and forgets them again.
func bootstrapOnce(servers []Upstream) *bootstrap {
	resolve := func(name []byte, typ uint16) (dnswire.Answer, bool) {
		for _, u := range servers {
			s := newServer(u, newMetrics(prometheus.NewRegistry(), func() (entries, bytes int) { return 0, 0 }), newPlace(u, nil, nil), slog.New(slog.DiscardHandler))
			answer, err := s.exchange(&call{name: name, typ: typ}, s.manner(time.Now()), cameNothing, time.Now().Add(bootstrapTry))
			s.exchanger.close()
			if err == nil && isGood(answer.Rcode) {
				return answer, true
			}
		}
		return dnswire.Answer{}, false
	}
	return newBootstrap(resolve, func(f func()) bool { go f(); return true })
}

// bootstrapTry bounds a question to one bootstrap server of which nothing is known.
const bootstrapTry = time.Second
