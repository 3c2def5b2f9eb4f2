-- The register: what people did about incidents; and tallies for reports.

-- What was done about an incident: appended, numbered and chained as the other rows.
CREATE TABLE note (
	seq          INTEGER PRIMARY KEY,
	time         INTEGER NOT NULL,
	incident     INTEGER NOT NULL REFERENCES incident (seq),
	what         TEXT    NOT NULL, -- seen, note, closed or raised
	outcome      TEXT    NOT NULL, -- of closed, else ''
	severity     TEXT    NOT NULL, -- of raised, else ''
	-- personal
	who          TEXT    NOT NULL,
	text         TEXT    NOT NULL,
	salt         BLOB    NOT NULL,
	hash         BLOB    NOT NULL
) STRICT;
CREATE INDEX note_incident ON note (incident);

-- All rows of the chain.
CREATE VIEW link (seq, hash) AS SELECT seq, hash FROM incident UNION ALL SELECT seq, hash FROM breach
	UNION ALL SELECT seq, hash FROM repeat UNION ALL SELECT seq, hash FROM note UNION ALL SELECT seq, hash FROM audit;

-- These follow from the incident's notes.
ALTER TABLE incident ADD COLUMN state TEXT NOT NULL DEFAULT 'new';
ALTER TABLE incident ADD COLUMN outcome TEXT NOT NULL DEFAULT '';
CREATE INDEX incident_state ON incident (state) WHERE state <> 'closed';

-- How much was tried in each hour. It follows from what was recorded, names nobody, and outlives it.
CREATE TABLE tally (
	hour         INTEGER NOT NULL, -- hours since 1970 in UTC
	group_name   TEXT    NOT NULL,
	category     TEXT    NOT NULL,
	action       TEXT    NOT NULL,
	breaches     INTEGER NOT NULL,
	count        INTEGER NOT NULL, -- with repeats
	PRIMARY KEY (hour, group_name, category, action)
) STRICT, WITHOUT ROWID;
INSERT INTO tally SELECT time / 3600000, group_name, category, action, count(*), sum(count) FROM breach GROUP BY 1, 2, 3, 4;
INSERT INTO tally SELECT r.last / 3600000, group_name, category, action, 0, sum(r.count)
	FROM repeat r JOIN breach b ON b.seq = r.breach GROUP BY 1, 2, 3, 4
	ON CONFLICT DO UPDATE SET count = count + excluded.count;
