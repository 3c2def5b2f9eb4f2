package resolver

import (
	"encoding/binary"
	"time"
)

// Age makes all that the cache has older.
func (r *Resolver) Age(by time.Duration) {
	for i := range r.cache.shards {
		s := &r.cache.shards[i]
		s.mu.Lock()
		for _, slot := range s.table {
			if slot != 0 {
				stored := s.at(placeOf(slot))[16:]
				binary.LittleEndian.PutUint64(stored, binary.LittleEndian.Uint64(stored)-uint64(by))
			}
		}
		s.mu.Unlock()
	}
}
