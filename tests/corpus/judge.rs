//! One image: what the agent writes by both ways, held against what QEMU reads.

use std::error::Error;
use std::sync::Arc;

use ironwright_agent::image::{Hold, Http, Request, Watch, write};
use ironwright_api::{Checksum, ChecksumAlgorithm, ReadbackMode};
use sha2::{Digest, Sha256};

use crate::differences;
use crate::disk::OldDisk;
use crate::qemu::{MAX_GUEST_BYTES, Verdict};
use crate::server::Server;

/// Bytes of the disk behind the image's end.
const SPARE: usize = 3 << 20;

/// How the two agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The disk holds what QEMU reads.
    Same,
    /// Neither reads it.
    BothRefuse,
    /// A listed difference, by its reason.
    Differ(&'static str),
}

/// Nobody watches, nobody stops.
#[derive(Debug)]
struct Silent;

impl Watch for Silent {
    fn progress(&self, _phase: &'static str, _bytes: u64, _total: Option<u64>) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// What the agent made of an image: a disk, or words.
type Written = Result<Arc<OldDisk>, String>;

/// Both ways of reading; the error says what must not be.
pub(crate) async fn judge(
    server: &Server,
    http: &Http,
    image: &[u8],
    verdict: &Verdict,
) -> Result<Vec<Judgement>, String> {
    server.serve(image);
    let mut judgements = Vec::new();
    for way in ["range", "forward"] {
        let written = write_by(server, http, way, image, verdict).await?;
        let judgement = compare(written, verdict).map_err(|error| format!("{way}: {error}"))?;
        judgements.push(judgement);
    }
    Ok(judgements)
}

async fn write_by(
    server: &Server,
    http: &Http,
    way: &str,
    image: &[u8],
    verdict: &Verdict,
) -> Result<Written, String> {
    let guest = match verdict {
        Verdict::Accepted(guest) => guest.len(),
        Verdict::Huge(_) => usize::try_from(MAX_GUEST_BYTES).unwrap(),
        Verdict::Refused(_) => 1 << 20,
    };
    let disk = Arc::new(OldDisk::new(guest + SPARE));
    let request = Request {
        urls: vec![server.url(way)],
        checksum: Checksum { algorithm: ChecksumAlgorithm::Sha256, value: sha256(image) },
        disk_format: Some("qcow2".into()),
        readback: ReadbackMode::Full,
        hold: Hold::Nothing,
        starters: Vec::new(),
    };
    let target = Arc::clone(&disk);
    match write(&request, target, Arc::new(Silent), http).await {
        Ok(outcome) if !outcome.written.proven => Err(format!("{way}: written, not proven")),
        Ok(_) => Ok(Ok(disk)),
        Err(_) if !disk.is_untouched_or_blank() => {
            Err(format!("{way}: refused, and the disk still has a boot area"))
        }
        Err(error) => Ok(Err(chain(&error))),
    }
}

fn compare(written: Written, verdict: &Verdict) -> Result<Judgement, String> {
    match (written, verdict) {
        (Err(_), Verdict::Refused(_)) => Ok(Judgement::BothRefuse),
        (Ok(disk), Verdict::Accepted(guest)) => same(&disk.content(), guest),
        (Err(ours), Verdict::Accepted(_) | Verdict::Huge(_)) => differences::only_qemu_reads(&ours)
            .map(Judgement::Differ)
            .ok_or(format!("QEMU reads it, the agent does not: {ours}")),
        (Ok(_), Verdict::Refused(theirs)) => differences::only_the_agent_reads(theirs)
            .map(Judgement::Differ)
            .ok_or(format!("the agent reads it, QEMU does not: {theirs}")),
        (Ok(_), Verdict::Huge(bytes)) => Err(format!("{bytes} bytes were put on a smaller disk")),
    }
}

fn same(disk: &[u8], guest: &[u8]) -> Result<Judgement, String> {
    if disk.starts_with(guest) {
        return Ok(Judgement::Same);
    }
    match disk.iter().zip(guest).position(|(ours, theirs)| ours != theirs) {
        None => Ok(Judgement::Same),
        Some(at) => Err(format!("byte {at} is {:#x}, QEMU reads {:#x}", disk[at], guest[at])),
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error and its causes, as the agent prints them.
fn chain(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}
