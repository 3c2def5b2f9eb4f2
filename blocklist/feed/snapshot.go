package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"weak"

	"schoolgate/blocklist"
)

// groupKey names the lists that are compiled together: a long one by itself, all confidential ones, and
// all others. So a change of one compiles few others anew, and what a look-up costs, which grows with the
// number of parts, stays low.
type groupKey struct {
	secret bool
	list   loadKey // of the long list; zero where they are several
}

// groupOf returns the group of a list, by its place in lists. It has content.
func (r *loading) groupOf(list int) groupKey {
	c, w := r.now[list], r.lists[list]
	switch {
	case c.secret:
		return groupKey{secret: true}
	case c.size >= r.big:
		return groupKey{list: w.key}
	}
	return groupKey{}
}

// compiled is a group as it was compiled.
type compiled struct {
	id      string // its identity
	part    *blocklist.Part
	members []member
}

// member is one list of a part, for one Spec.
type member struct {
	spec, list int // their places in the Load
	key        loadKey
	content    *content
	category   blocklist.Category
	counts     *blocklist.List
}

// older is what is served for a Spec whose list could not be compiled: nothing where it has no content.
type older struct {
	member
	err error
}

// compile compiles all groups.
func (r *loading) compile() {
	early := r.groups // which recall finds as long as they are held
	r.groups = map[groupKey]*compiled{}
	defer runtime.KeepAlive(early)
	done := map[groupKey]bool{}
	for i := range r.specs {
		if r.now[r.of[i]] == nil {
			continue
		}
		g := r.groupOf(r.of[i])
		if done[g] {
			continue
		}
		done[g] = true
		if r.compileGroup(g); r.groups[g] != nil {
			r.order = append(r.order, g)
		}
	}
}

// compileGroup puts a group in force: as it is in memory, or as its snapshot has it, or compiled from its
// lists. A list whose names cannot be had is left out, unless an older part has it: that stays then.
func (r *loading) compileGroup(g groupKey) {
	for {
		members := r.members(g)
		if len(members) == 0 {
			return
		}
		id := identity(g.secret, members)
		part := r.recall(id, g.secret, len(members))
		isNew := part == nil
		if isNew {
			lists, failed, err := r.listsOf(members)
			if err != nil {
				if !r.keepOlder(g, members, failed, err) {
					r.leaveOut(members[failed], err)
					continue
				}
				return
			}
			part = r.makePart(g, members, lists)
			r.parts[id] = weak.Make(part)
		}
		for i, stats := range part.Lists() {
			c := members[i].content
			if c.list == nil {
				c.list = stats
			}
			if c.list.HasNames() && (c.isStored && !c.secret || members[i].key.builtin != "") {
				c.list.Release()
			}
			members[i].counts = c.list
		}
		if !g.secret {
			r.saveSnapshot(id, part, isNew)
		}
		r.groups[g] = &compiled{id: id, part: part, members: members}
		return
	}
}

// members returns the lists of a group, in the order of their Specs.
func (r *loading) members(g groupKey) (members []member) {
	for i := range r.specs {
		at := r.of[i]
		if c := r.now[at]; c != nil && r.groupOf(at) == g {
			members = append(members, member{spec: i, list: at, key: r.lists[at].key, content: c, category: r.as[i]})
		}
	}
	return members
}

