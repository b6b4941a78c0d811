//! Whole writes: real images over real HTTP onto a disk in memory.

mod access;
mod builder;
mod commit;
mod disks;
mod fault_matrix;
mod faults;
mod matrix;
mod mirrors;
mod packed;
mod power_cut;
mod qemu;
mod random;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ironwright_api::{Checksum, ChecksumAlgorithm, ReadbackMode};
use sha2::{Digest, Sha256};

use super::tuning::Tuning;
use super::{Hold, ImageError, Outcome, Request, Watch, run};
use crate::sys::disk::BlockDevice;
use disks::MemoryDisk;
use qemu::mixed_content;
use servers::Server;

/// Nobody watches, nobody stops.
#[derive(Debug, Default)]
struct Silent;

impl Watch for Silent {
    fn progress(&self, _phase: &'static str, _bytes: u64, _total: Option<u64>) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// Stops when a phase has got so far.
#[derive(Debug)]
struct StopAt {
    phase: &'static str,
    bytes: u64,
    reached: AtomicBool,
}

impl StopAt {
    fn new(phase: &'static str, bytes: u64) -> Self {
        Self { phase, bytes, reached: AtomicBool::new(false) }
    }
}

impl Watch for StopAt {
    fn progress(&self, phase: &'static str, bytes: u64, _total: Option<u64>) {
        if phase == self.phase && bytes >= self.bytes {
            self.reached.store(true, Ordering::Relaxed);
        }
    }

    fn cancelled(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The real numbers, but nobody waits.
fn quick() -> Tuning {
    Tuning {
        stall: Duration::from_millis(300),
        stall_bytes: 100,
        attempts: 3,
        backoff: Duration::from_millis(1),
        ..Tuning::default()
    }
}

fn http() -> super::Http {
    // Another test may have installed it already.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().tls_certs_only(std::iter::empty()).no_proxy().build().unwrap().into()
}

fn request(server: &Server, sha256: &str) -> Request {
    Request {
        urls: vec![server.url()],
        checksum: Checksum { algorithm: ChecksumAlgorithm::Sha256, value: sha256.into() },
        disk_format: None,
        readback: ReadbackMode::Full,
        hold: Hold::Nothing,
        starters: Vec::new(),
    }
}

/// One write of what `server` has onto `disk`.
async fn write_to(
    server: &Server,
    disk: &Arc<MemoryDisk>,
    request: &Request,
    tuning: &Tuning,
) -> Result<Outcome, ImageError> {
    let _running = server;
    let disk: Arc<dyn BlockDevice> = Arc::clone(disk) as Arc<dyn BlockDevice>;
    run::write(request, disk, Arc::new(Silent), &http(), tuning).await
}

/// An error and its causes, as the agent prints them.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// A disk that fits [`image`] with room to spare, bytes.
const DISK: usize = 6 << 20;

/// A raw image of a bit more than 4 MiB and its digest.
fn image() -> (Vec<u8>, String) {
    let content = mixed_content((4 << 20) + 1536);
    let digest = sha256_hex(&content);
    (content, digest)
}

/// How every failure begins that comes after the first change.
const WIPED: &str = "no image on /dev/memory, which was left without a partition table: ";
