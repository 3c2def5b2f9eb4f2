package breach

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// gather is how long the writer waits after the first event for more, so that a page's twenty
	// names cost one sync of the disk.
	gather = 20 * time.Millisecond
	// minPause and maxPause bound the wait before a failed database is tried again.
	minPause = 250 * time.Millisecond
	maxPause = 30 * time.Second
	// maxWait bounds the same at a stop.
	maxWait = 500 * time.Millisecond
	// lookAgain is how often the clock is compared with what is due while something is: a timer alone
	// would not see a clock that was set.
	lookAgain = time.Second
)

// Run writes, until ctx ends; then it stores all that Record has taken by then, repeats too, and
// closes the database. Its error is that something could not be stored at the end. Stop the resolver
// and the dispatcher before.
func (l *Log) Run(ctx context.Context) error {
	defer close(l.done)
	var verification sync.WaitGroup
	defer verification.Wait()
	verification.Go(func() { l.verify(ctx) })
	work := context.WithoutCancel(ctx) // a transaction once begun is not broken off
	for ctx.Err() == nil {
		l.turn(work, l.await(ctx))
		l.saveHead(false)
	}
	return l.drain(work)
}

// await returns when there is something to do, with the requests that have come.
func (l *Log) await(ctx context.Context) (requests []request) {
	var wake <-chan struct{} // nil, and so never, while the database can't be used
	var timer *time.Timer
	if l.writer == nil {
		timer = time.NewTimer(time.Until(l.retryAt))
	} else {
		timer, wake = time.NewTimer(min(l.writer.idle(l.now()), l.headDue())), l.queue.wake
	}
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	case r := <-l.requests:
		requests = append(requests, r)
	case <-wake:
		more := time.NewTimer(gather)
		defer more.Stop()
		select {
		case <-ctx.Done():
		case <-more.C:
		case r := <-l.requests: // somebody waits for this transaction
			requests = append(requests, r)
		}
	}
	for {
		select {
		case r := <-l.requests:
			requests = append(requests, r)
		default:
			return requests
		}
	}
}

// turn stores what waits and does what is asked and due, in one transaction.
func (l *Log) turn(ctx context.Context, requests []request) {
	var answers []error
	var err error
	if l.pause > 0 && time.Now().Before(l.retryAt) {
		err = l.problem()
	} else if answers, err = l.attempt(ctx, requests); err != nil {
		l.fail(err)
	} else {
		l.recovered()
	}
	for i, r := range requests {
		if err != nil {
			r.done <- err
		} else {
			r.done <- answers[i]
		}
	}
}

// attempt does what turn says, or nothing, with an error.
func (l *Log) attempt(ctx context.Context, requests []request) (answers []error, err error) {
	defer func() {
		// A fault here must not stop the resolver, which runs in the same process.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			l.logger.Error("breach record: panic", "panic", p)
		}
	}()
	if l.writer == nil {
		if err := l.connect(ctx); err != nil {
			return nil, err
		}
	}
	again := l.waiting != nil
	if !again {
		l.waiting = l.queue.take()
	}
	l.mu.Lock()
	settings := l.settings
	l.mu.Unlock()
	l.unsure = l.writer.number + 1
	t, err := l.writer.commit(ctx, l.now(), settings, l.waiting, requests)
	if err != nil {
		return nil, err
	}
	l.queue.release(l.waiting)
	l.unsure, l.waiting = 0, nil
	for i, r := range requests {
		if r.scrub && t.answers[i] == nil {
			t.answers[i] = l.writer.store.scrub(ctx)
		}
	}
	if again {
		l.queue.nudge() // what came in the meantime is still in the queue
	}
	l.show()
	if t.enqueued {
		l.ring()
	}
	return t.answers, nil
}

// connect opens the database and reads back what the writer has to know.
func (l *Log) connect(ctx context.Context) error {
	s, err := l.open(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", l.path, err)
	}
	w, err := load(ctx, s, l.router, l.now(), l.quietTime())
	if err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", l.path, err), s.close())
	}
	replaced, err := l.compare(ctx, w)
	if err != nil {
		return errors.Join(fmt.Errorf("compare %s with what was written: %w", l.path, err), s.close())
	}
	if l.unsure != 0 && w.number == l.unsure && !replaced {
		// COMMIT returned an error, but what it wrote was complete on disk.
		l.queue.release(l.waiting)
		l.waiting = nil
		l.queue.nudge()
	}
	l.queue.forget() // what is remembered says which breach of another writer it was
	l.generation++
	w.generation = l.generation
	l.writer, l.unsure = w, 0
	l.mu.Lock()
	l.reader = s.read
	l.mu.Unlock()
	l.show()
	select {
	case l.opened <- struct{}{}:
	default: // a verification is about to begin
	}
	return nil
}

// show publishes what the writer knows now.
func (l *Log) show() {
	for _, s := range severities {
		l.metrics.open[s].Set(float64(l.writer.bySeverity[s]))
	}
	l.last = l.writer.link
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = l.last.head()
}

func (l *Log) quietTime() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings.Quiet
}

