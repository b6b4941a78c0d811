//! How Linux names a disk's partitions.

/// Whether a device node is `disk` or one of its partitions: `/dev/sda2`, `/dev/nvme0n1p2`.
#[must_use]
pub fn is_on_disk(node: &str, disk: &str) -> bool {
    let Some(rest) = node.strip_prefix(disk) else { return false };
    let number = match disk.ends_with(|last: char| last.is_ascii_digit()) {
        true => rest.strip_prefix('p'),
        false => Some(rest),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    rest.is_empty() || number.is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_on_its_disk_and_on_no_other() {
        for (node, disk, expected) in [
            ("/dev/sda", "/dev/sda", true),
            ("/dev/sda2", "/dev/sda", true),
            ("/dev/sdaa2", "/dev/sda", false),
            ("/dev/nvme0n1p2", "/dev/nvme0n1", true),
            ("/dev/nvme0n10p2", "/dev/nvme0n1", false),
            ("/dev/nvme0n1p", "/dev/nvme0n1", false),
            ("/dev/sdb1", "/dev/sda", false),
        ] {
            assert_eq!(is_on_disk(node, disk), expected, "{node} on {disk}");
        }
    }
}
