//! Images nobody should make: good ones with bytes changed, cut off, or pointing at each other.

use crate::good::source;
use crate::qemu::Workshop;

/// An image and what was done to it.
#[derive(Debug, Clone)]
pub(crate) struct Hostile {
    pub(crate) name: String,
    pub(crate) image: Vec<u8>,
}

/// A good image and where its tables are.
struct Base {
    name: &'static str,
    image: Vec<u8>,
    cluster: usize,
    l1: usize,
    refcounts: usize,
    l2: usize,
    /// Bytes of an L2 entry.
    entry: usize,
}

/// Options of the images that are changed.
const BASES: [(&str, &str); 6] = [
    ("v3", "-o cluster_size=64k"),
    ("v2 zlib", "-c -o compat=0.10,cluster_size=4k"),
    ("zstd", "-c -o compression_type=zstd,cluster_size=16k"),
    ("subclusters", "-o extended_l2=on,cluster_size=16k"),
    ("small", "-o cluster_size=512"),
    ("snapshot", "-o cluster_size=8k"),
];

/// Every hostile image.
pub(crate) fn images(shop: &Workshop) -> Vec<Hostile> {
    shop.put("source.raw", &source()[..600_000]);
    let bases = BASES.map(|(name, options)| base(shop, name, options));
    let mut all = Vec::new();
    for base in &bases {
        if matches!(base.name, "v3" | "v2 zlib") {
            all.extend(header_fields(base));
        }
        all.extend(l1_entries(base));
        all.extend(l2_entries(base));
        all.extend(cut(base));
        all.extend(scattered(base));
    }
    all.extend(extensions(&bases[0]));
    all.push(long_frame(&bases[2]));
    all
}

fn base(shop: &Workshop, name: &'static str, options: &str) -> Base {
    shop.img(&format!("convert -f raw -O qcow2 {options} source.raw image.qcow2"));
    if name == "snapshot" {
        shop.img("snapshot -c one image.qcow2");
        shop.io(&["write -P 3 100k 100k".to_owned()]);
    }
    let image = shop.get("image.qcow2");
    let place = |at: usize| usize::try_from(word(&image, at) & 0x00ff_ffff_ffff_fe00).unwrap();
    let (l1, refcounts) = (place(40), place(48));
    let l2 = place(l1);
    let cluster = 1 << image[23];
    let entry = if image[4..8] == [0, 0, 0, 3] && image[79] & 16 != 0 { 16 } else { 8 };
    Base { name, cluster, l1, refcounts, l2, entry, image }
}

fn word(image: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(image[at..at + 8].try_into().unwrap())
}

impl Base {
    fn with(&self, what: &str, at: usize, bytes: &[u8]) -> Hostile {
        let mut image = self.image.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        Hostile { name: format!("{}: {what}", self.name), image }
    }

    fn with_word(&self, what: &str, at: usize, value: u64) -> Hostile {
        self.with(what, at, &value.to_be_bytes())
    }

    /// The first L2 entry that stores something.
    fn stored(&self) -> usize {
        let entries = (self.l2..self.l2 + self.cluster).step_by(self.entry);
        entries.into_iter().find(|at| word(&self.image, *at) != 0).unwrap()
    }
}

/// Name, offset and length of every field (qcow2 specification, "Header").
const FIELDS: [(&str, usize, usize); 20] = [
    ("magic", 0, 4),
    ("version", 4, 4),
    ("backing_file_offset", 8, 8),
    ("backing_file_size", 16, 4),
    ("cluster_bits", 20, 4),
    ("size", 24, 8),
    ("crypt_method", 32, 4),
    ("l1_size", 36, 4),
    ("l1_table_offset", 40, 8),
    ("refcount_table_offset", 48, 8),
    ("refcount_table_clusters", 56, 4),
    ("nb_snapshots", 60, 4),
    ("snapshots_offset", 64, 8),
    ("incompatible_features", 72, 8),
    ("compatible_features", 80, 8),
    ("autoclear_features", 88, 8),
    ("refcount_order", 96, 4),
    ("header_length", 100, 4),
    ("compression_type", 104, 1),
    ("header padding", 105, 1),
];

