//! Certificates of erased disks: judged when they come in, countersigned, kept; and checked again by anybody later.
//!
//! An agent signs with a key that it made at boot and named in its first heartbeat with the token. A certificate that is
//! not signed by that key, or speaks of another node, order or boot, proves nothing: the step that shows it has failed.

mod key;
mod plain;
mod verify;

use ironwright_api::{
    CERTIFICATE_VERSION, Category, Certificate, EraseMethod, EraseResult, Erased, Seal,
    SignedCertificate,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use key::{KeyError, SigningKey, fits, is_key};
pub use verify::{Expected, Verdict, verify};

/// A certificate as it is kept. Its JSON is what `verify-certificate` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Made from the agent's signature: the same certificate is kept once.
    pub id: Uuid,
    /// When it came in.
    pub received_at: Timestamp,
    /// The certificate and who vouches for it.
    #[serde(flatten)]
    pub signed: SignedCertificate,
}

impl Kept {
    /// A certificate that came in `now`.
    #[must_use]
    pub fn new(signed: SignedCertificate, now: Timestamp) -> Self {
        Self { id: id(&signed.agent), received_at: now, signed }
    }
}

fn id(seal: &Seal) -> Uuid {
    let digest = Sha256::digest(seal.signature.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What certificates of one ended step must fit.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The node.
    pub node: Uuid,
    /// Its order.
    pub order: Uuid,
    /// The boot that reports.
    pub boot: Option<Uuid>,
    /// The key registered for that boot.
    pub key: Option<&'a str>,
    /// The step that ended.
    pub step: &'a str,
    /// The weakest category that the order allows.
    pub least: Category,
    /// Whether the order leaves disks alone, so that there may be none to erase.
    pub may_skip: bool,
}

/// Why the evidence of an erase is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An erase of data without a certificate.
    #[error("{device} has no certificate")]
    Missing {
        /// The disk.
        device: String,
    },
    /// Nothing was erased.
    #[error("it names no disk")]
    NoDisk,
    /// The boot named no key.
    #[error("the certificate of {device} is signed, but this boot's agent never named a key")]
    NoKey {
        /// The disk.
        device: String,
    },
    /// Signed by a stranger.
    #[error(
        "the certificate of {device} is signed with key {found}, not with this boot's key {registered}"
    )]
    ForeignKey {
        /// The disk.
        device: String,
        /// The key that signed.
        found: String,
        /// The key of this boot.
        registered: String,
    },
    /// The text is not what was signed.
    #[error(
        "the signature does not fit the certificate of {device}: it was changed after it was signed"
    )]
    Signature {
        /// The disk.
        device: String,
    },
    /// For something else.
    #[error("the certificate of {device} is for {what} {found}, not {expected}")]
    Other {
        /// The disk.
        device: String,
        /// `node`, `order`, `boot`, `step` or `disk`.
        what: &'static str,
        /// What it says.
        found: String,
        /// What it must say.
        expected: String,
    },
    /// It does not prove what it says.
    #[error("the certificate of {device} proves nothing: {problem}")]
    Unproven {
        /// The disk.
        device: String,
        /// Why.
        problem: String,
    },
}

/// Whether `disks` prove that a step did what it is for.
///
/// # Errors
///
/// The first [`Refusal`].
pub fn judge(claim: &Claim<'_>, disks: &[Erased]) -> Result<(), Refusal> {
    if disks.is_empty() && erases_data(claim.step) && !claim.may_skip {
        return Err(Refusal::NoDisk);
    }
    disks.iter().try_for_each(|disk| judge_disk(claim, disk))
}

/// Steps whose success is a claim about data, not only about metadata.
#[must_use]
pub fn erases_data(step: &str) -> bool {
    matches!(step, "erase_devices" | "erase_devices_express")
}

fn judge_disk(claim: &Claim<'_>, disk: &Erased) -> Result<(), Refusal> {
    let device = || disk.device.chars().take(128).collect::<String>();
    let Some(signed) = disk.certificate.as_deref() else {
        // Agents before certificates erase metadata only.
        let needed = erases_data(claim.step);
        return if needed { Err(Refusal::Missing { device: device() }) } else { Ok(()) };
    };
    let certificate = &signed.certificate;
    authentic(claim, signed)?;
    is_of("disk", &certificate.disk.path, &disk.device, &device())?;
    proves(certificate).map_err(|problem| Refusal::Unproven { device: device(), problem })?;
    if claim.step == "erase_devices" && certificate.category < claim.least {
        let problem =
            format!("category {:?} is weaker than the order allows", certificate.category);
        return Err(Refusal::Unproven { device: device(), problem });
    }
    Ok(())
}

/// Whether a certificate, of an erase that ended well or badly, is this boot's word about this order.
///
/// # Errors
///
/// The [`Refusal`].
pub fn authentic(claim: &Claim<'_>, signed: &SignedCertificate) -> Result<(), Refusal> {
    let certificate = &signed.certificate;
    let device = || certificate.disk.path.chars().take(128).collect::<String>();
    let registered = claim.key.ok_or_else(|| Refusal::NoKey { device: device() })?;
    if signed.agent.public_key != registered {
        return Err(Refusal::ForeignKey {
            device: device(),
            found: signed.agent.public_key.chars().take(64).collect(),
            registered: registered.to_owned(),
        });
    }
    let signature = || Refusal::Signature { device: device() };
    let text = certificate.canonical_text().map_err(|_| signature())?;
    if !fits(&signed.agent, &text) {
        return Err(signature());
    }
    let boot = claim.boot.unwrap_or_default();
    for (what, found, expected) in [
        ("node", &certificate.node_uuid.to_string(), &claim.node.to_string()),
        ("order", &certificate.order_id.to_string(), &claim.order.to_string()),
        ("boot", &certificate.boot_id.to_string(), &boot.to_string()),
        ("step", &certificate.step, &claim.step.to_owned()),
    ] {
        is_of(what, found, expected, &device())?;
    }
    Ok(())
}

