-- Version 2. Certificates outlive the node they speak of: no reference to it.
CREATE TABLE certificate (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    node_uuid TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX certificate_node ON certificate (node_uuid, seq);

PRAGMA user_version = 2;
