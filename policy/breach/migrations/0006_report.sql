-- For reports and digests.

-- How many incidents of a kind there were in a span, and whether many devices were behind a category or a group:
-- counted in these, without a look at the table.
CREATE INDEX incident_kind ON incident (severity, state, outcome, first);
CREATE INDEX incident_category ON incident (category, first);
CREATE INDEX incident_group ON incident (group_name, first);

-- What each route with a digest has told. A digest is stored in the outbox by the transaction that moves until.
CREATE TABLE digest (
	route        TEXT    PRIMARY KEY, -- what it matches and when it sends
	until        INTEGER NOT NULL,    -- what was before it has been told
	nonce        TEXT    NOT NULL     -- of this record alone: no other has the same alert ids
) STRICT;
