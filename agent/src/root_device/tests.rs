use serde_json::json;

use super::*;

fn disk(name: &str, gib: u64) -> Disk {
    Disk { name: format!("/dev/{name}"), size: gib << 30, ..Disk::default() }
}

/// The disk every operator is tried on.
fn sample() -> Disk {
    Disk {
        model: Some("Micron 7450 PRO".to_owned()),
        wwn: Some("0x5000c50000000001".to_owned()),
        wwn_with_extension: Some("0x5000C50000000001ABCD".to_owned()),
        wwn_vendor_extension: Some("0xabcd".to_owned()),
        serial: Some("S3R1AL".to_owned()),
        vendor: Some("ATA".to_owned()),
        hctl: Some("1:0:0:0".to_owned()),
        by_path: Some("/dev/disk/by-path/pci-0000:00:1f.2-ata-1.0".to_owned()),
        tran: Some("sata".to_owned()),
        rotational: true,
        ..disk("sda", 100)
    }
}

/// Hint, expressions that match [`sample`], expressions that do not.
const OPERATORS: &[(&str, &[&str], &[&str])] = &[
    ("size", &["100", "== 100", "= 100", "= 99"], &["99", "== 101", "= 101"]),
    ("size", &["!= 99", "< 101", "<= 100"], &["!= 100", "< 100", "<= 99"]),
    ("size", &["> 99", ">= 100"], &["> 100", ">= 101"]),
    ("size", &["<or> 50 <or> 100"], &["<or> 50 <or> 60"]),
    ("size", &["<range-in> [ 100 200 ]", "<range-in> [10 100]"], &["<range-in> ( 100 200 ]"]),
    ("size", &["<range-in> ( 99 101 )"], &["<range-in> [ 10 100 )"]),
    ("serial", &["S3R1AL", "s3r1al", "s== S3R1AL"], &["S3R1", "s== other"]),
    ("serial", &["s!= x", "<in> R1A"], &["s!= s3r1al", "<in> zzz"]),
    ("serial", &["s< t", "s<= s3r1al"], &["s< s", "s<= s"]),
    ("serial", &["s> r", "s>= s3r1al"], &["s> t", "s>= t"]),
    ("model", &["micron 7450 pro", "<all-in> 7450 micron"], &["micron", "<all-in> 7450 intel"]),
    ("model", &["<or> x <or> Micron 7450 PRO"], &["<or> x <or> y"]),
    ("wwn", &["0x5000c50000000001", "0x5000c50000000001abcd"], &["0x5000"]),
    ("wwn_with_extension", &["0x5000c50000000001abcd"], &["0x5000c50000000001"]),
    ("wwn_vendor_extension", &["0xABCD"], &["0xab"]),
    ("name", &["/dev/sda", "s== /dev/sda"], &["sda"]),
    ("vendor", &["ata"], &["QEMU"]),
    ("hctl", &["1:0:0:0"], &["2:0:0:0"]),
    ("by_path", &["/dev/disk/by-path/pci-0000:00:1f.2-ata-1.0", "<in> ata-1"], &["x"]),
    ("tran", &["sata"], &["nvme"]),
    ("rotational", &["true", "1", "yes"], &["false", "off"]),
];

#[test]
fn every_operator_of_ironic_decides_as_ironic_does() {
    let disks = [sample()];
    for (hint, matching, failing) in OPERATORS {
        for (values, expected) in [(matching, true), (failing, false)] {
            for value in *values {
                let result = select(&json!({ *hint: value }), &disks);
                assert_eq!(result.is_ok(), expected, "{hint} {value}: {result:?}");
                assert!(expected || matches!(result, Err(RootDeviceError::NoneMatches { .. })));
            }
        }
    }
    assert!(select(&json!({"size": 100, "rotational": true}), &disks).is_ok());
}

#[test]
fn without_hints_the_smallest_disk_of_4_gib_is_taken_ties_by_name() {
    let removable = Disk { removable: true, ..disk("sdx", 5) };
    let locked = Disk { read_only: true, ..disk("sdy", 5) };
    for (disks, expected) in [
        (vec![disk("sda", 3), disk("sdb", 4), disk("sdc", 100)], Some("/dev/sdb")),
        (vec![disk("sdb", 20), disk("sda", 20)], Some("/dev/sda")),
        (vec![removable, locked, disk("sda", 100)], Some("/dev/sda")),
        (vec![disk("sda", 3)], None),
        (vec![], None),
    ] {
        for hints in [Value::Null, json!({})] {
            let found = select(&hints, &disks).ok().map(|choice| choice.disk.name.as_str());
            assert_eq!(found, expected, "{disks:?}");
        }
    }
}

