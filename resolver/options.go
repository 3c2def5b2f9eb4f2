package resolver

import (
	"time"

	"schoolgate/resolver/dnswire"
)

// paddedTo is the block to which a response is padded where the query was padded (RFC 8467 §4.1): over
// an encrypted transport its length then says little of what was asked.
const paddedTo = 468

// appendOptions adds, to the OPT record that begins at opt and ends the response, what the query asked
// for and its transport allows. Padding comes last.
func (q *query) appendOptions(opt int) {
	if q.msg.Keepalive && (q.transport == overTCP || q.transport == overTLS) && len(q.out)+6 <= maxTCPMessage {
		units := uint16(idleTime(q.transport) / (100 * time.Millisecond)) // RFC 7828 §3.1
		q.out = dnswire.AppendOption(q.out, opt, dnswire.OptionKeepalive, []byte{byte(units >> 8), byte(units)})
	}
	if q.msg.Padding && q.transport.encrypted() {
		q.out = dnswire.AppendPadding(q.out, opt, paddedTo, maxTCPMessage)
	}
}
