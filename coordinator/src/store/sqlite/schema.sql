-- Version 1. Listed fields are columns; everything else is in the document.
-- Documents hold what operators typed, BMC passwords and config drives included: the file is readable by its owner only.
CREATE TABLE node (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    name TEXT UNIQUE,
    instance_uuid TEXT UNIQUE,
    driver TEXT NOT NULL,
    provision_state TEXT NOT NULL,
    power_state TEXT,
    maintenance INTEGER NOT NULL,
    resource_class TEXT,
    fault TEXT,
    version INTEGER NOT NULL,
    due INTEGER,                -- milliseconds since 1970; NULL: nothing is going on
    document TEXT NOT NULL
) STRICT;
CREATE INDEX node_due ON node (due) WHERE due IS NOT NULL;

CREATE TABLE port (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    node_uuid TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    address TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX port_node ON port (node_uuid);

CREATE TABLE history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    node_uuid TEXT NOT NULL REFERENCES node (uuid) ON DELETE CASCADE,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX history_node ON history (node_uuid, seq);

CREATE TABLE inventory (
    node_uuid TEXT PRIMARY KEY REFERENCES node (uuid) ON DELETE CASCADE,
    document TEXT NOT NULL
) STRICT;

PRAGMA user_version = 1;
