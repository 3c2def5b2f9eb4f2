package main

import (
	"bytes"
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlagsMayStandAnywhere(t *testing.T) {
	t.Parallel()
	boolean := booleanFlags(commands())
	for _, c := range []struct{ line, flags, words string }{
		{"explain example.org --client 10.0.0.1 --json AAAA", "--client 10.0.0.1 --json", "explain example.org AAAA"},
		{"--config f explain --json example.org", "--config f --json", "explain example.org"},
		{"-config=f check", "-config=f", "check"},
		{"explain --client 10.0.0.1 -- -x.example --json", "--client 10.0.0.1", "explain -x.example --json"},
		{"explain - --json=true", "--json=true", "explain -"},
		{"demo --once --length", "--once --length", "demo"},
	} {
		flags, words := split(strings.Fields(c.line), boolean)
		if diff := cmp.Diff([]string{c.flags, c.words}, []string{strings.Join(flags, " "), strings.Join(words, " ")}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.line, diff)
		}
	}
}

func TestAFlagMeansTheSameInEveryCommand(t *testing.T) {
	t.Parallel()
	// split relies on it: a name that takes a value in one command and none in another cannot be read
	// before the command is known.
	valued := map[string]string{}
	boolean := booleanFlags(commands())
	for _, c := range commands() {
		for name, isBool := range flagsOf(c) {
			if !isBool {
				valued[name] = c.name
			}
		}
	}
	for name, command := range valued {
		if boolean[name] {
			t.Errorf("--%s takes a value in %s and none elsewhere", name, command)
		}
	}
}

// flagsOf returns a command's flags, and which of them are boolean.
func flagsOf(c command) map[string]bool {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.setup(fs)
	out := map[string]bool{}
	fs.VisitAll(func(f *flag.Flag) { out[f.Name] = isBoolean(f) })
	return out
}

func TestAMistypedCommandGetsTheNearest(t *testing.T) {
	t.Parallel()
	names := []string{"serve", "check", "status", "lists"}
	for word, want := range map[string]string{
		"chek": ` (did you mean "check"?)`, "servr": ` (did you mean "serve"?)`, "list": ` (did you mean "lists"?)`,
		"frobnicate": " (see `schoolgate help`)",
	} {
		if got := suggest(word, names); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"abc", "abc", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		var stdout, stderr bytes.Buffer
		args := append(strings.Fields(c.name), "--help")
		code := run(t.Context(), args, nil, &stdout, &stderr, func(string) string { return "" })
		if code != 0 || stderr.Len() > 0 || !strings.HasPrefix(stdout.String(), "Usage: schoolgate "+c.name+" ") || strings.Contains(stdout.String(), "--config FILE") == (c.name == "demo") {
			t.Errorf("%v: exit %d, %q, %q", args, code, stdout.String(), stderr.String())
		}
	}
}

func TestTheDaysOfTheDemo(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(schoolDay(1), schoolDay(1), cmp.Comparer(func(a, b question) bool { return a == b })); diff != "" {
		t.Errorf("the same seed makes another day:\n%s", diff)
	}
	last := float64(dayStart)
	for _, q := range schoolDay(2) {
		if q.minute < last || q.minute > dayEnd {
			t.Errorf("%v is asked at minute %v, after %v", q.name, q.minute, last)
		}
		last = q.minute
	}
}
