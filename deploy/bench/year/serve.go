package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// serve starts schoolgate, and says how long it took until it answered a question and until it was ready.
func (y *year) serve(ctx context.Context) (stop func(), err error) {
	cmd := exec.CommandContext(ctx, y.program, "serve", "--config", y.config()) //nolint:gosec // it is what is to be timed
	log, err := os.Create(y.dir + "/serve.log")
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
	}
	var answered, ready time.Duration
	for answered == 0 || ready == 0 {
		if time.Since(began) > time.Minute {
			stop()
			return nil, errors.New("schoolgate did not become ready within a minute: see " + log.Name())
		}
		if answered == 0 && answers(ctx) {
			answered = time.Since(began)
		}
		if ready == 0 && isReady(ctx) {
			ready = time.Since(began)
		}
		time.Sleep(2 * time.Millisecond)
	}
	fmt.Fprintf(os.Stdout, "start: answers after %.2f s, ready after %.2f s\n", answered.Seconds(), ready.Seconds())
	return stop, nil
}

// answers reports whether a question for a name of builtin:iwf is answered.
func answers(ctx context.Context) bool {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", "127.0.0.1:5390")
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	q := []byte("\x07\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03iwf\x0dtestfiltering\x03com\x00\x00\x01\x00\x01")
	if _, err := c.Write(q); err != nil {
		return false
	}
	n, err := c.Read(make([]byte, 512))
	return err == nil && n > 12
}

func isReady(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:5392/readyz", nil)
	if err != nil {
		return false
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer a.Body.Close()
	return a.StatusCode == http.StatusOK
}
