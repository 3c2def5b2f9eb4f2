// Package breachtest makes records of a school's past for tests and benchmarks, with as many breaches as are asked for: a
// Past in seconds, by a few statements, and a Lived in minutes, by the record's own writer.
package breachtest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"schoolgate/policy/breach"
)

// Past is what a record is to hold.
type Past struct {
	// Start is the midnight in UTC of a Monday. From then on there are Weeks of five school days each.
	Start time.Time
	Weeks int
	// Incidents is how many there are, of ten breaches each.
	Incidents int
}

// PerIncident is how many breaches an incident has.
const PerIncident = 10

// Write makes a record in a directory, and returns the path of its database. The same Past makes the same record. Its
// hashes are zero: it does not verify.
func Write(ctx context.Context, dir string, p Past) (path string, err error) {
	path = filepath.Join(dir, "breach.db")
	l, err := breach.Open(breach.Options{Path: path}) //nolint:contextcheck // it has none
	if err != nil {
		return "", err
	}
	ended, end := context.WithCancel(ctx)
	end()
	if err := l.Run(ended); err != nil {
		return "", err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=synchronous(0)&_pragma=cache_size(-200000)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return "", err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, "BEGIN; "+past+"; COMMIT", sql.Named("start", p.Start.UnixMilli()), sql.Named("days", 5*p.Weeks),
		sql.Named("incidents", p.Incidents), sql.Named("each", PerIncident))
	if err != nil {
		return "", fmt.Errorf("write the past: %w", err)
	}
	return path, nil
}

// past fills the tables. Of each incident the parts are drawn by a multiplicative hash of its number; when it was is
// in the order of the numbers, most between 8:40 and 15:40. Who is grave is mostly dealt with.
const past = `
CREATE TEMP TABLE kind (number INTEGER PRIMARY KEY, category, title, severity, confidential, share);
INSERT INTO kind VALUES (1, 'gaming', 'Gaming', 'low', 0, 520), (2, 'social_networks', 'Social networks', 'low', 0, 870),
	(3, 'bypass', 'Ways round the filter (VPN, proxy, Tor)', 'high', 0, 905), (4, 'gambling', 'Gambling', 'medium', 0, 965),
	(5, 'pornography', 'Pornography', 'high', 0, 990), (6, 'self_harm', 'Self-harm, suicide and eating disorders', 'high', 0, 998),
	(7, 'iwf', 'Child sexual abuse (IWF list)', 'critical', 1, 1000);

CREATE TEMP TABLE draft AS WITH RECURSIVE
	n (i) AS (SELECT 0 WHERE @incidents > 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < @incidents),
	drawn (i, device, share, hand) AS (SELECT i, (i * 2654435761 % 4294967296 >> 8) % 1200, (i * 3266489917 % 4294967296 >> 7) % 1000,
		(i * 2246822519 % 4294967296 >> 9) % 100 FROM n),
	placed (i, device, share, hand, day, within) AS (SELECT i, device, share, hand, i * @days / @incidents,
		(i * @days % @incidents) * 25200000 / @incidents FROM drawn)
	SELECT i, 1 + i * (@each + 1) AS seq, device, hand, @start + (day / 5 * 7 + day % 5) * 86400000 + 31200000 + within + iif(hand = 99, 21600000, 0) AS first,
		printf('10.%d.%d.%d', 20 + device / 150, device % 150 / 100, device % 100 + 1) AS ip,
		iif(device < 1120, 'year' || (7 + device / 225), iif(device < 1198, 'staff', 'sen_unit')) AS group_name,
		k.* FROM placed JOIN kind k ON k.number = (SELECT min(number) FROM kind WHERE kind.share > placed.share);

INSERT INTO incident (seq, id, first, site, category, title, group_name, action, confidential, shared, alert_to, client_ip, client_mac,
	client_name, client_user, query_name, salt, hash, severity, count, last, state, outcome)
	SELECT seq, printf('01PAST%020d', i), first, 'winchelsea', category, title, group_name, 'block', confidential, 0, '', ip, '', '', '', '',
		zeroblob(16), zeroblob(32), severity, @each + @each / 2, first + 300000,
		CASE WHEN hand < iif(severity IN ('critical', 'high'), 97, 2) THEN iif(hand < 1, 'in_hand', iif(hand < 2, 'seen', 'closed')) ELSE 'new' END,
		CASE WHEN hand < 2 OR hand >= iif(severity IN ('critical', 'high'), 97, 2) THEN '' WHEN hand < 80 THEN 'no_concern' WHEN hand < 92 THEN 'spoken_to' ELSE 'parents_told' END
	FROM draft;

INSERT INTO breach WITH RECURSIVE n (k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < @each)
	SELECT seq + 1 + k, printf('01PASS%018d%02d', i, k), first + 30000 * k, 'winchelsea', group_name, 'A', 'udp', category, '["' || category || '"]', severity,
		'block', 'builtin:' || category, 'name', 1 + k % 2, first + 30000 * k + 1000, seq, ip, '', '', '',
		iif(confidential, '(confidential)', 'n' || k || '.' || category || '.example.'), iif(confidential, '(confidential)', category || '.example'),
		zeroblob(16), zeroblob(32)
	FROM draft CROSS JOIN n ORDER BY seq, k;

INSERT INTO tally SELECT last / 3600000, group_name, category, action, count(*), sum(count) FROM breach GROUP BY 1, 2, 3, 4;

INSERT INTO note (seq, time, incident, what, outcome, severity, who, text, salt, hash)
	SELECT (SELECT max(seq) FROM breach) + 2 * rowid - 1, first + 600000 + 60000 * hand, seq, 'seen', '', '', 'dsl', '', zeroblob(16), zeroblob(32)
	FROM (SELECT row_number() OVER (ORDER BY seq) AS rowid, seq, first, hand FROM incident JOIN draft USING (seq, first) WHERE state <> 'new');
INSERT INTO note (seq, time, incident, what, outcome, severity, who, text, salt, hash)
	SELECT seq + 1, time + 3600000, incident, 'closed', (SELECT outcome FROM incident i WHERE i.seq = note.incident), '', 'dsl', 'a word', zeroblob(16), zeroblob(32)
	FROM note WHERE (SELECT state FROM incident i WHERE i.seq = note.incident) = 'closed';
UPDATE head SET seq = (SELECT coalesce(max(seq), 0) FROM link)`
