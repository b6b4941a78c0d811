//! Which field of which record is visible from which microversion, and what a client may select.

use super::error::ApiError;
use super::version::Version;

/// A field and the first `1.N` that shows it.
pub type Field = (&'static str, u16);

/// A node's fields, in the order they are written (Ironic's table, versions 1.1 to 1.110).
pub const NODE: &[Field] = &[
    ("uuid", 1),
    ("created_at", 1),
    ("updated_at", 1),
    ("automated_clean", 47),
    ("bios_interface", 40),
    ("boot_interface", 31),
    ("boot_mode", 75),
    ("clean_step", 7),
    ("conductor_group", 46),
    ("console_enabled", 1),
    ("console_interface", 31),
    ("deploy_interface", 31),
    ("deploy_step", 44),
    ("description", 51),
    ("disable_power_off", 95),
    ("driver", 1),
    ("driver_info", 1),
    ("driver_internal_info", 3),
    ("extra", 1),
    ("fault", 42),
    ("firmware_interface", 86),
    ("health", 109),
    ("inspect_interface", 31),
    ("inspection_finished_at", 6),
    ("inspection_started_at", 6),
    ("instance_info", 1),
    ("instance_name", 104),
    ("instance_uuid", 1),
    ("last_error", 1),
    ("lessee", 65),
    ("maintenance", 1),
    ("maintenance_reason", 1),
    ("management_interface", 31),
    ("name", 5),
    ("network_data", 66),
    ("network_interface", 20),
    ("owner", 50),
    ("parent_node", 83),
    ("power_interface", 31),
    ("power_state", 1),
    ("properties", 1),
    ("protected", 48),
    ("protected_reason", 48),
    ("provision_state", 1),
    ("provision_updated_at", 1),
    ("raid_config", 12),
    ("raid_interface", 31),
    ("rescue_interface", 38),
    ("reservation", 1),
    ("resource_class", 21),
    ("retired", 61),
    ("retired_reason", 61),
    ("secure_boot", 75),
    ("service_step", 87),
    ("shard", 82),
    ("storage_interface", 33),
    ("target_power_state", 1),
    ("target_provision_state", 1),
    ("target_raid_config", 12),
    ("traits", 37),
    ("vendor_interface", 31),
    ("conductor", 49),
    ("allocation_uuid", 52),
    ("chassis_uuid", 1),
];

/// What a plain list of nodes shows.
pub const NODE_LIST: &[&str] =
    &["instance_uuid", "maintenance", "power_state", "provision_state", "uuid", "name"];

/// A port's fields.
pub const PORT: &[Field] = &[
    ("uuid", 1),
    ("created_at", 1),
    ("updated_at", 1),
    ("address", 1),
    ("category", 101),
    ("description", 97),
    ("extra", 1),
    ("internal_info", 18),
    ("is_smartnic", 53),
    ("local_link_connection", 19),
    ("name", 88),
    ("node_uuid", 1),
    ("physical_network", 34),
    ("portgroup_uuid", 24),
    ("pxe_enabled", 19),
    ("vendor", 100),
];

/// What a plain list of ports shows.
pub const PORT_LIST: &[&str] = &["uuid", "address"];

/// Whether `name` is shown at `version`; none when there is no such field.
#[must_use]
pub fn visible(table: &[Field], name: &str, version: Version) -> Option<bool> {
    table.iter().find(|field| field.0 == name).map(|field| version.0 >= field.1)
}

/// `fields=a,b` of a query, checked.
///
/// # Errors
///
/// 400 naming every unknown field, 406 naming those newer than `version`.
pub fn select(table: &[Field], asked: &str, version: Version) -> Result<Vec<String>, ApiError> {
    // Ironic's `fields` came with 1.8.
    if version.0 < 8 {
        return Err(ApiError::TooNew("The parameter 'fields' needs at least version 1.8.".into()));
    }
    let names: Vec<String> = asked
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let pick = |found: Option<bool>| {
        let names = names.iter().filter(|name| visible(table, name, version) == found);
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let unknown = pick(None);
    if !unknown.is_empty() {
        return Err(ApiError::Invalid(format!("Field(s) \"{unknown}\" are not valid.")));
    }
    let too_new = pick(Some(false));
    if !too_new.is_empty() {
        return Err(ApiError::TooNew(format!(
            "Field(s) {too_new} need a newer API version than {version}."
        )));
    }
    Ok(names)
}

/// Refuses fields of a body that are newer than the request's version.
///
/// # Errors
///
/// 406 naming them.
pub fn refuse_newer<'a>(
    table: &[Field],
    sent: impl Iterator<Item = &'a str>,
    version: Version,
) -> Result<(), ApiError> {
    let newer: Vec<&str> =
        sent.filter(|name| visible(table, name, version) == Some(false)).collect();
    if newer.is_empty() {
        return Ok(());
    }
    Err(ApiError::TooNew(format!(
        "Field(s) {} need a newer API version than {version}.",
        newer.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_hidden_one_version_before_it_appeared() {
        for (field, since) in [
            ("driver_internal_info", 3),
            ("name", 5),
            ("inspection_started_at", 6),
            ("clean_step", 7),
            ("raid_config", 12),
            ("network_interface", 20),
            ("resource_class", 21),
            ("deploy_interface", 31),
            ("storage_interface", 33),
            ("traits", 37),
            ("rescue_interface", 38),
            ("bios_interface", 40),
            ("fault", 42),
            ("deploy_step", 44),
            ("conductor_group", 46),
            ("automated_clean", 47),
            ("protected_reason", 48),
            ("conductor", 49),
            ("owner", 50),
            ("description", 51),
            ("allocation_uuid", 52),
            ("retired", 61),
            ("lessee", 65),
            ("network_data", 66),
            ("secure_boot", 75),
            ("shard", 82),
            ("parent_node", 83),
            ("firmware_interface", 86),
            ("service_step", 87),
            ("disable_power_off", 95),
            ("instance_name", 104),
            ("health", 109),
        ] {
            assert_eq!(visible(NODE, field, Version(since - 1)), Some(false), "{field}");
            assert_eq!(visible(NODE, field, Version(since)), Some(true), "{field}");
        }
        assert_eq!(visible(NODE, "id", Version(110)), None);
    }

    #[test]
    fn selecting_fields_names_what_is_unknown_or_too_new() {
        let unknown = select(NODE, "uuid,foo,bar", Version(110)).unwrap_err();
        assert_eq!(unknown.to_string(), "Field(s) \"foo, bar\" are not valid.");
        assert!(matches!(select(NODE, "uuid,owner", Version(49)), Err(ApiError::TooNew(_))));
        assert!(matches!(select(NODE, "uuid", Version(7)), Err(ApiError::TooNew(_))));
        assert_eq!(select(NODE, "uuid, owner", Version(50)).unwrap(), ["uuid", "owner"]);
    }
}
