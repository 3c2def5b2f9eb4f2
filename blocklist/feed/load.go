package feed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"golang.org/x/sync/errgroup"

	"schoolgate/blocklist"
)

// Loader reads lists, compiles them, and remembers the last good content of each: in memory, and as
// copies and compiled snapshots in a directory. A source that is broken now then costs nothing but age.
// Safe for concurrent use.
type Loader struct {
	options  Options
	big      int64 // bytes of text from which on a list is compiled by itself
	room     int   // bytes that the names of all lists together may have
	copies   copies
	state    state
	reporter reporter
	fetcher  *fetcher

	updating   sync.Mutex                   // held by an Update
	asked      sync.Map                     // sources (string) that this process has asked for
	background atomic.Pointer[func(func())] // nil: work is done as it comes

	mu    sync.Mutex // held by a Load, and by an Update while it replaces a copy
	known map[loadKey]*content
	loads int

	parts   map[string]weak.Pointer[blocklist.Part] // by identity; who holds them is inForce and who uses the Sets
	inForce map[groupKey]*compiled                  // of the last Load
	kept    map[string]int                          // by identity: the last Load that used a snapshot
	sources []blocklist.Source                      // of set
	placed  []blocklist.Placed
	set     *blocklist.Set // the last one made
}

// bigText is some 1<<18 names. Each part costs every look-up some time, and each change of a list the
// compilation of all lists in its part: few lists of a school are longer, and the others are compiled
// within a second.
const bigText = 4 << 20

// New returns a Loader. It touches nothing.
func New(o Options) *Loader {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Never == nil {
		o.Never = NeverBlocked()
	}
	return &Loader{
		options:  o,
		big:      bigText,
		room:     blocklist.MaxNameBytes,
		copies:   copies{dir: o.Dir, readOnly: o.ReadOnly, identity: o.Identity},
		state:    state{path: statePath(o.Dir), readOnly: o.ReadOnly, log: o.Log},
		reporter: reporter{to: o.Progress},
		fetcher:  newFetcher(o.Resolver),
		known:    map[loadKey]*content{}, parts: map[string]weak.Pointer[blocklist.Part]{}, kept: map[string]int{},
	}
}

// loadKey is what makes two Specs the same list.
type loadKey struct {
	path, url, member, zone, builtin string
	format                           blocklist.Format
	addresses, confidential          bool
	locked                           bool
}

func keyOf(s Spec) loadKey {
	k := loadKey{
		path: s.Path, url: s.URL, member: s.Member, builtin: s.Builtin,
		format: s.Format, addresses: s.Addresses, confidential: s.Confidential, locked: s.Locked,
	}
	if s.Zone != nil {
		k.zone, k.format = s.Zone.String(), blocklist.FormatRPZ
	}
	return k
}

// source says where the text comes from, in whatever way it is read.
func (k loadKey) source() string {
	switch {
	case k.path != "":
		return k.path
	case k.url != "" && k.member != "":
		return k.url + " " + k.member
	case k.url != "":
		return k.url
	case k.zone != "":
		return "zone " + k.zone
	}
	return "builtin:" + k.builtin
}

// String is the source as people may see it.
func (k loadKey) String() string {
	if k.zone != "" {
		return k.zone
	}
	if u, err := url.Parse(k.url); err == nil && k.url != "" {
		return u.Redacted()
	}
	return k.source()
}

func (k loadKey) isFetched() bool { return k.url != "" || k.zone != "" }

// wanted is a list that some Specs ask for.
type wanted struct {
	key      loadKey
	id       string // of the first of them
	zone     *Zone
	own      []blocklist.Name
	canaries []blocklist.Name // of all of them
	// way is a digest of all that decides what comes of a text, and fit of that and of what a text must
	// have to be accepted.
	way, fit string
}

