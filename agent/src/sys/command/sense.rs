//! Sense data (SPC-5, 4.4), and the ATA registers inside it (SAT-5, 12.2.2.6). Pure; every byte is the device's.

use std::fmt;

/// What a device says beside a SCSI status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
    /// Progress in 65536ths, where the operation reports it.
    pub progress: Option<u16>,
    /// The registers of an ATA command, where it was one.
    pub ata: Option<AtaRegisters>,
}

/// A sense key (SPC-5, table 48).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenseKey(pub u8);

impl SenseKey {
    /// Nothing special.
    pub const NONE: Self = Self(0);
    /// Done, with something to say.
    pub const RECOVERED: Self = Self(1);
    /// Busy with something.
    pub const NOT_READY: Self = Self(2);
    /// The medium is bad.
    pub const MEDIUM: Self = Self(3);
    /// The command or a field of it is not known.
    pub const ILLEGAL: Self = Self(5);
    /// Something happened to the device, a reset for example; the command was not looked at.
    pub const ATTENTION: Self = Self(6);
}

/// The output registers of an ATA command (ACS-5, 6.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AtaRegisters {
    /// Error.
    pub error: u8,
    /// Status: bit 0 error, bit 5 device fault.
    pub status: u8,
    /// Count, 16 bits.
    pub count: u16,
    /// LBA, 48 bits.
    pub lba: u64,
}

impl AtaRegisters {
    /// Whether the command failed: the error or the device-fault bit.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.status & 0x21 != 0
    }
}

impl Sense {
    /// Reads sense data; `None` when it is none, or of a form that is not known.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? & 0x7f {
            0x70 | 0x71 => Self::fixed(bytes),
            0x72 | 0x73 => Self::descriptors(bytes),
            _ => None,
        }
    }

    /// Fixed format (SPC-5, 4.4.3). The registers of an ATA command are not complete in it and therefore not read.
    fn fixed(bytes: &[u8]) -> Option<Self> {
        let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
        let progress = (at(15) & 0x80 != 0).then(|| u16::from_be_bytes([at(16), at(17)]));
        Some(Self {
            key: SenseKey(bytes.get(2)? & 0x0f),
            asc: at(12),
            ascq: at(13),
            progress,
            ata: None,
        })
    }

    /// Descriptor format (SPC-5, 4.4.2): header of eight bytes, then descriptors with type and length.
    fn descriptors(bytes: &[u8]) -> Option<Self> {
        let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
        let mut sense = Self {
            key: SenseKey(bytes.get(1)? & 0x0f),
            asc: at(2),
            ascq: at(3),
            ..Self::default()
        };
        let mut rest = bytes.get(8..).unwrap_or_default();
        while let [kind, length, ..] = *rest {
            let end = usize::from(length) + 2;
            let descriptor = rest.get(..end).unwrap_or(rest);
            match kind {
                0x02 => sense.progress = progress(descriptor),
                0x09 => sense.ata = registers(descriptor),
                _ => {}
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        Some(sense)
    }

    /// Additional sense code and qualifier as one number.
    #[must_use]
    pub fn code(&self) -> u16 {
        u16::from_be_bytes([self.asc, self.ascq])
    }
}

/// Sense-key-specific descriptor (SPC-5, 4.4.2.4): valid bit, progress indication.
fn progress(descriptor: &[u8]) -> Option<u16> {
    let value = u16::from_be_bytes([*descriptor.get(5)?, *descriptor.get(6)?]);
    (descriptor.get(4)? & 0x80 != 0).then_some(value)
}

/// ATA status return descriptor (SAT-5, table 178).
fn registers(descriptor: &[u8]) -> Option<AtaRegisters> {
    let byte = |place: usize| descriptor.get(place).copied();
    let lba = [byte(10)?, byte(8)?, byte(6)?, byte(11)?, byte(9)?, byte(7)?];
    Some(AtaRegisters {
        error: byte(3)?,
        count: u16::from_be_bytes([byte(4)?, byte(5)?]),
        lba: lba.iter().fold(0, |lba, byte| lba << 8 | u64::from(*byte)),
        status: byte(13)?,
    })
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("without sense data");
        }
        let Self { key, asc, ascq, .. } = self;
        // SPC-5, annex F.
        let words = match self.code() {
            0x0401 => " (becoming ready)",
            0x041b => " (sanitize in progress)",
            0x2000 => " (command not known)",
            0x2400 => " (invalid field)",
            0x2700 => " (write protected)",
            0x3103 => " (sanitize failed)",
            _ => "",
        };
        write!(f, "sense key {:#x}, code {asc:#04x}/{ascq:#04x}{words}", key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libata answers a pass-through command with CK_COND.
    fn ata(count: u16, lba: u64, error: u8, status: u8) -> Vec<u8> {
        let (c, l) = (count.to_be_bytes(), lba.to_le_bytes());
        let mut sense = vec![0x72, 1, 0, 0x1d, 0, 0, 0, 14, 0x09, 12, 1, error, c[0], c[1]];
        sense.extend([l[3], l[0], l[4], l[1], l[5], l[2], 0xe0, status]);
        sense
    }

    #[test]
    fn ata_registers_are_put_together_from_their_halves() {
        let sense = Sense::parse(&ata(0x4001, 0x1234_5678_9abc, 4, 0x51)).unwrap();
        let registers = sense.ata.unwrap();
        assert_eq!((registers.count, registers.lba), (0x4001, 0x1234_5678_9abc));
        assert!(registers.failed() && registers.error == 4);
        assert!(!Sense::parse(&ata(0, 0, 0, 0x50)).unwrap().ata.unwrap().failed());
    }

    #[test]
    fn progress_is_read_in_both_formats_and_only_when_it_is_valid() {
        let mut fixed = vec![0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, 0x40, 0];
        let sense = Sense::parse(&fixed).unwrap();
        assert_eq!((sense.key, sense.code()), (SenseKey::NOT_READY, 0x041b));
        assert_eq!(sense.progress, Some(0x4000));
        fixed[15] = 0;
        assert_eq!(Sense::parse(&fixed).unwrap().progress, None);
        let descriptor = [0x72, 2, 4, 0x1b, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x80, 0, 0];
        assert_eq!(Sense::parse(&descriptor).unwrap().progress, Some(0x8000));
    }

    #[test]
    fn hostile_and_short_sense_data_is_read_without_harm() {
        for length in 0..22 {
            let whole = ata(1, 2, 3, 4);
            let cut = Sense::parse(&whole[..length]);
            assert!(cut.is_none_or(|sense| sense.ata.is_none()), "{length}: {cut:?}");
        }
        assert_eq!(Sense::parse(&[]), None);
        assert_eq!(Sense::parse(&[0x00; 18]), None);
        let endless = [0x72, 1, 0, 0, 0, 0, 0, 255, 9, 0, 9, 0, 9, 0];
        assert_eq!(Sense::parse(&endless).unwrap().ata, None);
        assert_eq!(Sense::default().to_string(), "without sense data");
    }
}