fn header_fields(base: &Base) -> Vec<Hostile> {
    let version_2 = base.image[7] == 2;
    let fields = FIELDS.iter().filter(|(_, at, _)| !version_2 || *at < 72);
    let mut all = Vec::new();
    for (name, at, len) in fields {
        let now =
            base.image[*at..at + len].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let top = 1 << (len * 8 - 1);
        let mut values = vec![0, 1, 2, now + 1, now * 2, top, u64::MAX];
        values.extend([32, 4096, base.l1 as u64, base.image.len() as u64]);
        let mask = u64::MAX >> (64 - len * 8);
        let mut values: Vec<u64> = values.into_iter().map(|value| value & mask).collect();
        values.sort_unstable();
        values.dedup();
        for value in values.into_iter().filter(|value| *value != now) {
            let bytes = &value.to_be_bytes()[8 - len..];
            all.push(base.with(&format!("{name} is {value:#x}"), *at, bytes));
        }
    }
    all
}

/// What a table entry may wrongly point at.
fn targets(base: &Base) -> Vec<(&'static str, u64)> {
    let (cluster, copied) = (base.cluster as u64, 1 << 63);
    vec![
        ("nothing", 0),
        ("the header", copied),
        ("the L1 table", copied | base.l1 as u64),
        ("the refcount table", copied | base.refcounts as u64),
        ("the L2 table", copied | base.l2 as u64),
        ("half a cluster", copied | (word(&base.image, base.stored()) & !511) | 512),
        ("the end of the file", copied | (base.image.len() as u64).next_multiple_of(cluster)),
        ("far outside the file", copied | (1 << 50)),
        ("the last offset", 0x00ff_ffff_ffff_fe00),
        ("reserved bits", word(&base.image, base.l1) | (0x3f << 56)),
        ("all bits", u64::MAX),
    ]
}

fn l1_entries(base: &Base) -> Vec<Hostile> {
    let entries = targets(base)
        .into_iter()
        .map(|(what, value)| base.with_word(&format!("an L1 entry names {what}"), base.l1, value));
    let second = base.with_word("two L1 entries are one", base.l1 + 8, word(&base.image, base.l1));
    entries.chain([second]).collect()
}

fn l2_entries(base: &Base) -> Vec<Hostile> {
    let at = base.stored();
    let now = word(&base.image, at);
    let mut entries = targets(base);
    let end = base.image.len() as u64;
    entries.extend([
        ("a zero bit", now | 1),
        ("a compressed cluster instead", now | (1 << 62)),
        ("a compressed cluster in the header", (1 << 62) | 8),
        ("a compressed cluster at the end of the file", (1 << 62) | end),
        ("a compressed cluster far outside", (1 << 62) | (1 << 40)),
        ("a compressed cluster of the largest size", now | (0x7fff << 47) | (1 << 62)),
        ("a compressed cluster one byte on", now + 1),
        ("a plain cluster instead", now & !(1 << 62)),
    ]);
    let mut all: Vec<_> = entries
        .into_iter()
        .map(|(what, value)| base.with_word(&format!("an L2 entry names {what}"), at, value))
        .collect();
    let next = at + base.entry;
    all.push(base.with_word("two L2 entries are one", next, now));
    if base.entry == 16 {
        for (what, bitmap) in [
            ("none stored", 0),
            ("all stored", u64::from(u32::MAX)),
            ("all zero", u64::from(u32::MAX) << 32),
            ("all both", u64::MAX),
            ("one both", (1 << 32) | 1),
        ] {
            all.push(base.with_word(&format!("subclusters: {what}"), at + 8, bitmap));
        }
        let nowhere = base.with_word("", at, 0).image;
        let moved = Base { image: nowhere, ..base.clone_places() };
        all.push(moved.with_word("subclusters stored nowhere", at + 8, 5));
        all.push(moved.with_word("subclusters zero nowhere", at + 8, 5 << 32));
    }
    all
}

