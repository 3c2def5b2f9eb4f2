package policy

import "schoolgate/blocklist"

// Action is what becomes of a query. The words are RPZ's where RPZ has one.
type Action uint8

// The actions.
const (
	Passthru  Action = iota // looked up upstream and answered
	Monitor                 // looked up and answered, and recorded as a breach
	Block                   // answered with the blocked answer
	LocalData               // answered from the local records; Verdict.Index names them
	Forward                 // forwarded to the servers of a zone, unfiltered; Verdict.Index names it
	NXDomain                // a special name, or a zone that is closed to the group: does not exist
	SelfData                // resolver.arpa: what the resolver says of itself (RFC 9462, RFC 9606), else NODATA
	Localhost               // localhost and below (RFC 6761 §6.3)
	Refuse                  // the client may not ask
	NotReady                // a required list has never been loaded: never open by accident
)

// Via says what of a query matched.
type Via uint8

// The ways to match. ViaNone is that of a query which nothing matched.
const (
	ViaNone Via = iota
	ViaName
	ViaCNAME
	ViaDNAME
	ViaSVCB
	ViaAddress
	ViaRule
	ViaOnly
)

var viaNames = [...]string{"", "name", "cname", "dname", "svcb", "address", "rule", "only"}

// String returns the word of the breach record: "name" to "only".
func (v Via) String() string { return viaNames[v] }

// Categories that are not of the configuration, for Verdict.Category.
const (
	CategoryNone int16 = -1 // nothing matched
	CategoryRule int16 = -2 // blocked by a rule
	CategoryOnly int16 = -3 // outside the group's allow-list
	// CategoryRebinding: a public name that leads to the site's own network.
	CategoryRebinding int16 = -4
)

// Verdict is the outcome of a decision: a small value without pointers, of use only with the Policy
// that made it.
type Verdict struct {
	// Categories holds every category of the name that the group blocks or monitors; those of lists
	// on trial only where there is no other.
	Categories blocklist.Categories
	// Rule is the index of the rule that decided, in Spec.Rules, or -1.
	Rule int32
	// Index is that of the record name (LocalData) or zone (Forward), or -1.
	Index int32
	// Category names the breach: an index in Spec.Categories, or one of the Category constants.
	Category int16
	// Group is the client's group, an index for Policy.Group.
	Group uint16
	// Action is what to do.
	Action Action
	// Via is what matched.
	Via Via
	// Severity is that of the breach. SeverityNone leaves no breach.
	Severity Severity
	// Safe says, where it is not 0, that the question is answered with the safe form of what it asks for:
	// Policy.SafeHost. The Action is Passthru or Monitor then.
	Safe int8
	// Tunnel says that it is no list that has the name: its shape was that of a tunnel.
	Tunnel bool
	// Inside says that the answer may hold addresses of the site's own network.
	Inside bool
	// Allowed says that a rule or a helpline let the question pass: its answer is checked against
	// locked categories and blocking rules only.
	Allowed bool
	// Held says that it was a rule of the site's own, where the base does not allow the name: the answer is checked
	// against all that the base blocks.
	Held bool
	// NoDataBelow says that something below a blocked name is allowed, so that the answer must
	// not be NXDOMAIN (RFC 8020).
	NoDataBelow bool
}

// Breach reports whether the verdict is to be recorded.
func (v Verdict) Breach() bool {
	return (v.Action == Block || v.Action == Monitor) && v.Severity != SeverityNone
}
