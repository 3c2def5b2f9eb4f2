-- The record. Rows of incident, breach, repeat and audit are appended, numbered together by seq
-- without a gap, and chained by hash: see the package comment. Times are Unix milliseconds.
-- The columns between "personal" and salt say who it was; they enter the chain as a salted hash.

CREATE TABLE incident (
	seq          INTEGER PRIMARY KEY,
	id           TEXT    NOT NULL,
	first        INTEGER NOT NULL,
	site         TEXT    NOT NULL,
	category     TEXT    NOT NULL,
	title        TEXT    NOT NULL,
	group_name   TEXT    NOT NULL,
	action       TEXT    NOT NULL,
	confidential INTEGER NOT NULL,
	shared       INTEGER NOT NULL,
	alert_to     TEXT    NOT NULL, -- JSON array of receivers; '': as the routes say
	-- personal
	client_ip    TEXT    NOT NULL,
	client_mac   TEXT    NOT NULL,
	client_name  TEXT    NOT NULL,
	client_user  TEXT    NOT NULL,
	query_name   TEXT    NOT NULL, -- of an incident by name; else ''
	salt         BLOB    NOT NULL,
	hash         BLOB    NOT NULL,
	-- These follow from the incident's breaches, and change while it is open.
	severity     TEXT    NOT NULL,
	count        INTEGER NOT NULL,
	last         INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX incident_id ON incident (id);
CREATE INDEX incident_last ON incident (last);

CREATE TABLE breach (
	seq          INTEGER PRIMARY KEY,
	id           TEXT    NOT NULL,
	time         INTEGER NOT NULL,
	site         TEXT    NOT NULL,
	group_name   TEXT    NOT NULL,
	query_type   TEXT    NOT NULL,
	transport    TEXT    NOT NULL,
	category     TEXT    NOT NULL,
	categories   TEXT    NOT NULL, -- JSON array
	severity     TEXT    NOT NULL,
	action       TEXT    NOT NULL,
	list         TEXT    NOT NULL,
	via          TEXT    NOT NULL,
	count        INTEGER NOT NULL, -- when it was appended; repeats come on top
	last         INTEGER NOT NULL,
	incident     INTEGER NOT NULL REFERENCES incident (seq),
	-- personal
	client_ip    TEXT    NOT NULL,
	client_mac   TEXT    NOT NULL,
	client_name  TEXT    NOT NULL,
	client_user  TEXT    NOT NULL,
	query_name   TEXT    NOT NULL, -- with its final dot
	entry        TEXT    NOT NULL,
	salt         BLOB    NOT NULL,
	hash         BLOB    NOT NULL
) STRICT;
CREATE INDEX breach_incident ON breach (incident);
CREATE INDEX breach_time ON breach (time);

CREATE TABLE repeat (
	seq          INTEGER PRIMARY KEY,
	breach       INTEGER NOT NULL REFERENCES breach (seq),
	count        INTEGER NOT NULL,
	last         INTEGER NOT NULL,
	hash         BLOB    NOT NULL
) STRICT;
CREATE INDEX repeat_breach ON repeat (breach);

CREATE TABLE audit (
	seq          INTEGER PRIMARY KEY,
	time         INTEGER NOT NULL,
	what         TEXT    NOT NULL,
	-- personal
	who          TEXT    NOT NULL,
	why          TEXT    NOT NULL,
	detail       TEXT    NOT NULL,
	salt         BLOB    NOT NULL,
	hash         BLOB    NOT NULL
) STRICT;

-- The newest link of the chain: a tail that was cut off shows.
CREATE TABLE head (
	one          INTEGER PRIMARY KEY CHECK (one = 1),
	seq          INTEGER NOT NULL,
	hash         BLOB    NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 0, zeroblob(32));

-- What follows is work in hand, not evidence, and is not in the chain.

-- The repeats of this minute, until they are appended.
CREATE TABLE gathering (
	breach       INTEGER PRIMARY KEY REFERENCES breach (seq),
	count        INTEGER NOT NULL,
	last         INTEGER NOT NULL
) STRICT;

-- The incidents that are open, and what has been told of them.
CREATE TABLE watching (
	incident     INTEGER PRIMARY KEY REFERENCES incident (seq),
	told         INTEGER NOT NULL, -- the count of the last alert
	told_at      INTEGER NOT NULL
) STRICT;

-- How many transactions there have been: tells after a failed COMMIT whether it took place.
CREATE TABLE turn (
	one          INTEGER PRIMARY KEY CHECK (one = 1),
	number       INTEGER NOT NULL
) STRICT;
INSERT INTO turn VALUES (1, 0);

CREATE TABLE outbox (
	id           TEXT    PRIMARY KEY,
	receiver     TEXT    NOT NULL,
	type         TEXT    NOT NULL,
	incident     TEXT    NOT NULL,
	body         BLOB    NOT NULL, -- emptied once delivered
	created      INTEGER NOT NULL,
	state        TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'gone', 'failed')),
	attempts     INTEGER NOT NULL,
	next         INTEGER NOT NULL,
	status       TEXT    NOT NULL, -- of the last attempt
	settled      INTEGER NOT NULL  -- the time of the last attempt; 0: none yet
) STRICT;
CREATE INDEX outbox_due ON outbox (receiver, next) WHERE state = 'pending';
CREATE INDEX outbox_undelivered ON outbox (receiver) WHERE state IN ('gone', 'failed');
