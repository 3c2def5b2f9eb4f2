package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// program is the binary under test.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

// buildAndRun builds the program with the Dockerfile's own line, so that line is tested too.
func buildAndRun(m *testing.M) int {
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := regexp.MustCompile(`(?m)^RUN (.*go build .*) -o /out/schoolgate (.*)$`).FindSubmatch(dockerfile)
	if build == nil {
		fmt.Fprintln(os.Stderr, "Dockerfile: no line that builds /out/schoolgate")
		return 1
	}
	dir, err := os.MkdirTemp("", "schoolgate")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "schoolgate")
	cmd := exec.Command("sh", "-c", fmt.Sprintf("%s -o '%s' %s", build[1], program, build[2]))
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n%s", cmd, err, out)
		return 1
	}
	return m.Run()
}

// run runs a command in a directory and returns what it printed, both streams, and its exit code.
func run(t *testing.T, dir, name string, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	return string(out), 0
}

// tool returns the path of a program that a test needs. CI has all of them, because setup.sh
// installs them: there a missing one is a failure.
func tool(t *testing.T, name string) string {
	t.Helper()
	if !bytes.Contains(read(t, "setup.sh"), []byte("\n  "+name+":")) {
		t.Fatalf("setup.sh does not install %s", name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing (deploy/setup.sh installs it)", name)
		}
		t.Skipf("%s is missing (deploy/setup.sh installs it)", name)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkCommand fails the test where the program has no such command or flag. The line is what stands
// behind "schoolgate".
func checkCommand(t *testing.T, line string) {
	t.Helper()
	line = regexp.MustCompile(`\s*([|>;#&)]|2>).*`).ReplaceAllString(line, "")
	var words, flags []string
	for field := range strings.FieldsSeq(line) {
		if strings.HasPrefix(field, "-") {
			name, _, _ := strings.Cut(strings.TrimLeft(field, "-"), "=")
			flags = append(flags, name)
		} else if len(flags) == 0 { // behind a flag it may be the flag's value
			words = append(words, field)
		}
	}
	help, code := run(t, ".", program, append([]string{"help"}, words...)...)
	if code != 0 {
		t.Errorf("schoolgate %s: no such command: %s", line, help)
		return
	}
	known := regexp.MustCompile(`(?m)^  --([a-z-]+)`).FindAllStringSubmatch(help, -1)
	for _, flag := range flags {
		if !slices.ContainsFunc(known, func(m []string) bool { return m[1] == flag }) {
			t.Errorf("schoolgate %s: no such flag: --%s", line, flag)
		}
	}
}

func TestScriptsSayHowTheyAreUsed(t *testing.T) {
	for _, script := range []string{"./setup.sh", "./ci/check.sh"} {
		if out, code := run(t, ".", script, "--help"); code != 0 || !strings.Contains(out, "deploy/"+script[2:]) {
			t.Errorf("%s --help: exit %d: %s", script, code, out)
		}
		if out, code := run(t, ".", script, "--nonsense"); code != 2 || !strings.Contains(out, "--help") {
			t.Errorf("%s --nonsense: exit %d, want 2 and a hint: %s", script, code, out)
		}
	}
}
