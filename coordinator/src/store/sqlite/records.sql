-- Version 3. Records of one shape; those of a node go with it. Nodes say their parent in a column, because lists hide children.
ALTER TABLE node ADD COLUMN parent_node TEXT;

CREATE TABLE record (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    uuid TEXT NOT NULL,
    name TEXT,
    node_uuid TEXT REFERENCES node (uuid) ON DELETE CASCADE,
    unique_key TEXT,
    document TEXT NOT NULL,
    UNIQUE (kind, uuid),
    UNIQUE (kind, name),
    UNIQUE (kind, unique_key)
) STRICT;
CREATE INDEX record_node ON record (node_uuid);

PRAGMA user_version = 3;
