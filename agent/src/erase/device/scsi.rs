//! SCSI: INQUIRY, vital product data, and which commands a disk knows (SPC-5; SBC-4).

use super::ASK;
use super::field::{byte, le16};
use crate::sys::command::{
    CommandError, Data, DeviceCommands, ScsiCommand, Sense, SenseKey, scsi_good,
};

/// SANITIZE, and its service actions (SBC-4, 5.33).
pub(in crate::erase) const SANITIZE: u8 = 0x48;
pub(in crate::erase) const OVERWRITE: u8 = 0x01;
pub(in crate::erase) const BLOCK_ERASE: u8 = 0x02;
pub(in crate::erase) const CRYPTO_ERASE: u8 = 0x03;

/// What a SCSI disk can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unit {
    /// An ATA disk behind a translation: vendor `ATA` (SAT-5, 10.3.2.3).
    pub is_ata: bool,
    /// SANITIZE, cryptographic erase.
    pub crypto: bool,
    /// SANITIZE, block erase.
    pub block: bool,
    /// SANITIZE, overwrite.
    pub overwrite: bool,
    /// Logical block provisioning page: LBPWS and LBPRZ, so that what WRITE SAME unmaps reads as zeros.
    pub unmapped_is_zero: bool,
}

/// Asks a SCSI disk.
///
/// # Errors
/// [`CommandError`] where even INQUIRY has no answer; everything else that is refused is "not offered".
pub fn ask(device: &dyn DeviceCommands) -> Result<Unit, CommandError> {
    let inquiry = inquiry(device, None, 36)?;
    if inquiry.len() < 36 {
        let why = "it is shorter than the standard allows";
        return Err(CommandError::Answer { command: "INQUIRY", why });
    }
    if inquiry.get(8..16) == Some(b"ATA     ") {
        return Ok(Unit { is_ata: true, ..Unit::default() });
    }
    let (crypto, block, overwrite) = (
        knows(device, SANITIZE, CRYPTO_ERASE)?,
        knows(device, SANITIZE, BLOCK_ERASE)?,
        knows(device, SANITIZE, OVERWRITE)?,
    );
    let unmapped_is_zero = unmapped_is_zero(device)?;
    Ok(Unit { is_ata: false, crypto, block, overwrite, unmapped_is_zero })
}

/// INQUIRY (SPC-5, 6.7): the standard data or a page of vital product data, as long as the device made it.
fn inquiry(
    device: &dyn DeviceCommands,
    page: Option<u8>,
    length: u8,
) -> Result<Vec<u8>, CommandError> {
    let mut data = vec![0; usize::from(length)];
    let cdb = [0x12, u8::from(page.is_some()), page.unwrap_or(0), 0, length, 0];
    let command = ScsiCommand { cdb: &cdb, timeout: ASK };
    let got = scsi_good(device, "INQUIRY", &command, Data::In(&mut data))?;
    data.truncate(got);
    Ok(data)
}

/// Logical block provisioning (SBC-4, 6.6.7): byte 5 bit 6 LBPWS, bits 4:2 LBPRZ (xx1b: zeros).
fn unmapped_is_zero(device: &dyn DeviceCommands) -> Result<bool, CommandError> {
    let pages = optional(inquiry(device, Some(0x00), 64))?.unwrap_or_default();
    let listed = usize::from(le16(&pages, 2).swap_bytes());
    let names = pages.get(4..).unwrap_or_default();
    if !names.iter().take(listed).any(|page| *page == 0xb2) {
        return Ok(false);
    }
    let page = optional(inquiry(device, Some(0xb2), 64))?.unwrap_or_default();
    Ok(byte(&page, 1) == 0xb2 && byte(&page, 5) & 0x44 == 0x44)
}

/// REPORT SUPPORTED OPERATION CODES (SPC-5, 6.35), one command with its service action: SUPPORT 3 is "as the standard says".
/// A disk that does not know the question is not asked to do the thing.
fn knows(device: &dyn DeviceCommands, code: u8, action: u8) -> Result<bool, CommandError> {
    let mut data = [0; 20];
    let cdb = [0xa3, 0x0c, 0x02, code, 0, action, 0, 0, 0, 20, 0, 0];
    let command = ScsiCommand { cdb: &cdb, timeout: ASK };
    let asked =
        scsi_good(device, "REPORT SUPPORTED OPERATION CODES", &command, Data::In(&mut data));
    Ok(optional(asked)?.is_some_and(|got| got >= 4) && data[1] & 0x07 == 0x03)
}

/// What a device refused is not there.
fn optional<T>(answer: Result<T, CommandError>) -> Result<Option<T>, CommandError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_refusal() => Ok(None),
        // In the middle of a sanitize, or after one that failed, most questions wait: they are asked again when that is over.
        Err(CommandError::Scsi { sense, .. }) if is_sanitizing(&sense) || has_failed(&sense) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What a SANITIZE is doing, by REQUEST SENSE (SPC-5, 6.39): its answer is sense data, as data.
///
/// # Errors
/// [`CommandError`].
pub fn sanitize_sense(device: &dyn DeviceCommands) -> Result<Sense, CommandError> {
    const NAME: &str = "REQUEST SENSE";
    let mut data = [0; 252];
    let command = ScsiCommand { cdb: &[0x03, 0, 0, 0, 252, 0], timeout: ASK };
    let got = scsi_good(device, NAME, &command, Data::In(&mut data))?;
    let sense = data.get(..got).and_then(Sense::parse);
    sense.ok_or(CommandError::Answer { command: NAME, why: "it is no sense data" })
}

/// Whether sense data say that a sanitize runs (SPC-5, annex F: 04h/1Bh).
#[must_use]
pub fn is_sanitizing(sense: &Sense) -> bool {
    sense.key == SenseKey::NOT_READY && sense.code() == 0x041b
}

/// Whether sense data say that a sanitize failed (31h/03h).
#[must_use]
pub fn has_failed(sense: &Sense) -> bool {
    sense.code() == 0x3103
}
