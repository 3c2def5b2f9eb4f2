// Package breach is the record: what was tried against the policy, by which device, gathered into
// incidents, with the alerts that are due. It is what a school shows when it is asked, so it is
// durable, and nobody can change it unseen.
//
// # What is recorded
//
// A query that is blocked or monitored in a category with a severity is a breach. It is appended when
// it is first seen within its incident. When the same client asks for the same name in the same
// category again, that is a repeat: repeats are gathered and appended as one row at the end of the
// minute, and readers fold them into the breach's count and last, those that still wait too.
//
// An incident gathers the breaches of one client in one category and under one title: the title tells
// hits of a list on trial, and of self-test names, from others. Where many people share an address
// (policy.Attribution.Shared) it is by name as well. It is open while breaches come, rests after an
// hour without one, and a later breach opens another. Alerts leave when it opens and then at each end
// of the quiet time in which more came; they are stored in the outbox in the transaction that stores
// the breach, so neither exists without the other.
//
// It grows graver by one step, once, where it is tried again and again (Escalation). What people do about it,
// and that it has grown graver, is in the table note: a look, a note, an outcome. From that follows its state
// in the register, which has nothing to do with whether breaches still come: an incident that rests may be new,
// and one that a person closes rests.
//
// # Durability
//
// Record puts an event into a queue in memory and returns. One writer, Run, takes all that waits about
// 20 ms after the first, and stores it in one transaction: breaches, repeats not yet appended,
// incidents, alerts and the head of the chain. SQLite in WAL mode with synchronous=FULL has it on disk
// when the transaction ends. So what Record took is safe against kill -9 and power cut within 100 ms,
// as long as the disk keeps up.
//
// When the database fails (disk full, read-only, corrupt, locked) the DNS path does not notice:
// events wait in the queue, merged by client, name and category, and the writer opens the database
// again with growing pauses. Only when the queue is full, or at a stop that can't store, is anything
// lost, and that is counted in schoolgate_records_dropped_total, said by Problems, logged and alerted.
//
// A database that is corrupt or is none does not mend by waiting. When two attempts in a row have found
// it so, its files are moved aside in their directory (breach.db.damaged-20261120T101403Z, with -wal
// and -shm), once an hour at most, and a new record is begun, in which what waits is stored and from
// which alerts leave again. Alerts that were not yet delivered stay behind in the old one.
//
// # What it costs
//
// A repeat costs some 0.2 µs among 10,000 names, Record and its share of the transaction together, and
// 0.5 among 100,000, which are in no processor's cache: the queue remembers over the turns what it has
// seen, and of which breach it is a repeat, so that neither it nor the writer has to look for text; and
// what a transaction gathers is one row of the table gathered, some four bytes for each breach
// (gathering.go). A breach that is seen first costs some 22 µs, three quarters of it SQLite's; alone in its transaction
// some 90, as each of the table's six indexes has a page of its own to be written. Four of these let a person find the
// newest of a group, a category, a severity or a device's name among five million in a tenth of a second (selection.go).
// They cost a third of that time, and 80 bytes of the 440 that a breach takes.
//
// # When the record is another one
//
// Each time that the database is opened it must hold the newest row that is known, with its hash. That
// row is known from memory, and at a start from a small file beside the database, breach.head, which has
// its seq and hash. Where the row is not there the record was taken away, put back to an older state,
// or exchanged for another one. That, and that a damaged one was moved aside, is said by Problems until
// the next start, alerted, and recorded in the new record as the act "record.replaced" with the seq and
// hash that were known. A backup that a person puts in place is said so too. And each time the chain is
// verified.
//
// The head file is written after a transaction has been committed, every five seconds at most and at a
// stop, and is not synced. So it may be behind the database, which kill -9 and power cut bring about,
// and is never ahead of it; one that is missing or garbled is written again. Who deletes it with the
// database leaves a record that looks new: against that, each alert carries the head to where schoolgate
// can't reach.
//
// # What is bounded
//
// The queue holds 100,000 different events. It remembers 150,000 that it has seen, all judged by one
// policy: after a reload, and in a quiet time, it forgets them, so that no policy and no list is held.
// The writer knows the 200,000 breaches last asked for; an older one that comes again is appended again,
// to the same incident. When repeats of 100,000 breaches are gathered they are appended before the minute
// is over; the table of them holds at most twice what is needed, and 200 kB. At most 100,000 incidents are
// open; above that those longest without a breach rest early. A shared client has at most 100 open
// incidents by name in one category; further names go into one incident together. An alert names the
// 50 names most asked for among the incident's first 10,000 breaches.
//
// # Confidential categories
//
// For a confidential category (policy.Attribution.Confidential) the name and the list's entry are
// "(confidential)" in every row, and nothing that is derived from the name is stored. The price: after
// a restart such a name is not known again, so its next breach is appended as a new row, and for a
// shared client opens a new incident.
//
// With Settings.Seal they are kept encrypted to the public key of a named person, in the table sealed, and can be
// opened only with that person's secret key, which is never on this machine. What one transaction has of one
// incident is one age file, its lines padded with blanks to a power of two of at least 4 KiB. It is written by the
// writer, off the data path: some 0.5 ms for each device and transaction, of which 0.2 are the encryption.
//
// # The chain
//
// Rows of the tables incident, breach, repeat, note, sealed and audit have one numbering, seq, from 1 without a gap.
// Each has a hash, over the hash of the row before:
//
//	hash     = SHA-256(previous ‖ seq ‖ field(kind) ‖ SHA-256(content) ‖ SHA-256(salt ‖ personal))
//	previous = the hash of row seq-1, 32 bytes; for row 1: 32 zero bytes
//	seq      = 8 bytes, big-endian
//	kind     = "incident", "breach", "repeat", "note", "sealed" or "audit"
//	content  = field(column) for each of the table's columns from seq to "personal", seq excluded
//	personal = field(column) for each of the columns from "personal" to salt
//	salt     = 16 random bytes, of this row alone; none for a repeat, which has nothing personal
//	field(x) = the length of x in 4 bytes, big-endian ‖ x; an integer is 8 bytes, big-endian;
//	           text is its bytes in UTF-8
//
// The order of the columns is that of migrations/0001_record.sql, for a note of 0003_register.sql, for what is sealed of
// 0005_sealed.sql.
//
// What identifies a person enters only as a salted hash: when salt and personal columns are deleted,
// the hash that is left can't be matched against a guess, and the chain stays whole. The name that was
// asked for and the list's entry are personal, because a name may itself name a person, and because
// with the time and the group it can lead back to one.
//
// # What is deleted
//
// Retain deletes what is old, and Erase what a person has the right to have erased: incidents as a whole, with
// their breaches, repeats and notes, and acts. For rows that followed each other a tombstone stays: the first and
// last seq, and the hash of the last, from which the chain goes on. The act that says who deleted them and why ends
// in the SHA-256 of its tombstones, so that a tombstone is good only where an act in the chain names it. The
// database overwrites what is deleted, and its log is emptied. A tally stays as long as an incident of concern.
//
// Before a new schema is put in force, the database is copied beside itself, as breach.db.before-schema-4. The
// copy is deleted by Retain after 30 days, and so is a damaged database that was moved aside when it is older than
// breaches are kept: what was deleted must not stay in them.
//
// The table head keeps the newest seq and hash, so that a tail cut off shows. Somebody who can write
// to the database can of course compute a whole new chain: each alert carries the newest seq and hash
// to where schoolgate can't reach. The count, last and severity of an incident follow from its
// breaches, its state, outcome and severity from its notes; Verify compares them. The table tally says how much
// was tried in each hour by which group, and names nobody. It follows from the record too, and is kept so that a
// report need not read a year of it. The tables gathered, watching, turn, outbox and digest are
// work in hand and are not chained.
//
// Order is by seq. Times are those of the clock, and the clock may go back.
package breach
