package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"schoolgate/blocklist"
	"schoolgate/clients"
	"schoolgate/cmd/schoolgate/console"
	"schoolgate/config"
	"schoolgate/identity"
	"schoolgate/policy"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
	"schoolgate/resolver"
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
	Exceptions ExceptionCounts  `json:"exceptions"`
	Upstreams  []UpstreamStatus `json:"upstreams"`
	AlertQueue []QueueStatus    `json:"alert_queue"`
	Cache      int              `json:"cache_entries"`
	// Refused is how often a connection or a request over one was refused, where it was.
	Refused []resolver.Refused  `json:"refused_connections"`
	Limits  resolver.LimitStats `json:"limits"`
	Chain   breach.Head         `json:"chain"`
	// Retention is how long each kind of record is kept, in days: "365d".
	Retention RetentionStatus `json:"retention"`
	// Identity is how much is known of the devices.
	Identity identity.Stats  `json:"identity"`
	QueryLog querylog.Status `json:"query_log"`
	// API is what came to /api/v1.
	API console.Stats `json:"api"`
	// Throngs are addresses that ask like many devices, and are of no group that says shared.
	Throngs []resolver.Throng `json:"throngs"`
	// Clients is how many devices ask, and Busy those that ask like many.
	Clients clients.Stats    `json:"clients"`
	Busy    []clients.Client `json:"busy"`
	// Falls are groups that were found today to ask far less than they usually do.
	Falls []clients.Fall `json:"falls"`
}

// RetentionStatus is breach.Retention in words.
type RetentionStatus struct {
	Breaches  string `json:"breaches"`
	Incidents string `json:"incidents"`
	Audit     string `json:"audit"`
}

// days writes a length of time as retention in the configuration.
func days(d time.Duration) string { return strconv.Itoa(int(d/(24*time.Hour))) + "d" }

// ConfigStatus is the configuration in force.
type ConfigStatus struct {
	Path string `json:"path"` // absolute; "" for the built-in default
	Hash string `json:"hash"`
	// Extends are the files that it extends, the nearest first, with the hash of each.
	Extends []ExtendedFile `json:"extends"`
	Since   time.Time      `json:"since"`
	// Changed says that a file on disk is no longer what is in force.
	Changed bool `json:"changed"`
	// Fallback says that it is the last accepted one, because the file's was refused at start.
	Fallback bool `json:"fallback"`
	// Refused is why the last reload or start did not take the file, all reasons.
	Refused []string `json:"refused"`
}

// ExtendedFile is a file that the configuration in force extends.
type ExtendedFile struct {
	Path string `json:"path"` // absolute
	Hash string `json:"hash"` // its SHA-256
}

// ListStatus is one list as it is in use.
type ListStatus struct {
	Category       string `json:"category"`
	List           string `json:"list"`
	Format         string `json:"format"`
	Entries        int    `json:"entries"`         // that DNS can enforce
	NotEnforceable int    `json:"not_enforceable"` // URLs with a path
	Skipped        int    `json:"skipped"`         // lines that could not be read
	// Modified is the time of the content, RFC 3339, "" where that is not known.
	Modified   string `json:"modified"`
	AgeSeconds int64  `json:"age_seconds"`
	// State is "loaded", "kept" (old content, for the source cannot be used), or "missing".
	State    string `json:"state"`
	Problem  string `json:"problem"`
	Required bool   `json:"required"`
	// From is where the content came from: "source", "memory" or "copy".
	From string `json:"from"`
	// SelfTest says that it holds only a name with which schools test their filter.
	SelfTest bool `json:"self_test"`
	// Fetched says that it comes from a server. Checked is when its source was last asked, and Next when
	// the server will be, RFC 3339; "" where that is not known.
	Fetched bool   `json:"fetched"`
	Checked string `json:"checked"`
	Next    string `json:"next"`
	// Trial is how long it is to block nothing at first, "7d" or "12h"; "" for not at all. OnTrial says
	// that it is so now, until TrialEnds, RFC 3339.
	Trial     string `json:"trial"`
	OnTrial   bool   `json:"on_trial"`
	TrialEnds string `json:"trial_ends"`
}

// UpstreamStatus is one server that questions are forwarded to.
type UpstreamStatus struct {
	Server    string  `json:"server"`
	Healthy   bool    `json:"healthy"`
	RTTMillis float64 `json:"rtt_ms"` // 0: it has not answered yet
	Queries   uint64  `json:"queries"`
	Failures  uint64  `json:"failures"`
	// LeadsBack says that questions sent to it came back to this resolver.
	LeadsBack bool `json:"leads_back"`
	// Without names what it is asked without for a while, as it or something on the way does not bear it.
	Without []string `json:"without"`
}

// QueueStatus is the alerts that wait for one receiver.
type QueueStatus struct {
	Receiver string `json:"receiver"`
	Length   int    `json:"length"`
	Oldest   string `json:"oldest"` // RFC 3339, "" where none waits
	// Disabled says that nothing is sent to it, for it took nothing.
	Disabled bool `json:"disabled"`
}

