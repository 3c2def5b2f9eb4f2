package querylog

import (
	"sync"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

const (
	// lanes is into how many queues questions come, so that readers of sockets do not wait for each other.
	lanes = 16
	// maxLane is how many questions one lane holds: 5 MB. With so many as wakeAt Run is woken.
	maxLane = 32_768
	wakeAt  = 8_192
)

// lane is where questions wait for Run: without pointers to what is the caller's.
type lane struct {
	mu      sync.Mutex
	waiting waiting
	spare   waiting // empty
	_       [64]byte
}

// waiting is questions with their names one after the other.
type waiting struct {
	entries []entry
	names   []byte
}

// entry is a policy.Question without its name, which ends at nameEnd in names and begins where the one before ends.
type entry struct {
	at        int64 // Unix milliseconds
	client    policy.Client
	policy    *policy.Policy
	transport string
	outcome   string
	listed    blocklist.Categories
	nameEnd   uint32
	typ       uint16
	group     uint16
	category  int16
}

// add reports whether there was room, and whether Run should look now.
func (l *lane) add(q *policy.Question) (kept, wake bool) {
	at := q.Time.UnixMilli()
	l.mu.Lock()
	w := &l.waiting
	n := len(w.entries)
	if n >= maxLane {
		l.mu.Unlock()
		return false, true
	}
	w.names = append(w.names, q.Name...)
	w.entries = append(w.entries, entry{
		at: at, client: q.Client, policy: q.Policy, transport: q.Transport, outcome: q.Outcome, listed: q.Listed,
		nameEnd: uint32(len(w.names)), typ: q.Type, group: q.Group, category: q.Category,
	})
	l.mu.Unlock()
	return true, n+1 == wakeAt
}

// take hands over what waits. It is the caller's until it gives it back.
func (l *lane) take() waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiting
	l.waiting, l.spare = l.spare, waiting{}
	return w
}

// giveBack returns the room of what was taken. No policy, and no list, is held by it.
func (l *lane) giveBack(w waiting) {
	clear(w.entries)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = waiting{w.entries[:0], w.names[:0]}
}

// texts makes what is written down of what waits. One who asks for the same name again needs no new text.
type texts struct {
	names  map[string]string // what is written down of a name, by its key
	policy *policy.Policy    // which says so
	groups []string          // its groups
	client policy.Client     // the last one, whose address is ip
	ip     string
}

// maxTexts bounds the map, which is forgotten then.
const maxTexts = 20_000

func newTexts() *texts { return &texts{names: map[string]string{}} }

// stored returns what is written down of an entry.
func (t *texts) stored(e *entry, name []byte) stored {
	if t.policy != e.policy || len(t.names) > maxTexts {
		t.policy, t.groups = e.policy, e.policy.Groups()
		clear(t.names)
	}
	if t.client != e.client || t.ip == "" {
		t.client, t.ip = e.client, ""
		if e.client.Addr.IsValid() {
			t.ip = e.client.Addr.WithZone("").String() // a zone is this machine's name for an interface
		}
	}
	s := stored{
		at: e.at, client: Client{IP: t.ip, MAC: e.client.MAC, Name: e.client.Name, User: e.client.User},
		group: t.groups[e.group], category: e.policy.CategoryName(e.category), typ: e.typ, outcome: e.outcome, transport: e.transport,
	}
	if e.policy.Withholds("", e.listed) {
		s.name = Confidential
		return s
	}
	var known bool
	if s.name, known = t.names[string(name)]; !known {
		s.name = t.text(blocklist.Name(string(name)))
	}
	return s
}

// text is what is written down of a name, which is remembered.
func (t *texts) text(name blocklist.Name) (text string) {
	switch {
	case t.policy.Withholds(name, 0):
		text = Confidential
	case name == "\x00":
		text = "."
	default:
		text = name.String() + "."
	}
	t.names[string(name)] = text
	return text
}

// forget lets go of the policy, and of names, in a quiet time.
func (t *texts) forget() { *t = *newTexts() }
