package daemon

import (
	"os"
	"path/filepath"
	"time"

	"schoolgate/config"
	"schoolgate/policy/breach"
)

// Status is what runs: the JSON of `status` and of the control socket.
type Status struct {
	Build
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Time is now, by the school's clock, whose zone is Timezone.
	Time     time.Time `json:"time"`
	Timezone string    `json:"timezone"`
	Site     string    `json:"site"`

	Ready    bool     `json:"ready"`
	Healthy  bool     `json:"healthy"`
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings"`

	Config     ConfigStatus     `json:"config"`
	Listen     Addrs            `json:"listen"`
	Lists      []ListStatus     `json:"lists"`
	Notes      []string         `json:"notes"`
	Upstreams  []UpstreamStatus `json:"upstreams"`
	AlertQueue []QueueStatus    `json:"alert_queue"`
	Cache      int              `json:"cache_entries"`
	Chain      breach.Head      `json:"chain"`
}

// ConfigStatus is the configuration in force.
type ConfigStatus struct {
	Path  string    `json:"path"` // "" for the built-in default
	Hash  string    `json:"hash"`
	Since time.Time `json:"since"`
	// Fallback says that it is the last accepted one, because the file's was refused at start.
	Fallback bool `json:"fallback"`
	// Refused is why the last reload or start did not take the file, all reasons.
	Refused []string `json:"refused"`
}

// ListStatus is one list as it is in use.
type ListStatus struct {
	Category       string `json:"category"`
	List           string `json:"list"`
	Format         string `json:"format"`
	Entries        int    `json:"entries"`         // that DNS can enforce
	NotEnforceable int    `json:"not_enforceable"` // URLs with a path
	Skipped        int    `json:"skipped"`         // lines that could not be read
	// Modified is the time of the content, the zero time where that is not known.
	Modified   time.Time `json:"modified"`
	AgeSeconds int64     `json:"age_seconds"`
	// State is "loaded", "kept" (old content, for the source cannot be used), or "missing".
	State    string `json:"state"`
	Problem  string `json:"problem"`
	Required bool   `json:"required"`
	// From is where the content came from: "source", "memory" or "copy".
	From string `json:"from"`
}

// UpstreamStatus is one server that questions are forwarded to.
type UpstreamStatus struct {
	Server    string  `json:"server"`
	Healthy   bool    `json:"healthy"`
	RTTMillis float64 `json:"rtt_ms"`
	Queries   uint64  `json:"queries"`
	Failures  uint64  `json:"failures"`
}

// QueueStatus is the alerts that wait for one receiver.
type QueueStatus struct {
	Receiver string    `json:"receiver"`
	Length   int       `json:"length"`
	Oldest   time.Time `json:"oldest"`
}

// ListStatus describes the lists of f as of a time.
func (f *Filter) ListStatus(now time.Time) []ListStatus {
	out := []ListStatus{}
	for _, l := range f.Lists {
		s := ListStatus{
			Category: f.category(l), List: l.ID, Required: l.Required, From: l.From, Modified: l.Modified,
			State: "loaded", Format: string(l.Format),
		}
		switch {
		case l.List == nil:
			s.State = "missing"
		case l.Err != nil:
			s.State = "kept"
		}
		if l.Err != nil {
			s.Problem = l.Err.Error()
		}
		if l.List != nil {
			s.Format = string(l.List.Format)
			s.Entries, s.NotEnforceable, s.Skipped = l.List.Enforceable, l.List.Unenforceable, l.List.Skipped
			if !l.Modified.IsZero() {
				s.AgeSeconds = max(0, int64(now.Sub(l.Modified).Seconds()))
			}
		}
		out = append(out, s)
	}
	return out
}

// status gathers the Status.
func (d *Daemon) status(queue []breach.QueueState) Status {
	s := d.current.Load()
	cfg, now := s.filter.Config, d.now()
	st := Status{
		Build: d.build, PID: os.Getpid(), Started: d.started.In(cfg.Timezone), Time: now.In(cfg.Timezone),
		Timezone: cfg.Timezone.String(), Site: cfg.Site,
		Ready: s.filter.Policy.Ready(), Problems: orEmpty(d.Problems()), Warnings: orEmpty(s.filter.Warnings(d.path)),
		Config: ConfigStatus{
			Path: d.path, Hash: cfg.Hash, Since: s.since.In(cfg.Timezone), Fallback: s.fallback, Refused: []string{},
		},
		Listen: d.Addrs(), Lists: s.filter.ListStatus(now), Notes: orEmpty(s.filter.Notes()),
		Upstreams: []UpstreamStatus{}, AlertQueue: []QueueStatus{}, Chain: d.record.Head(),
	}
	st.Healthy = len(st.Problems) == 0
	if s.refused != nil {
		st.Config.Refused = s.refused.Reasons
	}
	stats := d.resolver.Stats()
	st.Cache = stats.CacheEntries
	for _, u := range stats.Upstreams {
		st.Upstreams = append(st.Upstreams, UpstreamStatus{
			Server: u.Server, Healthy: u.Healthy, RTTMillis: float64(u.RTT.Microseconds()) / 1000, Queries: u.Queries, Failures: u.Failures,
		})
	}
	for _, q := range queue {
		st.AlertQueue = append(st.AlertQueue, QueueStatus{Receiver: q.Receiver, Length: q.Length, Oldest: q.Oldest})
	}
	return st
}

// orEmpty makes an empty list of none, so that JSON has [] and not null.
func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// RecordPath is where a configuration's breach record is.
func RecordPath(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "breach.db") }

// listDir is where the last good copies of lists are.
func listDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "lists") }
