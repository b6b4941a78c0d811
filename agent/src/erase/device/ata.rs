//! ATA: IDENTIFY DEVICE, and commands wrapped in SCSI (ACS-5; SAT-5, 12.2.2.3 ATA PASS-THROUGH (16)).

use std::time::Duration;

use super::ASK;
use super::field::le16;
use crate::sys::command::{
    AtaRegisters, CommandError, Data, DeviceCommands, ScsiCommand, Sense, SenseKey,
};

/// IDENTIFY DEVICE (ACS-5, 7.13).
const IDENTIFY_DEVICE: u8 = 0xec;
/// Bytes of one data block of it, and of a password.
pub(in crate::erase) const BLOCK: usize = 512;

/// What an ATA disk can do and in which state it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// Sanitize methods.
    pub sanitize: Sanitize,
    /// The security feature set.
    pub security: Security,
    /// Words 69 (bit 14: deterministic, bit 5: zeros after TRIM) and 169 (bit 0: TRIM) all set: what is trimmed reads as zeros.
    pub trim_is_zero: bool,
}

/// Word 59.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sanitize {
    /// Bit 13: CRYPTO SCRAMBLE EXT.
    pub crypto: bool,
    /// Bit 15: BLOCK ERASE EXT.
    pub block: bool,
    /// Bit 14: OVERWRITE EXT.
    pub overwrite: bool,
    /// Not in IDENTIFY data: SANITIZE STATUS EXT says that methods are frozen until the next power cycle.
    pub frozen: bool,
    /// The adapter does not return the registers in which the state of a sanitize is: it could not be followed.
    pub unseen: bool,
}

/// Words 82, 85, 89, 90 and 128.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Security {
    /// Word 82 bit 1 (and word 128 bit 0).
    pub supported: bool,
    /// Word 85 bit 1: a user password is set.
    pub enabled: bool,
    /// Word 128 bit 2: no data until it is unlocked.
    pub locked: bool,
    /// Word 128 bit 3: the firmware froze it until the next power cycle.
    pub frozen: bool,
    /// Word 128 bit 4: too many wrong passwords, until the next power cycle.
    pub expired: bool,
    /// Word 128 bit 5.
    pub enhanced: bool,
    /// Word 89: how long a normal erase takes.
    pub normal_time: Option<Duration>,
    /// Word 90: how long an enhanced one takes.
    pub enhanced_time: Option<Duration>,
}

impl Identity {
    /// Reads IDENTIFY DEVICE data: 256 words, little endian.
    ///
    /// # Errors
    /// [`CommandError::Answer`] for what is no ATA disk's.
    pub fn parse(data: &[u8]) -> Result<Self, CommandError> {
        let word = |number: usize| le16(data, number * 2);
        let bit = |number: usize, bit: u16| word(number) & 1 << bit != 0;
        let useless = |why| CommandError::Answer { command: "IDENTIFY DEVICE", why };
        if data.len() < BLOCK || word(0) & 0x8000 != 0 {
            return Err(useless("it is not an ATA disk's"));
        }
        // Word 255: where its low byte is A5h the sum of all bytes is 0 (7.13.6.88).
        let sum = data.iter().take(BLOCK).fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if word(255) & 0xff == 0xa5 && sum != 0 {
            return Err(useless("its checksum is wrong"));
        }
        // Bits 15:14 of word 83 are 01b where words 82 and 83 mean anything; words 85 to 87 likewise by word 87.
        let known = word(83) >> 14 == 1;
        let sanitize = bit(59, 12);
        Ok(Self {
            sanitize: Sanitize {
                crypto: sanitize && bit(59, 13),
                block: sanitize && bit(59, 15),
                overwrite: sanitize && bit(59, 14),
                frozen: false,
                unseen: false,
            },
            security: Security {
                supported: known && bit(82, 1) && bit(128, 0),
                enabled: word(87) >> 14 == 1 && bit(85, 1),
                locked: bit(128, 2),
                frozen: bit(128, 3),
                expired: bit(128, 4),
                enhanced: bit(128, 5),
                normal_time: erase_time(word(89)),
                enhanced_time: erase_time(word(90)),
            },
            trim_is_zero: bit(69, 14) && bit(69, 5) && bit(169, 0),
        })
    }
}

