package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"schoolgate/resolver/dnswire"
)

// piped are pipes whose connections lead to handle, by a bubble's clock.
func piped(t *testing.T, handle func(n int, conn net.Conn)) (p *pipes, dialled func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	var running sync.WaitGroup
	p = newPipes(func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		mu.Lock()
		n++
		this := n
		mu.Unlock()
		running.Go(func() {
			defer far.Close()
			handle(this, far)
		})
		return near, nil
	}, func() {})
	t.Cleanup(func() { p.close(); running.Wait() })
	return p, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// echo answers each query with itself, as a response.
func echo(conn net.Conn) {
	for {
		msg, err := readMessage(conn)
		if err != nil {
			return
		}
		msg[2] |= 0x80
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
			return
		}
	}
}

// askPipe asks for an address with so much time.
func askPipe(t *testing.T, p *pipes, allowed time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), allowed)
	defer cancel()
	query := dnswire.AppendQuery(nil, 0, []byte("\x01a\x00"), dnswire.TypeA, dnswire.ClassIN, 0, false, false)
	response, err := p.exchange(ctx, query)
	if err == nil && !dnswire.IsAnswer(response, query) {
		t.Errorf("response %x", response)
	}
	return err
}

func TestAnIdleConnectionIsClosedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed time.Time
		p, dialled := piped(t, func(n int, conn net.Conn) {
			echo(conn)
			if n == 1 {
				closed = time.Now()
			}
		})
		for range 3 {
			if err := askPipe(t, p, time.Second); err != nil {
				t.Error(err)
			}
			time.Sleep(pipeIdle - time.Second)
		}
		if n := dialled(); n != 1 {
			t.Errorf("%d connections, with never so much idleness", n)
		}
		last := time.Now().Add(-pipeIdle + time.Second)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if idle := closed.Sub(last); idle != pipeIdle {
			t.Errorf("closed after %v", idle)
		}
		if err := askPipe(t, p, time.Second); err != nil || dialled() != 2 {
			t.Errorf("%d connections, %v", dialled(), err)
		}
	})
}

func TestAConnectionThatHasGoneSilentTakesNoMoreQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, dialled := piped(t, func(n int, conn net.Conn) {
			if n > 1 {
				echo(conn)
				return
			}
			msg, _ := readMessage(conn)
			msg[2] |= 0x80
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
			_, _ = io.Copy(io.Discard, conn) // and no word more
		})
		if err := askPipe(t, p, time.Second); err != nil {
			t.Error(err)
		}
		if err := askPipe(t, p, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if err := askPipe(t, p, time.Second); err != nil || dialled() != 2 {
			t.Errorf("%d connections, %v", dialled(), err)
		}
	})
}

func TestAConnectionThatAnswersOthersIsKeptThoughOneQuestionIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, dialled := piped(t, func(_ int, conn net.Conn) {
			_, _ = readMessage(conn) // lost
			echo(conn)
		})
		lost := make(chan error)
		go func() { lost <- askPipe(t, p, time.Second) }()
		time.Sleep(time.Millisecond)
		for range 2 {
			if err := askPipe(t, p, time.Second); err != nil {
				t.Error(err)
			}
		}
		if err := <-lost; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if err := askPipe(t, p, time.Second); err != nil || dialled() != 1 {
			t.Errorf("%d connections, %v", dialled(), err)
		}
	})
}

func TestConnectingOutlivesTheQuestionAndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		var ended time.Time
		started := time.Now()
		p := newPipes(func(ctx context.Context) (net.Conn, error) {
			dials.Add(1)
			<-ctx.Done()
			ended = time.Now()
			return nil, ctx.Err()
		}, func() {})
		defer p.close()
		for range 5 {
			if err := askPipe(t, p, connectTime/6); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%d connections begun", n)
		}
		if err := askPipe(t, p, connectTime); err == nil || ended.Sub(started) != connectTime {
			t.Errorf("given up after %v: %v", ended.Sub(started), err)
		}
		if err := askPipe(t, p, time.Second); err == nil || dials.Load() != 2 {
			t.Errorf("%d connections begun, %v", dials.Load(), err)
		}
	})
}

func TestQuestionsOnOneServerAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, dialled := piped(t, func(_ int, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		var asking sync.WaitGroup
		for range maxPipes * maxOnPipe {
			asking.Go(func() { _ = askPipe(t, p, time.Second) })
		}
		synctest.Wait()
		if err := askPipe(t, p, time.Second); !errors.Is(err, errBusy) {
			t.Errorf("error %v", err)
		}
		asking.Wait()
		if n := dialled(); n != maxPipes {
			t.Errorf("%d connections", n)
		}
	})
}
