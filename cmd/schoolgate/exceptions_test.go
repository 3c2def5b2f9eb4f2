package main

import (
	"testing"
	"time"
)

func TestUntilIsATimeADateOrALengthOfTime(t *testing.T) {
	t.Parallel()
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 28, 14, 0, 0, 0, london)
	for text, want := range map[string]string{
		"2026-03-28T15:20:00Z":      "2026-03-28T15:20:00Z",
		"2026-03-28T15:20:00+01:00": "2026-03-28T14:20:00Z",
		"2026-03-28":                "2026-03-29T00:00:00Z",
		"2026-03-29":                "2026-03-29T23:00:00Z", // the day on which clocks go forward has 23 hours
		"45m":                       "2026-03-28T14:45:00Z",
		"1d12h":                     "2026-03-30T02:00:00Z",
		"0":                         "",
		"-2h":                       "",
		"noon":                      "",
		"15:20":                     "",
	} {
		at, err := parseUntil(text, now, london)
		got := ""
		if err == nil {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%s: %s %v, want %s", text, got, err, want)
		}
	}
}

func TestTheStepThatDecidedIsNamed(t *testing.T) {
	t.Parallel()
	all := []string{"1. access", "5. rules", "6. only", "7. categories", "8. safe search", "9. answer"}
	for _, c := range []struct {
		steps   []string
		verdict string
		want    string
	}{
		{all[:1], "refuse", "1. access"},
		{all[:4], "block", "7. categories"},
		{all, "allow", "7. categories"},
		{all, "rewrite", "8. safe search"},
		{[]string{"1. access", "5. rules", "8. safe search", "9. answer"}, "allow", "5. rules"},
		{nil, "allow", ""},
	} {
		if got := decidingStep(c.steps, c.verdict); got != c.want {
			t.Errorf("%s by %q: %s", c.verdict, c.steps, got)
		}
	}
}
