package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/config"
	"schoolgate/policy/breach"
)

// openRecord opens the record of a configuration, to be read.
func openRecord(cfg *config.Config) (*breach.Reader, error) {
	path := daemon.RecordPath(cfg)
	if _, err := os.Stat(path); err != nil {
		return nil, exitError{2, fmt.Errorf("no breach record here; has schoolgate run with this configuration? %w", err)}
	}
	r, err := breach.OpenReader(path)
	if err != nil {
		return nil, exitError{2, err}
	}
	return r, nil
}

// parseSpan reads --from and --to; both may be "".
func parseSpan(from, to string, zone *time.Location) (first, last time.Time, err error) {
	if from != "" {
		if first, _, err = parseTime(from, zone); err != nil {
			return first, last, wrongUse("--from: %w", err)
		}
	}
	if to != "" {
		var day bool
		if last, day, err = parseTime(to, zone); err != nil {
			return first, last, wrongUse("--to: %w", err)
		}
		if day {
			last = last.AddDate(0, 0, 1) // the whole of that day
		}
	}
	if !first.IsZero() && !last.IsZero() && !first.Before(last) {
		return first, last, wrongUse("nothing lies between --from and --to")
	}
	return first, last, nil
}

func setupAuditList(fs *flag.FlagSet) action {
	from := fs.String("from", "", "first `TIME` or date, included")
	to := fs.String("to", "", "last `TIME`, not included, or date, included")
	by := fs.String("by", "", "what this `WHO` did only")
	what := fs.String("what", "", "acts of this `KIND` only, such as exceptions.add, or exceptions for all of them")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		filter := breach.ActFilter{Who: *by, What: *what, Zone: cfg.Timezone}
		if filter.From, filter.To, err = parseSpan(*from, *to, cfg.Timezone); err != nil {
			return err
		}
		r, err := openRecord(cfg) //nolint:contextcheck // it has none
		if err != nil {
			return err
		}
		defer r.Close()
		found := []breach.RecordedAct{}
		err = r.Acts(ctx, filter, func(a breach.RecordedAct) error {
			found = append(found, a)
			return nil
		})
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(inv.stdout, found)
		}
		if len(found) == 0 {
			fmt.Fprintln(inv.stderr, "no act matches")
			return nil
		}
		return table(inv.stdout, func(line func(string, ...any)) {
			line("SEQ\tTIME\tWHO\tWHAT\tWHY\tDETAIL")
			for _, a := range found {
				line("%d\t%s\t%s\t%s\t%s\t%s", a.Seq, a.Time, a.Who, a.What, orDash(a.Why), a.Detail)
			}
		})
	}
}

// verified is the outcome of `audit verify --json`.
type verified struct {
	OK bool `json:"ok"`
	breach.Head
	// BrokenAt is the first row that does not hold, where one doesn't, and Reason why.
	BrokenAt int64  `json:"broken_at"`
	Reason   string `json:"reason"`
}

func setupAuditVerify(fs *flag.FlagSet) action {
	anchor := fs.String("anchor", "", "a `SEQ:HASH` that was kept elsewhere: of an alert, of status, of audit list")
	asJSON := jsonFlag(fs)
	return func(ctx context.Context, inv *invocation) error {
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		kept, err := parseAnchor(*anchor)
		if err != nil {
			return wrongUse("audit verify: --anchor: %w", err)
		}
		r, err := openRecord(cfg) //nolint:contextcheck // it has none
		if err != nil {
			return err
		}
		defer r.Close()
		result := verified{OK: true}
		result.Head, err = r.Verify(ctx)
		if err == nil && kept.Seq > 0 {
			err = r.Holds(ctx, kept)
		}
		if broken, ok := errors.AsType[*breach.BrokenError](err); ok {
			result.OK, result.BrokenAt, result.Reason = false, broken.Seq, broken.Reason
		} else if err != nil {
			return exitError{2, err}
		}
		switch {
		case *asJSON:
			err = printJSON(inv.stdout, result)
		case !result.OK:
			fmt.Fprintln(inv.stdout, err)
			err = nil
		default:
			fmt.Fprintf(inv.stdout, "the chain is whole: %s, newest %d:%s\n", daemon.Plural(int(result.Seq), "row", "rows"), result.Seq, result.Hash)
			if kept.Seq > 0 {
				fmt.Fprintf(inv.stdout, "the anchor holds: row %d is the one that was kept\n", kept.Seq)
			}
		}
		if err == nil && !result.OK {
			return errNo()
		}
		return err
	}
}

// parseAnchor reads SEQ:HASH; "" is none.
func parseAnchor(s string) (breach.Head, error) {
	if s == "" {
		return breach.Head{}, nil
	}
	number, hash, _ := strings.Cut(s, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	sum, hashErr := hex.DecodeString(hash)
	if err != nil || seq < 1 || hashErr != nil || len(sum) != 32 {
		return breach.Head{}, fmt.Errorf("%q is not SEQ:HASH, a number and 64 hexadecimal digits", s)
	}
	return breach.Head{Seq: seq, Hash: strings.ToLower(hash)}, nil
}
