//! What a conductor's node says of disks: root device hints, disks left alone, how erases are done. Open maps: a key that is not
//! known is not looked at.

use ironwright_api::{EraseSettings, NodeRaid};
use serde_json::Value;

/// Most disks erased at once, whatever the conductor says.
const MOST_AT_ONCE: u64 = 64;

/// Root device hints; null where there are none.
pub(super) fn root_device(node: &Value) -> &Value {
    [&node["instance_info"]["root_device"], &node["properties"]["root_device"]]
        .into_iter()
        .find(|hints| !hints.is_null())
        .unwrap_or(&Value::Null)
}

/// Whether the node's image is for a partition, as far as the node says.
pub(super) fn is_partition_image(node: &Value) -> bool {
    node["driver_internal_info"]["is_whole_disk_image"] == false
        || node["instance_info"]["image_type"] == "partition"
}

/// What the node says of its arrays: empty objects say nothing.
pub(super) fn raid(node: &Value) -> NodeRaid {
    let of = |field: &str| {
        let value = node
            .get(field)
            .filter(|value| value.as_object().is_some_and(|value| !value.is_empty()));
        value.cloned().unwrap_or(Value::Null)
    };
    NodeRaid { target: of("target_raid_config"), config: of("raid_config") }
}

/// How erases are done, in Ironic's words of `driver_internal_info`.
pub(super) fn erase_settings(node: &Value) -> EraseSettings {
    let info = &node["driver_internal_info"];
    let flag = |key: &str| info[key].as_bool();
    let weaker = flag("agent_continue_if_secure_erase_failed")
        .or(flag("agent_continue_if_ata_erase_failed"))
        .unwrap_or(false);
    let at_once = info["disk_erasure_concurrency"].as_u64().unwrap_or(4).clamp(1, MOST_AT_ONCE);
    // `volume_name` names an array, which is a plugin's business; its members are protected as parts of an array.
    let is_disk = |hints: &&Value| hints.get("volume_name").is_none();
    let skip = node["properties"]["skip_block_devices"].as_array();
    EraseSettings {
        allow_weaker: weaker,
        concurrency: u32::try_from(at_once).unwrap_or(1),
        skip_read_only: flag("agent_erase_skip_read_only").unwrap_or(false),
        skip: skip.into_iter().flatten().filter(is_disk).cloned().collect(),
        ..EraseSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_instances_hints_win_and_ironics_settings_reach_ours() {
        let node = json!({
            "instance_info": {"root_device": {"serial": "A"}},
            "properties": {"root_device": {"serial": "B"}, "skip_block_devices": [{"name": "/dev/sdb"}, {"volume_name": "r"}]},
            "driver_internal_info": {
                "agent_continue_if_secure_erase_failed": true, "disk_erasure_concurrency": 9000,
                "agent_erase_skip_read_only": true,
            },
        });
        assert_eq!(root_device(&node), &json!({"serial": "A"}));
        let node_with_arrays =
            json!({"raid_config": {"logical_disks": []}, "target_raid_config": {}});
        let arrays = raid(&node_with_arrays);
        assert_eq!((arrays.target, arrays.config), (Value::Null, json!({"logical_disks": []})));
        let settings = erase_settings(&node);
        assert_eq!(
            (settings.allow_weaker, settings.concurrency, settings.skip_read_only),
            (true, 64, true)
        );
        assert_eq!(settings.skip, [json!({"name": "/dev/sdb"})]);
        assert_eq!(erase_settings(&json!(null)), EraseSettings::default());
        assert!(root_device(&json!({})).is_null());
        let internal = json!({"driver_internal_info": {"is_whole_disk_image": false}});
        assert!(is_partition_image(&internal) && !is_partition_image(&node));
    }
}
