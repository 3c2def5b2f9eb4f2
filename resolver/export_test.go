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
		for _, place := range s.table {
			for ; place != 0; place = s.at(int(place - 1)).chained() {
				stored := s.at(int(place - 1))[16:]
				binary.LittleEndian.PutUint64(stored, binary.LittleEndian.Uint64(stored)-uint64(by))
			}
		}
		s.mu.Unlock()
	}
}