// fail closes the database after an error, to be opened again after a pause.
func (l *Log) fail(err error) {
	l.metrics.writeFailures.Inc()
	if damaged(err) && (l.writer == nil || !l.writer.store.replaced()) {
		l.damaged++
	} else {
		l.damaged = 0
	}
	if l.writer != nil {
		l.mu.Lock()
		l.reader = nil
		l.mu.Unlock()
		if closeErr := l.writer.store.close(); closeErr != nil {
			l.logger.Debug("close breach record", "error", closeErr)
		}
		l.writer = nil
	}
	l.pause = min(max(2*l.pause, minPause), maxPause)
	l.retryAt = time.Now().Add(l.pause)
	if l.damaged >= asideAt && l.router != nil && (l.stopping || time.Since(l.movedAt) >= asideEvery) {
		if moveErr := l.moveAside(); moveErr != nil {
			err = errors.Join(err, moveErr)
		} else {
			l.damaged, l.retryAt = 0, time.Now()
		}
	}
	first := l.problem() == nil
	l.mu.Lock()
	l.broken = err
	l.mu.Unlock()
	if first {
		l.logger.Error("breach record can't be written; breaches wait in memory", "error", err, "advice", advice(err))
	}
	if l.pause >= time.Second { // not a passing fault
		l.system("The breach record can't be written. DNS goes on; breaches wait in memory and no alert about them leaves. See /healthz for the cause.")
	}
	l.sayLosses(nil)
}

// recovered takes note that a transaction went well.
func (l *Log) recovered() {
	l.pause, l.damaged = 0, 0
	if l.problem() != nil {
		l.mu.Lock()
		l.broken = nil
		l.mu.Unlock()
		l.logger.Info("breach record is written again")
	}
	l.sayLosses(nil)
}

// problem returns why the database can't be used, nil when it can.
func (l *Log) problem() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// sayLosses says what was lost since it was last said: because the queue is full, or at a stop because
// of an error.
func (l *Log) sayLosses(atStop error) {
	lost := l.queue.losses()
	switch {
	case lost == l.saidLost:
		return
	case atStop != nil:
		l.logger.Error("breaches were lost at the stop: they can't be stored", "lost", lost-l.saidLost, "error", atStop, "advice", advice(atStop))
		l.system("Breaches were lost when schoolgate stopped, because they could not be stored. Its log says why.")
	default:
		l.logger.Error("breaches were lost: the queue is full", "lost", lost-l.saidLost)
		l.system("Breaches were lost, because they could not be stored and the queue in memory was full. See /healthz and schoolgate_records_dropped_total.")
	}
	l.saidLost = lost
}

// drain stores what is left, and closes.
func (l *Log) drain(ctx context.Context) error {
	l.queue.close()
	l.stopping = true
	var err error
	// What a failed attempt left is stored before what came after it. A fault may pass: three attempts.
	for attempts := 0; attempts < 3; {
		time.Sleep(min(time.Until(l.retryAt), maxWait))
		l.retryAt = time.Time{}
		last := request{do: func(context.Context, *turn) error { return nil }, flush: true, done: make(chan error, 1)}
		requests := []request{last}
		for more := true; more; {
			select {
			case r := <-l.requests:
				requests = append(requests, r)
			default:
				more = false
			}
		}
		l.turn(ctx, requests)
		if err = <-last.done; err != nil {
			attempts++
		} else if l.queue.waiting() == 0 {
			break
		}
	}
	if n := int64(l.queue.waiting()); n > 0 {
		l.queue.lose(n)
		l.metrics.dropped.Add(float64(n))
		err = fmt.Errorf("close record: %d breaches are lost: %w", n, err)
	}
	l.sayLosses(err)
	l.saveHead(true)
	if l.writer != nil {
		l.mu.Lock()
		l.reader = nil
		l.mu.Unlock()
		err = errors.Join(err, l.writer.store.close())
		l.writer = nil
	}
	return err
}

// verify checks the chain, off the data path, each time that the database was opened.
func (l *Log) verify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.opened:
		}
		reader, err := l.reading()
		if err != nil {
			continue // it failed again in between
		}
		_, err = (&Reader{db: reader, gentle: true}).Verify(ctx)
		if now, _ := l.reading(); now == reader && ctx.Err() == nil {
			l.verified(err)
		}
	}
}

// verified takes note of what a verification found. Where the chain was broken, one that holds now
// does not undo it.
func (l *Log) verified(err error) {
	broken := errors.As(err, new(*BrokenError))
	switch {
	case broken:
		err = fmt.Errorf("%w: keep a copy of %s, and find out who changed it", err, l.path)
	case err != nil:
		err = fmt.Errorf("the chain could not be verified: %w", err)
	}
	if broken || damaged(err) {
		l.system("The chain of the breach record is broken: what was recorded has been changed or is damaged. See /healthz.")
	}
	if err != nil {
		l.logger.Error("breach record: verification", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if broken || !errors.As(l.chain, new(*BrokenError)) {
		l.chain = err
	}
}
