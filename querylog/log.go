package querylog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/policy"
)

// The words of Settings.Mode.
const (
	None   = "none"
	Counts = "counts"
	Full   = "full"
)

// Settings is what a reload replaces.
type Settings struct {
	Mode string
	// Retention is how old a question may become, whatever Mode says now; CountsRetention the same of an hour's
	// counts.
	Retention, CountsRetention time.Duration
	// MaxBytes is how much all files of questions may take.
	MaxBytes int64
}

// Options is what a Log is made with.
type Options struct {
	// DataDir must exist. The files are in Dir(DataDir), and CountsPath(DataDir).
	DataDir  string
	Settings Settings
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Counts returns what has been counted since the start, which only grows. nil: nothing is counted.
	Counts func() []Count
	// Deleted is told what was deleted because its time was over, or to make room: what is an act as the audit names it. It may
	// wait for a few seconds. nil: nobody is.
	Deleted func(ctx context.Context, what, why, detail string)
	// MayDelete reports whether the clock is to be believed so far that what seems old may be deleted; nil: always.
	MayDelete func() bool
	// Logger may be nil. It is given neither a client nor a name.
	Logger *slog.Logger
	// Registerer takes the metrics; nil: nobody. The counter of lost records may be registered already.
	Registerer prometheus.Registerer
}

// Log writes the query log of a running resolver. Its methods are safe for concurrent use. Flush and Erase
// need Run to be running.
type Log struct {
	options Options
	full    atomic.Bool
	lanes   [lanes]lane
	lost    atomic.Uint64
	dropped prometheus.Counter

	wake     chan struct{} // holds one element when Run should look
	requests chan request
	done     chan struct{} // closed when Run has ended

	// Of New and then of Run alone.
	files      *appender
	counting   *counting
	texts      *texts
	packer     *packer
	block      []stored  // becomes the next one
	swept      time.Time // the day of the last sweep
	due        bool      // one is to come
	lostBefore uint64    // what was lost when it was last looked at

	mu       sync.Mutex
	settings Settings
	changed  bool // settings are new since the last turn
	status   Status
	lostAt   time.Time // when the newest loss was noticed
	broken   [2]error  // why questions, and counts, can't be stored now
}

