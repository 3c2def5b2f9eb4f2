-- To find the breaches of a kind, newest first, however rare they are among the others. Each index ends in the seq, so
-- that two kinds are compared without a look at the table.
CREATE INDEX breach_group ON breach (group_name);
CREATE INDEX breach_category ON breach (category);
CREATE INDEX breach_severity ON breach (severity);
CREATE INDEX breach_name ON breach (client_name) WHERE client_name <> '';

-- What else is known of a client is that of its incidents, which are few.
CREATE INDEX incident_ip ON incident (client_ip);
CREATE INDEX incident_mac ON incident (client_mac) WHERE client_mac <> '';
CREATE INDEX incident_user ON incident (client_user) WHERE client_user <> '';
