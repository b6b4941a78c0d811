//! The ramdisk as it is built.

use lab::{artifacts, runs};

#[test]
#[ignore = "builds the ramdisk: cargo lab test"]
fn two_builds_are_equal_byte_for_byte_and_within_the_budget() {
    let first = runs::Inputs::of_this_run().unwrap();
    let out = runs::dir_of_this_run().unwrap().join("ramdisk");
    let second = artifacts::ramdisk_again(&out).unwrap();
    for (one, other) in [(&first.kernel, &second.vmlinuz), (&first.ramdisk, &second.initrd)] {
        let (one, other) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
        assert!(one == other, "{} and {} bytes differ", one.len(), other.len());
    }
    let manifest = std::fs::read_to_string(&second.manifest).unwrap();
    println!("{manifest}");
    let number = |name: &str| -> u64 {
        let line = manifest.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    assert!(number("total_bytes ") <= number("budget_bytes "));
}
