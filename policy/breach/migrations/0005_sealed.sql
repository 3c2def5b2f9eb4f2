-- Sealed evidence: the names of confidential categories, encrypted to the key of a named person. What one
-- transaction has of one incident is one row, appended, numbered and chained as the other rows.
CREATE TABLE sealed (
	seq          INTEGER PRIMARY KEY,
	incident     INTEGER NOT NULL REFERENCES incident (seq),
	first        INTEGER NOT NULL, -- the first and
	last         INTEGER NOT NULL, -- the last breach of the incident that it may have names of
	recipient    TEXT    NOT NULL, -- the public key: age1…
	-- personal
	person       TEXT    NOT NULL, -- whose key it is
	ciphertext   BLOB    NOT NULL, -- a file as age makes it
	salt         BLOB    NOT NULL,
	hash         BLOB    NOT NULL
) STRICT;
CREATE INDEX sealed_incident ON sealed (incident);

DROP VIEW link;
CREATE VIEW link (seq, hash) AS SELECT seq, hash FROM incident UNION ALL SELECT seq, hash FROM breach
	UNION ALL SELECT seq, hash FROM repeat UNION ALL SELECT seq, hash FROM note UNION ALL SELECT seq, hash FROM sealed
	UNION ALL SELECT seq, hash FROM audit;
