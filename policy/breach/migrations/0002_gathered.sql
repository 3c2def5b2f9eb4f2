-- The repeats of this minute are one row for each transaction that stored some, instead of one for
-- each breach: at many thousand a second that is a hundredth of the work.

-- The repeats that are gathered, until they are appended. What a row says is added up: see gathering.go.
CREATE TABLE gathered (
	number       INTEGER PRIMARY KEY,
	low          INTEGER NOT NULL, -- the first and
	high         INTEGER NOT NULL, -- the last breach that it is about
	repeats      BLOB    NOT NULL  -- for each: breach, count and last
) STRICT;

-- Numbers as those of gathering.go, but all nine bytes long.
WITH number (breach, place, twice) AS (
	SELECT breach, 1, 2 * breach FROM gathering UNION ALL
	SELECT breach, 2, 2 * count FROM gathering UNION ALL
	SELECT breach, 3, iif(last < 0, -2 * last - 1, 2 * last) FROM gathering)
INSERT INTO gathered (low, high, repeats)
	SELECT breach, breach, unhex(group_concat(printf('%02X%02X%02X%02X%02X%02X%02X%02X%02X',
		twice & 127 | 128, twice >> 7 & 127 | 128, twice >> 14 & 127 | 128, twice >> 21 & 127 | 128, twice >> 28 & 127 | 128,
		twice >> 35 & 127 | 128, twice >> 42 & 127 | 128, twice >> 49 & 127 | 128, twice >> 56 & 127), '' ORDER BY place))
	FROM number GROUP BY breach ORDER BY breach;

DROP TABLE gathering;
