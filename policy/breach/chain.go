package breach

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sync"
)

// saltSize is that of a row's salt, in bytes.
const saltSize = 16

// link is a place in the chain: a row's number and hash.
type link struct {
	seq  int64
	hash [sha256.Size]byte
}

func (l link) head() Head { return Head{Seq: l.seq, Hash: hex.EncodeToString(l.hash[:])} }

// roomsPool has room for the content and the personal part of a row.
var roomsPool = sync.Pool{New: func() any { return new([2]fields) }}

// next returns the link of the row that follows l. A repeat has no salt.
func (l link) next(r row, salt []byte) link {
	rooms := roomsPool.Get().(*[2]fields)
	content, personal := &rooms[0], &rooms[1]
	*content, *personal = (*content)[:0], append((*personal)[:0], salt...)
	kind := r.encode(content, personal)
	contentHash, personalHash := sha256.Sum256(*content), sha256.Sum256(*personal)
	roomsPool.Put(rooms)
	next := link{seq: l.seq + 1}
	var buf [128]byte
	sealed := fields(append(buf[:0], l.hash[:]...))
	sealed = binary.BigEndian.AppendUint64(sealed, uint64(next.seq))
	sealed.text(kind)
	sealed = append(sealed, contentHash[:]...)
	sealed = append(sealed, personalHash[:]...)
	next.hash = sha256.Sum256(sealed)
	return next
}

// row is a row of the chain.
type row interface {
	// encode appends the row's columns in the order of the schema, without seq, salt and hash, and
	// returns the kind.
	encode(content, personal *fields) (kind string)
}

// fields is a sequence of columns in the encoding of the package comment.
type fields []byte

func (f *fields) text(s string) {
	*f = binary.BigEndian.AppendUint32(*f, uint32(len(s)))
	*f = append(*f, s...)
}

func (f *fields) number(n int64) {
	*f = binary.BigEndian.AppendUint32(*f, 8)
	*f = binary.BigEndian.AppendUint64(*f, uint64(n))
}

// incidentRow is an incident as it was opened. Times are Unix milliseconds in all rows.
type incidentRow struct {
	id                           string
	first                        int64
	site, category, title, group string
	action                       string
	confidential, shared         int64 // 0 or 1
	alertTo                      string
	client                       Client
	name                         string
	severity                     string // not chained, like all below
	count, last                  int64
}

func (r *incidentRow) encode(content, personal *fields) string {
	content.text(r.id)
	content.number(r.first)
	for _, s := range []string{r.site, r.category, r.title, r.group, r.action} {
		content.text(s)
	}
	content.number(r.confidential)
	content.number(r.shared)
	content.text(r.alertTo)
	r.client.encode(personal)
	personal.text(r.name)
	return "incident"
}

type breachRow struct {
	id                            string
	time                          int64
	site, group, qtype, transport string
	category, categories          string
	severity, action, list, via   string
	count, last                   int64
	incident                      int64
	client                        Client
	name, entry                   string
}

func (r *breachRow) encode(content, personal *fields) string {
	content.text(r.id)
	content.number(r.time)
	for _, s := range []string{
		r.site, r.group, r.qtype, r.transport, r.category, r.categories, r.severity, r.action, r.list, r.via,
	} {
		content.text(s)
	}
	content.number(r.count)
	content.number(r.last)
	content.number(r.incident)
	r.client.encode(personal)
	personal.text(r.name)
	personal.text(r.entry)
	return "breach"
}

type repeatRow struct {
	breach, count, last int64
}

func (r *repeatRow) encode(content, _ *fields) string {
	content.number(r.breach)
	content.number(r.count)
	content.number(r.last)
	return "repeat"
}

type auditRow struct {
	time int64
	act  Act
}

func (r *auditRow) encode(content, personal *fields) string {
	content.number(r.time)
	content.text(r.act.What)
	personal.text(r.act.Who)
	personal.text(r.act.Why)
	personal.text(r.act.Detail)
	return "audit"
}

type noteRow struct {
	time, incident          int64
	what, outcome, severity string
	who, text               string
}

func (r *noteRow) encode(content, personal *fields) string {
	content.number(r.time)
	content.number(r.incident)
	content.text(r.what)
	content.text(r.outcome)
	content.text(r.severity)
	personal.text(r.who)
	personal.text(r.text)
	return "note"
}

type sealedRow struct {
	incident, first, last int64
	recipient, person     string
	ciphertext            []byte
}

func (r *sealedRow) encode(content, personal *fields) string {
	content.number(r.incident)
	content.number(r.first)
	content.number(r.last)
	content.text(r.recipient)
	personal.text(r.person)
	personal.text(string(r.ciphertext))
	return "sealed"
}

func (c *Client) encode(personal *fields) {
	personal.text(c.IP)
	personal.text(c.MAC)
	personal.text(c.Name)
	personal.text(c.User)
}