// Status is how the log is.
type Status struct {
	Mode     string `json:"mode"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	// Oldest is the first day that has questions, "2026-11-20" in UTC; "" for none.
	Oldest string `json:"oldest"`
	// Waiting is how many questions wait for the disk, and Dropped how many were lost since the start.
	Waiting int    `json:"waiting"`
	Dropped uint64 `json:"dropped"`
}

// request is something that a caller has Run do, and waits for.
type request struct {
	do   func() error
	done chan error
}

// ErrClosed is what a Log returns once Run has ended.
var ErrClosed = errors.New("the query log is closed")

// New makes a Log. Nothing is opened or started; what can't be used later is said by Problems.
func New(o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.MayDelete == nil {
		o.MayDelete = func() bool { return true }
	}
	if o.Deleted == nil {
		o.Deleted = func(context.Context, string, string, string) {}
	}
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "schoolgate_records_dropped_total",
		Help: "Records that were lost because they could not be stored.",
	}, []string{"kind"})
	if err := o.Registerer.Register(dropped); err != nil {
		there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err)
		if !ok {
			return nil, fmt.Errorf("query log: %w", err)
		}
		if dropped, ok = there.ExistingCollector.(*prometheus.CounterVec); !ok {
			return nil, fmt.Errorf("query log: %w", err)
		}
	}
	l := &Log{
		options: o, wake: make(chan struct{}, 1), requests: make(chan request), done: make(chan struct{}),
		dropped: dropped.WithLabelValues("query"), texts: newTexts(), packer: newPacker(),
		files: newAppender(Dir(o.DataDir), o.Logger), counting: newCounting(o.DataDir, o.Settings.Mode, o.Counts),
	}
	l.Apply(o.Settings)
	return l, nil
}

// Apply puts settings in force, at once for what comes from now on. What was asked before is written as it was
// to be.
func (l *Log) Apply(s Settings) {
	l.mu.Lock()
	l.settings, l.changed = s, true
	l.mu.Unlock()
	l.full.Store(s.Mode == Full)
	l.nudge()
}

// Question takes a question from the data path. It does not wait: where there is no room the question is lost, and
// counted. lane keeps callers apart that would else wait for each other for a moment: any number will do.
func (l *Log) Question(lane int, q policy.Question) {
	if !l.full.Load() {
		return
	}
	kept, wake := l.lanes[uint(lane)%lanes].add(&q)
	if !kept {
		l.lose(1)
	}
	if wake {
		l.nudge()
	}
}

func (l *Log) lose(n int) {
	l.lost.Add(uint64(n))
	l.dropped.Add(float64(n))
}

func (l *Log) nudge() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

const (
	// writeEvery is how long a question waits in memory at most, as long as the disk takes it.
	writeEvery = 5 * time.Second
	// countEvery is how often it is looked what has been counted, beside the end of each hour.
	countEvery = 10 * time.Second
	// storeEvery is how often that is stored.
	storeEvery = time.Minute
)

// Run writes, until ctx ends; then it writes what has come by then. Its error is that this could not be done.
// Stop the resolver before.
func (l *Log) Run(ctx context.Context) error {
	defer close(l.done)
	work := context.WithoutCancel(ctx) // what is begun is not broken off
	l.files.tidy()
	if err := l.files.look(); err != nil {
		l.options.Logger.Error("query log: read which files there are", "error", err)
	}
	for ctx.Err() == nil {
		timer := time.NewTimer(min(writeEvery, l.untilHour()))
		var asked *request
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-l.wake:
		case r := <-l.requests:
			asked = &r
		}
		timer.Stop()
		err := l.turn(work, asked != nil)
		if asked != nil {
			if err == nil || asked.do != nil {
				err = asked.run()
			}
			asked.done <- err
		}
	}
	err := l.turn(work, true)
	return errors.Join(err, l.files.close(), l.counting.close())
}

// untilHour is how long this hour lasts.
func (l *Log) untilHour() time.Duration {
	now := l.options.Now()
	return now.Truncate(time.Hour).Add(time.Hour).Sub(now)
}

func (r *request) run() error {
	if r.do == nil {
		return nil
	}
	return r.do()
}

// turn writes what has come, and deletes what is over. With all it stores the counts, too, that are not due yet.
func (l *Log) turn(ctx context.Context, all bool) (err error) {
	defer func() {
		// A fault here must not stop the resolver, which runs in the same process.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			l.options.Logger.Error("query log: panic", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	l.mu.Lock()
	settings, changed := l.settings, l.changed
	l.changed = false
	l.mu.Unlock()
	now := l.options.Now()
	l.gather()
	l.due = l.due || changed || !l.swept.Equal(dayOf(now.UnixMilli()))
	if l.due && l.options.MayDelete() {
		l.sweep(ctx, settings, now)
	}
	questions := l.files.write(settings.MaxBytes, func() bool { return l.makeRoom(ctx, settings) })
	counts := l.counting.turn(ctx, settings.Mode, now, all)
	l.publish(settings, now, questions, counts)
	return errors.Join(questions, counts)
}

// publish is for Status and Problems.
func (l *Log) publish(settings Settings, now time.Time, broken ...error) {
	status := Status{
		Mode: settings.Mode, MaxBytes: settings.MaxBytes, Waiting: l.files.waiting(), Files: len(l.files.days), Bytes: l.files.bytes(),
	}
	if status.Files > 0 {
		status.Oldest = l.files.days[0].date.Format(time.DateOnly)
	}
	lost := l.lost.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = status
	for i, err := range broken {
		if (err == nil) != (l.broken[i] == nil) {
			l.say(i, err)
		}
		l.broken[i] = err
	}
	if lost > l.lostBefore {
		l.lostBefore, l.lostAt = lost, now
	}
}

func (l *Log) say(which int, err error) {
	what := [2]string{"questions", "counts"}[which]
	if err != nil {
		l.options.Logger.Error("query log: not stored; what waits is tried again", "what", what, "error", err)
		return
	}
	l.options.Logger.Info("query log: stored again", "what", what)
}

// gather makes blocks of what has come.
func (l *Log) gather() {
	l.lose(len(l.block)) // what a fault left there
	l.block = l.block[:0]
	var date time.Time // of what is in l.block
	for i := range l.lanes {
		w := l.lanes[i].take()
		start := uint32(0)
		for n := range w.entries {
			e := &w.entries[n]
			if e.at < date.UnixMilli() || e.at >= date.Add(dayTime).UnixMilli() || len(l.block) == maxBlock {
				l.pack(date)
				date = dayOf(e.at)
			}
			l.block = append(l.block, l.texts.stored(e, w.names[start:e.nameEnd]))
			start = e.nameEnd
		}
		l.lanes[i].giveBack(w)
	}
	if date.IsZero() { // nothing came
		l.texts.forget()
		clear(l.block[:cap(l.block)])
		return
	}
	l.pack(date)
}

// pack makes a block of what is in l.block.
func (l *Log) pack(date time.Time) {
	if n := len(l.block); n > 0 && !l.files.add(date, l.packer.pack(l.block), n) {
		l.lose(n)
	}
	l.block = l.block[:0]
}

// Status says how the log is.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.Mode, s.MaxBytes, s.Dropped = l.settings.Mode, l.settings.MaxBytes, l.lost.Load()
	return s
}

// lossLasts is for how long a loss is a problem. Status counts it until the next start.
const lossLasts = 15 * time.Minute

// Problems returns what is wrong now, a line for each, which stays the same for as long as its cause does.
func (l *Log) Problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	if l.broken[0] != nil {
		out = append(out, fmt.Sprintf("query log: questions can't be written, and wait in memory: %v", l.broken[0]))
	}
	if l.broken[1] != nil {
		out = append(out, fmt.Sprintf("query log: the hourly counts can't be stored, and wait in memory: %v", l.broken[1]))
	}
	if !l.lostAt.IsZero() && l.options.Now().Sub(l.lostAt) < lossLasts {
		out = append(out, "query log: questions were lost lately, as they could not be written, or not so fast (status says how many since the start)")
	}
	return out
}

// Flush writes what has come, and returns when readers see it.
func (l *Log) Flush(ctx context.Context) error { return l.request(ctx, request{}) }

// Erase takes a client's questions between two times, to excluded, out of the log, those too that are not
// written yet, and returns how many there were: see the function Erase.
func (l *Log) Erase(ctx context.Context, client string, from, to time.Time) (n int, err error) {
	err = l.request(ctx, request{do: func() error {
		first, last := bounds(from, to)
		n, err = l.files.erasePending(parseWho(client), first, last)
		if err != nil {
			return err
		}
		if err := l.files.close(); err != nil {
			l.options.Logger.Debug("query log: close before erasure", "error", err)
		}
		erased, err := Erase(ctx, l.options.DataDir, client, from, to)
		n += erased
		return errors.Join(err, l.files.look())
	}})
	return n, err
}

// request has Run do something, once it has written what came before.
func (l *Log) request(ctx context.Context, r request) error {
	r.done = make(chan error, 1)
	select {
	case l.requests <- r:
	case <-l.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sweep deletes what is older than it may become.
func (l *Log) sweep(ctx context.Context, s Settings, now time.Time) {
	if err := l.files.look(); err != nil {
		l.options.Logger.Error("query log: retention", "error", err)
		return // the next turn tries again
	}
	over := now.Add(-s.Retention)
	var old []day
	for _, d := range l.files.days {
		if !d.date.Add(dayTime).After(over) {
			old = append(old, d)
		}
	}
	failed := l.remove(ctx, old, "their time is over")
	if n, err := l.counting.expire(ctx, now.Add(-s.CountsRetention)); err != nil {
		failed = errors.Join(failed, err)
	} else if n > 0 {
		l.options.Deleted(ctx, "retention.counts", "their time is over", fmt.Sprintf("%d rows of hourly counts deleted", n))
	}
	if failed != nil {
		l.options.Logger.Error("query log: retention", "error", failed)
		return
	}
	l.swept, l.due = dayOf(now.UnixMilli()), false
}

// makeRoom deletes the oldest file, unless that is the only one.
func (l *Log) makeRoom(ctx context.Context, s Settings) bool {
	if len(l.files.days) < 2 {
		return false
	}
	why := fmt.Sprintf("the files reached store.query_log_mb, %d MiB: questions are kept for less than retention.queries", s.MaxBytes>>20)
	return l.remove(ctx, l.files.days[:1], why) == nil
}

// remove deletes files, and has it audited.
func (l *Log) remove(ctx context.Context, old []day, why string) error {
	var removed []string
	var failed error
	for _, d := range old {
		if err := l.files.closeOf(d.date); err != nil {
			l.options.Logger.Debug("query log: close before deletion", "error", err)
		}
		if err := os.Remove(d.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, err)
			continue
		}
		removed = append(removed, d.date.Format(time.DateOnly))
	}
	if len(removed) > 0 {
		failed = errors.Join(failed, l.files.look())
		l.options.Logger.Info("query log: files deleted", "days", removed, "why", why)
		l.options.Deleted(ctx, "retention.queries", why, deletedText(removed))
	}
	return failed
}
