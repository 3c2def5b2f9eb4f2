package resolver

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// cacheShard is a ring of records with its table. A place is where something stands in the ring, in
// units of 8 bytes from the beginning of the first segment.
type cacheShard struct {
	mu sync.Mutex
	// table is open addressing with linear probing, at most half full, a power of two. A slot has the tag of
	// the question's hash, in its upper half, which tells nearly all others without a look at their
	// records, and the record's place + 1; 0 is none.
	table        []uint64
	segments     [][]byte
	mostSegments int
	live, most   int // entries
	// The oldest record, and where the next one goes. Where the places are the same the ring is full,
	// unless nothing is in it. records counts live ones, dead ones and fillers.
	oldest, next, records int
	serial                uint64 // of the last record
}

const segmentPlaces = segmentSize / 8

// A record is a cached answer as it stands in a segment, little endian:
//
//	 0  4  its size in bytes, a multiple of 8
//	 4  4  nothing
//	 8  8  hash of the question
//	16  8  when it was stored, Unix nanoseconds
//	24  8  facts of the question's name: the categories
//	32  8  facts of what the answer leads to: the categories
//	40  4  generation of the facts
//	44  4  time to live in seconds
//	48  2  bytes of the question
//	50  2  number of times to live in the message
//	52  2  bytes of the message
//	54  2  response code, and flags above it
//	56  8  serial number, by which one answer to the question is told from the next
//	64     question; offsets of the times to live, 2 bytes each; message
//
// A filler, of which only the size counts, with its top bit set, stands at the end of a segment where
// the next record had no room.
type record []byte

const (
	recordHeader = 64
	fillerBit    = 1 << 31

	recordTargetsInside = 1 << 10 // Facts.Inside of the targets
	recordRefreshed     = 1 << 11 // it has been asked for anew
	recordUsed          = 1 << 12 // asked for since it was written
	recordDead          = 1 << 13 // replaced by a newer one
	recordNamed         = 1 << 14 // Facts.Named of the question
	recordTargetsNamed  = 1 << 15 // Facts.Named of the targets
	rcodeMask           = recordTargetsInside - 1
)

func (r record) size() int             { return int(binary.LittleEndian.Uint32(r) &^ fillerBit) }
func (r record) isFiller() bool        { return binary.LittleEndian.Uint32(r)&fillerBit != 0 }
func (r record) hash() uint64          { return binary.LittleEndian.Uint64(r[8:]) }
func (r record) flags() uint16         { return binary.LittleEndian.Uint16(r[54:]) }
func (r record) serial() uint64        { return binary.LittleEndian.Uint64(r[56:]) }
func (r record) setFlags(flags uint16) { binary.LittleEndian.PutUint16(r[54:], flags) }

func (r record) question() []byte { return r[recordHeader:][:binary.LittleEndian.Uint16(r[48:])] }

// offsets are where the times to live are in the message.
func (r record) offsets() []byte {
	return r[recordHeader+int(binary.LittleEndian.Uint16(r[48:])):][:2*int(binary.LittleEndian.Uint16(r[50:]))]
}

func (r record) message() []byte {
	from := recordHeader + int(binary.LittleEndian.Uint16(r[48:])) + 2*int(binary.LittleEndian.Uint16(r[50:]))
	return r[from:][:binary.LittleEndian.Uint16(r[52:])]
}

func (r record) ttl() uint32 { return binary.LittleEndian.Uint32(r[44:]) }

// isBare reports whether the record holds facts of the name and no answer. Its time is over at once, so it is
// the first to go.
func (r record) isBare() bool { return r.ttl() == 0 }

// elapsed returns how many whole seconds old the answer is, and how many it has left: none or fewer when its
// time is over. A clock that went backwards makes it new.
func (r record) elapsed(now time.Time) (seconds uint32, left int64) {
	s := max(0, now.UnixNano()-int64(binary.LittleEndian.Uint64(r[16:]))) / int64(time.Second)
	return uint32(min(s, 1<<31)), int64(r.ttl()) - s
}

