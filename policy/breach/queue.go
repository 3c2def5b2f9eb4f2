package breach

import (
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

const (
	// maxQueued is how many different events may wait for the writer: some 50 MB.
	maxQueued = 100_000
	// maxRemembered is above how many entries the queue forgets them all, which costs the writer a
	// look-up for each that comes again. Beside them those that wait are remembered.
	maxRemembered = 150_000
	// chunk is how many events are kept together, maxSpare how many chunks for the next turns.
	chunk    = 512
	maxSpare = 32
)

// queue takes events from the data path and merges equal ones. What it has seen it remembers over the
// turns, so that an event that comes again costs one look-up and no allocation. Safe for concurrent use.
type queue struct {
	max  int
	wake chan struct{} // holds one element while something waits

	mu         sync.Mutex
	remembered map[eventKey]*entry
	policy     *policy.Policy // the one by which the newest entry was judged
	forgetting bool           // at the next turn nothing is to be remembered
	turn       int64
	order      batch // as first seen in this turn
	count      int   // of order
	held       int   // events taken and not yet stored; they count against max
	spare      batch // empty
	lost       int64
	closed     bool
}

// eventKey is what makes two events the same one seen again. The category is an index, which only the
// policy gives a meaning; one that is now more severe is another event.
type eventKey struct {
	policy   *policy.Policy
	client   policy.Client
	name     blocklist.Name
	category int16
	severity policy.Severity
}

// entry is an event that is remembered.
type entry struct {
	turn   int64        // in which it came last
	at     int          // where it waits in the batch of that turn
	stored *knownBreach // the breach that it was at last; the writer's alone
}

// batch is the events of one turn, in chunks, so that none is moved when there come many.
type batch [][]pending

// pending is an event with the times that it was seen again in the same turn.
type pending struct {
	policy.Event
	entry *entry
	count int64
	last  time.Time
}

func newQueue() *queue {
	return &queue{max: maxQueued, wake: make(chan struct{}, 1), remembered: map[eventKey]*entry{}}
}

// add never waits for more than the mutex, which nobody holds for longer than a map operation. It
// reports whether the event was kept.
func (q *queue) add(e *policy.Event) bool {
	key := eventKey{e.Policy, e.Client, e.Name, e.Verdict.Category, e.Verdict.Severity}
	q.mu.Lock()
	seen := q.remembered[key]
	if seen != nil && seen.turn == q.turn {
		p := &q.order[seen.at/chunk][seen.at%chunk]
		p.count++
		if e.Time.After(p.last) {
			p.last = e.Time
		}
		q.mu.Unlock()
		return true
	}
	if q.closed || q.count+q.held >= q.max {
		q.lost++
		q.mu.Unlock()
		return false
	}
	if seen == nil {
		seen = &entry{}
		q.remembered[key] = seen
		if q.policy != e.Policy {
			// After a reload the old policy with its lists must not be held. Until this turn ends, both are
			// there, so that what waits is still merged.
			q.forgetting = q.forgetting || q.policy != nil
			q.policy = e.Policy
		}
	}
	seen.turn, seen.at = q.turn, q.count
	if q.count%chunk == 0 {
		q.order = append(q.order, q.empty())
	}
	last := &q.order[len(q.order)-1]
	*last = append(*last, pending{*e, seen, 1, e.Time})
	q.count++
	first := q.count == 1
	q.mu.Unlock()
	if first {
		q.nudge()
	}
	return true
}

// empty returns a chunk that is empty.
func (q *queue) empty() []pending {
	n := len(q.spare)
	if n == 0 {
		return make([]pending, 0, chunk)
	}
	c := q.spare[n-1]
	q.spare = q.spare[:n-1]
	return c
}

// nudge wakes the writer.
func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
}

// take hands over what waits, nil where nothing does. It is held, and counts against the bound, until
// release. In a quiet time nothing is remembered, so that no policy is held.
func (q *queue) take() batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.order
	q.order, q.held, q.count = nil, q.count, 0
	q.turn++
	if q.forgetting || len(q.remembered) > maxRemembered || q.held == 0 && q.policy != nil {
		q.remembered, q.policy, q.forgetting = map[eventKey]*entry{}, nil, false
	}
	return taken
}

// forget has the next turn begin with nothing remembered.
func (q *queue) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.forgetting = true
}

// release says that what was taken is stored. The batch is the queue's again.
func (q *queue) release(stored batch) {
	stored = stored[:min(len(stored), maxSpare)]
	for i, c := range stored {
		clear(c)
		stored[i] = c[:0]
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = 0
	for _, c := range stored {
		if len(q.spare) < maxSpare {
			q.spare = append(q.spare, c)
		}
	}
}

// lose counts n held events as lost.
func (q *queue) lose(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost += n
	q.held = 0
}

// close makes add refuse.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count + q.held
}

// losses returns how many events have been lost since the start.
func (q *queue) losses() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}
