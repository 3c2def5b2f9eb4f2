package breach_test

import (
	"context"
	"testing"
	"time"

	"schoolgate/policy/breach"
	"schoolgate/policy/breach/breachtest"
)

// BenchmarkAYear reads from a record of a year with five million breaches of 1,200 devices, which it takes a minute to
// make: each of what has to take less than a second.
func BenchmarkAYear(b *testing.B) {
	start := time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC)
	path, err := breachtest.Write(b.Context(), b.TempDir(), breachtest.Past{Start: start, Weeks: 39, Incidents: 500_000})
	if err != nil {
		b.Fatal(err)
	}
	r, err := breach.OpenReader(path)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	end := start.AddDate(1, 0, 0)
	for what, read := range map[string]func(context.Context) error{
		"summary":  func(ctx context.Context) error { _, err := r.Summary(ctx, start, end); return err },
		"handled":  func(ctx context.Context) error { _, err := r.Handled(ctx, start, end); return err },
		"unclosed": func(ctx context.Context) error { _, err := r.Unclosed(ctx, start, end); return err },
		"few devices": func(ctx context.Context) error {
			for _, c := range []string{"gaming", "iwf", "sen_unit", "year7"} {
				for _, group := range []bool{true, false} {
					category, of := c, ""
					if group {
						category, of = "", c
					}
					if _, err := r.FewDevices(ctx, category, of, start, end, 5); err != nil {
						return err
					}
				}
			}
			return nil
		},
	} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				if err := read(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
