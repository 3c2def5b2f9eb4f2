package resolver

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"schoolgate/resolver/dnswire"
)

// cache holds what upstreams said, never what policy said, so that all groups share it and a reload
// needs no flush. It is split into shards, each with its own lock and its own order of use.
//
// Its key is a seeded 64-bit hash, which spares the garbage collector a pointer an entry and the
// reader an allocation; the entry holds the whole question, so that two questions with one hash
// push each other out and never get each other's answer.
type cache struct {
	seed   maphash.Seed
	shards []cacheShard
}

type cacheShard struct {
	mu  sync.Mutex
	lru *simplelru.LRU[uint64, *entry]
	_   [40]byte // keeps the locks of neighbours out of one cache line
}

// cacheShards is a power of two, well above the number of readers.
const cacheShards = 64

// entry is one answer. All but screened is immutable, so that it may be read without the lock.
type entry struct {
	question []byte // as appendQuestionKey makes it
	msg      []byte // dnswire.Answer.Msg
	ttls     []uint16
	rcode    uint16
	stored   int64 // Unix nanoseconds
	ttl      uint32
	screened atomic.Pointer[screening]
}

// screening is what is known of the targets of an answer under one policy.
type screening struct {
	generation uint64
	// concerned says that some target is listed, or named by a rule: each must be judged for the
	// group that asks.
	concerned bool
}

func newCache(entries int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	if entries <= 0 {
		return c
	}
	c.shards = make([]cacheShard, cacheShards)
	for i := range c.shards {
		c.shards[i].lru, _ = simplelru.NewLRU[uint64, *entry](max(1, (entries+cacheShards-1)/cacheShards), nil)
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

func (c *cache) shard(hash uint64) *cacheShard { return &c.shards[hash%cacheShards] }

// get returns the answer to the question, or nil. elapsed is its age in whole seconds.
func (c *cache) get(question []byte, now time.Time) (e *entry, elapsed uint32) {
	if c.shards == nil {
		return nil, 0
	}
	hash := maphash.Bytes(c.seed, question)
	s := c.shard(hash)
	s.mu.Lock()
	e, ok := s.lru.Get(hash)
	s.mu.Unlock()
	if !ok || !bytes.Equal(e.question, question) {
		return nil, 0
	}
	elapsed, fresh := e.age(now)
	if !fresh {
		return nil, 0
	}
	return e, elapsed
}

// age returns how many whole seconds old the answer is, and whether it may still be used. A clock
// that went backwards makes it new.
func (e *entry) age(now time.Time) (seconds uint32, fresh bool) {
	s := max(0, now.UnixNano()-e.stored) / int64(time.Second)
	return uint32(min(s, 1<<31)), s < int64(e.ttl)
}

func (c *cache) put(e *entry) {
	if c.shards == nil || e.ttl == 0 {
		return
	}
	hash := maphash.Bytes(c.seed, e.question)
	s := c.shard(hash)
	s.mu.Lock()
	s.lru.Add(hash, e)
	s.mu.Unlock()
}

func (c *cache) len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.lru.Len()
		s.mu.Unlock()
	}
	return n
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
	return &entry{
		question: question, msg: a.Msg, ttls: a.TTLs, rcode: a.Rcode, stored: now.UnixNano(), ttl: ttl,
	}
}

func seconds(d time.Duration) uint32 { return uint32(min(max(d/time.Second, 0), 1<<31-1)) }