// appendTo appends the message to dst, its times to live lowered by elapsed seconds and to limit.
func (r record) appendTo(dst []byte, elapsed, limit uint32) ([]byte, cached) {
	start := len(dst)
	dst = append(dst, r.message()...)
	for offsets := r.offsets(); len(offsets) > 0; offsets = offsets[2:] {
		dnswire.AgeTTL(dst[start:], binary.LittleEndian.Uint16(offsets), elapsed, limit)
	}
	return dst, cached{found: true, rcode: r.flags() & rcodeMask, facts: r.facts(), serial: r.serial()}
}

func (r record) facts() facts {
	flags := r.flags()
	return facts{
		generation: binary.LittleEndian.Uint32(r[40:]),
		name:       policy.Facts{Listed: blocklist.Categories(binary.LittleEndian.Uint64(r[24:])), Named: flags&recordNamed != 0},
		targets:    policy.Facts{Listed: blocklist.Categories(binary.LittleEndian.Uint64(r[32:])), Named: flags&recordTargetsNamed != 0, Inside: flags&recordTargetsInside != 0},
	}
}

func (r record) setFacts(f facts) {
	binary.LittleEndian.PutUint32(r[40:], f.generation)
	binary.LittleEndian.PutUint64(r[24:], uint64(f.name.Listed))
	binary.LittleEndian.PutUint64(r[32:], uint64(f.targets.Listed))
	flags := r.flags() &^ (recordNamed | recordTargetsNamed | recordTargetsInside)
	if f.name.Named {
		flags |= recordNamed
	}
	if f.targets.Named {
		flags |= recordTargetsNamed
	}
	if f.targets.Inside {
		flags |= recordTargetsInside
	}
	r.setFlags(flags)
}

// sizeOf is the size of an entry's record.
func sizeOf(e *entry) int {
	return (recordHeader + len(e.question) + 2*len(e.ttls) + len(e.msg) + 7) &^ 7
}

// write fills a record of the right size with an entry.
func (r record) write(hash uint64, e *entry, f facts) {
	binary.LittleEndian.PutUint32(r, uint32(len(r)))
	binary.LittleEndian.PutUint64(r[8:], hash)
	binary.LittleEndian.PutUint64(r[16:], uint64(e.stored.UnixNano()))
	binary.LittleEndian.PutUint32(r[44:], e.ttl)
	binary.LittleEndian.PutUint16(r[48:], uint16(len(e.question)))
	binary.LittleEndian.PutUint16(r[50:], uint16(len(e.ttls)))
	binary.LittleEndian.PutUint16(r[52:], uint16(len(e.msg)))
	r.setFlags(e.rcode & rcodeMask)
	r.setFacts(f)
	copy(r.question(), e.question)
	offsets := r.offsets()
	for i, o := range e.ttls {
		binary.LittleEndian.PutUint16(offsets[2*i:], o)
	}
	copy(r.message(), e.msg)
}

// at returns the record at a place.
func (s *cacheShard) at(place int) record {
	r := record(s.segments[place/segmentPlaces][place%segmentPlaces*8:])
	return r[:r.size()]
}

// tagOf is the part of a hash that a slot has. Its lowest bits say where the slot should be.
func tagOf(hash uint64) uint64 { return hash >> 32 << 32 }

// home is where a slot should be.
func (s *cacheShard) home(slot uint64) uint64 { return slot >> 32 & uint64(len(s.table)-1) }

// after is the index behind i.
func (s *cacheShard) after(i uint64) uint64 { return (i + 1) & uint64(len(s.table)-1) }

// find returns the record of a question, or nil. It is of the ring: valid while the lock is held.
func (s *cacheShard) find(hash uint64, question []byte) record {
	if len(s.table) == 0 {
		return nil
	}
	for i := s.home(hash); s.table[i] != 0; i = s.after(i) {
		if slot := s.table[i]; tagOf(slot) == tagOf(hash) {
			if r := s.at(placeOf(slot)); bytes.Equal(r.question(), question) {
				return r
			}
		}
	}
	return nil
}

func placeOf(slot uint64) int { return int(uint32(slot) - 1) }

