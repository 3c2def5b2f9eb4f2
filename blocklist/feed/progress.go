package feed

import (
	"io"
	"sync"
	"time"
)

// reporter tells somebody how far a Load or an Update is, without telling him too often. The zero value
// tells nobody.
type reporter struct {
	to func(Progress)

	mu   sync.Mutex
	last Progress
	at   time.Time
}

// pace is the shortest time between two reports of one stage.
const pace = 100 * time.Millisecond

func (r *reporter) report(list, stage string, done, total int64) {
	if r.to == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := Progress{List: list, Stage: stage, Done: done, Total: total}
	same := p.List == r.last.List && p.Stage == r.last.Stage
	if same && (p == r.last || done != total && time.Since(r.at) < pace) {
		return
	}
	r.last, r.at = p, time.Now()
	r.to(p)
}

// reader reports what is read of r.
func (r *reporter) reader(in io.Reader, list string, total int64) io.Reader {
	if r.to == nil {
		return in
	}
	return &reportingReader{in: in, to: r, list: list, total: total}
}

type reportingReader struct {
	in          io.Reader
	to          *reporter
	list        string
	done, total int64
}

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.done += int64(n)
	r.to.report(r.list, "read", r.done, max(r.total, r.done))
	return n, err
}
