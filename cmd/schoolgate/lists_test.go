package main

import (
	"strings"
	"testing"
	"time"
)

func TestTheTableOfListsIsForPeople(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 20, 18, 24, 0, 0, time.UTC)
	url := "https://lists.example/" + strings.Repeat("ä", 80) + "/games.txt"
	for _, c := range []struct{ what, got, want string }{
		{"today", moment("2026-11-20T18:21:59Z", now), "18:21"},
		{"yesterday", moment("2026-11-19T18:25:00Z", now), "19 Nov"},
		{"never", moment("", now), "-"},
		{"few", thousands(0) + " " + thousands(999), "0 999"},
		{"many", thousands(1000) + " " + thousands(2000000) + " " + thousands(123456), "1,000 2,000,000 123,456"},
		{"a short ID", shorten("ut1:games"), "ut1:games"},
		{"a long ID", shorten(url), "https://lists.example/äääääää…ääääääääääääääääääää/games.txt"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if n := len([]rune(shorten(url))); n != 60 {
		t.Errorf("a long ID has %d columns", n)
	}
}
