//! `instance_info` of a partition image: what is to be made around it.

use ironwright_api::PartitionImage;
use serde_json::{Map, Value};

use super::access::shown;
use super::text;
use crate::node::Node;

/// Largest partition, GiB: 16 PiB, what a disk may have.
const MAX_GIB: u64 = 16 << 20;

/// What `instance_info` says of partitions; none for a whole-disk image. A `kernel` and `ramdisk` make it a partition image, as
/// in Ironic.
///
/// # Errors
///
/// Every problem, one sentence each.
pub(super) fn partition(node: &Node) -> Result<Option<PartitionImage>, Vec<String>> {
    let info = &node.instance_info;
    match text(info, "image_type") {
        Some("whole-disk") => return Ok(None),
        Some("partition") => {}
        None if text(info, "kernel").is_none() || text(info, "ramdisk").is_none() => {
            return Ok(None);
        }
        None => {}
        Some(other) => {
            return Err(vec![format!(
                "instance_info.image_type must be whole-disk or partition; it is '{other}'."
            )]);
        }
    }
    let mut problems = Vec::new();
    let mut number = |key: &str, most: u64| match whole_number(info, key, most) {
        Ok(number) => number,
        Err(problem) => {
            problems.push(problem);
            0
        }
    };
    let root_gib = number("root_gb", MAX_GIB);
    let swap_mib = number("swap_mb", MAX_GIB << 10);
    let ephemeral = number("ephemeral_gb", MAX_GIB);
    if ephemeral > 0 {
        problems.push(
            "instance_info.ephemeral_gb is not supported: set it to 0; file systems are made by the deployed system."
                .to_owned(),
        );
    }
    if problems.is_empty() {
        Ok(Some(PartitionImage { root_mib: root_gib << 10, swap_mib }))
    } else {
        Err(problems)
    }
}

/// A number, which clients may send as text; 0 when absent.
fn whole_number(info: &Map<String, Value>, key: &str, most: u64) -> Result<u64, String> {
    let value = info.get(key).unwrap_or(&Value::Null);
    let number = match value.as_str() {
        Some(text) => text.parse().ok(),
        None if value.is_null() => Some(0),
        None => value.as_u64(),
    };
    number.filter(|number| *number <= most).ok_or_else(|| {
        format!(
            "instance_info.{key} must be a whole number in 0 ..= {most}; it is {}.",
            shown(value)
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::sample::{node, object};

    fn asked(info: Value) -> Result<Option<PartitionImage>, String> {
        let mut record = node();
        record.instance_info = object(info);
        partition(&record).map_err(|problems| problems.join(" "))
    }

    #[test]
    fn a_partition_image_is_one_by_its_type_or_by_its_kernel_and_ramdisk() {
        let some = |root_mib, swap_mib| Ok(Some(PartitionImage { root_mib, swap_mib }));
        for (info, expected) in [
            (json!({}), Ok(None)),
            (json!({"image_type": "whole-disk", "kernel": "k", "ramdisk": "r"}), Ok(None)),
            (json!({"kernel": "k"}), Ok(None)),
            (json!({"kernel": "k", "ramdisk": "r", "root_gb": 10}), some(10 << 10, 0)),
            (json!({"image_type": "partition", "root_gb": "2", "swap_mb": 512}), some(2048, 512)),
            (json!({"image_type": "partition"}), some(0, 0)),
        ] {
            assert_eq!(asked(info.clone()), expected, "{info}");
        }
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let wrong =
            json!({"image_type": "partition", "root_gb": -1, "swap_mb": "much", "ephemeral_gb": 5});
        let problems = asked(wrong).unwrap_err();
        for part in
            ["root_gb must be a whole number", "swap_mb must", "ephemeral_gb is not supported"]
        {
            assert!(problems.contains(part), "{problems}");
        }
        assert!(asked(json!({"image_type": "iso"})).unwrap_err().contains("it is 'iso'"));
    }
}