impl Base {
    fn clone_places(&self) -> Self {
        Self { image: self.image.clone(), ..*self }
    }
}

/// The file ends early, or goes on.
fn cut(base: &Base) -> Vec<Hostile> {
    let len = base.image.len();
    let cuts = [
        3,
        71,
        103,
        111,
        512,
        base.refcounts + 1,
        base.l1 + 4,
        base.l2 + 100,
        base.l2 + base.cluster - 1,
        len / 2,
        len * 3 / 4,
        len - base.cluster,
        len - 700,
        len - 1,
    ];
    let cut = cuts.iter().filter(|cut| **cut < len).map(|cut| Hostile {
        name: format!("{}: cut after {cut} of {len} bytes", base.name),
        image: base.image[..*cut].to_vec(),
    });
    let mut longer = base.image.clone();
    longer.extend_from_slice(&[0x5a; 777]);
    let longer = Hostile { name: format!("{}: 777 bytes more", base.name), image: longer };
    cut.chain([longer]).collect()
}

/// A few bytes changed at random: in the header, in the tables, in the data.
fn scattered(base: &Base) -> Vec<Hostile> {
    let mut state = base.name.bytes().fold(1_u64, |sum, byte| {
        sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(byte))
    });
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let data = base.l2 + base.cluster;
    let areas = [
        ("the header", 0, 120, 12),
        ("the L1 table", base.l1, 8, 4),
        ("the L2 table", base.l2, 40 * base.entry, 12),
        ("the refcount table", base.refcounts, base.cluster, 2),
        ("the data", data, base.image.len() - data, 8),
    ];
    let mut all = Vec::new();
    for (name, start, len, count) in areas {
        for number in 0..count {
            let mut image = base.image.clone();
            for _ in 0..=random(3) {
                image[start + random(len)] ^= 1 << random(8);
            }
            all.push(Hostile { name: format!("{}: {name} changed, {number}", base.name), image });
        }
    }
    all
}

/// A good zstd frame of 20000 bytes in the place of a cluster of 16 KiB: it begins like the cluster and goes on.
fn long_frame(base: &Base) -> Hostile {
    const FRAME: [u8; 22] = [
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x4d, 0x00, 0x00, 0x10, 0x62, 0x62, 0x01, 0x00, 0x1b,
        0xce, 0x0e, 0xb0, 0x4b, 0x6f, 0x97, 0xe0,
    ];
    let mut entries = (base.l2..base.l2 + base.cluster).step_by(base.entry);
    let at = entries.find(|at| word(&base.image, *at) & (1 << 62) != 0).unwrap();
    // cluster_bits 14: 56 bits of offset.
    let place = word(&base.image, at) & ((1 << 56) - 1);
    base.with("a frame longer than its cluster", usize::try_from(place).unwrap(), &FRAME)
}

/// Header extensions (qcow2 specification, "Header extensions"): type, length, content.
fn extensions(base: &Base) -> Vec<Hostile> {
    const BACKING_FORMAT: u32 = 0xe279_2aca;
    const FEATURES: u32 = 0x6803_f857;
    const BITMAPS: u32 = 0x2385_2875;
    const ENCRYPTION: u32 = 0x0537_be77;
    const DATA_FILE: u32 = 0x4441_5441;
    let mut all = Vec::new();
    for (name, kind) in [
        ("backing format", BACKING_FORMAT),
        ("feature names", FEATURES),
        ("bitmaps", BITMAPS),
        ("encryption", ENCRYPTION),
        ("data file", DATA_FILE),
        ("unknown", 0x1234_5678),
    ] {
        for bytes in [0, 5, 16, 24, 65_000, 70_000, u32::MAX] {
            let head = [kind.to_be_bytes(), bytes.to_be_bytes()].concat();
            let what = format!("a {name} extension of {bytes} bytes");
            let mut hostile = base.with(&what, 112, &[0; 400]);
            hostile.image[112..120].copy_from_slice(&head);
            all.push(hostile);
        }
    }
    all
}
