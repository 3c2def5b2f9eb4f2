package feed

import (
	"log/slog"
	"net"
	"time"

	"schoolgate/blocklist"
)

// Spec says where a list comes from, how it is to be read and what it is held to. One of Path, URL,
// Zone and Builtin is set.
type Spec struct {
	ID       string // as Source.ID
	Category blocklist.Category

	Path    string // absolute
	URL     string // http or https
	Zone    *Zone  // an RPZ zone, by transfer
	Builtin string // one of Builtins

	Format       blocklist.Format // "": found out from the content
	Addresses    bool             // as Options.Addresses of blocklist
	Required     bool             // while it has no content, Update is due soon again; else for the caller to judge by
	Confidential bool             // its names are on no disk in clear, no text in its Problems
	// Locked says that nothing lifts what the list blocks: an entry that covers one of the site's own
	// zones stays.
	Locked bool

	// Refresh is how often Update is to ask for the list: URL and Zone only. 0: a day.
	Refresh time.Duration
	// SHA256 is what the bytes served at URL must have, in lower-case hex; "": anything.
	SHA256 string
	// Member is the file to read of an archive at URL ("adult/domains"). "": the only file of the
	// archive, else the one called domains, else hosts.
	Member string

	// MinShare is how many per cent of its last entries a fetched version must have at least. 0: 70;
	// negative: any number will do.
	MinShare int
	// Canaries are names that the list must cover, whatever its source.
	Canaries []blocklist.Name

	// Trial is how long the list counts under TrialCategory, from when its first content is taken; 0:
	// it counts under Category at once.
	Trial         time.Duration
	TrialCategory blocklist.Category
	// TrialName tells the trials of one source apart from start to start: the category's name, as its
	// number may be another then.
	TrialName string

	// File is what the configuration is called that has it, where it is one that another extends; else "".
	File         string
	Line, Column int // where it stands there
}

// Options are what a Loader works with. The zero value is one that keeps nothing.
type Options struct {
	// Dir is where copies, snapshots and state are kept: <data_dir>/lists. It is made when it is
	// needed. "": nothing is kept.
	Dir string
	// ReadOnly is for those who only look: what another Loader keeps in Dir is read, and nothing written.
	ReadOnly bool
	// Log takes what goes wrong with what is kept, which is no error of a list. nil: nobody.
	Log *slog.Logger
	Now func() time.Time // nil: time.Now
	// Identity decrypts lists, and encrypts what is kept of confidential ones. nil: nothing is kept of
	// those, so that one by URL cannot be had.
	Identity *Identity
	// Never are names that no fetched list may cover. nil: NeverBlocked.
	Never []blocklist.Name
	// Resolver looks up the hosts of URLs. nil: the system's.
	Resolver *net.Resolver
	// Progress is told how far a Load or an Update is, at most some ten times a second, one call at a
	// time. nil: nobody.
	Progress func(Progress)
}

// Progress is how far a Load or an Update is.
type Progress struct {
	List  string // its ID; "": all of them
	Stage string // "fetch", "read", "compile" or "write"
	// Done and Total are in bytes, for "compile" in entries. Total is 0 where it is not known.
	Done, Total int64
}

// Where a Loaded list is from.
const (
	FromSource = "source" // the source as it was when it was last asked
	FromMemory = "memory" // the last good content since the Loader was made
	FromCopy   = "copy"   // the last good copy on disk
)

// Loaded is the outcome for one Spec.
type Loaded struct {
	Spec
	// List has the counts, problems and warnings; not its names, which are in the Set. nil where there
	// is nothing to serve.
	List *blocklist.List
	// Modified is when the content of List was last changed. Zero for built-in lists.
	Modified time.Time
	// Checked is when the source was last asked, whatever the outcome. Zero for built-in lists and
	// where it never was.
	Checked time.Time
	// Err says why the source itself could not be used now, or when it was last asked. List may come
	// from elsewhere then. It holds none of the list's content, nor its name: that is the ID's to say.
	Err error
	// From is one of FromSource, FromMemory, FromCopy; "" without a List.
	From string
	// OnTrial says that the list counts under TrialCategory, until TrialEnds or a Confirm.
	OnTrial   bool
	TrialEnds time.Time
}

// Result is what a Load found: every list, and the set of all that serve.
type Result struct {
	// Lists has an outcome for each Spec, in the same order.
	Lists []Loaded
	// Set is of the lists that have content. It is the same as the last Load's where nothing changed.
	Set *blocklist.Set
}

// Updated is the outcome of asking for one list.
type Updated struct {
	Spec
	Changed bool  // there is new content: the next Load serves it
	Err     error // why there is none, or why it was refused. None of the list's content, nor its name
	Bytes   int64 // that came over the wire
	// Entries and Skipped are what the new content has, and what of it was not taken: as Enforceable and
	// Unenforceable, and Skipped, of blocklist.List. 0 unless Changed.
	Entries, Skipped int
}
