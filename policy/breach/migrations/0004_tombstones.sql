-- Rows that were deleted, by retention or because a person asked for it. The chain goes on from the hash of the
-- last of them; which they were is named by the row of audit that says who deleted them and why.

CREATE TABLE tombstone (
	first        INTEGER PRIMARY KEY,
	last         INTEGER NOT NULL,
	hash         BLOB    NOT NULL, -- of the last
	audit        INTEGER NOT NULL  -- the seq of that row
) STRICT;
CREATE INDEX tombstone_audit ON tombstone (audit);
CREATE INDEX audit_time ON audit (time);
