//! The resources that are only records, with every field and its version.

use super::rules::{Computed, Form};
use super::{Resource, Rule};
use crate::store::RecordKind;

const fn rule(name: &'static str, since: u16, form: Form) -> Rule {
    Rule { name, since, form, required: false }
}

const fn needed(name: &'static str, since: u16, form: Form) -> Rule {
    Rule { name, since, form, required: true }
}

/// `/v1/chassis`
pub static CHASSIS: Resource = Resource {
    kind: RecordKind::Chassis,
    path: "chassis",
    plural: "chassis",
    rules: &[rule("description", 1, Form::Text(255)), rule("extra", 1, Form::Object)],
    listed: &["uuid", "description"],
    filters: &[],
    unique: &[],
    since: 1,
};

/// `/v1/portgroups`
pub static PORTGROUP: Resource = Resource {
    kind: RecordKind::Portgroup,
    path: "portgroups",
    plural: "portgroups",
    rules: &[
        needed("node_uuid", 23, Form::Node),
        rule("address", 23, Form::Mac),
        rule("name", 23, Form::Name),
        rule("extra", 23, Form::Object),
        rule("internal_info", 23, Form::Computed(Computed::Object)),
        rule("standalone_ports_supported", 23, Form::Flag(true)),
        // Linux bonding's own names; Ironic keeps whatever text it is given.
        rule(
            "mode",
            26,
            Form::OneOf(&[
                "active-backup",
                "balance-rr",
                "balance-xor",
                "broadcast",
                "802.3ad",
                "balance-tlb",
                "balance-alb",
            ]),
        ),
        rule("properties", 26, Form::Object),
        rule("physical_network", 102, Form::Text(64)),
        rule("category", 103, Form::Text(80)),
    ],
    listed: &["uuid", "name", "address"],
    filters: &[("node", 23), ("node_uuid", 23), ("address", 23)],
    unique: &["address"],
    since: 23,
};

/// `/v1/volume/connectors`
pub static CONNECTOR: Resource = Resource {
    kind: RecordKind::VolumeConnector,
    path: "volume/connectors",
    plural: "connectors",
    rules: &[
        needed("node_uuid", 32, Form::Node),
        needed("type", 32, Form::Text(32)),
        needed("connector_id", 32, Form::Text(255)),
        rule("extra", 32, Form::Object),
    ],
    listed: &["uuid", "node_uuid", "type", "connector_id"],
    filters: &[("node", 32)],
    unique: &["type", "connector_id"],
    since: 32,
};

/// `/v1/volume/targets`
pub static TARGET: Resource = Resource {
    kind: RecordKind::VolumeTarget,
    path: "volume/targets",
    plural: "targets",
    rules: &[
        needed("node_uuid", 32, Form::Node),
        needed("volume_type", 32, Form::Text(64)),
        needed("volume_id", 32, Form::Text(36)),
        needed("boot_index", 32, Form::Count),
        rule("properties", 32, Form::Object),
        rule("extra", 32, Form::Object),
    ],
    listed: &["uuid", "node_uuid", "volume_type", "boot_index", "volume_id"],
    filters: &[("node", 32)],
    unique: &["node_uuid", "boot_index"],
    since: 32,
};

/// `/v1/deploy_templates`
pub static TEMPLATE: Resource = Resource {
    kind: RecordKind::DeployTemplate,
    path: "deploy_templates",
    plural: "deploy_templates",
    rules: &[
        needed("name", 55, Form::TraitName),
        needed("steps", 55, Form::Steps(true)),
        rule("extra", 55, Form::Object),
    ],
    listed: &["uuid", "name"],
    filters: &[],
    unique: &[],
    since: 55,
};

/// `/v1/runbooks`
pub static RUNBOOK: Resource = Resource {
    kind: RecordKind::Runbook,
    path: "runbooks",
    plural: "runbooks",
    rules: &[
        needed("name", 92, Form::TraitName),
        needed("steps", 92, Form::Steps(false)),
        rule("extra", 92, Form::Object),
        rule("public", 92, Form::Flag(false)),
        rule("owner", 92, Form::Text(255)),
        rule("disable_ramdisk", 92, Form::Flag(false)),
    ],
    listed: &["uuid", "name", "public", "owner", "disable_ramdisk"],
    filters: &[],
    unique: &[],
    since: 92,
};

/// `/v1/inspection_rules`
pub static INSPECTION_RULE: Resource = Resource {
    kind: RecordKind::InspectionRule,
    path: "inspection_rules",
    plural: "inspection_rules",
    rules: &[
        rule("description", 96, Form::Text(255)),
        rule("phase", 96, Form::OneOf(&["main"])),
        rule("priority", 96, Form::Number(0)),
        rule("sensitive", 96, Form::Flag(false)),
        rule("scope", 96, Form::Text(255)),
        rule("conditions", 96, Form::Objects),
        needed("actions", 96, Form::Objects),
    ],
    listed: &["uuid", "description", "phase", "priority", "sensitive", "scope"],
    filters: &[],
    unique: &[],
    since: 96,
};

/// `/v1/allocations`
pub static ALLOCATION: Resource = Resource {
    kind: RecordKind::Allocation,
    path: "allocations",
    plural: "allocations",
    rules: &[
        rule("name", 52, Form::Name),
        rule("resource_class", 52, Form::Text(80)),
        rule("traits", 52, Form::Texts),
        rule("candidate_nodes", 52, Form::Texts),
        rule("extra", 52, Form::Object),
        rule("owner", 60, Form::Text(255)),
        rule("node_uuid", 52, Form::Computed(Computed::Null)),
        rule("state", 52, Form::Computed(Computed::Null)),
        rule("last_error", 52, Form::Computed(Computed::Null)),
    ],
    listed: &[
        "uuid",
        "name",
        "resource_class",
        "traits",
        "candidate_nodes",
        "extra",
        "owner",
        "node_uuid",
        "state",
        "last_error",
        "created_at",
        "updated_at",
    ],
    filters: &[("node", 52), ("resource_class", 52), ("state", 52), ("owner", 60)],
    unique: &[],
    since: 52,
};
