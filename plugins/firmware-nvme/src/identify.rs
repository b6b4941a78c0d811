//! What a controller says of its firmware (NVM Express base specification 2.0: Identify Controller, Firmware Slot Information). Pure.

/// Length of the Identify data, bytes.
pub(crate) const IDENTIFY_BYTES: usize = 4096;
/// Length of the log page, bytes.
pub(crate) const SLOTS_BYTES: usize = 512;
/// Firmware slots that a controller can have.
const SLOTS_MAX: u8 = 7;
/// Unit of the update granularity, bytes.
const GRANULE: usize = 4096;

/// A controller's answer to Identify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identify {
    pub(crate) model: String,
    pub(crate) serial: String,
    /// The running firmware's revision.
    pub(crate) revision: String,
    /// Whether it takes firmware at all.
    pub(crate) updatable: bool,
    /// Number of slots.
    pub(crate) slots: u8,
    /// Whether slot 1 cannot be written.
    pub(crate) first_is_read_only: bool,
    /// Whether a new firmware can be started without a reset.
    pub(crate) without_reset: bool,
    /// Pieces of a download are multiples of this and begin at multiples of it, bytes.
    pub(crate) granularity: usize,
}

/// Printable ASCII is all that the specification allows.
fn text(bytes: &[u8]) -> String {
    let printable = bytes.iter().filter(|byte| (0x20..0x7f).contains(*byte));
    let text: String = printable.map(|byte| char::from(*byte)).collect();
    text.trim().to_owned()
}

impl Identify {
    pub(crate) fn parse(data: &[u8; IDENTIFY_BYTES]) -> Self {
        let (oacs, frmw, fwug) = (data[256], data[260], data[319]);
        Self {
            serial: text(&data[4..24]),
            model: text(&data[24..64]),
            revision: text(&data[64..72]),
            updatable: oacs & 0x04 != 0,
            slots: (frmw >> 1 & 0x07).max(1),
            first_is_read_only: frmw & 0x01 != 0,
            without_reset: frmw & 0x10 != 0,
            // 0: nothing is said; 255: nothing is asked for.
            granularity: if matches!(fwug, 0 | 0xff) {
                GRANULE
            } else {
                usize::from(fwug) * GRANULE
            },
        }
    }
}

/// The slots of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slots {
    /// The slot of the running firmware.
    pub(crate) active: u8,
    /// The slot that is started at the next reset, if another was chosen.
    pub(crate) next: Option<u8>,
    /// Revisions of slots 1 to 7; empty: nothing in it.
    pub(crate) revisions: Vec<String>,
}

impl Slots {
    pub(crate) fn parse(data: &[u8; SLOTS_BYTES]) -> Self {
        let next = data[0] >> 4 & 0x07;
        Self {
            active: data[0] & 0x07,
            next: (next != 0).then_some(next),
            revisions: data[8..8 + usize::from(SLOTS_MAX) * 8].chunks(8).map(text).collect(),
        }
    }
}

/// The slot that a new firmware goes to: the one asked for, else one that is not running, so that the old one stays; else the only
/// one there is.
///
/// # Errors
/// Why there is none.
pub(crate) fn choose_slot(
    identify: &Identify,
    slots: &Slots,
    asked: Option<u64>,
) -> Result<u8, String> {
    let count = identify.slots;
    let writable = |slot: u8| slot != 1 || !identify.first_is_read_only;
    if let Some(asked) = asked {
        let slot = u8::try_from(asked).ok().filter(|slot| (1..=count).contains(slot));
        let slot =
            slot.ok_or_else(|| format!("slot is {asked}, the drive has slots 1 to {count}"))?;
        return if writable(slot) { Ok(slot) } else { Err("slot 1 is read-only".to_owned()) };
    }
    let mut all = (1..=count).filter(|slot| writable(*slot));
    let idle = all.clone().find(|slot| *slot != slots.active);
    idle.or_else(|| all.next()).ok_or_else(|| "its only slot is read-only".to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Identify data of a drive.
    pub(crate) fn data(
        model: &str,
        serial: &str,
        revision: &str,
        frmw: u8,
        fwug: u8,
    ) -> [u8; IDENTIFY_BYTES] {
        let mut data = [0; IDENTIFY_BYTES];
        for (at, len, words) in [(4, 20, serial), (24, 40, model), (64, 8, revision)] {
            data[at..at + len].fill(b' ');
            data[at..at + words.len()].copy_from_slice(words.as_bytes());
        }
        data[256] = 0x04;
        data[260] = frmw;
        data[319] = fwug;
        data
    }

    #[test]
    fn identify_is_read_by_the_specifications_offsets() {
        let found = Identify::parse(&data("ACME 9000", "S1", "1.0", 0b1_0111, 4));
        let expected = Identify {
            model: "ACME 9000".to_owned(),
            serial: "S1".to_owned(),
            revision: "1.0".to_owned(),
            updatable: true,
            slots: 3,
            first_is_read_only: true,
            without_reset: true,
            granularity: 16384,
        };
        assert_eq!(found, expected);
        assert_eq!(Identify::parse(&data("", "", "", 0, 0xff)).granularity, 4096);
        assert_eq!(Identify::parse(&[0xff; IDENTIFY_BYTES]).model, "");
    }

    #[test]
    fn slots_are_read() {
        let mut log = [0; SLOTS_BYTES];
        log[0] = 0x21;
        log[8..11].copy_from_slice(b"1.0");
        log[16..19].copy_from_slice(b"2.0");
        let slots = Slots::parse(&log);
        assert_eq!((slots.active, slots.next), (1, Some(2)));
        assert_eq!(slots.revisions[..3], ["1.0", "2.0", ""]);
    }

    #[test]
    fn the_running_firmware_is_kept_where_there_is_another_slot() {
        let slots = |active| Slots { active, next: None, revisions: Vec::new() };
        let drive = |frmw| Identify::parse(&data("m", "s", "1", frmw, 0));
        for (frmw, active, asked, expected) in [
            (0b0110, 1, None, Ok(2)),
            (0b0110, 2, None, Ok(1)),
            (0b0111, 2, None, Ok(3)),
            (0b0010, 1, None, Ok(1)),
            (0b0011, 1, None, Err("its only slot is read-only")),
            (0b0110, 1, Some(3), Ok(3)),
            (0b0110, 1, Some(4), Err("slot is 4, the drive has slots 1 to 3")),
            (0b0110, 1, Some(0), Err("slot is 0, the drive has slots 1 to 3")),
            (0b0111, 2, Some(1), Err("slot 1 is read-only")),
        ] {
            let found = choose_slot(&drive(frmw), &slots(active), asked);
            assert_eq!(found, expected.map_err(str::to_owned), "{frmw:b} {active} {asked:?}");
        }
    }
}
