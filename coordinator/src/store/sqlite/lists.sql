-- Version 4. A list reads this index alone: the rows have whole documents in them, a page each.
CREATE INDEX node_list ON node (
    seq, uuid, version, name, instance_uuid, driver, provision_state, power_state, maintenance, resource_class, fault,
    parent_node
);

PRAGMA user_version = 4;
