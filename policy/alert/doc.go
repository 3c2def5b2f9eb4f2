// Package alert tells people: it turns incidents into messages for the receivers of the
// configuration, and delivers them.
//
// A message is a type and data in JSON, the body of a webhook (message.go). It lies in the record's outbox
// from the transaction that stored the breach until the receiver has taken it, so it is delivered at least
// once, under one id, also when schoolgate is killed in between. Queue, tries and pace (worker.go) are the
// same for all messages; what a message is for a receiver of a type is made when it is sent (deliver.go):
//
//   - a webhook gets it as it is, after the Standard Webhooks specification 1.0.0, signed with the receiver's
//     own secrets; a receiver knows a message that comes twice by its webhook-id;
//   - for people it becomes a Letter (letter.go): a sentence, facts and advice in words, every text of it
//     clean, which each chat and mail sets in its own form, or in a Template of the school's;
//   - Alertmanager gets it as an alert that fires.
//
// A new kind of message needs its data, and its case in letter.
//
// What a message says is thin unless the receiver is a trusted system: which kind of content, which
// group, how often and when; no device and no name. The names of a confidential category are in no
// message at all. Texts say what is known: "a device asked for", never "a pupil visited".
//
// # Who is told
//
// Config.Told (route.go): the receivers of every route that matches, or those of the group's alert_to, and in
// place of each whose own device it is, its deputy.
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
// Each receiver has its own goroutine, so that one that hangs delays no other. A status of 2xx, or a mail
// server's 250, is success; anything else but 410, redirects too, is tried again after
//
//	5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h
//
// each up to a tenth longer, and not before what Retry-After says (up to 24 h). A receiver that answers 429,
// 502, 503 or 504 is sent nothing for a while. When alerts to a receiver fail three times, those who are to
// know about the system are told, except by that receiver.
//
// A receiver that answers 410, or takes nothing until the last try of an alert, is disabled: the outbox has an
// alert that is gone (breach.Gone), and while it has, nothing is due. A test that the receiver takes, another
// address or secret, or breach.Log.Retry makes all that was given up due again. Problems says what is wrong.
//
// Proxies are those of the environment (HTTPS_PROXY), and never for loopback or mail.
package alert
