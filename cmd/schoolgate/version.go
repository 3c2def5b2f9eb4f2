package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"schoolgate/cmd/schoolgate/daemon"
)

// Set by the linker where a release is built: -ldflags "-X main.version=v1.2.3 -X main.commit=…".
var version, commit string //nolint:gochecknoglobals // the linker sets nothing else

func setupVersion(fs *flag.FlagSet) action {
	asJSON := jsonFlag(fs)
	return func(_ context.Context, inv *invocation) error {
		b := build()
		if *asJSON {
			return printJSON(inv.stdout, b)
		}
		fmt.Fprintf(inv.stdout, "schoolgate %s (commit %s, %s)\n", b.Version, b.Commit, b.Go)
		return nil
	}
}

// build says which program this is: what the linker was told, else what the compiler saw.
func build() daemon.Build {
	b := daemon.Build{Version: version, Commit: commit, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "(devel)" {
			b.Version = cmp.Or(b.Version, info.Main.Version)
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = cmp.Or(b.Commit, s.Value)
			case "vcs.time":
				b.Time, _ = time.Parse(time.RFC3339, s.Value) // Go writes it so
			}
		}
	}
	b.Version, b.Commit = cmp.Or(b.Version, "devel"), cmp.Or(b.Commit, "unknown")
	return b
}

func jsonFlag(fs *flag.FlagSet) *bool { return fs.Bool("json", false, "print JSON") }
