package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"schoolgate/config"
)

func setupInit(*flag.FlagSet) action {
	return func(_ context.Context, inv *invocation) error {
		path := cmp.Or(inv.config, "schoolgate.yaml")
		switch {
		case len(inv.args) > 0 && inv.config != "":
			return wrongUse("init: a DIR or --config FILE, not both")
		case len(inv.args) > 0:
			path = filepath.Join(inv.args[0], path)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a directory for a file without secrets
			return exitError{2, err}
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // secrets are in files of their own
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s is there already, and init overwrites nothing", path)
		}
		if err != nil {
			return exitError{2, err}
		}
		if err := errors.Join(config.Starter(f), f.Close()); err != nil {
			return err
		}
		fmt.Fprintf(inv.stdout, `wrote %s

Next, in that file:
  1. groups      the address ranges of your classes, staff and guests
  2. categories  the lists you use; the IWF's list, if you are a member
  3. alerts      where your safeguarding lead gets an alert
  4. listen      the address that your devices ask, port 53
Then:
  %[2]s check --config %[1]s
  %[2]s explain example.org --client 10.20.3.4 --config %[1]s
  %[2]s serve --config %[1]s
`, path, self())
		return nil
	}
}
