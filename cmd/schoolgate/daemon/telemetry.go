package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// telemetry is the registry that every part registers its metrics with, and the metrics of the
// daemon's own: configuration and lists.
type telemetry struct {
	registry     *prometheus.Registry
	listFailures *prometheus.CounterVec
	reloadOK     prometheus.Gauge
	reloadTime   prometheus.Gauge
	// unblockRequests are those of the block page.
	unblockRequests prometheus.Counter
}

func newTelemetry(d *Daemon) *telemetry {
	t := &telemetry{
		registry: prometheus.NewRegistry(),
		listFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "schoolgate_list_update_failures_total",
			Help: "Times that a list's source could not be used when it was read.",
		}, []string{"category", "list"}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "schoolgate_config_last_reload_successful",
			Help: "Whether the last reload, or the start, took the configuration of the file.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "schoolgate_config_last_reload_success_timestamp_seconds",
			Help: "When a configuration of the file was last taken.",
		}),
		unblockRequests: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "schoolgate_unblock_requests_total",
			Help: "Requests for a blocked site that came through the block page; audit list has them.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "schoolgate_build_info", Help: "Which program this is; always 1.",
		ConstLabels: prometheus.Labels{"version": d.build.Version, "commit": d.build.Commit, "goversion": d.build.Go},
	})
	build.Set(1)
	t.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		t.listFailures, t.reloadOK, t.reloadTime, t.unblockRequests, build, newInForce(d),
	)
	return t
}

// reloaded notes the outcome of a reload, or of the start.
func (t *telemetry) reloaded(taken bool, at time.Time) {
	if !taken {
		t.reloadOK.Set(0)
		return
	}
	t.reloadOK.Set(1)
	t.reloadTime.Set(float64(at.UnixNano()) / 1e9)
}

// listsRead counts the lists that could not be read from their source, and has a series for each of
// the others. Those of servers are counted when they are asked for.
func (t *telemetry) listsRead(f *Filter) {
	for _, l := range f.Lists {
		c := t.listFailures.WithLabelValues(f.category(l), l.ID)
		if l.Err != nil && !isFetched(l.Spec) {
			c.Inc()
		}
	}
}

// listsReadAgain counts the lists whose source can no longer be used, and could in before.
func (t *telemetry) listsReadAgain(before, now *Filter) {
	for i, l := range now.Lists {
		if l.Err != nil && before.Lists[i].Err == nil && !isFetched(l.Spec) {
			t.listFailures.WithLabelValues(now.category(l), l.ID).Inc()
		}
	}
}

// inForce collects what the snapshot in force says of itself, at the moment of the scrape. Series
// of a list that a reload took away are gone with it.
type inForce struct {
	d                             *Daemon
	listEntries, listAge          *prometheus.Desc
	configInfo, configBase        *prometheus.Desc
	listCheck, listTrial, compile *prometheus.Desc
	compiledNames, compiledBytes  *prometheus.Desc
	ready, problems, exceptions   *prometheus.Desc
}

