//! What `ironwright-agent write-image` says of the disk when it fails, as scripts read it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests start programs and stop at the first surprise"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// No partition table in it.
static IMAGE: [u8; 2 << 20] = [0x5a; 2 << 20];

/// Serves [`IMAGE`], without ranges, as long as the process lives.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image.raw", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut asked, head) = ([0; 4096], format!("Content-Length: {}", IMAGE.len()));
            let answered = stream
                .read(&mut asked)
                .and_then(|_| {
                    write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\nConnection: close\r\n\r\n")
                })
                .and_then(|()| stream.write_all(&IMAGE));
            // Who has seen enough hangs up.
            drop(answered);
        }
    });
    url
}

fn write_image(url: &str, disk: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let digest: String =
        Sha256::digest(&IMAGE[..]).iter().map(|byte| format!("{byte:02x}")).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_ironwright-agent"))
        .args(["write-image", "--json", "--url", url, "--checksum", &format!("sha256:{digest}")])
        .arg("--disk")
        .arg(disk)
        .args(more)
        .output()
        .unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_failure_says_what_became_of_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, vec![0x77; 8 << 20]).unwrap();
    let url = serve();
    let (code, said) = write_image(&url, &disk, &["--proxy", "ftp://127.0.0.1:1"]);
    assert_eq!((code, said["disk"].as_str()), (Some(1), Some("untouched")), "{said}");
    let (code, said) = write_image(&url, dir.path(), &[]);
    assert_eq!((code, said["disk"].as_str()), (Some(1), Some("untouched")), "{said}");
    assert_eq!(std::fs::read(&disk).unwrap(), vec![0x77; 8 << 20]);

    let (code, said) = write_image(&url, &disk, &["--bootable"]);
    assert_eq!((code, said["disk"].as_str()), (Some(1), Some("wiped")), "{said}");
    assert!(said["message"].as_str().unwrap().contains("partition table"), "{said}");
    assert!(std::fs::read(&disk).unwrap()[..1 << 20].iter().all(|byte| *byte == 0));

    let (code, said) = write_image(&url, &disk, &[]);
    assert_eq!((code, said["proven"].as_bool()), (Some(0), Some(true)), "{said}");
    assert!(std::fs::read(&disk).unwrap().starts_with(&IMAGE));
}