/// Words 89 and 90 (7.13.6.36): units of two minutes, in 14:0 where bit 15 is set, else in 7:0; all ones are "more than that".
fn erase_time(word: u16) -> Option<Duration> {
    let units = if word & 0x8000 != 0 { word & 0x7fff } else { word & 0xff };
    (units != 0).then(|| Duration::from_secs(u64::from(units) * 120))
}

/// An ATA command.
#[derive(Debug, Clone, Copy, Default)]
pub struct AtaCommand {
    /// Command.
    pub command: u8,
    /// Features.
    pub feature: u16,
    /// Count.
    pub count: u16,
    /// LBA, 48 bits.
    pub lba: u64,
    /// A 48-bit command.
    pub extended: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// Protocols in byte 1 of ATA PASS-THROUGH (SAT-5, table 143).
const NON_DATA: u8 = 3;
const PIO_IN: u8 = 4;
const PIO_OUT: u8 = 5;

/// The CDB of an ATA command (SAT-5, 12.2.2.3).
fn cdb(ata: &AtaCommand, data: &Data<'_>) -> [u8; 16] {
    // Byte 2: CK_COND (return the registers; not with data that come, which say enough: a status that still shows DRQ, as QEMU's,
    // makes Linux call the command aborted), T_DIR (from the device), BYT_BLOK with T_LENGTH 2 (length in blocks, in count).
    let (protocol, flags) = match data {
        Data::None => (NON_DATA, 0x20),
        Data::In(_) => (PIO_IN, 0x08 | 0x04 | 0x02),
        Data::Out(_) => (PIO_OUT, 0x20 | 0x04 | 0x02),
    };
    let blocks = u16::try_from(data.len() / BLOCK).unwrap_or_default();
    let count = if data.is_empty() { ata.count } else { blocks };
    let (feature, count, lba) =
        (ata.feature.to_be_bytes(), count.to_be_bytes(), ata.lba.to_le_bytes());
    let byte1 = protocol << 1 | u8::from(ata.extended);
    [
        0x85,
        byte1,
        flags,
        feature[0],
        feature[1],
        count[0],
        count[1],
        lba[3],
        lba[0],
        lba[4],
        lba[1],
        lba[5],
        lba[2],
        0,
        ata.command,
        0,
    ]
}

/// Performs an ATA command; its registers where the translation returns them.
///
/// # Errors
/// [`CommandError`]; also when neither registers nor a good status say that the command was done.
pub fn command(
    device: &dyn DeviceCommands,
    name: &'static str,
    ata: &AtaCommand,
    data: Data<'_>,
) -> Result<Option<AtaRegisters>, CommandError> {
    let cdb = cdb(ata, &data);
    let wanted = if matches!(data, Data::In(_)) { data.len() } else { 0 };
    let answer = device.scsi(name, &ScsiCommand { cdb: &cdb, timeout: ata.timeout }, data)?;
    let sense = Sense::parse(&answer.sense);
    let registers = sense.and_then(|sense| sense.ata);
    if let Some(registers) = registers.filter(AtaRegisters::failed) {
        return Err(CommandError::Ata { command: name, registers });
    }
    let fine = |sense: &Sense| matches!(sense.key, SenseKey::NONE | SenseKey::RECOVERED);
    match (answer.status, &sense) {
        (0, _) => {}
        (2, Some(sense)) if fine(sense) => {}
        // A check condition without sense data: some translations answer so to commands that they drop.
        (status, sense) => {
            let sense = sense.unwrap_or_default();
            return Err(CommandError::Scsi { command: name, status, sense });
        }
    }
    if answer.transferred < wanted {
        return Err(CommandError::Answer { command: name, why: "data are missing" });
    }
    Ok(registers)
}

/// Asks an ATA disk.
///
/// # Errors
/// [`CommandError`].
pub fn identify(device: &dyn DeviceCommands) -> Result<Identity, CommandError> {
    let mut data = vec![0; BLOCK];
    let ata = AtaCommand { command: IDENTIFY_DEVICE, timeout: ASK, ..AtaCommand::default() };
    command(device, "IDENTIFY DEVICE", &ata, Data::In(&mut data))?;
    let mut identity = Identity::parse(&data)?;
    let Sanitize { crypto, block, overwrite, .. } = identity.sanitize;
    if crypto || block || overwrite {
        match sanitize_status(device, false) {
            // Bit 13 of count: in the sanitize frozen state (ACS-5, 7.36.6).
            Ok(registers) => identity.sanitize.frozen = registers.count & 1 << 13 != 0,
            // An error is an answer too: the last sanitize failed.
            Err(CommandError::Ata { .. }) => {}
            Err(_) => identity.sanitize.unseen = true,
        }
    }
    Ok(identity)
}

/// SANITIZE STATUS EXT (ACS-5, 7.36.6); with `clear` a failed operation is forgotten where the device allows it.
///
/// # Errors
/// [`CommandError`]; also when the translation does not return the registers, in which all that matters is.
pub fn sanitize_status(
    device: &dyn DeviceCommands,
    clear: bool,
) -> Result<AtaRegisters, CommandError> {
    const NAME: &str = "SANITIZE STATUS EXT";
    let count = u16::from(clear);
    let ata =
        AtaCommand { command: 0xb4, count, extended: true, timeout: ASK, ..AtaCommand::default() };
    command(device, NAME, &ata, Data::None)?
        .ok_or(CommandError::Answer { command: NAME, why: "the adapter returned no ATA registers" })
}

#[cfg(test)]
pub(in crate::erase) mod tests {
    use super::*;

