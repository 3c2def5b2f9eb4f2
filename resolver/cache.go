package resolver

import (
	"encoding/binary"
	"hash/maphash"
	"time"

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

// appendQuestionKey appends what tells one cached answer from another: the name's key, the type, the
// DO and CD bits, and the pool that was asked. The class is always IN.
func appendQuestionKey(dst, name []byte, typ uint16, do, cd bool, poolID uint64) []byte {
	var flags byte
	if do {
		flags |= 1
	}
	if cd {
		flags |= 2
	}
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint16(dst, typ)
	dst = append(dst, flags)
	return binary.BigEndian.AppendUint64(dst, poolID)
}

// shard returns the one that has the question, and the question's hash.
func (c *cache) shard(question []byte) (*cacheShard, uint64) {
	hash := maphash.Bytes(c.seed, question)
	return &c.shards[hash>>32%uint64(len(c.shards))], hash
}

// cached is what get found.
type cached struct {
	found  bool
	rcode  uint16
	facts  facts
	serial uint64
}

// get appends the answer to the question to dst, with times to live as they are at now, at most limit
// seconds.
func (c *cache) get(dst, question []byte, now time.Time, limit uint32) ([]byte, cached) {
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
	elapsed, fresh := r.elapsed(now)
	if !fresh {
		return dst, cached{}
	}
	flags := r.flags()
	if flags&recordUsed == 0 {
		r.setFlags(flags | recordUsed)
	}
	start := len(dst)
	dst = append(dst, r.message()...)
	r.age(dst[start:], elapsed, limit)
	return dst, cached{found: true, rcode: flags & rcodeMask, facts: r.facts(), serial: r.serial()}
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
		size += len(s.segments)*segmentSize + 4*len(s.table)
		s.mu.Unlock()
	}
	return entries, size
}

// entry is an answer on its way into the cache and to those who wait for it. It is immutable.
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

func seconds(d time.Duration) uint32 { return uint32(min(max(d/time.Second, 0), 1<<31-1)) }

// facts is what a policy says of an answer: of the question's name, and of all to which it leads together.
type facts struct {
	generation uint32 // of the snapshot whose policy it is
	name       policy.Facts
	targets    policy.Facts
}
