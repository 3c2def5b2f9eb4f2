// Package alert tells people: it turns incidents into messages for the receivers of the
// configuration, and delivers them.
//
// A message is an HTTP POST after the Standard Webhooks specification 1.0.0, signed with the
// receiver's own secret. It lies in the record's outbox from the transaction that stored the breach
// until the receiver has taken it, so it is delivered at least once, under one id, also when schoolgate
// is killed in between. A receiver knows a message that comes twice by its webhook-id.
//
// What a message says is thin unless the receiver is a trusted system: which kind of content, which
// group, how often and when; no device and no name. The names of a confidential category are in no
// message at all. Texts say what is known: "a device asked for", never "a pupil visited".
//
// # Digests
//
// A route with a digest tells nothing at once. At each of its times Dispatcher.Digest makes one message for each receiver,
// of what the route matches since the last one and of what is open, and stores it together with how far the route has
// told. So whatever ends in between, a digest is made again under the same id, or not at all. Of several times that were
// missed the newest counts.
//
// # Delivery
//
// Each receiver has its own goroutine, so that one that hangs delays no other. A status of 2xx is
// success and 410 ends it; anything else, redirects too, is tried again after
//
//	5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h
//
// each up to a tenth longer, and not before what Retry-After says (up to 24 h). An alert that is still
// not delivered then is kept and said by Problems; breach.Log.Retry begins again. When alerts to a
// receiver fail three times, those who are to know about the system are told, except by that receiver.
//
// Proxies are those of the environment (HTTPS_PROXY), and never for loopback.
package alert