#[test]
fn all_hints_must_match_the_same_disk() {
    let disks = [sample(), disk("sdb", 100)];
    let hints = json!({"serial": "S3R1AL", "size": ">= 100"});
    assert_eq!(select(&hints, &disks).unwrap().disk.name, "/dev/sda");
    assert!(select(&json!({"serial": "S3R1AL", "size": "> 100"}), &disks).is_err());
}

#[test]
fn of_several_matches_the_first_by_name_is_taken_and_that_is_said() {
    let disks = [disk("sdb", 100), disk("sda", 100), disk("sdc", 50), disk("sdd", 50)];
    for (hints, chosen, part) in [
        (
            json!({"size": 100}),
            "/dev/sda",
            "the root device hints are not exact and 2 disks would do (/dev/sdb, /dev/sda): /dev/sda was taken",
        ),
        (
            Value::Null,
            "/dev/sdc",
            "no root device hints are set and 2 disks would do (/dev/sdc, /dev/sdd): /dev/sdc was taken",
        ),
    ] {
        let choice = select(&hints, &disks).unwrap();
        assert_eq!(choice.disk.name, chosen);
        let warning = choice.warning.unwrap();
        assert!(warning.contains(part) && warning.contains("serial or wwn"), "{warning}");
    }
    assert_eq!(select(&json!({"name": "/dev/sdb"}), &disks).unwrap().warning, None);
    assert_eq!(select(&Value::Null, &disks[1..3]).unwrap().warning, None);
}

#[test]
fn a_serial_hint_finds_a_disk_by_any_of_its_serial_numbers() {
    let disks = [Disk { other_serials: vec!["Micron_7450_S3R1AL".to_owned()], ..sample() }];
    for (serial, found) in [("s3r1al", true), ("s== micron_7450_S3R1AL", true), ("Micron", false)] {
        assert_eq!(select(&json!({ "serial": serial }), &disks).is_ok(), found, "{serial}");
    }
}

#[test]
fn no_match_says_what_each_disk_has_instead() {
    let disks = [sample(), disk("sdb", 50)];
    let error = select(&json!({"size": ">= 60", "serial": "other"}), &disks).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no disk matches the root device hints: /dev/sda has serial \"s3r1al\", wanted other; \
         /dev/sdb has size 50.00 GiB, wanted >= 60 GiB"
    );
}

#[test]
fn a_removable_disk_is_taken_only_when_hinted_and_a_read_only_one_never() {
    let removable = [Disk { removable: true, ..sample() }];
    assert!(select(&Value::Null, &removable).is_err());
    assert!(select(&json!({"serial": "S3R1AL"}), &removable).is_ok());
    let locked = [Disk { read_only: true, ..sample() }];
    assert!(select(&json!({"serial": "S3R1AL"}), &locked).is_err());
}

#[test]
fn expressions_that_make_no_sense_are_refused_by_name() {
    for (hints, part) in [
        (json!([]), "must be an object"),
        (json!({"colour": "red"}), "unknown root device hint \"colour\""),
        (json!({"size": 0}), "size is \"0\": must be a positive whole number"),
        (json!({"size": -5}), "positive whole number"),
        (json!({"size": "big"}), "positive whole number"),
        (json!({"size": ">="}), "nothing follows"),
        (json!({"size": "<in> 5"}), "cannot be searched"),
        (json!({"size": "<range-in> 10 20"}), "a range is written"),
        (json!({"serial": ""}), "nothing follows"),
        (json!({"serial": "> abc"}), "use its s form"),
        (json!({"rotational": "maybe"}), "must be true or false"),
    ] {
        let error = select(&hints, &[sample()]).unwrap_err().to_string();
        assert!(error.contains(part), "{hints}: {error}");
    }
}

#[test]
fn a_null_hint_is_no_hint() {
    assert!(select(&json!({"size": 100, "serial": null}), &[sample()]).is_ok());
}
