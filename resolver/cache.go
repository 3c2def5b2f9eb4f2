package resolver

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
	"time"
	"unsafe"

	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// cache holds what upstreams said, never what policy said, so that all groups share it and a reload
// needs no flush. It is split into shards, each with a lock of its own that is held for as long as
// copying an answer takes.
//
// A shard's answers stand one behind the other in a ring of bytes (record) and are found through a hash
// table of places in it: no pointers, so that the garbage collector has nothing to follow, however many
// answers there are. The ring grows by segments up to a bound, so what is kept is bounded in bytes and
// in entries. When room is needed the oldest goes, unless it has been asked for since it was written:
// then it is written anew at the other end (CLOCK, Corbató 1968, which comes close to least recently
// used, and of which a hit writes one bit).
//
// The hash is seeded, so that nobody can choose names that meet; the record holds the whole question, so
// that two with one hash never get each other's answer.
type cache struct {
	seed   maphash.Seed
	shards []cacheShard // a power of two; none: nothing is kept
}

const (
	// maxShards is well above the number of readers, and what one shard does at a time stays short.
	maxShards = 256
	// entriesPerShard is how many a shard has at least, so that a small cache is not all rounding.
	entriesPerShard = 64
	// entryBytes is how many bytes each entry that the configuration allows may take on average. Without
	// DNSSEC they take 150 to 300.
	entryBytes  = 512
	segmentSize = 16 << 10
	// maxRecord is the size of the largest answer that is kept: one must not push out many.
	maxRecord = segmentSize / 2
	// maxRescued bounds how many answers are written anew to make room for one.
	maxRescued = 4
)

func newCache(entries int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	if entries <= 0 {
		return c
	}
	shards := 1
	for shards < maxShards && entries/(2*shards) >= entriesPerShard {
		shards *= 2
	}
	c.shards = make([]cacheShard, shards)
	each := (entries + shards - 1) / shards
	for i := range c.shards {
		c.shards[i].most = each
		c.shards[i].mostSegments = max(1, each*entryBytes/segmentSize)
	}
	return c
}

// The parts of a question's key: type, flags and pool follow the name.
const (
	questionKeyMore = 2 + 1 + 8

	questionDO = 1 << 0
	questionCD = 1 << 1
	// questionCut says that it is no question: see appendCutKey.
	questionCut = 1 << 2
)

// appendQuestionKey appends what tells one cached answer from another: the name's key, the type, the
// DO and CD bits, and the pool that was asked. The class is always IN.
func appendQuestionKey(dst, name []byte, typ uint16, do, cd bool, poolID uint64) []byte {
	var flags byte
	if do {
		flags |= questionDO
	}
	if cd {
		flags |= questionCD
	}
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint16(dst, typ)
	dst = append(dst, flags)
	return binary.BigEndian.AppendUint64(dst, poolID)
}

// hash returns the hash of a question.
func (c *cache) hash(question []byte) uint64 { return maphash.Bytes(c.seed, question) }

// shardOf returns the shard that has the questions of a hash.
func (c *cache) shardOf(hash uint64) *cacheShard { return &c.shards[hash&uint64(len(c.shards)-1)] }

// shard returns the one that has the question, and the question's hash.
func (c *cache) shard(question []byte) (*cacheShard, uint64) {
	hash := c.hash(question)
	return c.shardOf(hash), hash
}

// A look-up waits for two places of memory, the slot and then the record. For a batch of questions the
// waits can be at the same time: warmSlot asks for the one of a hash, and warmRecord then for the other.
// They change nothing.
func (c *cache) warmSlot(hash uint64) {
	if len(c.shards) == 0 {
		return
	}
	s := c.shardOf(hash)
	s.mu.Lock()
	if len(s.table) > 0 {
		prefetch(unsafe.Pointer(&s.table[s.home(hash)])) //nolint:gosec // G103: only brought near
	}
	s.mu.Unlock()
}

func (c *cache) warmRecord(hash uint64) {
	if len(c.shards) == 0 {
		return
	}
	s := c.shardOf(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.table) == 0 {
		return
	}
	for i := s.home(hash); s.table[i] != 0; i = s.after(i) {
		if slot := s.table[i]; tagOf(slot) == tagOf(hash) {
			place := placeOf(slot)
			segment := s.segments[place/segmentPlaces]
			at := place % segmentPlaces * 8
			for line := at; line < min(at+192, len(segment)); line += 64 {
				prefetch(unsafe.Pointer(&segment[line])) //nolint:gosec // G103: only brought near
			}
			return
		}
	}
}

// cached is what the cache has for a question.
type cached struct {
	found  bool
	rcode  uint16
	facts  facts // where there is a record, also when there is no answer to be had from it
	serial uint64
	// stale says that there is an answer whose time is over: getStale has it.
	stale bool
	// refresh says that the answer is to be asked for anew: it is asked for, and will run out soon.
	refresh bool
}

