package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy/alert"
	"schoolgate/policy/breach"
)

func setupAlertTest(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		receiver := ""
		if len(inv.args) > 0 {
			receiver = inv.args[0]
			var names []string
			for _, r := range cfg.Alerts.Receivers {
				names = append(names, r.Name)
			}
			if !slices.Contains(names, receiver) {
				return wrongUse("alert test: no receiver is called %q (there is: %s)", receiver, cmp.Or(strings.Join(names, ", "), "none"))
			}
		}
		results, err := testAlerts(ctx, cfg, receiver)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(inv.stdout, results)
		} else {
			if len(results) == 0 {
				fmt.Fprintln(inv.stdout, "the configuration has no receiver")
			}
			err = table(inv.stdout, func(line func(string, ...any)) {
				for _, r := range results {
					word := "ok"
					if !r.OK {
						word = "FAILED"
					}
					line("%s\t%s\t%s", r.Receiver, word, r.Status)
				}
			})
		}
		if err == nil && (len(results) == 0 || slices.ContainsFunc(results, func(r alert.TestResult) bool { return !r.OK })) {
			return errNo()
		}
		return err
	}
}

// testAlerts sends through the running schoolgate, else by itself: a test alert is not kept.
func testAlerts(ctx context.Context, cfg *config.Config, receiver string) ([]alert.TestResult, error) {
	client, err := dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if client != nil {
		return client.TestAlerts(ctx, receiver)
	}
	d, err := alert.New(alert.Options{Config: cfg.Alerts, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return d.Test(ctx, receiver), nil
}

func setupAlertRetry(*flag.FlagSet) action {
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		id := inv.args[0]
		client, err := dial(ctx, cfg)
		if err != nil {
			return err
		}
		if client != nil {
			if err := client.RetryAlert(ctx, id); err != nil {
				return err
			}
			fmt.Fprintf(inv.stdout, "alert %s is tried again now\n", id)
			return nil
		}
		if err := retryStored(ctx, cfg, id); err != nil {
			return err
		}
		fmt.Fprintf(inv.stdout, "alert %s is tried again when schoolgate next runs\n", id)
		return nil
	}
}

// retryStored makes an alert due in the record of a schoolgate that does not run.
func retryStored(ctx context.Context, cfg *config.Config, id string) error {
	return withRecord(ctx, cfg, func(record *breach.Log) error { return record.Retry(ctx, id) })
}

// withRecord does something with the record of a schoolgate that does not run.
func withRecord(ctx context.Context, cfg *config.Config, do func(*breach.Log) error) (err error) {
	lock, err := daemon.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	record, err := breach.Open(breach.Options{Path: daemon.RecordPath(cfg), Settings: cfg.Record}) //nolint:contextcheck // it has none
	if err != nil {
		return err
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- record.Run(writing) }()
	defer func() {
		stop()
		if closeErr := <-done; err == nil {
			err = closeErr
		}
	}()
	return do(record)
}
