use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironwright_api::{BUNDLE_FORMAT, BundleHeader, PLUGIN_PUBLIC_KEY};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};

use super::*;

/// Somebody who signs.
pub(crate) struct Author(Ed25519KeyPair);

impl Author {
    pub(crate) fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    pub(crate) fn public(&self, file: &Path) -> PathBuf {
        let key = STANDARD.encode(self.0.public_key().as_ref());
        fs::write(file, format!("{PLUGIN_PUBLIC_KEY} {key}\n")).unwrap();
        file.to_owned()
    }

    fn id(&self) -> String {
        let digest = Sha256::digest(self.0.public_key().as_ref());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn header(&self, payload: &[u8]) -> BundleHeader {
        let sha256: String =
            Sha256::digest(payload).iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = payload.len() as u64;
        let signature = self.0.sign(&BundleHeader::signed_text(&sha256, bytes));
        let signature = STANDARD.encode(signature.as_ref());
        BundleHeader { format: BUNDLE_FORMAT, key_id: self.id(), sha256, bytes, signature }
    }

    pub(crate) fn bundle(&self, file: &Path, payload: &[u8]) -> BundleHeader {
        let header = self.header(payload);
        write(file, &header, payload);
        header
    }
}

fn write(file: &Path, header: &BundleHeader, payload: &[u8]) {
    let mut bytes = serde_json::to_vec(header).unwrap();
    bytes.push(b'\n');
    bytes.extend_from_slice(payload);
    fs::write(file, bytes).unwrap();
}

#[test]
fn bundles_of_trusted_keys_are_offered_by_hash_and_the_folder_may_change() {
    let dir = tempfile::tempdir().unwrap();
    let author = Author::new();
    let settings = PluginSettings {
        dir: dir.path().to_owned(),
        keys: vec![author.public(&dir.path().join("author.pub"))],
    };
    let first = author.bundle(&dir.path().join("a.plugin"), b"one");
    author.bundle(&dir.path().join("copy.plugin"), b"one");
    let plugins = Plugins::open(&settings).unwrap();
    let found = plugins.bundles();
    assert_eq!(found.len(), 1, "{found:?}");
    let file = dir.path().join("a.plugin");
    assert_eq!(found[0].bytes, fs::metadata(&file).unwrap().len());
    assert_eq!((&found[0].sha256, &found[0].key_id), (&first.sha256, &author.id()));
    assert_eq!(found[0].url, format!("/plugins/{}", first.sha256));
    assert_eq!(plugins.path_of(&first.sha256), Some(file.clone()));
    assert_eq!(plugins.path_of("../author.pub"), None);
    let second = author.bundle(&file, b"another one");
    fs::remove_file(dir.path().join("copy.plugin")).unwrap();
    plugins.look();
    let found = plugins.bundles();
    assert_eq!((found.len(), &found[0].sha256), (1, &second.sha256));
    let nobody = PluginSettings { keys: Vec::new(), ..settings };
    assert!(Plugins::open(&nobody).unwrap().bundles().is_empty());
}

#[test]
fn what_is_not_whole_or_not_signed_by_a_trusted_key_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (author, stranger) = (Author::new(), Author::new());
    let keys = TrustedKeys::read(&[author.public(&dir.path().join("key"))]).unwrap();
    let file = dir.path().join("it.plugin");
    let good = author.header(b"payload");
    let forged = BundleHeader { key_id: author.id(), ..stranger.header(b"payload") };
    for (header, payload, expected) in [
        (stranger.header(b"payload"), &b"payload"[..], "which is not among plugins.keys"),
        (forged, b"payload", "it was changed, or forged"),
        (good.clone(), b"Payload", "its header says"),
        (good.clone(), b"payload and more", "promises 7 bytes, 16 are there"),
        (good.clone(), b"pay", "promises 7 bytes, 3 are there"),
        (BundleHeader { format: 2, ..good }, b"payload", "it has format 2"),
    ] {
        write(&file, &header, payload);
        let error = check::bundle(&file, &keys).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for text in ["", "{}\nx", &"x".repeat(10_000)] {
        fs::write(&file, text).unwrap();
        let error = check::bundle(&file, &keys).unwrap_err().to_string();
        assert!(error.contains("not a bundle's header"), "{error}");
    }
    fs::write(&file, "ironwright-plugin-private-key-1 AAAA\n").unwrap();
    let error = TrustedKeys::read(&[file]).unwrap_err().to_string();
    assert!(error.contains("ironwright-plugin-public-key-1 BASE64"), "{error}");
}

#[test]
fn the_archive_of_keys_has_each_folder_and_one_file_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let author = Author::new();
    let keys = TrustedKeys::read(&[author.public(&dir.path().join("key"))]).unwrap();
    let archive = unpacked(&trust::archive(&keys).unwrap());
    assert_eq!(archive.len() % 4, 0);
    let (mut rest, mut names) = (&archive[..], Vec::new());
    while !rest.is_empty() {
        assert_eq!(&rest[..6], b"070701");
        let field = |at: usize| {
            let digits = std::str::from_utf8(&rest[6 + at * 8..14 + at * 8]).unwrap();
            usize::from_str_radix(digits, 16).unwrap()
        };
        let (size, length) = (field(6), field(11));
        let body = (110 + length).next_multiple_of(4);
        names.push(String::from_utf8(rest[110..109 + length].to_vec()).unwrap());
        if size > 0 {
            let line = String::from_utf8(rest[body..body + size].to_vec()).unwrap();
            assert_eq!(line, fs::read_to_string(dir.path().join("key")).unwrap());
        }
        rest = &rest[(body + size).next_multiple_of(4)..];
    }
    let file = format!("etc/ironwright/plugin-keys/{}.pub", author.id());
    assert_eq!(names, ["etc", "etc/ironwright", "etc/ironwright/plugin-keys", &file, "TRAILER!!!"]);
}

#[test]
fn what_comes_behind_the_archive_of_keys_begins_where_the_kernel_looks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for count in 1..=5 {
        files.push(Author::new().public(&dir.path().join(count.to_string())));
        let archive = trust::archive(&TrustedKeys::read(&files).unwrap()).unwrap();
        assert_eq!(archive.len() % 512, 0, "{count} keys");
        let mut plain = Vec::new();
        let mut packed = flate2::bufread::GzDecoder::new(&archive[..]);
        std::io::Read::read_to_end(&mut packed, &mut plain).unwrap();
        // Only zeros are skipped by the kernel.
        let behind = packed.into_inner();
        assert!(behind.len() < 512 && behind.iter().all(|byte| *byte == 0), "{count} keys");
    }
}

fn unpacked(archive: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(archive), &mut plain).unwrap();
    plain
}
