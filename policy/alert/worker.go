package alert

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"schoolgate/policy/breach"
)

const (
	// lookAgain is how often a receiver's queue is looked at when nothing wakes its worker: in case the
	// clock was set, or the outbox could not be read.
	lookAgain = 10 * time.Second
	// batch is how many alerts are read at once. Few: to a receiver that hangs each takes Timeout, and
	// what is new is looked at only after them.
	batch = 16
	// settleWithin is after how long what was delivered is noted, with all that was delivered in that time: after a
	// power cut no more than that is sent again, under the same ids.
	settleWithin = 100 * time.Millisecond
	// storeTime bounds the wait until the outbox has stored something.
	storeTime = 5 * time.Second
	// failing is after how many tries of one alert its receiver counts as failing.
	failing = 3
	// maxUnstored bounds the system messages that wait while the outbox can't be written, and
	// unstoredPause is how long after a failed try one of them is sent again.
	maxUnstored   = 100
	unstoredPause = 30 * time.Second
	// maxBackOff bounds the pause of a receiver that asks for fewer messages without saying how long, and
	// maxPause that of one that says so: what is new is more urgent than what it asked of the one before.
	maxBackOff, maxPause = time.Minute, time.Hour
)

// schedule holds the times between the tries: those of the Standard Webhooks specification.
var schedule = [...]time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// worker delivers to one receiver. It stays when the configuration no longer has the receiver, and does
// nothing then.
type worker struct {
	*Dispatcher
	name string
	wake chan struct{} // holds an element while there is something new

	revive    atomic.Bool               // what was given up is to be tried again
	unsettled map[string]breach.Outcome // run's own: outcomes that are not stored yet, by alert
	// Run's own, too: before when nothing is sent; how often in a row the receiver was too busy; when it last
	// took something; and for whom the mails that are still tried have been taken, by alert.
	free      time.Time
	throttled int
	took      time.Time
	taken     map[string]map[string]bool

	adding   sync.Mutex
	unstored []breach.Alert // system messages that are not in the outbox yet
}

func newWorker(d *Dispatcher, name string) *worker {
	return &worker{Dispatcher: d, name: name, wake: make(chan struct{}, 1), unsettled: map[string]breach.Outcome{}, taken: map[string]map[string]bool{}}
}

func (w *worker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default: // it is awake
	}
}

// receiver returns what the configuration has of the receiver now, nil where it is none to deliver to.
func (w *worker) receiver() *Receiver {
	if r := w.config.Load().receiver(w.name); r != nil && known(r.Type) {
		return r
	}
	return nil
}