fn is_of(what: &'static str, found: &str, expected: &str, device: &str) -> Result<(), Refusal> {
    if found == expected {
        return Ok(());
    }
    let cut = |text: &str| text.chars().take(128).collect::<String>();
    let (device, found, expected) = (cut(device), cut(found), cut(expected));
    Err(Refusal::Other { device, what, found, expected })
}

/// Whether a certificate, its signature apart, says that its disk was erased and does not contradict itself.
///
/// # Errors
///
/// What is wrong with it.
pub fn proves(certificate: &Certificate) -> Result<(), String> {
    if certificate.version != CERTIFICATE_VERSION {
        return Err(format!(
            "it has version {}, this program knows {CERTIFICATE_VERSION}",
            certificate.version
        ));
    }
    if let EraseResult::Failed { reason } = &certificate.result {
        return Err(format!("the erase failed: {}", reason.chars().take(500).collect::<String>()));
    }
    let worth = certificate.method.category(certificate.disk.rotational);
    if certificate.category > worth {
        return Err(format!(
            "it claims category {:?}, but its method is worth {worth:?}",
            certificate.category
        ));
    }
    makes_sense(certificate)?;
    verified(certificate)
}

/// Step and method belong together, the disk is one, and time went forward.
fn makes_sense(certificate: &Certificate) -> Result<(), String> {
    let metadata = certificate.method == EraseMethod::Metadata;
    match certificate.step.as_str() {
        "erase_devices" if metadata => {
            return Err("it is of erase_devices, but only metadata was erased".to_owned());
        }
        "erase_devices_metadata" if !metadata => {
            return Err("it is of erase_devices_metadata, with another method".to_owned());
        }
        // Express takes whichever is quick on the disk.
        "erase_devices" | "erase_devices_metadata" | "erase_devices_express" => {}
        other => return Err(format!("no step erases disks that is called {other:.64?}")),
    }
    let disk = &certificate.disk;
    if disk.bytes == 0 || disk.sector_bytes == 0 || disk.bytes < u64::from(disk.sector_bytes) {
        return Err(format!("a disk of {} bytes in blocks of {}", disk.bytes, disk.sector_bytes));
    }
    let time =
        |text: &str| text.parse::<Timestamp>().map_err(|_| format!("{text:.40?} is no time"));
    if time(&certificate.started)? > time(&certificate.ended)? {
        return Err("it ended before it began".to_owned());
    }
    Ok(())
}

/// Fewer samples than this prove nothing of a disk that has more blocks.
const LEAST_SAMPLES: u64 = 16;

/// What was compared is enough for the method. Full: every byte; sampled: only what a device did by itself.
fn verified(certificate: &Certificate) -> Result<(), String> {
    use EraseMethod as M;
    let Certificate { verification, disk, method, .. } = certificate;
    let (read, bytes) = (verification.bytes_read, disk.bytes);
    for sample in &verification.samples {
        match sample.after.as_str() {
            "zero" | "different" => {}
            "unchanged" => return Err(format!("LBA {} kept its data", sample.lba)),
            other => return Err(format!("LBA {} is {other:.32?} afterwards", sample.lba)),
        }
    }
    match verification.mode.as_str() {
        "full" if *method == M::Metadata => match read {
            0 => Err("no byte was compared".to_owned()),
            read if read > bytes => Err(format!("{read} bytes of {bytes} were read back")),
            _ => Ok(()),
        },
        "full" if read == bytes => Ok(()),
        "full" => Err(format!("only {read} of {bytes} bytes were read back")),
        "sampled" if matches!(method, M::Overwrite | M::Discard | M::Metadata) => {
            Err("it was verified by samples, its method must be in full".to_owned())
        }
        "sampled" => sampled(certificate),
        _ => Err("nothing was verified".to_owned()),
    }
}

fn sampled(certificate: &Certificate) -> Result<(), String> {
    use EraseMethod as M;
    let Certificate { verification, disk, method, .. } = certificate;
    let blocks = disk.bytes / u64::from(disk.sector_bytes.max(1));
    let places: std::collections::BTreeSet<u64> =
        verification.samples.iter().map(|sample| sample.lba).collect();
    if !places.contains(&0) || !places.contains(&(blocks - 1)) {
        return Err("its samples leave out the first or the last block".to_owned());
    }
    // A small disk has fewer blocks than an agent looks at; chance leaves some of them out.
    let least = LEAST_SAMPLES.min(blocks / 2 + 1);
    if (places.len() as u64) < least || places.last().is_some_and(|last| *last >= blocks) {
        return Err(format!(
            "its samples are {} of {blocks} blocks, {least} are the least",
            places.len()
        ));
    }
    let looked = places.len() as u64 * u64::from(disk.sector_bytes);
    if verification.bytes_read < looked {
        return Err(format!("only {} bytes of the samples were read", verification.bytes_read));
    }
    // These write zeros; what the others leave is the device's affair.
    let zeroing =
        matches!(method, M::AtaSanitizeOverwrite | M::AtaSecurityErase | M::ScsiSanitizeOverwrite);
    match verification.samples.iter().find(|sample| zeroing && sample.after != "zero") {
        Some(sample) => Err(format!("LBA {} is not zero, its method leaves zeros", sample.lba)),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
