package report

import (
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Input is what a report is made of beside the record.
type Input struct {
	Site string
	// From and To are whole days by Zone's clock; To is not included.
	From, To time.Time
	Zone     *time.Location
	Made     time.Time // now
	// Governors asks for the form that names no child.
	Governors bool

	Categories []Category // of the configuration, in its order
	Groups     []Group
	Locked     []string      // names of the categories that are blocked for everybody, always
	Rules      []policy.Rule // that allow something
	Lists      []List
	// Kept says for how long what is kept, in words, one for each kind.
	Kept []string
}

// Category is one as people know it.
type Category struct{ Name, Title, Risk string }

// Group is a group of devices, with what it may reach.
type Group struct {
	Name string
	// Small says that it can't have as many as five devices.
	Small bool
	// OnlySites is how many sites its allow-list has; less than 0 where it has none.
	OnlySites int
	// Blocked, Timed and Watched are names of categories: what is blocked at all times, at some, and watched without a
	// block at any time; locked ones are left out.
	Blocked, Timed, Watched []string
	SafeSearch              bool
	YouTube                 string // "strict", "moderate", "" for as it comes
}

// List is one as it is in use now.
type List struct {
	Category       string
	Name           string
	Entries        int // that a filter of names can enforce
	NotEnforceable int
	Age            time.Duration
	AgeKnown       bool
	Missing        bool
	OnTrial        bool // blocks nothing yet
	SelfTest       bool // holds only a name with which schools test their filter
}

// Report is what is said. Every text in it may come from anywhere: it is for HTML and CSV, which make it inert.
type Report struct {
	in           Input
	before       time.Time // when the period before begins
	Total        Figure    // attempts
	TotalBefore  Figure
	Repeats      Figure // all times that were asked
	Watched      Figure // attempts that were let through and recorded
	Categories   []Row
	Groups       []Row
	Risks        []Row
	Cells        []breach.Tried // how much each group tried in each category; none for governors
	Weeks, Hours []Bar
	Opened       Figure // incidents
	OpenedBefore Figure
	Severities   []SeverityRow
	Outcomes     []OutcomeRow
	Open         []AgeRow
	OpenTotal    Figure
	Requests     Requests
	Changes      Changes
	SelfTests    []Change
	Now          Policy
	Lists        []ListRow
	Entries      int
	NeedURL      int // entries that a filter of names can't enforce
}

// Row is one of a table of attempts.
type Row struct {
	Name, Title  string
	Now, Before  Figure
	Repeats      Figure
	Watched      Figure
	few, fewThen bool // fewer than five devices are behind it
}

// Bar is one of a chart over time.
type Bar struct {
	Start time.Time // of a week
	Label string
	Now   Figure
}

// SeverityRow is about the incidents of a severity.
type SeverityRow struct {
	Severity          string
	Opened, Before    Figure
	Closed            Figure
	Seen, SeenWorst   Wait
	Until, UntilWorst Wait // closed
}

// Wait is a length of time; less than 0 where there is none to be told.
type Wait time.Duration

// OutcomeRow is how many incidents ended so.
type OutcomeRow struct {
	Outcome, Title string
	Count          Figure
}

// AgeRow is how many incidents are open for so long.
type AgeRow struct {
	Title                       string
	Critical, High, Medium, Low Figure
}

// ListRow is what a category's lists hold.
type ListRow struct {
	Name, Title string
	Lists       int
	Entries     int
	NeedURL     int
	Oldest      string // age of the oldest, in words
	Remark      string
}
