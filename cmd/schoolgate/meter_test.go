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
	m := &meter{w: &screen, now: func() time.Time { return now }, work: map[feed.Progress]*piece{}}
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

func TestALogHasWhatTookOverASecond(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := time.Time{}
	m := &meter{log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now }, work: map[feed.Progress]*piece{}}
	for _, p := range []feed.Progress{
		{List: "short.txt", Stage: "read", Done: 0, Total: 10},
		{List: "long.txt", Stage: "read", Done: 0, Total: 40},
		{List: "short.txt", Stage: "read", Done: 10, Total: 10},
		{List: "endless", Stage: "fetch", Done: 7},
	} {
		m.report(p)
	}
	now = now.Add(1500 * time.Millisecond)
	m.report(feed.Progress{List: "long.txt", Stage: "read", Done: 40, Total: 40})
	m.report(feed.Progress{List: "endless", Stage: "fetch", Done: 8})
	m.end()
	m.end()
	var got []string
	for line := range strings.Lines(log.String()) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), "msg=")
		got = append(got, rest)
	}
	want := []string{"lists stage=read list=long.txt bytes=40 seconds=1.5", "lists stage=fetch list=endless bytes=8 seconds=1.5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
