package feed

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"
)

// A body has to come at 1 kB/s at least, over each minute: a server must not keep an update
// waiting with a byte now and then.
const (
	paceWindow = time.Minute
	paceBytes  = 60_000
)

// wire is an answer's body as it comes: counted, bounded, summed and watched.
type wire struct {
	r        io.Reader
	sum      hash.Hash
	limit    int64 // bytes
	total    int64 // bytes that the server says; 0: it does not
	progress func(done, total int64)

	head  [2]byte // the first two
	last  byte
	done  atomic.Int64 // bytes
	ended atomic.Bool
	err   error // the first one that was not the end
}

// Read reads on. Once it has returned an error it returns the same again.
func (w *wire) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.r.Read(p)
	if n > 0 {
		if w.done.Load() == 0 {
			copy(w.head[:], p[:n])
		}
		w.last = p[n-1]
	}
	_, _ = w.sum.Write(p[:n]) // a hash takes everything
	done := w.done.Add(int64(n))
	switch {
	case done > w.limit:
		w.err = tooLarge(w.limit)
	case errors.Is(err, io.ErrUnexpectedEOF) && w.total > 0:
		w.err = fmt.Errorf("the connection ended after %d of %d bytes", done, w.total)
	case errors.Is(err, io.ErrUnexpectedEOF):
		w.err = fmt.Errorf("the connection ended after %d bytes, before the end of the list", done)
	case errors.Is(err, io.EOF):
		w.ended.Store(true)
	case err != nil:
		w.err = fmt.Errorf("after %d bytes: %w", done, withoutContent(err))
	}
	if n > 0 && w.progress != nil {
		w.progress(done, w.total)
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, err
}

// endsWithinLine reports whether what came is text, and its last line has no end. What is packed begins
// or ends with a byte that no text has, and says itself whether it is whole.
func (w *wire) endsWithinLine() bool {
	packed := w.last == 0 || string(w.head[:]) == "\x1f\x8b" || string(w.head[:]) == "PK"
	return w.last != '\n' && !packed
}

// watch cancels when the body comes too slowly. It returns when ctx or the body ends.
func (w *wire) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(paceWindow)
	defer tick.Stop()
	for last := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		done := w.done.Load()
		if w.ended.Load() {
			return
		}
		if done-last < paceBytes {
			cancel(fmt.Errorf("too slow: %d bytes in the last %v, after %d", done-last, paceWindow, last))
			return
		}
		last = done
	}
}

func tooLarge(limit int64) error { return fmt.Errorf("larger than %d MB", limit>>20) }