// put writes an entry, in place of the one that the question had.
func (s *cacheShard) put(hash uint64, e *entry, f facts) {
	size := sizeOf(e)
	if r := s.find(hash, e.question); r != nil {
		s.unlink(r)
		r.setFlags(r.flags() | recordDead)
	}
	if size > maxRecord {
		return
	}
	rescue := maxRescued
	for s.live >= s.most || !s.fits(size/8) {
		if s.evict(e.stored, rescue > 0) {
			rescue--
		}
	}
	r := s.take(size)
	r.write(hash, e, f)
	s.serial++
	binary.LittleEndian.PutUint64(r[56:], s.serial)
	s.link(r)
}

// fits reports whether so many places are free for one record, and moves next to where they are.
func (s *cacheShard) fits(places int) bool {
	if s.records == 0 {
		s.oldest, s.next = 0, 0
	}
	for {
		if s.next == len(s.segments)*segmentPlaces {
			switch {
			case s.records > 0 && s.oldest >= segmentPlaces:
				s.next = 0 // the first segment is free
			case len(s.segments) < s.mostSegments:
				s.segments = append(s.segments, make([]byte, segmentSize))
			case s.oldest == 0:
				return false
			default:
				s.next = 0
			}
		}
		if s.records > 0 && s.next == s.oldest {
			return false
		}
		end := (s.next/segmentPlaces + 1) * segmentPlaces
		if s.oldest > s.next && s.oldest < end {
			return s.oldest-s.next >= places
		}
		if end-s.next >= places {
			return true
		}
		filler := s.segments[s.next/segmentPlaces][s.next%segmentPlaces*8:]
		binary.LittleEndian.PutUint32(filler, fillerBit|uint32(8*(end-s.next)))
		s.records++
		s.next = end
	}
}

// take returns room for a record of so many bytes, for which fits has been true.
func (s *cacheShard) take(size int) record {
	r := record(s.segments[s.next/segmentPlaces][s.next%segmentPlaces*8:][:size])
	s.next += size / 8
	s.records++
	return r
}

// evict takes the oldest record out of the ring. With rescue, one that has been used and is fresh is
// written anew, and evict reports true.
func (s *cacheShard) evict(now time.Time, rescue bool) (rescued bool) {
	r := s.at(s.oldest)
	s.records--
	if s.oldest += r.size() / 8; s.oldest == len(s.segments)*segmentPlaces {
		s.oldest = 0
	}
	if r.isFiller() || r.flags()&recordDead != 0 {
		return false
	}
	s.unlink(r)
	_, left := r.elapsed(now)
	if !rescue || left <= 0 || r.flags()&recordUsed == 0 || !s.fits(r.size()/8) {
		return false
	}
	// What fits is at or before where the record stood, or in another segment, and copy minds an overlap.
	anew := s.take(r.size())
	copy(anew, r)
	anew.setFlags(anew.flags() &^ recordUsed)
	s.link(anew)
	return true
}

// link puts the record that was taken last in the table.
func (s *cacheShard) link(r record) {
	if s.live++; 2*s.live > len(s.table) {
		old := s.table
		s.table = make([]uint64, max(entriesPerShard, 2*len(old)))
		for _, slot := range old {
			if slot != 0 {
				s.insert(slot)
			}
		}
	}
	s.insert(tagOf(r.hash()) | uint64(s.next-len(r)/8+1))
}

func (s *cacheShard) insert(slot uint64) {
	i := s.home(slot)
	for s.table[i] != 0 {
		i = s.after(i)
	}
	s.table[i] = slot
}

// unlink takes a record out of the table.
func (s *cacheShard) unlink(r record) {
	s.live--
	hole := s.home(tagOf(r.hash()))
	for slot := s.table[hole]; &s.at(placeOf(slot))[0] != &r[0]; slot = s.table[hole] {
		hole = s.after(hole)
	}
	// What stands behind moves up where it does not get in front of its home (Knuth, TAOCP 3, 6.4, R).
	for i := s.after(hole); s.table[i] != 0; i = s.after(i) {
		home := s.home(s.table[i])
		if (i-home)&uint64(len(s.table)-1) >= (i-hole)&uint64(len(s.table)-1) {
			s.table[hole] = s.table[i]
			hole = i
		}
	}
	s.table[hole] = 0
}