    /// IDENTIFY data with these words, and a checksum.
    pub(in crate::erase) fn identify_data(words: &[(usize, u16)]) -> Vec<u8> {
        let mut data = vec![0; BLOCK];
        for (number, word) in words {
            data[number * 2..number * 2 + 2].copy_from_slice(&word.to_le_bytes());
        }
        data[510] = 0xa5;
        let sum = data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        data[511] = 0_u8.wrapping_sub(sum);
        data
    }

    #[test]
    fn words_are_read_where_the_standard_has_them() {
        let words = [
            (59, 0xb000),
            (69, 0x4020),
            (82, 2),
            (83, 0x4000),
            (85, 2),
            (87, 0x4000),
            (89, 30),
            (90, 0x8000 | 1),
            (128, 0x2d),
            (169, 1),
        ];
        let found = Identity::parse(&identify_data(&words)).unwrap();
        let Sanitize { crypto, block, overwrite, .. } = found.sanitize;
        assert_eq!((crypto, block, overwrite), (true, true, false));
        let security = found.security;
        assert!(security.supported && security.enabled && security.locked && security.frozen);
        assert!(security.enhanced && !security.expired && found.trim_is_zero);
        assert_eq!(security.normal_time, Some(Duration::from_secs(3600)));
        assert_eq!(security.enhanced_time, Some(Duration::from_secs(120)));
    }

    #[test]
    fn methods_without_their_feature_set_words_without_meaning_and_bad_sums_are_not_believed() {
        let none = Identity::parse(&identify_data(&[(59, 0xe000), (82, 2), (128, 1)])).unwrap();
        assert_eq!(none.sanitize, Sanitize::default());
        assert!(!none.security.supported);
        let mut torn = identify_data(&[(83, 0x4000)]);
        torn[3] = 1;
        assert!(Identity::parse(&torn).unwrap_err().to_string().contains("checksum"));
        assert!(Identity::parse(&identify_data(&[(0, 0x8580)])).is_err(), "ATAPI");
        assert!(Identity::parse(&[0; 100]).is_err());
    }

    #[test]
    fn a_command_is_laid_out_as_sat_says() {
        let ata = AtaCommand {
            command: 0xb4,
            feature: 0x0012,
            count: 0x0010,
            lba: 0x4f57_426b_4572,
            extended: true,
            timeout: ASK,
        };
        let expected =
            [0x85, 7, 0x20, 0, 0x12, 0, 0x10, 0x42, 0x72, 0x57, 0x45, 0x4f, 0x6b, 0, 0xb4, 0];
        assert_eq!(cdb(&ata, &Data::None), expected);
        let read = AtaCommand { command: 0xec, ..AtaCommand::default() };
        let read = cdb(&read, &Data::In(&mut [0; BLOCK]));
        assert_eq!(read[..7], [0x85, 8, 0x0e, 0, 0, 0, 1]);
    }
}
