package resolver

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// A page of an allow-list (`only`) has scripts and pictures from elsewhere, which the allow-list refuses; no breach tells
// of them. So for each group that has one it is counted which names it refuses, and after which allowed name of the same
// client, for a person to decide what belongs to the page. Who asked is not kept but for those seconds.
const (
	// onlyAfter is for how long after an allowed name what is refused may be of the same page.
	onlyAfter = 10 * time.Second

	maxOnlyNames   = 2000 // of one group
	maxOnlyPages   = 8    // of one name
	onlyClients    = 256  // who asked last for something allowed: a later one takes an earlier one's place
	onlyPruneEvery = time.Minute
)

// OnlyRefused is a name that the allow-list of a group refused.
type OnlyRefused struct {
	Name blocklist.Name
	// After is how often it was asked for within ten seconds of an allowed name, by the same client, and Alone how often
	// without.
	After, Alone int
	Pages        []OnlyPage // after which, as many as fit
}

// OnlyPage is a name that an allow-list allows, and how often another was refused after it.
type OnlyPage struct {
	Name  blocklist.Name
	Count int
}

// onlyNotes counts for one group. Safe for concurrent use.
type onlyNotes struct {
	since time.Time

	mu     sync.Mutex
	lately [onlyClients]allowedLately
	names  map[blocklist.Name]*OnlyRefused
	pruned time.Time
	missed uint64 // refusals of names that there was no room for
}

// allowedLately is what one client was last allowed.
type allowedLately struct {
	client netip.Addr
	at     time.Time
	length uint8
	name   [dnswire.MaxName]byte
}

func newOnlyNotes(now time.Time) *onlyNotes {
	return &onlyNotes{since: now, names: map[blocklist.Name]*OnlyRefused{}}
}

// onlyNotesOf returns the notes of each group that has an allow-list, nil for the others. A group keeps those that it
// has.
func (r *Resolver) onlyNotesOf(p *policy.Policy) []*onlyNotes {
	now := time.Now()
	if r.now != nil {
		now = r.now()
	}
	kept := map[string]*onlyNotes{}
	notes := make([]*onlyNotes, len(p.Groups()))
	for i, group := range p.Groups() {
		if _, set := p.Only(uint16(i)); !set {
			continue
		}
		if kept[group] = r.only[group]; kept[group] == nil {
			kept[group] = newOnlyNotes(now)
		}
		notes[i] = kept[group]
	}
	r.only = kept
	return notes
}

// OnlyRefused returns what the allow-list of a group has refused since a time, those that followed allowed names most
// often first, and how many refusals are not among them for want of room. ok is false where it has none.
func (r *Resolver) OnlyRefused(group string) (since time.Time, refused []OnlyRefused, missed uint64, ok bool) {
	s := r.snapshot.Load()
	i := slices.Index(s.policy.Groups(), group)
	if i < 0 || s.only[i] == nil {
		return since, nil, 0, false
	}
	n := s.only[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, one := range n.names {
		of := *one
		of.Pages = slices.Clone(one.Pages)
		refused = append(refused, of)
	}
	slices.SortFunc(refused, func(a, b OnlyRefused) int { return cmp.Or(b.After-a.After, cmp.Compare(a.Name, b.Name)) })
	return n.since, refused, n.missed, true
}

// noteOnly takes note of a query of a group with an allow-list: by A, which each name is asked for by, and by others
// besides. Of queries that come together it is one (speakFor), so that a flood costs next to nothing: a page's come one
// after the other, as a browser reads it.
func (n *onlyNotes) noteOnly(q *query) {
	v := &q.verdict
	refused := v.Action == policy.Block && v.Category == policy.CategoryOnly
	allowed := (v.Action == policy.Passthru || v.Action == policy.Monitor) && !v.Allowed
	if q.weight == 0 || q.unrecorded || q.msg.Type != dnswire.TypeA || !refused && !allowed || !n.mu.TryLock() {
		return // where somebody else is at it: this is a sample then
	}
	defer n.mu.Unlock()
	client := q.who.Client.Addr
	lately := &n.lately[placeOfClient(client)]
	if allowed {
		lately.client, lately.at = client, q.at
		lately.length = uint8(copy(lately.name[:], q.msg.Name()))
		return
	}
	var page []byte
	if age := q.at.Sub(lately.at); lately.client == client && age >= 0 && age <= onlyAfter {
		page = lately.name[:lately.length]
	}
	n.refuse(q.msg.Name(), page, q.at)
}

// placeOfClient spreads the devices of a class, whose addresses differ at the end.
func placeOfClient(client netip.Addr) int {
	octets := client.As16()
	return int(octets[15]+31*octets[14]+octets[13]+octets[9]) % onlyClients
}

// refuse counts a refusal, after a page or, for nil, alone. The caller holds mu.
func (n *onlyNotes) refuse(name, page []byte, now time.Time) {
	one := n.names[blocklist.Name(name)]
	if one == nil {
		if len(n.names) >= maxOnlyNames {
			n.prune(now)
		}
		if len(n.names) >= maxOnlyNames {
			n.missed++
			return
		}
		one = &OnlyRefused{Name: blocklist.Name(name)}
		n.names[one.Name] = one
	}
	if page == nil {
		one.Alone++
		return
	}
	one.After++
	for i := range one.Pages {
		if p := &one.Pages[i]; string(p.Name) == string(page) {
			p.Count++
			return
		}
	}
	if len(one.Pages) < maxOnlyPages {
		one.Pages = append(one.Pages, OnlyPage{blocklist.Name(page), 1})
	}
}

// prune forgets the quarter of the names that followed allowed ones least often, once a minute at most: whoever asks for
// names that there are not pushes out no others for long, and costs little. The caller holds mu.
func (n *onlyNotes) prune(now time.Time) {
	if since := now.Sub(n.pruned); since >= 0 && since < onlyPruneEvery {
		return
	}
	n.pruned = now
	least := slices.SortedFunc(maps.Values(n.names), func(a, b *OnlyRefused) int {
		return cmp.Or(a.After-b.After, a.Alone-b.Alone, cmp.Compare(a.Name, b.Name))
	})
	for _, one := range least[:len(least)/4] {
		delete(n.names, one.Name)
	}
}