// run delivers until ctx ends.
func (w *worker) run(ctx context.Context) {
	for {
		timer := time.NewTimer(w.turn(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// turn tries all that is due, and returns for how long nothing will be.
func (w *worker) turn(ctx context.Context) time.Duration {
	w.settle(ctx)
	w.store(ctx)
	if w.revive.Load() && w.outbox.Revive(ctx, w.name) == nil {
		w.revive.Store(false)
	}
	for {
		// Once more after a try: it may have put its alert off by less than the others.
		if tried, wait := w.tryDue(ctx); tried == 0 || ctx.Err() != nil {
			return wait
		}
	}
}

// tryDue tries some of what is due, and returns how many that were and, if none, for how long nothing
// will be.
func (w *worker) tryDue(ctx context.Context) (tried int, wait time.Duration) {
	alerts, err := w.outbox.Due(ctx, w.name, w.now().Add(lookAgain), batch)
	if err != nil {
		return 0, lookAgain // the record says why
	}
	defer w.settle(ctx)
	began := time.Now()
	for _, a := range alerts {
		if len(w.unsettled) > 0 && time.Since(began) > settleWithin {
			w.settle(ctx)
			began = time.Now()
		}
		r := w.receiver() // it may have changed since
		if r == nil || ctx.Err() != nil {
			return 0, lookAgain
		}
		if _, done := w.unsettled[a.ID]; done {
			continue
		}
		if wait := w.free.Sub(w.now()); wait > 0 && wait <= maxPause { // else the clock went back
			return tried, min(wait, lookAgain)
		}
		if ahead := a.Next.Sub(w.now()); ahead > 0 && !a.Next.IsZero() {
			return tried, min(ahead, lookAgain) // they are ordered
		}
		tried++
		if w.try(ctx, r, a) == breach.Gone {
			return tried, lookAgain // it gets nothing more
		}
	}
	return tried, lookAgain
}

// try tries to deliver an alert, records how that ended and returns it. What the end of ctx breaks off is no
// try.
func (w *worker) try(ctx context.Context, r *Receiver, a breach.Alert) breach.State {
	taken := w.taken[a.ID]
	if taken == nil {
		taken = map[string]bool{}
	}
	got := w.deliver(ctx, r, a, taken)
	if ctx.Err() != nil && got.code == 0 && !got.delivered {
		return breach.Pending
	}
	o := w.judge(r, a, got)
	if delete(w.taken, a.ID); o.State == breach.Pending && len(taken) > 0 {
		w.taken[a.ID] = taken
	}
	w.unsettled[a.ID] = o
	return o.State
}

// judge returns what becomes of an alert after a try, and tells IT where that does not look well.
func (w *worker) judge(r *Receiver, a breach.Alert, got answer) breach.Outcome {
	now := w.now()
	w.rest(r, got)
	tries := a.Attempts + 1
	o := breach.Outcome{State: breach.Pending, Status: got.text}
	switch {
	case got.delivered:
		o.State = breach.Delivered
		w.took = now
	case got.code == http.StatusGone:
		o.State = breach.Gone
	case tries >= len(schedule) && !w.took.IsZero() && !w.took.Before(a.Created):
		o.State = breach.Failed // it is this alert that it does not take
	case tries >= len(schedule):
		o.State = breach.Gone
	default:
		// Up to a tenth more, so that those who failed together do not come back together.
		wait := schedule[tries] + rand.N(schedule[tries]/10+1) //nolint:gosec // G404: nothing depends on its being hard to guess
		o.Next = now.Add(max(wait, got.retryAfter))
	}
	w.metrics.tried(w.name, o.State)
	if o.State == breach.Delivered {
		w.logger.Info("alert delivered", "receiver", w.name, "alert", a.ID, "answer", got.text)
		return o
	}
	w.logger.Warn("alert not delivered", "receiver", w.name, "alert", a.ID, "answer", got.text, "try", tries, "state", string(o.State))
	switch {
	case o.State == breach.Gone:
		w.system("The receiver "+w.name+" is disabled, for it takes no alerts: "+got.text+". They are kept. Once it works, schoolgate alert test "+
			w.name+" enables it.", w.name)
	case tries >= failing, got.lasting, o.State == breach.Failed:
		w.system("The receiver "+w.name+" does not take alerts. See /healthz, and schoolgate alert test "+w.name+".", w.name)
	}
	return o
}

// rest notes until when the receiver is sent nothing after an answer: for as long as its type asks, and, where
// it is too busy, for as long as it says, else for longer each time.
func (w *worker) rest(r *Receiver, got answer) {
	pause := pace(r.Type)
	switch {
	case got.delivered:
		w.throttled = 0
	case got.throttles():
		backOff := min(time.Second<<min(w.throttled, 10), maxBackOff)
		w.throttled++
		backOff += rand.N(backOff/10 + 1) //nolint:gosec // G404: nothing depends on its being hard to guess
		pause = max(pause, backOff, min(got.retryAfter, maxPause))
	}
	w.free = w.now().Add(pause)
}

// settle stores the outcomes that are not stored yet, also at a stop: else what was delivered would be sent again.
func (w *worker) settle(ctx context.Context) {
	if len(w.unsettled) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if w.outbox.Settle(ctx, maps.Clone(w.unsettled)) == nil { // it may be read for longer than is waited
		clear(w.unsettled)
	}
}

// add takes a system message. It does not wait.
func (w *worker) add(a breach.Alert) {
	w.adding.Lock()
	defer w.adding.Unlock()
	if len(w.unstored) < maxUnstored {
		w.unstored = append(w.unstored, a)
	}
	w.nudge()
}

// store puts the system messages into the outbox. When that fails they are sent from here: that the
// record can't be written is just what they may have to say.
func (w *worker) store(ctx context.Context) {
	w.adding.Lock()
	alerts := w.unstored
	w.unstored = nil
	w.adding.Unlock()
	if len(alerts) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := w.outbox.Enqueue(limited, alerts...); err == nil {
		return
	}
	for _, a := range alerts {
		if r := w.receiver(); r != nil && ctx.Err() == nil && !w.now().Before(a.Next) {
			got := w.deliver(ctx, r, a, map[string]bool{})
			if got.delivered {
				w.metrics.tried(w.name, breach.Delivered)
				continue
			}
			w.metrics.tried(w.name, breach.Failed)
			a.Next = w.now().Add(unstoredPause)
		}
		w.adding.Lock()
		w.unstored = append(w.unstored, a)
		w.adding.Unlock()
	}
}