// get appends the answer to the question to dst, with times to live as they are at now, at most limit
// seconds.
func (c *cache) get(dst, question []byte, hash uint64, now time.Time, limit uint32) ([]byte, cached) {
	if len(c.shards) == 0 {
		return dst, cached{}
	}
	s := c.shardOf(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(hash, question)
	if r == nil {
		return dst, cached{}
	}
	elapsed, left := r.elapsed(now)
	if left <= 0 {
		return dst, cached{stale: !r.isBare(), facts: r.facts()}
	}
	flags := r.flags()
	refresh := flags&(recordUsed|recordRefreshed) == recordUsed && left*refreshShare <= int64(r.ttl())
	if refresh {
		flags |= recordRefreshed
	}
	if flags |= recordUsed; flags != r.flags() {
		r.setFlags(flags)
	}
	dst, hit := r.appendTo(dst, elapsed, limit)
	hit.refresh = refresh
	return dst, hit
}

// refreshShare is the part of its time that an answer has left when it is asked for anew: the tenth that
// Unbound and others have.
const refreshShare = 10

// getStale is get for an answer whose time has been over for less than so many seconds, or is not.
func (c *cache) getStale(dst, question []byte, now time.Time, limit, over uint32) ([]byte, cached) {
	if len(c.shards) == 0 {
		return dst, cached{}
	}
	s, hash := c.shard(question)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(hash, question)
	if r == nil {
		return dst, cached{}
	}
	if _, left := r.elapsed(now); r.isBare() || left <= 0 && -left >= int64(over) {
		return dst, cached{}
	}
	return r.appendTo(dst, 0, limit)
}

// failures remembers which questions could not be answered (RFC 9520). It is a cache of its own, so that a
// flood of names under a dead upstream pushes out no answer, and it is there where the other is turned off.
type failures struct {
	cache *cache
	// last is until when, in Unix nanoseconds, the latest one is remembered: as a rule there is none.
	last atomic.Int64
}

func newFailures() *failures { return &failures{cache: newCache(maxCalls)} }

// add remembers a failure for so many seconds.
func (f *failures) add(question []byte, now time.Time, ttl uint32) {
	if until := now.Add(time.Duration(ttl) * time.Second).UnixNano(); until > f.last.Load() {
		f.last.Store(until)
	}
	f.cache.put(&entry{question: question, stored: now, ttl: ttl}, facts{})
}

// has reports whether a failure of the question is remembered.
func (f *failures) has(question []byte, now time.Time) bool {
	if now.UnixNano() > f.last.Load() {
		return false
	}
	_, found := f.cache.get(nil, question, f.cache.hash(question), now, 0)
	return found.found
}

// learn keeps the facts with the answer that get found, if it is still there.
func (c *cache) learn(question []byte, of cached, f facts) {
	if !of.found {
		return
	}
	s, hash := c.shard(question)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.find(hash, question); r != nil && r.serial() == of.serial { // another answer leads elsewhere
		r.setFacts(f)
	}
}

// learnBare keeps the facts of a name whose question is blocked before anybody asks upstream, so that the next
// one need not be looked up in the lists.
func (c *cache) learnBare(question []byte, now time.Time, f facts) {
	if len(c.shards) == 0 {
		return
	}
	s, hash := c.shard(question)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r := s.find(hash, question); {
	case r == nil:
		s.put(hash, &entry{question: question, stored: now}, f)
	case r.isBare():
		r.setFacts(f)
	}
}

// put keeps an answer, if it is to be kept at all.
func (c *cache) put(e *entry, f facts) {
	if len(c.shards) == 0 || e.ttl == 0 {
		return
	}
	s, hash := c.shard(e.question)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(hash, e, f)
}

// len is how many answers are kept, and how many bytes are set aside for them.
func (c *cache) len() (entries, size int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		entries += s.live
		size += len(s.segments)*segmentSize + 8*len(s.table)
		s.mu.Unlock()
	}
	return entries, size
}

// entry is an answer on its way into the cache and to those who wait for it. It is immutable from then on.
type entry struct {
	question []byte // as appendQuestionKey makes it
	msg      []byte // dnswire.Answer.Msg
	ttls     []uint16
	rcode    uint16
	stored   time.Time
	ttl      uint32 // seconds; 0: not to be kept
}

// newEntry makes an entry of an upstream's answer, its times to live brought within bounds. ttl 0
// says that it is for those who wait for it, and not to be kept: nothing says for how long it is
// true, or it is not what the cache is for (RFC 2308 §5).
func newEntry(question []byte, a dnswire.Answer, now time.Time, times CacheTimes) *entry {
	most := seconds(times.MaxTTL)
	if a.Negative {
		most = min(most, seconds(times.NegativeTTL))
	}
	ttl := dnswire.BoundTTLs(a.Msg, a.TTLs, min(seconds(times.MinTTL), most), most)
	if a.Rcode != dnswire.RcodeSuccess && a.Rcode != dnswire.RcodeNXDomain || a.Negative && !a.SOA || len(a.TTLs) == 0 {
		ttl = 0
	}
	return &entry{question: question, msg: a.Msg, ttls: a.TTLs, rcode: a.Rcode, stored: now, ttl: ttl}
}

// stripECH takes the keys of Encrypted Client Hello out of an answer that nobody has yet.
func (e *entry) stripECH() {
	if stripped, ttls := dnswire.StripECH(e.msg); stripped != nil {
		e.msg, e.ttls = stripped, ttls
	}
}

func seconds(d time.Duration) uint32 { return uint32(min(max(d/time.Second, 0), 1<<31-1)) }

// facts is what a policy says of an answer: of the question's name, and of all to which it leads together.
type facts struct {
	generation uint32 // of the snapshot whose policy it is
	name       policy.Facts
	targets    policy.Facts
}
