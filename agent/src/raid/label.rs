//! The label that md writes on each member of an array ("version 1" superblocks; Linux `include/uapi/linux/raid/md_p.h`,
//! `struct mdp_superblock_1`). Pure; hostile input: whatever is wrong makes it no label.

/// First bytes of a label (`MD_SB_MAGIC`), little-endian.
const MAGIC: u32 = 0xa92b_4efc;
/// Length of the fixed part, bytes.
const FIXED: usize = 256;
/// Most members (`MAX_SB_SIZE` less the fixed part, two bytes a member).
const MEMBERS_MAX: usize = (4096 - FIXED) / 2;
/// Bytes to read for a label.
pub const LABEL_BYTES: usize = 4096;
/// Highest role of a member that is at work (`MD_DISK_ROLE_MAX`; above are spares, faulty ones and journals).
const LAST_ROLE: u16 = 0xff00;
/// Where a sum of the label stands in it.
const CHECKSUM: usize = 216;

/// What a member says of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// As mdadm writes it: four groups of eight hexadecimal digits.
    pub uuid: String,
    /// Its name; mdadm may put a host's name and a colon before it.
    pub name: String,
    /// Members that the array should have.
    pub members: u32,
    /// Minor version of the label's place: 0 at the end, 2 at 4 KiB.
    pub minor: u8,
    /// Where on the member the array's first bytes are, bytes; none where other members have them.
    pub begins: Option<u64>,
}

/// The places where labels stand on a device of `bytes`: minor version and offset. Version 1.1, at the very start, is not made
/// by anything here and would hide a partition table.
#[must_use]
pub fn places(bytes: u64) -> Vec<(u8, u64)> {
    // In sectors of 512 bytes: 8 KiB before the end, rounded down to 4 KiB (`super_1_load`).
    let at_end = (bytes / 512).checked_sub(16).map(|sector| sector / 8 * 8 * 512);
    let at_start = (bytes >= 12288).then_some((2, 4096));
    at_start.into_iter().chain(at_end.map(|offset| (0, offset))).collect()
}

impl Label {
    /// Reads a label from the bytes at `offset` of a device.
    #[must_use]
    pub fn parse(bytes: &[u8], minor: u8, offset: u64) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let slots = usize::try_from(word(220)?).ok().filter(|slots| *slots <= MEMBERS_MAX)?;
        let label = bytes.get(..FIXED + 2 * slots)?;
        // A copy of a label, on another place or another disk, names the place that it was made for.
        let own_place = long(144)? == offset / 512;
        if word(0)? != MAGIC || word(4)? != 1 || !own_place || word(CHECKSUM)? != checksum(label) {
            return None;
        }
        let uuid: Vec<String> = label
            .get(16..32)?
            .chunks(4)
            .map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        let name = label.get(32..64)?.split(|byte| *byte == 0).next().unwrap_or_default();
        let name: String =
            String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).collect();
        let begins = has_the_start(label).then(|| long(128)?.checked_mul(512)).flatten();
        Some(Self { uuid: uuid.join(":"), name, members: word(92)?, minor, begins })
    }
}

/// Whether a member has the array's first bytes: each of a mirror has, else the first one. In RAID 6 that is the second one: the first
/// has the stripe's Q (`raid5_compute_sector`). In the layouts of RAID 5 and 6 whose first stripe ends with P, as in those that mdadm
/// makes by itself (`ALGORITHM_LEFT_ASYMMETRIC`, `ALGORITHM_LEFT_SYMMETRIC`); of the others it is not told.
fn has_the_start(label: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_le_bytes(label.get(at..at + 4)?.try_into().ok()?));
    let role = || {
        let at = FIXED + 2 * usize::try_from(word(160)?).ok()?;
        Some(u16::from_le_bytes(label.get(at..at.checked_add(2)?)?.try_into().ok()?))
    };
    match (word(72), word(76), role()) {
        (Some(1), _, Some(role)) => role <= LAST_ROLE,
        (Some(5), Some(0 | 2), Some(role)) => role == 0,
        (Some(6), Some(0 | 2), Some(role)) => role == 1,
        (Some(5 | 6), ..) => false,
        (Some(_), _, Some(role)) => role == 0,
        (_, _, None) | (None, ..) => false,
    }
}

