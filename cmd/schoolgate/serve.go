package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
)

func setupServe(*flag.FlagSet) action {
	return func(ctx context.Context, inv *invocation) error {
		ctx, reload, stop := signals(ctx)
		defer stop()
		log := logger(inv)
		daemon.LimitMemory(log)
		progress := newMeter(inv, log)
		d, err := daemon.New(ctx, daemon.Options{
			Path: inv.path(), StateDir: inv.env("STATE_DIRECTORY"), Build: build(), Logger: log, Progress: progress.report,
		})
		progress.end()
		if err != nil {
			return startError(inv.stderr, err)
		}
		announce(inv.stdout, d)
		if inv.path() == "" {
			suggestions(inv.stdout, d)
		}
		go func() {
			for range reload {
				_, _ = d.Reload(ctx, "SIGHUP") // Reload has said in the log what was wrong
			}
		}()
		return d.Run(ctx)
	}
}

// signals returns a context that ends with SIGINT or SIGTERM, and a channel with a value for each
// SIGHUP. A second SIGINT ends the process at once.
func signals(ctx context.Context) (stopped context.Context, reload <-chan os.Signal, stop func()) {
	stopped, cancel := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(stopped, cancel)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return stopped, hup, func() {
		signal.Stop(hup)
		close(hup)
		cancel()
	}
}

// logger logs to standard error: lines for people, JSON where the journal takes it.
func logger(inv *invocation) *slog.Logger {
	if inv.env("JOURNAL_STREAM") != "" {
		return slog.New(slog.NewJSONHandler(inv.stderr, nil))
	}
	return slog.New(slog.NewTextHandler(inv.stderr, nil))
}

// startError says why nothing was started, a line for each reason.
func startError(stderr io.Writer, err error) error {
	var refused *daemon.Refused
	switch {
	case errors.As(err, &refused):
		for _, reason := range refused.Reasons {
			fmt.Fprintln(stderr, reason)
		}
		fmt.Fprintln(stderr, "schoolgate: not started: the configuration is wrong, and there is no accepted one to fall back on")
		return exitError{code: 1}
	case errors.Is(err, daemon.ErrUnreadable):
		return exitError{2, err}
	case errors.Is(err, context.Canceled):
		return nil // told to stop while it was starting
	}
	return err
}

// announce says what is served where.
func announce(w io.Writer, d *daemon.Daemon) {
	cfg, addrs := d.Filter().Config, d.Addrs()
	from := cfg.Path
	if from == "" {
		from = "built in (no --config, no " + systemConfig + ")"
	}
	if d.Fallback() != nil {
		from += ", as it was last accepted: the file is wrong now"
	}
	b := build()
	fmt.Fprintf(w, "schoolgate %s\n", b.Version)
	for _, a := range addrs.DNS {
		fmt.Fprintf(w, "  DNS            %v (UDP and TCP)\n", a)
	}
	for _, l := range encryptedListeners(addrs) {
		fmt.Fprintf(w, "  %-14s %s\n", l.name, l.at)
	}
	if addrs.Console != "" {
		fmt.Fprintf(w, "  API            %s\n", apiURL(addrs))
	}
	if addrs.Metrics != "" {
		fmt.Fprintf(w, "  metrics        http://%s/metrics, /healthz, /readyz\n", addrs.Metrics)
	}
	fmt.Fprintf(w, "  configuration  %s\n", from)
	fmt.Fprintf(w, "  data           %s\n", cfg.DataDir)
	fmt.Fprintf(w, "  filter         %s\n", d.Filter().Summary())
	for _, l := range d.Filter().Waiting() {
		fmt.Fprintf(w, "  NOT READY      waiting for %s\n", l)
	}
}

// apiURL is where /api/v1 is.
func apiURL(a daemon.Addrs) string {
	scheme := "https"
	if config.IsLoopback(a.Console) {
		scheme = "http"
	}
	return scheme + "://" + a.Console + "/api/v1"
}

// encryptedListener is one of DNS over TLS, HTTPS or QUIC, for people.
type encryptedListener struct{ name, at string }

func encryptedListeners(a daemon.Addrs) []encryptedListener {
	var out []encryptedListener
	for _, addr := range a.DoT {
		out = append(out, encryptedListener{"DNS over TLS", addr.String()})
	}
	for _, addr := range a.DoH {
		out = append(out, encryptedListener{"DNS over HTTPS", "https://" + addr.String() + "/dns-query"})
	}
	for _, addr := range a.DoQ {
		out = append(out, encryptedListener{"DNS over QUIC", addr.String()})
	}
	return out
}

// suggestions says what to try first.
func suggestions(w io.Writer, d *daemon.Daemon) {
	dig := "  dig" + digAt(d)
	fmt.Fprintf(w, "\nTry, in another terminal:\n%s www.bbc.co.uk\n%s iwf.testfiltering.com   # blocked: the name with which schools test their filter\n", dig, dig)
	if m := d.Addrs().Metrics; m != "" {
		fmt.Fprintf(w, "  curl http://%s/metrics\n", m)
	}
	fmt.Fprintf(w, "  %[1]s breaches list\n  %[1]s init              # a configuration to make your own\n\n", self())
}

// self is how the user calls this program: in a fresh clone, by way of go run.
func self() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/schoolgate"
	}
	return "schoolgate"
}

// digAt returns dig's options for a daemon's first listener.
func digAt(d *daemon.Daemon) string {
	addr := d.Addrs().DNS[0]
	if addr.Addr().IsUnspecified() {
		return fmt.Sprintf(" @127.0.0.1 -p %d", addr.Port())
	}
	return fmt.Sprintf(" @%v -p %d", addr.Addr(), addr.Port())
}
