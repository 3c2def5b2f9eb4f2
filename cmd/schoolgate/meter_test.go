package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist/feed"
)

func TestATerminalShowsHowFarTheListsAre(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer
	now := time.Time{}
	m := &meter{w: &screen, now: func() time.Time { return now }}
	m.report(feed.Progress{List: "a.txt", Stage: "read", Done: 10e6, Total: 40e6})
	if screen.Len() > 0 {
		t.Errorf("within the first second: %q", screen.String())
	}
	now = now.Add(time.Second)
	m.report(feed.Progress{List: "https://lists.example/a/very/long/way.txt", Stage: "fetch", Done: 1.5e6})
	m.report(feed.Progress{List: "a.txt", Stage: "read", Done: 30e6, Total: 40e6})
	m.report(feed.Progress{Stage: "compile", Done: 5e6, Total: 5e6})
	m.end()
	want := []string{
		"fetch   …e/a/very/long/way.txt 1.5 MB",
		"read    a.txt                  [###############     ]  75 % 30.0 of 40.0 MB",
		"compile all lists              [####################] 100 % 5.0 of 5.0M entries",
		"",
	}
	var got []string
	for _, line := range strings.Split(screen.String(), "\r")[1:] {
		got = append(got, strings.TrimRight(line, " "))
	}
	if diff := cmp.Diff(append(want, ""), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, line := range got {
		if n := len([]rune(line)); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestALogHasOneLineForEachListThatTookOverASecond(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := time.Time{}
	m := &meter{log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now }}
	for _, p := range []feed.Progress{
		{List: "short.txt", Stage: "read", Done: 0, Total: 10},
		{List: "first.txt", Stage: "read", Done: 0, Total: 40},
		{List: "short.txt", Stage: "read", Done: 10, Total: 10},
		{Stage: "compile", Done: 0, Total: 9},
		{List: "second.txt", Stage: "read", Done: 7},
	} {
		m.report(p)
	}
	for _, p := range []feed.Progress{
		{List: "first.txt", Stage: "read", Done: 40, Total: 40},
		{List: "first.txt", Stage: "compile", Done: 3, Total: 3},
		{List: "second.txt", Stage: "read", Done: 8},
		{Stage: "compile", Done: 9, Total: 9},
	} {
		now = now.Add(1234 * time.Millisecond)
		m.report(p)
	}
	m.end()
	m.end()
	var got []string
	for line := range strings.Lines(log.String()) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		got = append(got, rest)
	}
	want := []string{
		`"list read" list=first.txt seconds=2.5`, `"list read" list=second.txt seconds=3.7`, `"list read" list="all lists" seconds=4.9`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestACommandLogsNothingOfLists(t *testing.T) {
	t.Parallel()
	now := time.Time{}
	var stderr bytes.Buffer
	m := newMeter(&invocation{stderr: &stderr}, nil)
	m.now = func() time.Time { now = now.Add(time.Minute); return now }
	m.report(feed.Progress{List: "long.txt", Stage: "read"})
	m.report(feed.Progress{List: "long.txt", Stage: "read"})
	m.end()
	if stderr.Len() > 0 {
		t.Errorf("got %q", stderr.String())
	}
}
