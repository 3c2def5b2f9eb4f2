package breach

import (
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// maxQueued is how many different events may wait for the writer: some 30 MB.
const maxQueued = 100_000

// queue takes events from the data path and merges equal ones. Safe for concurrent use.
type queue struct {
	max  int
	wake chan struct{} // holds one element while something waits

	mu     sync.Mutex
	events map[eventKey]*event
	order  []*event // as first seen
	held   int      // events taken and not yet stored; they count against max
	lost   int64
	closed bool
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

// event is an event with the times that it was seen again.
type event struct {
	policy.Event
	count int64
	last  time.Time
}

func newQueue() *queue {
	return &queue{max: maxQueued, wake: make(chan struct{}, 1), events: map[eventKey]*event{}}
}

// add never waits for more than the mutex, which nobody holds for longer than a map operation. It
// reports whether the event was kept.
func (q *queue) add(e policy.Event) bool {
	key := eventKey{e.Policy, e.Client, e.Name, e.Verdict.Category, e.Verdict.Severity}
	q.mu.Lock()
	if known := q.events[key]; known != nil {
		known.count++
		if e.Time.After(known.last) {
			known.last = e.Time
		}
		q.mu.Unlock()
		return true
	}
	if q.closed || len(q.order)+q.held >= q.max {
		q.lost++
		q.mu.Unlock()
		return false
	}
	added := &event{Event: e, count: 1, last: e.Time}
	q.events[key] = added
	q.order = append(q.order, added)
	q.mu.Unlock()
	q.nudge()
	return true
}

// nudge wakes the writer.
func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
}

// take hands over what waits. It is held, and counts against the bound, until release.
func (q *queue) take() []*event {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.order
	q.order, q.held = nil, len(taken)
	if len(q.events) > 1024 {
		q.events = map[eventKey]*event{} // to clear a large one would make the data path wait
	} else {
		clear(q.events)
	}
	return taken
}

// release says that what was taken is stored.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = 0
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
	return len(q.order) + q.held
}

// losses returns how many events have been lost since the start.
func (q *queue) losses() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}
