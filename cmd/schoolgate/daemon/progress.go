package daemon

import (
	"sync"

	"schoolgate/blocklist/feed"
)

// progress tells whoever watches how far the Loader is. Safe for concurrent use.
type progress struct {
	mu       sync.Mutex
	watchers map[int]func(feed.Progress)
	next     int
}

// report is feed.Options.Progress.
func (p *progress) report(now feed.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, tell := range p.watchers {
		tell(now)
	}
}

// watch has tell called, which must not wait, until stop is.
func (p *progress) watch(tell func(feed.Progress)) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watchers == nil {
		p.watchers = map[int]func(feed.Progress){}
	}
	id := p.next
	p.next++
	p.watchers[id] = tell
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, id)
	}
}
