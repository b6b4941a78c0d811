use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::*;
use crate::layout::MIB;
use crate::layout::testing::FakeDisk;

const NODE: Uuid = Uuid::from_u128(0x1111_2222);

fn built(value: &Value, sector_bytes: u32) -> ConfigDrive {
    validate(value).unwrap();
    build(value, "node-7", NODE, sector_bytes, None).unwrap().unwrap()
}

/// Reads a file out of a FAT file system; `None` when it is not there.
fn file(drive: &ConfigDrive, path: &str) -> Option<String> {
    let cursor = std::io::Cursor::new(drive.bytes.clone());
    let filesystem = fatfs::FileSystem::new(cursor, fatfs::FsOptions::new()).unwrap();
    let mut text = String::new();
    filesystem.root_dir().open_file(path).ok()?.read_to_string(&mut text).unwrap();
    Some(text)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn text_form(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(gzip(bytes)))
}

/// The smallest thing with an ISO 9660 primary volume descriptor.
fn iso(label: &str) -> Vec<u8> {
    let mut bytes = vec![0; 40 * 1024];
    bytes[32768..32775].copy_from_slice(b"\x01CD001\x01");
    bytes[32808..32840].fill(b' ');
    bytes[32808..32808 + label.len()].copy_from_slice(label.as_bytes());
    bytes
}

