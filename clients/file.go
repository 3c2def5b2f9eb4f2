package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// file is the form in which a Register is kept.
type file struct {
	Version int                    `json:"version"`
	Clients map[netip.Addr]*client `json:"clients"`
	History history                `json:"history"`
}

const fileVersion = 1

// MarshalJSON is what Load reads: personal data, though it has no name that was asked for.
func (r *Register) MarshalJSON() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return json.Marshal(file{fileVersion, r.clients, r.history})
}

// Load makes a Register of what MarshalJSON wrote. What is from the future by its clock was written by a wrong one, and
// is left out.
func Load(data []byte, now func() time.Time) (*Register, error) {
	f := file{History: newHistory()}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("the record of clients: %w", err)
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("the record of clients: version %d, not %d", f.Version, fileVersion)
	}
	r, at := New(now), now()
	for addr, c := range f.Clients {
		if c == nil || !addr.IsValid() || c.Hour < 0 || c.Day < 0 {
			return nil, errors.New("the record of clients: a client without a time")
		}
		if c.Last.After(at) || c.Hour > hourOf(at) || c.Day > hourOf(at)/24+1 || len(r.clients) == MaxClients {
			continue
		}
		r.clients[addr] = c
	}
	if h := f.History; h.Hour >= 0 && h.Hour <= hourOf(at) && h.Groups != nil {
		for _, g := range h.Groups {
			if g == nil {
				return nil, errors.New("the record of clients: a group without hours")
			}
		}
		r.history = h
	}
	return r, nil
}
