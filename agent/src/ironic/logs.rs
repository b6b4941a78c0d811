//! `collect_system_logs`: what this boot has to say, as base64 of a tar.gz. Everything in it is in memory and bounded.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::report::{LogTail, kernel_log};

/// The archive: the agent's log, the kernel's, and the inventory.
pub(super) fn packed(tail: &LogTail, inventory: &Value) -> String {
    let inventory = serde_json::to_vec_pretty(inventory).unwrap_or_default();
    let files = [
        ("agent.log", tail.all().join("\n").into_bytes()),
        ("kernel.log", kernel_log()),
        ("inventory.json", inventory),
    ];
    let mut archive = Vec::new();
    for (name, bytes) in &files {
        archive.extend(header(name, bytes.len()));
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let packed = packer.write_all(&archive).and_then(|()| packer.finish()).unwrap_or_default();
    STANDARD.encode(packed)
}

/// A `ustar` header (POSIX.1-1988): name, mode, owners, size, time, checksum, type.
fn header(name: &str, bytes: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| {
        for (to, from) in header.iter_mut().skip(at).zip(text.bytes()) {
            *to = from;
        }
    };
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{bytes:011o}\0"));
    put(136, "00000000000\0");
    // The checksum counts its own field as blanks.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    for (to, from) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *to = from;
    }
    header
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn tar_itself_finds_the_three_files() {
        let packed = packed(&LogTail::default(), &serde_json::json!({"hostname": "n0"}));
        let mut archive = tempfile::tempfile().unwrap();
        archive.write_all(&STANDARD.decode(packed).unwrap()).unwrap();
        std::io::Seek::rewind(&mut archive).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the reader that people use is the oracle")]
        let mut tar = std::process::Command::new("tar")
            .args(["--extract", "--gzip", "--to-stdout", "inventory.json"])
            .stdin(archive)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        tar.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(tar.wait().unwrap().success());
        assert!(text.contains("\"hostname\": \"n0\""), "{text}");
    }
}
