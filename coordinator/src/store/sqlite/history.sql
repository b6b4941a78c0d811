-- Version 5. The newest 300 lines of a node's history are kept (store.rs: HISTORY_MAX).
CREATE TRIGGER history_kept AFTER INSERT ON history BEGIN
    DELETE FROM history WHERE node_uuid = NEW.node_uuid AND seq <=
        (SELECT seq FROM history WHERE node_uuid = NEW.node_uuid ORDER BY seq DESC LIMIT 1 OFFSET 300);
END;

PRAGMA user_version = 5;
