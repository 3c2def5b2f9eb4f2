package clients

import (
	"net/netip"
	"sync"
)

// Tally counts who asks, until Take. It is for one reader of a socket, who then never waits for another: the lock is for
// whoever takes it away. Safe for concurrent use. The zero value is empty.
type Tally struct {
	mu    sync.Mutex
	index map[netip.Addr]int32 // in asked
	asked []Asked
	lost  uint64
}

// Asked is what one client asked.
type Asked struct {
	Client    netip.Addr
	Group     string
	Shared    bool // many people are known to be behind it
	Questions uint64
	Names     Sketch
}

// maxTally bounds the clients of a Tally: a flood from forged addresses takes a megabyte.
const maxTally = 8192

// Note counts questions of a client, which has no zone. name is the hash of the name of one of them; 0: it does not
// count.
func (t *Tally) Note(client netip.Addr, group string, shared bool, questions uint32, name uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, known := t.index[client]
	if !known {
		if len(t.asked) == maxTally {
			t.lost += uint64(questions)
			return
		}
		if t.index == nil {
			t.index = map[netip.Addr]int32{}
		}
		i = int32(len(t.asked))
		t.index[client] = i
		t.asked = append(t.asked, Asked{Client: client})
	}
	a := &t.asked[i]
	a.Group, a.Shared = group, shared
	a.Questions += uint64(questions)
	if name != 0 {
		a.Names.Add(name)
	}
}

// Take empties t: it returns who asked, who owns that then, and how many questions were of more clients than fit.
func (t *Tally) Take() (asked []Asked, lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked, lost = t.asked, t.lost
	t.asked, t.lost = nil, 0
	clear(t.index)
	return asked, lost
}