func newInForce(d *Daemon) inForce {
	return inForce{
		d: d,
		listEntries: prometheus.NewDesc("schoolgate_list_entries",
			"Entries of a list, by whether DNS can enforce them.", []string{"category", "list", "enforceable"}, nil),
		listAge: prometheus.NewDesc("schoolgate_list_age_seconds",
			"Age of a list's content; 0 where there is none.", []string{"category", "list"}, nil),
		listCheck: prometheus.NewDesc("schoolgate_list_last_check_timestamp_seconds",
			"When a list's source was last asked, whatever came of it; 0 for never.", []string{"category", "list"}, nil),
		listTrial: prometheus.NewDesc("schoolgate_list_on_trial",
			"1 for a list that is recorded as monitored and blocks nothing yet, else 0.", []string{"category", "list"}, nil),
		compiledNames: prometheus.NewDesc("schoolgate_lists_compiled_names",
			"Names that are kept of all lists: those that no other of the same category covers.", nil, nil),
		compiledBytes: prometheus.NewDesc("schoolgate_lists_compiled_bytes",
			"Memory that they take.", nil, nil),
		compile: prometheus.NewDesc("schoolgate_lists_compile_duration_seconds",
			"How long it took to read and compile the lists in force.", nil, nil),
		configInfo: prometheus.NewDesc("schoolgate_config_info",
			"The configuration in force; always 1.", []string{"hash", "site"}, nil),
		configBase: prometheus.NewDesc("schoolgate_config_base_info",
			"A file that the configuration in force extends; always 1.", []string{"file", "hash"}, nil),
		ready: prometheus.NewDesc("schoolgate_ready",
			"1 when policy and lists serve; 0 while a required list has never been loaded. As /readyz.", nil, nil),
		exceptions: prometheus.NewDesc("schoolgate_exceptions",
			"Exceptions for a time that are in force.", []string{"action"}, nil),
		problems: prometheus.NewDesc("schoolgate_problems",
			"How many things are wrong; /healthz has a line for each.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c inForce) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.listEntries
	ch <- c.listAge
	ch <- c.listCheck
	ch <- c.listTrial
	ch <- c.compile
	ch <- c.compiledNames
	ch <- c.compiledBytes
	ch <- c.configInfo
	ch <- c.configBase
	ch <- c.ready
	ch <- c.problems
	ch <- c.exceptions
}

// Collect implements prometheus.Collector.
func (c inForce) Collect(ch chan<- prometheus.Metric) {
	s := c.d.current.Load()
	if s == nil { // not built yet
		return
	}
	cfg := s.filter.Config
	ch <- prometheus.MustNewConstMetric(c.configInfo, prometheus.GaugeValue, 1, cfg.Hash, cfg.Site)
	for _, f := range cfg.Files[min(1, len(cfg.Files)):] {
		ch <- prometheus.MustNewConstMetric(c.configBase, prometheus.GaugeValue, 1, f.Path, f.Hash)
	}
	ready := 0.0
	if s.filter.Policy.Ready() {
		ready = 1
	}
	ch <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, ready)
	ch <- prometheus.MustNewConstMetric(c.problems, prometheus.GaugeValue, float64(len(c.d.Problems())))
	inForce := s.filter.exceptionCounts(c.d.now())
	ch <- prometheus.MustNewConstMetric(c.exceptions, prometheus.GaugeValue, float64(inForce.Allow), "allow")
	ch <- prometheus.MustNewConstMetric(c.exceptions, prometheus.GaugeValue, float64(inForce.Block), "block")
	ch <- prometheus.MustNewConstMetric(c.compile, prometheus.GaugeValue, s.filter.took.Seconds())
	ch <- prometheus.MustNewConstMetric(c.compiledNames, prometheus.GaugeValue, float64(s.filter.set.Names()))
	ch <- prometheus.MustNewConstMetric(c.compiledBytes, prometheus.GaugeValue, float64(s.filter.set.Bytes()))
	for _, l := range s.filter.Lists {
		category := s.filter.category(l)
		checked, onTrial := 0.0, 0.0
		if !l.Checked.IsZero() {
			checked = float64(l.Checked.UnixNano()) / 1e9
		}
		if l.OnTrial {
			onTrial = 1
		}
		ch <- prometheus.MustNewConstMetric(c.listTrial, prometheus.GaugeValue, onTrial, category, l.ID)
		if l.Builtin == "" {
			ch <- prometheus.MustNewConstMetric(c.listCheck, prometheus.GaugeValue, checked, category, l.ID)
		}
		enforceable, unenforceable, age := 0, 0, 0.0
		if l.List != nil {
			enforceable, unenforceable = l.List.Enforceable, l.List.Unenforceable
			if !l.Modified.IsZero() {
				age = max(0, c.d.now().Sub(l.Modified).Seconds())
			}
		}
		ch <- prometheus.MustNewConstMetric(c.listEntries, prometheus.GaugeValue, float64(enforceable), category, l.ID, "yes")
		ch <- prometheus.MustNewConstMetric(c.listEntries, prometheus.GaugeValue, float64(unenforceable), category, l.ID, "no")
		ch <- prometheus.MustNewConstMetric(c.listAge, prometheus.GaugeValue, age, category, l.ID)
	}
}

// telemetryHandler serves listen.metrics.
func (d *Daemon) telemetryHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.telemetry.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelError),
		// A part that cannot tell its numbers does not take the others' with it.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		problems := d.Problems() //nolint:contextcheck // the dispatcher bounds its own wait
		if len(problems) == 0 {
			writeText(w, http.StatusOK, "ok")
			return
		}
		writeText(w, http.StatusServiceUnavailable, problems...)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if f := d.Filter(); !f.Policy.Ready() {
			writeText(w, http.StatusServiceUnavailable, "waiting for "+f.waitsFor())
			return
		}
		writeText(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("POST /-/reload", d.reloadHandler)
	return mux
}

// reloadHandler reloads for somebody on this machine. A browser on this machine is not somebody: a
// page of any site can make it send a POST, but not without saying so in Origin or Sec-Fetch-Site.
func (d *Daemon) reloadHandler(w http.ResponseWriter, r *http.Request) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		writeText(w, http.StatusForbidden, "a reload is taken from this machine only")
		return
	}
	if r.Header.Values("Origin") != nil || r.Header.Values("Sec-Fetch-Site") != nil {
		writeText(w, http.StatusForbidden, "a reload is not taken from a web page")
		return
	}
	// The reload goes on when the caller hangs up: half of one is none, but who asked wants it.
	warnings, err := d.Reload(context.WithoutCancel(r.Context()), "http "+peer.Addr().String())
	writeReload(w, warnings, err)
}

// writeReload answers a request for a reload: 200 and the warnings, or 422 and the reasons.
func writeReload(w http.ResponseWriter, warnings []string, err error) {
	if err != nil {
		writeText(w, http.StatusUnprocessableEntity, refused(err).Reasons...)
		return
	}
	lines := []string{"reloaded"}
	for _, warning := range warnings {
		lines = append(lines, "warning: "+warning)
	}
	writeText(w, http.StatusOK, lines...)
}

func writeText(w http.ResponseWriter, status int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintln(w, strings.Join(lines, "\n")) //nolint:gosec // plain text, and no sniffing
}

// serveHTTP serves until ctx ends, then lets requests in progress end for a moment. A listener that
// fails is said in the log: DNS does not depend on it.
func (d *Daemon) serveHTTP(ctx context.Context, l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      5 * time.Minute, // a reload of millions of names, an alert test of slow receivers
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(serverLog{d.log.Handler()}, slog.LevelWarn),
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // what is still open was given its time
		}
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		d.log.Error("serve HTTP", "address", l.Addr().String(), "error", err)
	}
	<-stopped
}

// stopGrace is how long a clean stop waits for HTTP requests in progress.
const stopGrace = 2 * time.Second

// serverLog leaves out what clients get wrong of TLS: anybody can have it said as often as they like, and it names them.
type serverLog struct{ slog.Handler }

// Handle implements slog.Handler.
func (l serverLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "http: TLS handshake error") {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}
