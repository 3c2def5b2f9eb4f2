package resolver

import (
	"math/rand/v2"

	"schoolgate/clients"
	"schoolgate/resolver/dnswire"
)

// newTally returns a tally of who asks, for one reader.
func (r *Resolver) newTally() *clients.Tally {
	t := new(clients.Tally)
	r.tallies = append(r.tallies, t)
	return t
}

// Asked returns what each client has asked since it was last called, and how many questions of the same time are counted
// to nobody, as too many clients asked. A client may come several times.
func (r *Resolver) Asked() (asked []clients.Asked, lost uint64) {
	for _, t := range r.tallies {
		a, n := t.Take()
		asked, lost = append(asked, a...), lost+n
	}
	return asked, lost
}

// speakFor lets one query of a batch, any of them, count for the whole of it. Where packets come one by one, that is
// each; where there are many, what is noted costs each of them next to nothing.
func speakFor(batch []*query, tally *clients.Tally) {
	if len(batch) == 0 {
		return
	}
	q := batch[rand.IntN(len(batch))] //nolint:gosec // a sample, no secret
	q.weight, q.tally = uint32(len(batch)), tally
}

// noteAsker counts a query to its client's, where it is to. Neither this machine nor schoolgate's own checks are
// clients, nor is a forwarder that says for whom it asks, or the network that it names.
func (r *Resolver) noteAsker(q *query) {
	client := q.who.Client.Addr
	if q.unrecorded || q.network || client.IsLoopback() || !q.snapshot.CountClients || among(q.snapshot.Access.TrustedForwarders, client) {
		return
	}
	name := uint64(0)
	if q.status == dnswire.StatusOK && q.msg.Type == dnswire.TypeA { // each name is asked for by this type, and by others besides
		name = q.hash
	}
	tally := q.tally
	if tally == nil {
		tally = r.tallies[0]
	}
	tally.Note(client.WithZone(""), q.snapshot.counters.groups[q.who.Group].name, q.snapshot.shared[q.who.Group], q.weight, name)
}
