package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/policy/breach"
	"schoolgate/policy/bundle"
)

func setupIncidentsExport(fs *flag.FlagSet) action {
	by := fs.String("by", "", "`WHO` takes it out, for the audit; needed")
	reason := fs.String("reason", "", "`WHY`, for whoever asks later; needed")
	out := fs.String("o", "", "the `FILE` to write; without it incident-ID.zip, here")
	return func(ctx context.Context, inv *invocation) error {
		switch {
		case strings.TrimSpace(*by) == "":
			return wrongUse("incidents export: who takes it out? (--by WHO)")
		case strings.TrimSpace(*reason) == "":
			return wrongUse("incidents export: why? (--reason WHY)")
		}
		cfg, err := inv.inForce()
		if err != nil {
			return err
		}
		r, err := freshRecord(ctx, inv, cfg)
		if err != nil {
			return err
		}
		defer r.Close()
		id, err := theIncident(ctx, r, inv.args[0])
		if err != nil {
			return err
		}
		path := *out
		if path == "" {
			path = "incident-" + id + ".zip"
		}
		// It is opened first: what can't be written need not be audited.
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, os.ErrExist) {
			return exitError{2, fmt.Errorf("%s is there already: move it away, or write another name (-o FILE)", path)}
		} else if err != nil {
			return exitError{2, err}
		}
		sum, err := exportTo(ctx, file, func() (*breach.Case, error) {
			act := breach.Act{Who: strings.TrimSpace(*by), What: "incidents.export", Why: strings.TrimSpace(*reason)}
			if err := register(ctx, cfg, func(to daemon.Registrar) error { return to.LookAt(ctx, id, act, false) }); err != nil {
				return nil, errNotRecorded(err)
			}
			return r.Case(ctx, id, wholeOptions(cfg, inv.stderr))
		}, bundle.Options{Site: cfg.Site, Version: build().Version})
		if err != nil {
			return errors.Join(err, os.Remove(path))
		}
		fmt.Fprintf(inv.stdout, "%s  %s\n", sum, path)
		fmt.Fprintln(inv.stderr, "It holds a person's data: pass it on by a safe way only, and delete what is no longer needed.")
		return nil
	}
}

// exportTo writes a bundle, closes the file, and returns the bundle's SHA-256.
func exportTo(_ context.Context, file *os.File, read func() (*breach.Case, error), o bundle.Options) (sum string, err error) {
	defer func() { err = errors.Join(err, file.Close()) }()
	found, err := read()
	if err != nil {
		return "", err
	}
	var zip bytes.Buffer
	if err := bundle.Write(&zip, found, o); err != nil {
		return "", err
	}
	if _, err := file.Write(zip.Bytes()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(zip.Bytes())), file.Sync()
}

func setupIncidentsUnseal(fs *flag.FlagSet) action {
	identity := fs.String("identity", "", "the `KEYFILE` with the secret key, as age-keygen wrote it; needed")
	asJSON := jsonFlag(fs)
	return func(_ context.Context, inv *invocation) error {
		if *identity == "" {
			return wrongUse("incidents unseal: with which key? (--identity KEYFILE; it is the named person's, who does this on a machine of their own)")
		}
		key, err := readKey(*identity)
		if err != nil {
			return exitError{2, err}
		}
		sealed, err := bundle.Seals(inv.args[0])
		if err != nil {
			return exitError{2, err}
		}
		names := []breach.SealedName{}
		for _, s := range sealed {
			opened, err := breach.Unseal(bytes.NewReader(s.Content), key)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			names = append(names, opened...)
		}
		if *asJSON {
			return printJSON(inv.stdout, names)
		}
		if len(names) == 0 {
			fmt.Fprintln(inv.stderr, "nothing is sealed in it")
			return nil
		}
		return table(inv.stdout, func(line func(string, ...any)) {
			line("TIME\tINCIDENT\tBREACH\tTYPE\tNAME")
			for _, n := range names {
				name := n.Name
				if n.Target != "" {
					name += " -> " + n.Target
				}
				line("%s\t%s\t%d\t%s\t%s", n.Time, n.Incident, n.Seq, n.Type, name)
			}
		})
	}
}

// readKey reads a file of a few lines.
func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("is not a key file")}
	}
	return os.ReadFile(path)
}
