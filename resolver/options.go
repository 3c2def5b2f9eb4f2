package resolver

import (
	"time"
	"unicode/utf8"

	"schoolgate/resolver/dnswire"
)

// paddedTo is the block to which a response is padded where the query was padded (RFC 8467 §4.1): over
// an encrypted transport its length then says little of what was asked.
const paddedTo = 468

// appendOPT ends the response with its OPT record, which takes size octets at least.
func (q *query) appendOPT(size, limit int) {
	opt, ede := len(q.out), q.ede
	explained := q.explanation(limit - opt - size)
	if explained != nil {
		ede = dnswire.EDENone // the explanation begins with it
	}
	q.out = dnswire.AppendOPT(q.out, offeredUDP, q.rcode, q.msg.DO, ede)
	if explained != nil {
		q.out = dnswire.AppendOption(q.out, opt, dnswire.OptionEDE, explained)
	}
	q.appendOptions(opt, limit)
}

// appendOptions adds, to the OPT record that begins at opt and ends the response, what the query asked
// for and its transport and limit allow. Padding comes last.
func (q *query) appendOptions(opt, limit int) {
	if q.cookie { // there is room: encode saw to that
		q.out = dnswire.AppendOption(q.out, opt, dnswire.OptionCookie, q.cookies[:])
	}
	if q.subnet { // there is room, too
		option := q.in[q.msg.SubnetAt:][:q.msg.SubnetLen]
		option[3] = option[2] // the answer is for this network alone: whoever keeps it gives it to no other (RFC 7871 §7.2.1)
		q.out = dnswire.AppendOption(q.out, opt, dnswire.OptionSubnet, option)
	}
	// Who may not ask is not told who we are.
	if id := q.snapshot.nsid; q.msg.NSID && q.known && len(id) > 0 && len(q.out)+4+len(id) <= limit {
		q.out = dnswire.AppendOption(q.out, opt, dnswire.OptionNSID, id)
	}
	if q.msg.Keepalive && (q.transport == overTCP || q.transport == overTLS) && len(q.out)+6 <= maxTCPMessage {
		units := uint16(idleTime(q.transport) / (100 * time.Millisecond)) // RFC 7828 §3.1
		q.out = dnswire.AppendOption(q.out, opt, dnswire.OptionKeepalive, []byte{byte(units >> 8), byte(units)})
	}
	if q.msg.Padding && q.transport.encrypted() {
		q.out = dnswire.AppendPadding(q.out, opt, paddedTo, maxTCPMessage)
	}
}

// maxNSID bounds what is said of who we are (RFC 5001).
const maxNSID = 64

// nsid is the answer to the question which server this is: the site's name, cut where a character ends.
func nsid(site string) []byte {
	for len(site) > maxNSID {
		_, last := utf8.DecodeLastRuneInString(site)
		site = site[:len(site)-last]
	}
	return []byte(site)
}
