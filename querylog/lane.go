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
	names    map[string]string // the text of a name by its key
	policy   *policy.Policy    // of withheld
	withheld map[string]bool   // by a name's key: what Policy.Withholds says of it alone
	groups   []string
	client   policy.Client
	ip       string
}

// maxTexts bounds each of the maps, which are forgotten then.
const maxTexts = 20_000

func newTexts() *texts { return &texts{names: map[string]string{}} }

// stored returns what is written down of an entry.
func (t *texts) stored(e *entry, name []byte) stored {
	if t.policy != e.policy || len(t.withheld) > maxTexts {
		t.policy, t.withheld, t.groups = e.policy, map[string]bool{}, e.policy.Groups()
	}
	if t.client != e.client || t.ip == "" {
		t.client, t.ip = e.client, ""
		if e.client.Addr.IsValid() {
			t.ip = e.client.Addr.String()
		}
	}
	s := stored{
		at: e.at, client: Client{IP: t.ip, MAC: e.client.MAC, Name: e.client.Name, User: e.client.User},
		group: t.groups[e.group], category: e.policy.CategoryName(e.category), typ: e.typ, outcome: e.outcome, transport: e.transport,
	}
	withheld, known := t.withheld[string(name)]
	if !known {
		withheld = e.policy.Withholds(blocklist.Name(name), 0)
		t.withheld[string(name)] = withheld
	}
	if withheld || e.policy.Withholds("", e.listed) {
		s.name = Confidential
		return s
	}
	if s.name, known = t.names[string(name)]; !known {
		if len(t.names) > maxTexts {
			clear(t.names)
		}
		key := blocklist.Name(string(name))
		s.name = key.String()
		if s.name != "." {
			s.name += "."
		}
		t.names[string(key)] = s.name
	}
	return s
}

// forget lets go of the policy, and of names, in a quiet time.
func (t *texts) forget() { *t = *newTexts() }