/// Sum of 32-bit words without the sum itself, its carry added (`calc_sb_1_csum`).
fn checksum(label: &[u8]) -> u32 {
    let mut sum: u64 = 0;
    for (at, part) in label.chunks(4).enumerate() {
        if at * 4 == CHECKSUM {
            continue;
        }
        let mut word = [0; 4];
        if let Some(word) = word.get_mut(..part.len()) {
            word.copy_from_slice(part);
        }
        sum += u64::from(u32::from_le_bytes(word));
    }
    let folded = (sum & 0xffff_ffff) + (sum >> 32);
    u32::try_from(folded & 0xffff_ffff).unwrap_or(0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A label as md writes one.
    pub(in super::super) fn label(uuid: [u8; 16], name: &str, minor: u8, offset: u64) -> Vec<u8> {
        let mut bytes = vec![0; LABEL_BYTES];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &MAGIC.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(16, &uuid);
        put(32, name.as_bytes());
        put(92, &2_u32.to_le_bytes());
        put(144, &(offset / 512).to_le_bytes());
        put(220, &128_u32.to_le_bytes());
        // A mirror, whose data begins at 2 MiB.
        put(72, &1_u32.to_le_bytes());
        put(128, &4096_u64.to_le_bytes());
        seal(&mut bytes);
        assert!(minor < 3);
        bytes
    }

    fn seal(label: &mut [u8]) {
        let sum = checksum(&label[..FIXED + 256]);
        label[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
    }

    const UUID: [u8; 16] = [
        0x3a, 0xaa, 0x01, 0x22, 0x29, 0x82, 0x7c, 0xfa, 0x53, 0x31, 0xad, 0x66, 0xca, 0x76, 0x73,
        0x71,
    ];

    #[test]
    fn a_label_is_read_and_its_uuid_is_written_as_mdadm_does() {
        let label = Label::parse(&label(UUID, "any:root", 2, 4096), 2, 4096).unwrap();
        assert_eq!(label.uuid, "3aaa0122:29827cfa:5331ad66:ca767371");
        assert_eq!((label.name.as_str(), label.members, label.minor), ("any:root", 2, 2));
        assert_eq!(label.begins, Some(2 << 20));
    }

    #[test]
    fn each_member_of_a_mirror_has_the_array_s_start_and_else_the_one_with_the_first_chunk() {
        const SPARE: u16 = 0xffff;
        const LEFT_ASYMMETRIC: u32 = 0;
        const RIGHT_ASYMMETRIC: u32 = 1;
        const LEFT_SYMMETRIC: u32 = 2;
        const NEAR_2: u32 = 0x102;
        for (level, layout, role, expected) in [
            (1_u32, 0, 0_u16, true),
            (1, 0, 5, true),
            (1, 0, SPARE, false),
            (0, 0, 0, true),
            (0, 0, 1, false),
            (5, LEFT_SYMMETRIC, 0, true),
            (5, LEFT_ASYMMETRIC, 0, true),
            (5, LEFT_SYMMETRIC, 2, false),
            (5, RIGHT_ASYMMETRIC, 0, false),
            // It has Q.
            (6, LEFT_SYMMETRIC, 0, false),
            (6, LEFT_SYMMETRIC, 1, true),
            (6, LEFT_ASYMMETRIC, 1, true),
            (6, LEFT_SYMMETRIC, 3, false),
            (6, RIGHT_ASYMMETRIC, 1, false),
            (10, NEAR_2, 0, true),
            (10, NEAR_2, SPARE, false),
        ] {
            let mut bytes = label(UUID, "root", 2, 4096);
            bytes[72..76].copy_from_slice(&level.to_le_bytes());
            bytes[76..80].copy_from_slice(&layout.to_le_bytes());
            bytes[160..164].copy_from_slice(&3_u32.to_le_bytes());
            bytes[FIXED + 6..FIXED + 8].copy_from_slice(&role.to_le_bytes());
            seal(&mut bytes);
            let begins = Label::parse(&bytes, 2, 4096).unwrap().begins;
            assert_eq!(
                begins,
                expected.then_some(2 << 20),
                "level {level}, layout {layout}, role {role}"
            );
            bytes[160..164].copy_from_slice(&u32::MAX.to_le_bytes());
            seal(&mut bytes);
            assert_eq!(Label::parse(&bytes, 2, 4096).unwrap().begins, None, "no such slot");
        }
    }

    #[test]
    fn a_damaged_copied_or_cut_label_is_none() {
        let good = label(UUID, "root", 2, 4096);
        assert!(Label::parse(&good, 2, 4096).is_some());
        assert!(Label::parse(&good, 0, 8192).is_none(), "at another place");
        for at in [0, 4, 16, 92, 144, CHECKSUM, 220, 300] {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            assert!(Label::parse(&bad, 2, 4096).is_none(), "byte {at}");
        }
        assert!(Label::parse(&good[..400], 2, 4096).is_none());
        assert!(Label::parse(&[], 2, 4096).is_none());
        let mut endless = good;
        endless[220..224].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Label::parse(&endless, 2, 4096).is_none());
    }

    #[test]
    fn labels_stand_near_the_start_or_near_the_end() {
        assert_eq!(places(1 << 30), [(2, 4096), (0, (1 << 30) - 8192)]);
        // A device that does not end on 4 KiB.
        assert_eq!(places(102_912), [(2, 4096), (0, 94_208)]);
        assert_eq!(places(4096), []);
    }
}
