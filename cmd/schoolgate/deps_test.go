package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// imports says which packages of this repository each one may import. A package imports only what
// stands above it, so there is no cycle, and whoever reads one knows what can be in it.
func imports() map[string][]string {
	return map[string][]string{
		"resolver/dnswire":         nil,
		"blocklist":                nil,
		"blocklist/feed":           {"blocklist"},
		"policy":                   {"blocklist"},
		"clients":                  nil,
		"policy/breach":            {"blocklist", "policy"},
		"policy/alert":             {"policy", "policy/breach"},
		"policy/breach/breachtest": {"blocklist", "policy", "policy/breach"},
		"policy/bundle":            {"policy/breach"},
		"policy/report":            {"blocklist", "policy", "policy/breach"},
		"querylog":                 {"blocklist", "policy"},
		"resolver":                 {"blocklist", "clients", "policy", "resolver/dnswire"},
		"identity":                 {"policy"},
		"config":                   {"blocklist", "blocklist/feed", "identity", "policy", "policy/alert", "policy/breach", "querylog", "resolver"},
		"cmd/schoolgate/console":   {"config", "identity", "policy"},
		"cmd/schoolgate/daemon":    {"blocklist", "blocklist/feed", "clients", "cmd/schoolgate/console", "config", "identity", "policy", "policy/alert", "policy/breach", "querylog", "resolver", "resolver/dnswire"},
		"deploy/bench/flood":       nil,
		"deploy/bench/load":        nil,
		"deploy/bench/year":        {"policy/breach", "policy/breach/breachtest"},
		"cmd/schoolgate": {
			"blocklist", "blocklist/feed", "clients", "cmd/schoolgate/daemon", "config", "policy", "policy/alert", "policy/breach", "policy/bundle", "policy/report", "querylog", "resolver/dnswire",
		},
	}
}

// listed is what `go list` says of a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Doc          string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Doc", "schoolgate/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "schoolgate/")
		all = append(all, p)
	}
}

func TestAPackageImportsOnlyWhatStandsAboveIt(t *testing.T) {
	t.Parallel()
	allowed := imports()
	for _, p := range listPackages(t) {
		mayImport, known := allowed[p.ImportPath]
		if !known && p.Imports != nil {
			t.Errorf("%s is new: say here what it may import", p.ImportPath)
		}
		if p.Doc == "" && p.Imports != nil {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, i := range p.Imports {
			if ours, found := strings.CutPrefix(i, "schoolgate/"); found && !slices.Contains(mayImport, ours) {
				t.Errorf("%s must not import %s", p.ImportPath, ours)
			}
		}
	}
}

func TestForeignPackagesStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	// Each so that it can be replaced, or looked over, in one place.
	only := map[string][]string{
		"github.com/miekg/dns":       {"blocklist/feed", "resolver"},
		"github.com/quic-go/quic-go": {"resolver"},
		"gopkg.in/yaml.v3":           {"config"},
		"modernc.org/sqlite":         {"policy/breach", "querylog"},
		"database/sql":               {"policy/breach", "policy/breach/breachtest", "querylog"},
		"github.com/gaissmai/bart":   {"blocklist", "policy"},
	}
	for _, p := range listPackages(t) {
		for _, i := range p.Imports {
			if at, confined := only[i]; confined && !slices.Contains(at, p.ImportPath) {
				t.Errorf("%s must not import %s: that is for %v", p.ImportPath, i, at)
			}
		}
	}
}

func TestDecisionsTouchNothingOutside(t *testing.T) {
	t.Parallel()
	// The decision and the matching of names have no file, network, log, metric or clock of their own:
	// the time is an argument. What gets lists from files and servers is blocklist/feed.
	outside := []string{"os", "io/fs", "net", "net/http", "log", "log/slog", "database/sql", "context", "github.com/prometheus/client_golang/prometheus"}
	for _, dir := range []string{"../../policy", "../../blocklist"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v %v", dir, files, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range parsed.Imports {
				if path, _ := strconv.Unquote(i.Path.Value); slices.Contains(outside, path) {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}