// ListStatus describes the lists of f as of a time.
func (f *Filter) ListStatus(now time.Time) []ListStatus {
	out := []ListStatus{}
	for _, l := range f.Lists {
		s := ListStatus{
			Category: f.category(l), List: l.ID, Required: l.Required, From: l.From, Modified: f.timestamp(l.Modified),
			State: "loaded", Format: string(l.Format), SelfTest: selfTest(l.Spec),
			Fetched: isFetched(l.Spec), Checked: f.timestamp(l.Checked), Trial: span(l.Trial), OnTrial: l.OnTrial,
		}
		if l.OnTrial {
			s.TrialEnds = f.timestamp(l.TrialEnds)
		}
		if s.Fetched {
			s.Next = f.timestamp(nextFetch(f.loader, l.Spec))
		}
		switch {
		case l.List == nil:
			s.State = "missing"
		case l.Err != nil:
			s.State = "kept"
		}
		if l.Err != nil {
			s.Problem = Reason(l)
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

// span is a length of time as a configuration has it: in whole days, else in hours.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return ""
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	}
	return fmt.Sprintf("%gh", d.Hours())
}

// timestamp is a time by the school's clock, "" for the zero time.
func (f *Filter) timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(f.Config.Timezone).Format(time.RFC3339)
}

// configStatus is the configuration of s, compared with the file as it is now.
func (d *Daemon) configStatus(s *snapshot) ConfigStatus {
	cfg := s.filter.Config
	c := ConfigStatus{Hash: cfg.Hash, Since: s.since.In(cfg.Timezone), Fallback: s.fallback != nil, Refused: []string{}, Extends: []ExtendedFile{}}
	if why := cmp.Or(s.refused, s.fallback); why != nil {
		c.Refused = why.Reasons
	}
	if d.path != "" {
		c.Path, _ = filepath.Abs(d.path) // its error is that there is no working directory: then it is ""
		files, err := config.Files(d.path)
		c.Changed = err != nil || config.HashFiles(files) != cfg.Hash
	}
	for _, f := range cfg.Files[min(1, len(cfg.Files)):] {
		c.Extends = append(c.Extends, ExtendedFile{f.Path, f.Hash})
	}
	return c
}

// Explained is a decision of what is in force, and which configuration that is.
type Explained struct {
	policy.Explanation
	Config  ConfigStatus `json:"config"`
	Waiting []string     `json:"waiting"` // as Filter.Waiting
}

// explain explains a decision of what is in force; at "" is now, else RFC 3339.
func (d *Daemon) explain(name, client, at string) (Explained, error) {
	s := d.current.Load()
	key, nameErr := blocklist.ParseName(name)
	addr, addrErr := netip.ParseAddr(client)
	when, timeErr := d.now(), error(nil)
	if at != "" {
		when, timeErr = time.Parse(time.RFC3339, at)
	}
	if err := errors.Join(nameErr, addrErr, timeErr); err != nil {
		return Explained{}, err
	}
	ex := s.filter.Policy.ExplainClient(d.known(addr), key, when.In(s.filter.Config.Timezone))
	return Explained{ex, d.configStatus(s), s.filter.Waiting()}, nil
}

// queues are the receivers in the configuration's order, and those that it no longer has and that
// alerts wait for.
func queues(f *Filter, waiting []breach.QueueState) []QueueStatus {
	out := []QueueStatus{}
	for _, r := range f.Config.Alerts.Receivers {
		out = append(out, QueueStatus{Receiver: r.Name})
	}
	for _, q := range waiting {
		i := slices.IndexFunc(out, func(s QueueStatus) bool { return s.Receiver == q.Receiver })
		if i < 0 {
			i, out = len(out), append(out, QueueStatus{Receiver: q.Receiver})
		}
		out[i].Length, out[i].Oldest, out[i].Disabled = q.Length, f.timestamp(q.Oldest), q.Disabled
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
		Ready: s.filter.Policy.Ready(), Problems: orEmpty(d.Problems()), Warnings: s.filter.WarningTexts(),
		Config: d.configStatus(s),
		Listen: d.Addrs(), Lists: s.filter.ListStatus(now), Notes: orEmpty(s.filter.Notes()), Exceptions: s.filter.exceptionCounts(now),
		Upstreams: []UpstreamStatus{}, AlertQueue: queues(s.filter, queue), Chain: d.record.Head(), Identity: d.identities.Stats(), API: d.console.Stats(),
		QueryLog: d.queries.Status(),
	}
	st.Healthy = len(st.Problems) == 0
	st.Clients, st.Busy = d.clients.Stats(schoolOf(cfg))
	st.Falls = d.clients.Falls()
	st.Retention = RetentionStatus{days(cfg.Retention.Breaches), days(cfg.Retention.Incidents), days(cfg.Retention.Audit)}
	stats := d.resolver.Stats()
	st.Cache, st.Refused = stats.CacheEntries, append([]resolver.Refused{}, stats.Refused...)
	st.Limits, st.Throngs = stats.Limits, stats.Throngs
	for i := range st.Throngs {
		st.Throngs[i].Last = st.Throngs[i].Last.In(cfg.Timezone)
	}
	for i, o := range stats.Limits.Lately {
		st.Limits.Lately[i].Last = o.Last.In(cfg.Timezone)
	}
	for _, u := range stats.Upstreams {
		st.Upstreams = append(st.Upstreams, UpstreamStatus{
			Server: u.Server, Healthy: u.Healthy, RTTMillis: float64(u.RTT.Microseconds()) / 1000, Queries: u.Queries, Failures: u.Failures,
			LeadsBack: u.LeadsBack, Without: orEmpty(u.Without),
		})
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

// ListDir is where the last good copies of a configuration's lists are.
func ListDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "lists") }