// want returns the lists of specs, each once, and for each Spec which one it is.
func want(specs []Spec, own []blocklist.Name) (lists []*wanted, of []int) {
	at := map[loadKey]int{}
	for _, s := range specs {
		k := keyOf(s)
		i, ok := at[k]
		if !ok {
			i = len(lists)
			at[k] = i
			w := &wanted{key: k, id: s.ID, zone: s.Zone}
			if !k.locked {
				w.own = own
			}
			lists = append(lists, w)
		}
		lists[i].canaries = append(lists[i].canaries, s.Canaries...)
		of = append(of, i)
	}
	for _, w := range lists {
		slices.Sort(w.canaries)
		w.canaries = slices.Compact(w.canaries)
		w.way = fingerprint(blocklist.PartVersion, w.key.format, w.key.addresses, w.own)
		w.fit = fingerprint(w.way, w.canaries)
	}
	return lists, of
}

// fingerprint is a digest of some values, as %q tells them apart.
func fingerprint(values ...any) string {
	sum := sha256.New()
	for _, v := range values {
		fmt.Fprintf(sum, "%q\n", v)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// keepSecrets marks as confidential each list whose source some category has as a confidential one: what
// one category must not show, another does not copy or print.
func keepSecrets(specs []Spec) []Spec {
	specs = slices.Clone(specs)
	secret := map[string]bool{}
	for _, s := range specs {
		source := keyOf(s).source()
		secret[source] = secret[source] || s.Confidential
	}
	for i, s := range specs {
		specs[i].Confidential = s.Confidential || s.Builtin == "" && secret[keyOf(s).source()]
	}
	return specs
}

// keepLoads is for how many Loads that do not ask for a list its content is kept: a configuration
// that is tried and refused must not cost the lists of the one that goes on serving.
const keepLoads = 4

// Load reads the lists of specs, as they are now on disk, and makes a set of them; Update is what
// gets those of servers there. What has not changed since it was last read or compiled is neither read
// nor compiled again. own are the site's own zones. When ctx ends, what has not been read has its error, and
// its last good content.
func (l *Loader) Load(ctx context.Context, specs []Spec, own []blocklist.Name) (result Result) {
	l.inBackground(func() { result = l.load(ctx, keepSecrets(specs), slices.Clone(own)) })
	return result
}

// SetBackground has run do the work of each Load and Update from now on, one thing after the other, as at
// low priority: it calls its argument and returns when that has. Before, a Load reads lists in parallel,
// as is right while nothing serves yet.
func (l *Loader) SetBackground(run func(work func())) { l.background.Store(&run) }

func (l *Loader) inBackground(work func()) {
	if run := l.background.Load(); run != nil {
		(*run)(work)
		return
	}
	work()
}

// loading is one Load.
type loading struct {
	*Loader
	ctx   context.Context
	specs []Spec
	of    []int                // for each Spec, its place in lists
	as    []blocklist.Category // for each Spec, what it counts as
	lists []*wanted
	now   []*content // for each list; nil where there is none
	errs  []error    // for each list: why its source can't be used
	// older has, for a Spec whose new content could not be compiled, what is served instead.
	older map[int]older

	groups map[groupKey]*compiled
	order  []groupKey // of groups
	// purge says that a list is secret which was not: older snapshots may have its names.
	purge bool
}

func (l *Loader) load(ctx context.Context, specs []Spec, own []blocklist.Name) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loads++
	l.state.once.Do(l.state.read) // before anything is written beside it
	run := &loading{Loader: l, ctx: ctx, specs: specs, older: map[int]older{}, groups: map[groupKey]*compiled{}}
	run.lists, run.of = want(specs, own)
	run.as = make([]blocklist.Category, len(specs))
	for i, s := range specs {
		run.as[i] = s.Category
		if on, _ := l.trial(s); on {
			run.as[i] = s.TrialCategory
		}
	}
	run.find()
	run.limit()
	run.compile()
	l.inForce = run.groups
	result := run.result()
	run.remember()
	run.sweep()
	return result
}

// find looks for the content of all lists. Those whose text is long go one by one, and each is compiled
// before the next is read: of their names there is one list's in memory at a time.
func (r *loading) find() {
	r.now, r.errs = make([]*content, len(r.lists)), make([]error, len(r.lists))
	wasSecret := make([]bool, len(r.lists))
	for i, w := range r.lists {
		wasSecret[i] = w.key.builtin != "" || r.state.get(w.key.source()).Secret
	}
	var long, short []int
	for i, w := range r.lists {
		if r.textSize(w.key) >= r.big {
			long = append(long, i)
		} else {
			short = append(short, i)
		}
	}
	r.each(short, func(i int) { r.now[i], r.errs[i] = r.content(r.ctx, r.lists[i], r.known[r.lists[i].key]) })
	for _, i := range long {
		w := r.lists[i]
		r.now[i], r.errs[i] = r.content(r.ctx, w, r.known[w.key])
		if c := r.now[i]; c != nil && c.list != nil && c.list.HasNames() && r.groupOf(i).list == w.key {
			r.compileGroup(r.groupOf(i))
		}
	}
	for i, w := range r.lists {
		isSecret := w.key.confidential || r.now[i] != nil && r.now[i].secret
		r.purge = r.purge || isSecret && !wasSecret[i]
	}
}

// each does something for each of some numbers: at once on all processors, but in the background, where
// who set the priority of this thread knows nothing of others.
func (l *Loader) each(of []int, do func(int)) {
	if l.background.Load() != nil {
		for _, i := range of {
			do(i)
		}
		return
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range of {
		g.Go(func() error {
			do(i)
			return nil
		})
	}
	_ = g.Wait() // there are no errors
}

// textSize is roughly how long the text of a list is; 0 where that is not known.
func (l *Loader) textSize(k loadKey) int64 {
	path := k.path
	if k.isFetched() {
		path = filepath.Join(l.options.Dir, stem(k.source())+clearCopy)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// checked is when the source of a list was last asked.
func (l *Loader) checked(k loadKey) time.Time {
	switch {
	case k.builtin != "":
		return time.Time{}
	case k.isFetched():
		return l.state.get(k.source()).Checked
	}
	return l.options.Now()
}

// limit leaves out the lists for which there is no room.
func (r *loading) limit() {
	room := r.room
	for i, w := range r.lists {
		if r.now[i] == nil {
			continue
		}
		if r.now[i].names > room { // those behind it must not pay for it
			r.errs[i] = errTooMany
			if r.now[i] = r.known[w.key]; r.now[i] == nil || r.now[i].names > room {
				r.now[i] = nil
				continue
			}
		}
		room -= r.now[i].names
	}
}

var errTooMany = fmt.Errorf("all lists together hold more than %d MB of names", blocklist.MaxNameBytes>>20)

// result says what became of each Spec, and makes the set.
func (r *loading) result() Result {
	out := make([]Loaded, len(r.specs))
	var sources []blocklist.Source
	source := make([]int, len(r.specs))
	for i, s := range r.specs {
		w := r.lists[r.of[i]]
		out[i] = Loaded{Spec: s, Err: r.errs[r.of[i]], Checked: r.checked(w.key)}
		c := r.now[r.of[i]]
		if c != nil {
			out[i].List, out[i].Modified, out[i].From = c.list, c.modified, c.from
		}
		if old, ok := r.older[i]; ok {
			out[i] = Loaded{Spec: s, Err: old.err, Checked: out[i].Checked}
			if c = old.content; c != nil {
				out[i].List, out[i].Modified, out[i].From = old.counts, old.content.modified, FromMemory
			}
		}
		if out[i].List == nil {
			continue
		}
		r.beginTrial(s)
		out[i].OnTrial, out[i].TrialEnds = r.trial(s)
		source[i] = len(sources)
		sources = append(sources, blocklist.Source{ID: s.ID, Category: r.as[i], List: out[i].List})
		if out[i].Err == nil {
			out[i].List = c.warned(out[i].List)
		}
	}
	placed := make([]blocklist.Placed, 0, len(r.order))
	for _, g := range r.order {
		p := blocklist.Placed{Part: r.groups[g].part}
		for _, m := range r.groups[g].members {
			p.Sources = append(p.Sources, source[m.spec])
		}
		placed = append(placed, p)
	}
	samePlaced := func(a, b blocklist.Placed) bool { return a.Part == b.Part && slices.Equal(a.Sources, b.Sources) }
	l := r.Loader
	if l.set == nil || !slices.Equal(sources, l.sources) || !slices.EqualFunc(placed, l.placed, samePlaced) {
		l.sources, l.placed, l.set = sources, placed, blocklist.NewSet(sources, placed)
	}
	return Result{Lists: out, Set: l.set}
}