#[test]
fn the_object_form_becomes_files_in_both_folders() {
    let value = json!({
        "meta_data": {"hostname": "web1"},
        "user_data": "#!/bin/sh\necho hi\n",
        "network_data": {"links": []},
        "vendor_data": {"a": 1},
    });
    for sector in [512, 4096] {
        let drive = built(&value, sector);
        for folder in ["latest", "2012-08-10"] {
            let read = |name: &str| file(&drive, &format!("openstack/{folder}/{name}")).unwrap();
            let meta: Value = serde_json::from_str(&read("meta_data.json")).unwrap();
            assert_eq!(
                meta,
                json!({"hostname": "web1", "uuid": NODE.to_string(), "name": "node-7"})
            );
            assert_eq!(read("user_data"), "#!/bin/sh\necho hi\n");
            assert_eq!(read("network_data.json"), r#"{"links":[]}"#);
            assert_eq!(read("vendor_data2.json"), r#"{"a":1}"#);
        }
    }
}

#[test]
fn the_file_system_has_the_disks_sectors_and_the_label() {
    for sector in [512u32, 4096] {
        let drive = built(&json!({}), sector);
        let in_boot_sector = u16::from_le_bytes([drive.bytes[11], drive.bytes[12]]);
        assert_eq!(u32::from(in_boot_sector), sector);
        let cursor = std::io::Cursor::new(drive.bytes.clone());
        let filesystem = fatfs::FileSystem::new(cursor, fatfs::FsOptions::new()).unwrap();
        assert_eq!(filesystem.volume_label(), "config-2");
        assert_eq!(
            filesystem.read_volume_label_from_root_dir().unwrap().as_deref(),
            Some("config-2")
        );
    }
}

#[test]
fn documents_that_were_not_given_are_not_there_and_given_names_win() {
    let drive = built(&json!({"meta_data": {"name": "mine", "uuid": "u"}, "user_data": null}), 512);
    let read = |name: &str| file(&drive, &format!("openstack/latest/{name}"));
    assert_eq!(read("meta_data.json").unwrap(), r#"{"name":"mine","uuid":"u"}"#);
    for absent in ["user_data", "network_data.json", "vendor_data2.json"] {
        assert_eq!(read(absent), None, "{absent}");
    }
}

#[test]
fn user_data_that_is_json_is_printed_as_json() {
    for (user_data, text) in [(json!({"a": [1]}), r#"{"a":[1]}"#), (json!([1, 2]), "[1,2]")] {
        let drive = built(&json!({ "user_data": user_data }), 512);
        assert_eq!(file(&drive, "openstack/latest/user_data").unwrap(), text);
    }
}

#[test]
fn the_same_order_gives_the_same_bytes() {
    let value = json!({"user_data": "x"});
    assert_eq!(built(&value, 512), built(&value, 512));
}

#[test]
fn the_schema_is_closed_and_errors_do_not_show_contents() {
    for (value, part) in [
        (json!(5), "a number"),
        (json!(true), "a boolean"),
        (json!([]), "an array"),
        (json!({"userdata": "secret"}), "userdata"),
        (json!({"meta_data": "secret"}), "meta_data is text"),
        (json!({"network_data": ["secret"]}), "network_data is an array"),
        (json!({"vendor_data": 1}), "vendor_data is a number"),
        (json!({"user_data": 1}), "user_data is a number"),
        (json!("secret secret!"), "not base64"),
        (json!(STANDARD.encode("secret")), "not a complete gzip file"),
        (text_form(b"secret"), "neither ISO 9660 nor FAT"),
        (text_form(&iso("cidata")), r#"labelled "cidata""#),
    ] {
        let error = validate(&value).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn debug_output_shows_no_contents() {
    let value = json!({"user_data": "secret"});
    let form = validate(&value).unwrap();
    assert!(!format!("{form:?} {:?}", built(&value, 512)).contains("secret"));
}

#[test]
fn no_config_drive_is_no_config_drive() {
    for value in [Value::Null, json!(""), json!("  ")] {
        assert_eq!(validate(&value).unwrap(), Form::Absent);
        assert_eq!(build(&value, "n", NODE, 512, None).unwrap(), None);
    }
}

#[test]
fn the_text_form_is_taken_as_it_is_white_space_aside() {
    for label in ["config-2", "CONFIG-2"] {
        let image = iso(label);
        let mut wrapped = STANDARD.encode(gzip(&image));
        wrapped.insert(20, '\n');
        let drive = built(&json!(wrapped), 512);
        assert_eq!((drive.filesystem, &drive.bytes), ("iso9660", &image));
    }
    let fat = built(&json!({"user_data": "x"}), 512);
    assert_eq!(built(&text_form(&fat.bytes), 512), fat);
}

#[test]
fn a_truncated_gzip_is_refused() {
    let mut packed = gzip(&iso("config-2"));
    packed.truncate(packed.len() - 4);
    let error = validate(&Value::String(STANDARD.encode(packed))).unwrap_err();
    assert!(matches!(error, ConfigDriveError::Gzip { .. }), "{error}");
}

#[test]
fn a_gzip_bomb_is_refused_after_64_mib() {
    let mut bomb = gzip(&vec![0; (64 << 20) + 1]);
    let whole = Value::String(STANDARD.encode(&bomb));
    assert!(matches!(validate(&whole), Err(ConfigDriveError::TooLarge { .. })));
    // Its missing end is not noticed, because nothing past the limit is unpacked.
    bomb.extend(gzip(&vec![0; 8 << 20]));
    bomb.truncate(bomb.len() - 8);
    let endless = Value::String(STANDARD.encode(bomb));
    assert!(matches!(validate(&endless), Err(ConfigDriveError::TooLarge { .. })));
}

#[test]
fn documents_beyond_64_mib_are_refused() {
    let value = json!({"user_data": "x".repeat(33 << 20)});
    let error = build(&value, "n", NODE, 512, None).unwrap_err();
    assert!(matches!(error, ConfigDriveError::TooLarge { .. }), "{error}");
}

#[test]
fn file_systems_with_smaller_blocks_than_the_disk_are_refused_with_a_remedy() {
    let fat = built(&json!({}), 512);
    for value in [text_form(&iso("config-2")), text_form(&fat.bytes)] {
        let error = build(&value, "n", NODE, 4096, None).unwrap_err().to_string();
        assert!(error.contains("JSON object"), "{error}");
    }
}

#[test]
fn a_url_may_serve_text_gzip_or_the_file_system() {
    let url = json!("https://images.example/drive");
    assert!(matches!(validate(&url).unwrap(), Form::Url(_)));
    let image = iso("config-2");
    let text = STANDARD.encode(gzip(&image)).into_bytes();
    for served in [text, gzip(&image), image.clone()] {
        let drive = build(&url, "n", NODE, 512, Some(&served)).unwrap().unwrap();
        assert_eq!(drive.bytes, image);
    }
    assert!(matches!(build(&url, "n", NODE, 512, None), Err(ConfigDriveError::NotFetched)));
    assert!(build(&url, "n", NODE, 512, Some(b"<html>not found</html>")).is_err());
}

#[test]
fn the_written_drive_is_read_back_and_the_rest_of_the_partition_is_zero() {
    let disk = FakeDisk::new(32 * MIB, 512);
    let range = Range { offset: 4 * MIB, bytes: 20 * MIB };
    disk.write_at(range.offset, &vec![0xFF; 20 << 20]).unwrap();
    let drive = built(&json!({"user_data": "x"}), 512);
    let proof = write(&disk, range, &drive).unwrap();
    assert_eq!((proof.offset, proof.bytes, proof.filesystem.as_str()), (4 * MIB, 20 * MIB, "vfat"));
    assert_eq!(proof.sha256, hex(&Sha256::digest(&drive.bytes)));
    let contents = disk.contents();
    let (from, to) = (4 << 20, (4 << 20) + drive.bytes.len());
    assert_eq!(contents[from..to], drive.bytes);
    assert!(contents[to..24 << 20].iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_that_forgets_or_refuses_is_an_error() {
    let drive = built(&json!({}), 512);
    let range = Range { offset: MIB, bytes: 16 * MIB };
    let mut disk = FakeDisk::new(32 * MIB, 512);
    disk.flip_at = Some(MIB + 7);
    assert!(matches!(write(&disk, range, &drive), Err(ConfigDriveError::ReadBack { .. })));
    disk.fail_write_at = Some(MIB);
    assert!(matches!(write(&disk, range, &drive), Err(ConfigDriveError::Disk(_))));
    for range in [Range { bytes: 1, ..range }, Range { offset: 31 * MIB, ..range }] {
        assert!(matches!(write(&disk, range, &drive), Err(ConfigDriveError::Partition { .. })));
    }
}

/// Runs an oracle when it is installed; prints why it is skipped otherwise.
pub(crate) fn oracle(program: &str, args: &[&str]) -> Option<std::process::Output> {
    let path =
        ["/usr/sbin", "/sbin", "/usr/bin"].map(|dir| std::path::Path::new(dir).join(program));
    let Some(path) = path.into_iter().find(|path| path.exists()) else {
        println!("skipped: {program} is not installed");
        return None;
    };
    #[expect(clippy::disallowed_methods, reason = "an oracle of this test only")]
    Some(std::process::Command::new(path).args(args).output().unwrap())
}

#[test]
fn fsck_finds_no_fault_and_blkid_finds_the_label() {
    let dir = tempfile::tempdir().unwrap();
    for (sector, user_data) in
        [(512, "x".to_owned()), (4096, "x".to_owned()), (512, "y".repeat(20 << 20))]
    {
        let path = dir.path().join("drive");
        std::fs::write(&path, built(&json!({ "user_data": user_data }), sector).bytes).unwrap();
        let path = path.to_str().unwrap();
        if let Some(output) = oracle("fsck.vfat", &["-n", path]) {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        }
        if let Some(output) = oracle("blkid", &["-p", "-o", "export", path]) {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.lines().any(|line| line == "LABEL=config-2"), "{text}");
            assert!(text.lines().any(|line| line == "TYPE=vfat"), "{text}");
        }
    }
}

#[test]
fn an_iso_made_by_genisoimage_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let iso = dir.path().join("drive.iso");
    std::fs::write(dir.path().join("meta_data.json"), "{}").unwrap();
    let (from, to) = (dir.path().join("meta_data.json"), iso.to_str().unwrap().to_owned());
    let args = ["-quiet", "-J", "-r", "-V", "config-2", "-o", &to, from.to_str().unwrap()];
    if oracle("genisoimage", &args).is_some() {
        let bytes = std::fs::read(iso).unwrap();
        assert_eq!(built(&text_form(&bytes), 512).filesystem, "iso9660");
    }
}
