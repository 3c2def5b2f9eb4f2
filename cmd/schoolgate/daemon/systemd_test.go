package daemon

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSystemdIsToldOfEachState(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "")
	// next returns the next message that begins with one of the words, without the numbers in it.
	next := func(words ...string) string {
		t.Helper()
		buf := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %v: %v", words, err)
			}
			for _, w := range words {
				if text := string(buf[:n]); strings.HasPrefix(text, w) {
					before, _, _ := strings.Cut(text, "MONOTONIC_USEC=")
					return before
				}
			}
		}
	}

	s := newSchool(t)
	s.start()
	got := []string{next("READY", "RELOADING", "STOPPING"), next("WATCHDOG")}
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	got = append(got, next("READY", "RELOADING", "STOPPING"), next("READY", "RELOADING", "STOPPING"))
	s.stop()
	got = append(got, next("READY", "RELOADING", "STOPPING"))
	const status = "READY=1\nSTATUS=serving: 1 group, 4 categories, 4 lists with 4 entries, 0 rules"
	want := []string{status, "WATCHDOG=1", "RELOADING=1\n", status, "STOPPING=1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
