// Package querylog keeps what the configuration's query_log asks for of the questions that devices put:
//
//   - none: nothing. Prometheus' counters are there all the same.
//   - counts: how many questions there were in each hour, by group, outcome and category. No client and no name.
//   - full: in addition every question, with the client that asked it.
//
// The breach record is another thing (package breach): it has what was blocked or monitored, whatever
// query_log says, and is durable. What is here is ordinary traffic, and goes first where something must go.
//
// # On the way
//
// Log.Question, which the data path calls, copies a question into memory and returns: some 50 ns. Every five
// seconds, or sooner where many come, Run puts what has come into a block and appends it to the file of its
// day. The counts cost the data path nothing: every ten seconds, and at the end of each hour, Run looks at
// the counters that Prometheus reads too, and once a minute it stores what they have gone up by.
//
// Nothing is synced before a file's day is over or schoolgate stops: the system writes pages together, which
// spares a memory card. So kill -9 loses the last five seconds, and a power cut what the system had not
// written yet, some thirty seconds on Linux.
//
// # Files of questions
//
// One a day, queries/2026-11-20.log in the data directory: days of UTC, which have no clock changes. A question
// goes into the file of its own time, so a clock that is set back makes no disorder. A file begins with a line
// that says what it is; then there are blocks, each whole in itself:
//
//	magic    4 bytes, "SGQ1"
//	clients  4 bytes: the length of the part that says which clients the block has
//	rest     4 bytes: the length of the part with their questions
//	count    4 bytes: how many questions
//	first    8 bytes: the time of the earliest, Unix milliseconds
//	last     8 bytes: that of the latest
//	body     4 bytes: CRC-32C of the two parts
//	check    4 bytes: CRC-32C of the header before it
//
// Numbers are little-endian. Both parts are compressed with DEFLATE (RFC 1951). So whoever looks for an hour
// reads the headers of a day and opens the blocks of that hour; whoever looks for one client unpacks of the
// other blocks only the first part. Columns stand together, names once for each block (block.go), which is
// what makes a question some 19 bytes at a school's usual rate, and 8 where blocks are full.
//
// A block that is cut off by kill -9 ends the file: the next start removes what is left of it. One that is
// damaged is skipped; readers go on at the next header, and say how many they had to leave out.
//
// # What is bounded
//
// In memory: 32,768 questions for each reader of sockets until Run takes them, and 8 MiB of blocks that the
// disk does not take. On disk: Settings.MaxBytes for all files, above which the oldest go early, and a reserve:
// nothing is appended where less than a tenth of the disk, or 1 GiB, would be free. What finds no room is
// counted in schoolgate_records_dropped_total{kind="query"} and said by Problems. A disk that is full or can't
// be written stops the log and nothing else; it goes on by itself when it can.
//
// # Confidential categories
//
// The name of a question that a confidential list holds, or whose answer leads to a name or address of one, is
// "(confidential)" from the moment that Run takes it, and nothing that is derived from it is kept
// (policy.Withholds). A list that comes later does not reach back: those files go when their time is over.
//
// # Retention and erasure
//
// A file is deleted as soon as each question in it is older than the retention: when a day begins, and after a start
// or another retention as soon as the clock is to be believed (Options.MayDelete). Erase takes one client's questions out of the files, by writing the blocks that have some anew.
package querylog
