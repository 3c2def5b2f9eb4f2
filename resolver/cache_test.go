package resolver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// answerOf makes an answer of a size, with one time to live of its own.
func answerOf(question string, size int, ttl uint32, at time.Time) *entry {
	msg := bytes.Repeat([]byte{byte(size)}, max(size, headerLen+4))
	binary.BigEndian.PutUint32(msg[headerLen:], ttl)
	return &entry{question: []byte(question), msg: msg, ttls: []uint16{headerLen}, rcode: uint16(size % 4), stored: at, ttl: ttl}
}

// sound checks that what a shard's table leads to is what its ring holds.
func (s *cacheShard) sound() error {
	live, places := 0, 0
	for place, n := s.oldest, 0; n < s.records; n++ {
		r := s.at(place)
		if !r.isFiller() && r.flags()&recordDead == 0 {
			live++
			if found := s.find(r.hash(), r.question()); &found[0] != &r[0] {
				return fmt.Errorf("the record at %d is not found", place)
			}
		}
		places += r.size() / 8
		if place += r.size() / 8; place == len(s.segments)*segmentPlaces {
			place = 0
		}
		if n == s.records-1 && place != s.next%(len(s.segments)*segmentPlaces) {
			return fmt.Errorf("the ring ends at %d, next is %d", place, s.next)
		}
	}
	linked := 0
	for _, slot := range s.table {
		if slot != 0 {
			linked++
		}
	}
	if live != s.live || linked != live || live > s.most || len(s.segments) > s.mostSegments || places > len(s.segments)*segmentPlaces {
		return fmt.Errorf("%d live, %d linked, of %d; %d segments", live, linked, s.live, len(s.segments))
	}
	return nil
}

