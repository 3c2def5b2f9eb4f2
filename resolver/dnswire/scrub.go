package dnswire

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// answers writes those of count records at off that answer the question: for the QNAME and each name to which
// aliases lead from it, in this order whatever the order in which they came, the CNAME record, of several the
// first (RFC 2181 §10.1), with the DNAME record that made it, and what was asked for. The signatures of all
// that are kept where signed is set.
func (w *writer) answers(off, count int, a *Answer, typ uint16, signed bool) (end int, err error) {
	chain := [][]byte{w.out[headerLen : len(w.out)-4]}
	var dnames []int // where those that have been written, or their signatures, begin
	begin := off
	for i := 0; i < len(chain); i++ {
		aliased := false
		off = begin
		for range count {
			owner := off
			rr, err := parseRecord(w.msg, off)
			if err != nil {
				return 0, ErrFormat
			}
			off = rr.End
			var buf [MaxName]byte
			key, _, err := AppendName(buf[:0], w.msg, owner)
			if err != nil {
				return 0, ErrFormat
			}
			of := w.about(rr, typ, signed)
			var kept bool
			switch {
			case bytes.Equal(key, chain[i]):
				kept = of == typ || of == TypeCNAME && (rr.Type != TypeCNAME || !aliased)
			case of == TypeDNAME && bytes.HasSuffix(chain[i], key) && onLabel(chain[i], len(chain[i])-len(key)):
				if kept = !slices.Contains(dnames, owner); kept {
					dnames = append(dnames, owner)
				}
			}
			if !kept {
				if i > 0 {
					continue // it has been looked at
				}
				// It must be well-formed all the same: what a sender gets wrong here it may get wrong elsewhere.
				if _, err := w.data(nil, rr); err != nil {
					return 0, err
				}
				continue
			}
			if rr.Type == typ {
				a.Negative = false
			}
			if rr.Type == TypeCNAME {
				aliased = true
				target, _, err := AppendName(nil, w.msg, rr.Data)
				if err != nil {
					return 0, ErrFormat
				}
				again := slices.ContainsFunc(chain, func(name []byte) bool { return bytes.Equal(name, target) })
				if typ != TypeCNAME && !again && len(chain) < maxChain {
					chain = append(chain, target)
				}
			}
			w.derived = w.derived || rr.Type == TypeDNAME
			if err := w.record(owner, rr, rr.TTL); err != nil {
				return 0, err
			}
		}
	}
	return off, nil
}

// about is the type of records that a record is one of, or signs; 0, which no record has, where it is of no use
// in the answer to a question for typ.
func (w *writer) about(rr record, typ uint16, signed bool) uint16 {
	switch {
	case rr.Class != ClassIN:
		return 0
	case rr.Type == typeRRSIG && typ != typeRRSIG && signed && rr.End-rr.Data >= 2:
		return binary.BigEndian.Uint16(w.msg[rr.Data:])
	case rr.Type == typ, rr.Type == TypeCNAME, rr.Type == TypeDNAME:
		return rr.Type
	}
	return 0
}

// maxChain is how many CNAME records in a row are believed.
const maxChain = 32

// onLabel reports whether a label of the key begins at off.
func onLabel(key []byte, off int) bool {
	at := 0
	for at < off {
		at += int(key[at]) + 1
	}
	return at == off
}

// authority writes what of the authority section is handed on.
func (w *writer) authority(off, count int, a *Answer, keep bool) (end int, err error) {
	keep = keep || a.Negative
	for range count {
		owner := off
		rr, err := parseRecord(w.msg, off)
		if err != nil {
			return 0, ErrFormat
		}
		off = rr.End
		wanted := false
		ttl := rr.TTL
		switch {
		case rr.Class != ClassIN:
		case rr.Type == TypeSOA:
			wanted = keep
			if a.Negative && rr.End-rr.Data >= 4 {
				a.SOA = true
				ttl = min(ttl, binary.BigEndian.Uint32(w.msg[rr.End-4:]))
			}
		case slices.Contains([]uint16{TypeNS, typeDS, typeRRSIG, typeNSEC, typeNSEC3}, rr.Type):
			wanted = keep
		}
		if !wanted {
			if _, err := w.data(nil, rr); err != nil {
				return 0, err
			}
			continue
		}
		if err := w.record(owner, rr, ttl); err != nil {
			return 0, err
		}
	}
	return off, nil
}

const (
	typeDS    uint16 = 43
	typeRRSIG uint16 = 46
	typeNSEC  uint16 = 47
	typeNSEC3 uint16 = 50
)