// identity says what comes of compiling some lists: equal ones are interchangeable.
func identity(secret bool, members []member) string {
	sum := sha256.New()
	fmt.Fprintln(sum, blocklist.PartVersion, secret)
	number := map[blocklist.Category]int{}
	for _, m := range members {
		if _, ok := number[m.category]; !ok {
			number[m.category] = len(number)
		}
		fmt.Fprintf(sum, "%x %d %s %d\n", m.content.sum, m.content.size, m.content.way, number[m.category])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// listsOf returns the lists of members, with their names; or one of them that can't be had, and why.
func (r *loading) listsOf(members []member) (lists []*blocklist.List, failed int, err error) {
	lists = make([]*blocklist.List, len(members))
	var firsts []int
	byList := map[int]int{} // the first member of each list
	for i, m := range members {
		if _, ok := byList[m.list]; !ok {
			byList[m.list] = i
			firsts = append(firsts, i)
		}
	}
	errs := make([]error, len(members))
	r.each(firsts, func(i int) { lists[i], errs[i] = r.listOf(r.ctx, r.lists[members[i].list], members[i].content) })
	for i, m := range members {
		if err := errs[i]; err != nil {
			return nil, i, err
		}
		lists[i] = lists[byList[m.list]]
	}
	return lists, 0, nil
}

// makePart compiles lists that have their names. Those that were read only for that are released.
func (r *loading) makePart(g groupKey, members []member, lists []*blocklist.List) *blocklist.Part {
	id, total := "", int64(0)
	if g.list != (loadKey{}) {
		id = r.specs[members[0].spec].ID
	}
	in := make([]blocklist.Member, len(members))
	for i, m := range members {
		in[i] = blocklist.Member{List: lists[i], Category: m.category}
		total += int64(lists[i].Entries())
	}
	part := blocklist.CompilePart(in, rand.Uint64(), func(done float64) { //nolint:gosec // ChaCha8 with a seed of the system's
		r.reporter.report(id, "compile", int64(done*float64(total)), total)
	})
	for i, m := range members {
		switch c := m.content; {
		case c.list == nil || !c.isStored && m.key.builtin == "":
			c.list = lists[i]
		case c.list != lists[i]:
			lists[i].Release()
		}
	}
	return part
}

// leaveOut has a list serve nothing.
func (r *loading) leaveOut(m member, err error) {
	r.now[m.list] = nil
	delete(r.known, m.key)
	if r.errs[m.list] == nil {
		r.errs[m.list] = err
	}
}

// keepOlder leaves in force what a group was before, whole: a name may be in a part by its parent's entry
// in another list of the category, so none of its lists serves without the others. It reports false where
// that is not to be had: the list that failed is not in it, or the configuration has not got all of its lists
// any more, each in the category that it shared with others.
func (r *loading) keepOlder(g groupKey, members []member, failed int, cause error) bool {
	old := r.Loader.inForce[g]
	if old == nil {
		return false
	}
	specs := map[loadKey][]int{}
	for i := range r.specs {
		k := r.lists[r.of[i]].key
		specs[k] = append(specs[k], i)
	}
	now := &compiled{id: old.id, part: old.part}
	before := map[int]member{}                              // by Spec
	category := map[blocklist.Category]blocklist.Category{} // from then to now
	for _, m := range old.members {
		left := specs[m.key]
		if len(left) == 0 {
			return false
		}
		m.spec, specs[m.key] = left[0], left[1:]
		m.list = r.of[m.spec]
		if as, ok := category[m.category]; ok && as != r.as[m.spec] {
			return false
		}
		category[m.category], m.category = r.as[m.spec], r.as[m.spec]
		now.members = append(now.members, m)
		before[m.spec] = m
		if c := r.now[m.list]; c != nil && c.secret != g.secret {
			return false
		} else if c == nil {
			r.older[m.spec] = older{member: m, err: r.errs[m.list]}
		}
	}
	if _, ok := before[members[failed].spec]; !ok {
		return false
	}
	for _, m := range members {
		o := older{member: before[m.spec], err: r.errs[m.list]}
		var why error
		if m.list == members[failed].list {
			why = cause
		} else if o.content == nil || o.content.digest != m.content.digest {
			why = fmt.Errorf("not in force yet: list %s, compiled together with it, cannot be read again", members[failed].key)
		}
		if o.err == nil {
			o.err = why
		} else if why != nil {
			o.err = fmt.Errorf("%w; %w", o.err, why)
		}
		r.older[m.spec] = o
	}
	r.groups[g] = now
	if _, ok := r.kept[old.id]; ok {
		r.kept[old.id] = r.loads
	}
	return true
}

// recall returns a part that is in memory, or has a snapshot; nil where neither is so.
func (r *loading) recall(id string, secret bool, members int) *blocklist.Part {
	if p := r.parts[id].Value(); p != nil {
		return p
	}
	if secret || r.options.Dir == "" {
		return nil
	}
	part, err := r.readSnapshot(id)
	if err == nil && len(part.Lists()) != members {
		err = fmt.Errorf("%w: it is of %d lists", blocklist.ErrDamaged, len(part.Lists()))
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		r.options.Log.Warn("snapshot of compiled lists refused: they are compiled again", "file", r.snapshotPath(id), "error", err)
		return nil
	}
	r.parts[id] = weak.Make(part)
	return part
}

const snapshotFile = ".part"

func (l *Loader) snapshotPath(id string) string {
	return filepath.Join(l.options.Dir, id+snapshotFile)
}

func (l *Loader) readSnapshot(id string) (*blocklist.Part, error) {
	f, err := os.Open(l.snapshotPath(id))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return blocklist.ReadPart(f)
}

// saveSnapshot writes a part for the next start, unless it is not new and a file is there.
func (r *loading) saveSnapshot(id string, part *blocklist.Part, isNew bool) {
	if r.options.Dir == "" || r.options.ReadOnly {
		return
	}
	path := r.snapshotPath(id)
	_, isKnown := r.kept[id]
	r.kept[id] = r.loads
	if _, err := os.Stat(path); err == nil && !isNew {
		if now := r.options.Now(); !isKnown {
			_ = os.Chtimes(path, now, now) // sweep goes by it
		}
		return
	}
	r.reporter.report("", "write", 0, int64(part.Bytes()))
	err := writeFile(path, func(w io.Writer) error {
		_, err := part.WriteTo(w)
		return err
	})
	if err != nil {
		r.options.Log.Warn("no snapshot of compiled lists: the next start compiles them again", "error", err)
	}
	r.reporter.report("", "write", int64(part.Bytes()), int64(part.Bytes()))
}