func TestTheCacheIsAMapThatForgets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(rapid.SampledFrom([]int{1, 10, 70, 300}).Draw(t, "entries"))
		model := map[string]*entry{}
		now := time.Unix(1_800_000_000, 0)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		sizes := rapid.SampledFrom([][]int{{20}, {20, 200, 600}, {30, 7000, 8200, 40_000}}).Draw(t, "sizes")
		names := rapid.SampledFrom([]int{5, 100, 2000}).Draw(t, "names")
		for range 3000 {
			question := fmt.Sprint("q", random.IntN(names))
			hash := c.hash([]byte(question))
			c.warmSlot(hash)
			c.warmRecord(hash)
			switch random.IntN(4) {
			case 0:
				e := answerOf(question, sizes[random.IntN(len(sizes))]+random.IntN(16), uint32(random.IntN(100)), now)
				c.put(e, facts{generation: 7, name: policy.Facts{Listed: blocklist.Categories(len(e.msg))}})
				if e.ttl > 0 {
					model[question] = e
				}
			case 1:
				now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
			case 2:
				c.learnBare([]byte(question), now, facts{generation: 8})
			}
			got, found := c.get([]byte("x"), []byte(question), hash, now, 50)
			e := model[question]
			if !found.found {
				if len(got) != 1 {
					t.Fatalf("%s is not there, but %d bytes are", question, len(got))
				}
				continue
			}
			if e == nil {
				t.Fatalf("%s was never put", question)
			}
			elapsed := uint32(now.Sub(e.stored) / time.Second)
			if elapsed >= e.ttl {
				t.Fatalf("%s is %d s old and lives %d", question, elapsed, e.ttl)
			}
			want := append([]byte("x"), e.msg...)
			binary.BigEndian.PutUint32(want[1+headerLen:], min(e.ttl-elapsed, 50))
			if !bytes.Equal(got, want) || found.rcode != e.rcode || found.facts.name.Listed != blocklist.Categories(len(e.msg)) || found.facts.generation != 7 {
				t.Fatalf("%s is another answer", question)
			}
		}
		for i := range c.shards {
			if err := c.shards[i].sound(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestTheCacheIsBoundedInEntriesAndInBytes(t *testing.T) {
	t.Parallel()
	const entries = 20_000
	now := time.Unix(1_800_000_000, 0)
	for size, most := range map[int]int{100: entries * 102 / 100, 1400: entries / 2} {
		c := newCache(entries)
		for i := range 3 * entries {
			c.put(answerOf(fmt.Sprint("name", i, ".example"), size, 300, now), facts{})
		}
		kept, bytes := c.len()
		if kept > most || kept < most/3 || bytes > entries*entryBytes*11/10 {
			t.Errorf("answers of %d bytes: %d are kept in %d bytes", size, kept, bytes)
		}
	}
}

func TestWhatIsAskedForStaysWhileOthersCome(t *testing.T) {
	t.Parallel()
	c := newCache(10_000)
	now := time.Unix(1_800_000_000, 0)
	lost := 0
	for i := range 100_000 {
		hot := fmt.Sprint("hot", i%100)
		if _, found := lookFor(c, hot, now); !found.found {
			lost++
			c.put(answerOf(hot, 100, 300, now), facts{})
		}
		c.put(answerOf(fmt.Sprint("once", i), 100, 300, now), facts{})
	}
	if lost > 200 {
		t.Errorf("names that are asked for all the time were not there %d times", lost)
	}
}

func TestFactsStayWithTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	c := newCache(100)
	now := time.Unix(1_800_000_000, 0)
	c.put(answerOf("q", 100, 300, now), facts{})
	_, first := lookFor(c, "q", now)
	c.put(answerOf("q", 100, 300, now), facts{generation: 2})
	c.learn([]byte("q"), first, facts{generation: 3})
	_, second := lookFor(c, "q", now)
	if second.facts.generation != 2 {
		t.Error("another answer has the facts of the one before")
	}
	c.learn([]byte("q"), second, facts{generation: 3, targets: policy.Facts{Listed: 5, Named: true}})
	if _, third := lookFor(c, "q", now); third.facts.generation != 3 || third.facts.targets.Listed != 5 || !third.facts.targets.Named || third.facts.name.Named {
		t.Errorf("%+v", third.facts)
	}
}

func lookFor(c *cache, question string, now time.Time) ([]byte, cached) {
	return c.get(nil, []byte(question), c.hash([]byte(question)), now, 50)
}

// What is known of a name without an answer is there until the answer is, never in place of one, and is no
// answer: neither a fresh nor a stale one.
func TestFactsWithoutAnAnswerAreNoAnswer(t *testing.T) {
	t.Parallel()
	c := newCache(100)
	now := time.Unix(1_800_000_000, 0)
	stale := func(question string) bool {
		_, old := c.getStale(nil, []byte(question), now, 30, 86400)
		return old.found
	}
	listed := facts{generation: 2, name: policy.Facts{Listed: 5}}
	c.learnBare([]byte("q"), now, listed)
	if got, known := lookFor(c, "q", now); len(got) > 0 || known.found || known.stale || known.facts != listed || stale("q") {
		t.Errorf("%d bytes, %+v", len(got), known)
	}
	listed.generation++
	c.learnBare([]byte("q"), now, listed)
	if _, known := lookFor(c, "q", now); known.facts != listed {
		t.Errorf("after a reload: %+v", known)
	}
	c.put(answerOf("q", 100, 300, now), facts{generation: 4})
	c.learnBare([]byte("q"), now, listed)
	if _, known := lookFor(c, "q", now); !known.found || known.facts.generation != 4 {
		t.Errorf("after an answer: %+v", known)
	}
	if now = now.Add(time.Hour); !stale("q") {
		t.Error("a stale answer is gone")
	}
}

func BenchmarkCacheGet(b *testing.B) {
	for _, entries := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			c := newCache(entries)
			now := time.Now()
			questions := make([][]byte, entries)
			for i := range questions {
				questions[i] = appendQuestionKey(nil, fmt.Appendf(nil, "\x08%08d\x07example\x00", i), 1, false, false, 1)
				c.put(answerOf(string(questions[i]), 60, 300, now), facts{})
			}
			order := rand.New(rand.NewPCG(1, 2)).Perm(entries)
			buf := make([]byte, 0, 2048)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				question := questions[order[i]]
				c.get(buf, question, c.hash(question), now, 50)
				if i++; i == len(order) {
					i = 0
				}
			}
		})
	}
}
