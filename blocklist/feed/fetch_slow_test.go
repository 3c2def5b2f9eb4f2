package feed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory, so that time stands still while nobody waits.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// slowly calls test with a fetcher whose server answers with h, under a synthetic clock.
func slowly(t *testing.T, h http.HandlerFunc, test func(t *testing.T, f *fetcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := make(pipes)
		server := &http.Server{Handler: h}
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(listener) })
		f := direct()
		f.dial = func(context.Context, string, string) (net.Conn, error) {
			client, conn := net.Pipe()
			listener <- conn
			return client, nil
		}
		test(t, f)
		_ = server.Close()
		served.Wait()
	})
}

// trickle answers with n bytes each second, total in all; 0 for ever.
func trickle(n, total int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		line := append(bytes.Repeat([]byte{'a'}, n-1), '\n')
		for sent := 0; total == 0 || sent < total; sent += n {
			if _, err := w.Write(line); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Second):
			}
		}
	}
}

func TestASlowServerDoesNotHoldAnUpdateUp(t *testing.T) {
	for _, tt := range []struct {
		what   string
		server http.HandlerFunc
		err    string // its start
		within time.Duration
	}{
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "net/http: timeout awaiting response headers", headerTimeout},
		{"stops in the middle", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, good)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "too slow: ", paceWindow},
		{"stops after a good start", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(good, 5000))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "too slow: 0 bytes in the last 1m0s, after 280000", 2 * paceWindow},
		{"a byte a second", trickle(1, 0), "too slow: ", paceWindow},
		{"900 bytes a second", trickle(900, 0), "too slow: ", paceWindow},
		{"fast enough, for ever", trickle(2000, 0), "not finished after 15m0s", fetchTimeout},
		{"fast enough", trickle(2000, 300_000), "", 150 * time.Second},
		{"slow, and soon done", trickle(1, 50), "", 50 * time.Second},
	} {
		t.Run(tt.what, func(t *testing.T) {
			slowly(t, tt.server, func(t *testing.T, f *fetcher) {
				began := time.Now()
				_, _, err := ask(t, f, fetchRequest{URL: "http://127.0.0.1/"})
				if took := time.Since(began); took != tt.within {
					t.Errorf("%v, want %v", took, tt.within)
				}
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)) {
					t.Errorf("%v, want %s", err, tt.err)
				}
			})
		})
	}
}

func TestAFetchEndsAtOnceWhenItIsStopped(t *testing.T) {
	slowly(t, trickle(2000, 0), func(t *testing.T, f *fetcher) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		began := time.Now()
		_, err := f.fetch(ctx, fetchRequest{URL: "http://127.0.0.1/"}, io.Discard)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 90*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
