package policy

import (
	"time"

	"schoolgate/blocklist"
)

// Question is one query that was answered, as the data path hands it to the query log: what it knows for
// nothing.
type Question struct {
	Time      time.Time
	Client    Client
	Policy    *Policy // the one that judged
	Group     uint16  // an index for Policy.Groups
	Category  int16   // as Verdict.Category
	Type      uint16  // the QTYPE
	Transport string  // "udp", "tcp", "dot", "doh" or "doq"
	Outcome   string  // as the label of schoolgate_queries_total
	// Name is the QNAME's key, as a blocklist.Name. It is the caller's, and good during the call only.
	Name []byte
	// Listed holds categories that have the name, or anything that its answer leads to, as far as the data path
	// has looked.
	Listed blocklist.Categories
}

// Withholds reports whether a question's name must be written down nowhere: a confidential list holds it or
// something that its answer leads to, or would without labels at the end. For a device that is told that a name
// does not exist asks again with the network's own domain behind it (RFC 1535), and that question would tell
// the name as well. It looks the name up in the lists again, unless it is "", so it is not for the data path.
func (p *Policy) Withholds(name blocklist.Name, listed blocklist.Categories) bool {
	if p.confidential == 0 {
		return false
	}
	if listed&p.confidential != 0 {
		return true
	}
	if name == "" {
		return false
	}
	if p.Confidential(name) {
		return true
	}
	var buf [256]byte
	for end := 0; end < len(name) && name[end] != 0; {
		first := end == 0
		if end += 1 + int(name[end]); first || end >= len(name) || name[end] == 0 {
			continue // one label is no name of anybody, and the whole name was looked at
		}
		without := append(append(buf[:0], name[:end]...), 0)
		if p.set.Match(without)&p.confidential != 0 {
			return true
		}
	}
	return false
}
