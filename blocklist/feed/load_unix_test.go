//go:build unix

package feed

import (
	"os"
	"syscall"
	"testing"
)

func TestWhatIsNoRegularFileIsNotRead(t *testing.T) {
	s := newSite(t)
	if err := syscall.Mkfifo(s.path, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("a pipe, on which a read would wait for ever", func(t *testing.T) {
		s.want(outcome{Err: "is a pipe, not a regular file"})
	})
	for path, want := range map[string]string{
		"/dev/zero":         "is a device or a socket, not a regular file",
		"/dev/null":         "is a device or a socket, not a regular file",
		"/proc/self/status": "list without a usable line: the file is empty",
	} {
		t.Run(path, func(t *testing.T) {
			if _, err := os.Stat(path); err != nil {
				t.Skip(err)
			}
			s.want(outcome{Err: want}, func(spec *Spec) { spec.Path = path })
		})
	}
}
