//! Images as QEMU's tools make them, and the few of them that need more than one file or a key.

use crate::qemu::Workshop;

/// How an image is made: commands of QEMU's tools in a folder that has `source.raw` ([`source`]).
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Img(String),
    Io(Vec<String>),
    /// Sets bits of one byte.
    Mark(usize, u8),
}

impl Recipe {
    /// The image.
    pub(crate) fn make(&self, shop: &Workshop) -> Vec<u8> {
        for step in &self.steps {
            match step {
                Step::Img(words) => shop.img(words),
                Step::Io(commands) => shop.io(commands),
                Step::Mark(offset, bits) => {
                    let mut image = shop.get("image.qcow2");
                    image[*offset] |= bits;
                    shop.put("image.qcow2", &image);
                }
            }
        }
        shop.get("image.qcow2")
    }
}

/// Guest content with everything in it: random bytes, text, zeros and a busy end. Not a multiple of any cluster.
pub(crate) fn source() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    let mut content = vec![0; (2 << 20) + 37 * 512];
    for (block, chunk) in content.chunks_mut(37_000).enumerate() {
        let text = b"a line of text\n".iter().cycle();
        match block % 5 {
            0 => chunk.fill_with(&mut random),
            1 => chunk.iter_mut().zip(text).for_each(|(to, from)| *to = *from),
            2 => chunk[..1000].fill_with(&mut random),
            _ => {}
        }
    }
    let end = content.len() - 600;
    content[end..].fill_with(&mut random);
    content
}

/// Every good image.
pub(crate) fn recipes() -> Vec<Recipe> {
    [converted(), layouts(), with_history(), odd_sizes(), foreign()].concat()
}

const CLUSTERS: [&str; 13] =
    ["512", "1k", "2k", "4k", "8k", "16k", "32k", "64k", "128k", "256k", "512k", "1M", "2M"];

fn convert(options: &str) -> Recipe {
    let words = format!("convert -f raw -O qcow2 {options} source.raw image.qcow2");
    Recipe { name: format!("convert {options}"), steps: vec![Step::Img(words)] }
}

/// Versions, cluster sizes, compression, subclusters.
fn converted() -> Vec<Recipe> {
    let formats = [
        "-o compat=0.10",
        "-c -o compat=0.10",
        "-o compat=1.1",
        "-c -o compat=1.1",
        "-c -o compat=1.1,compression_type=zstd",
    ];
    let plain = CLUSTERS.iter().flat_map(|cluster| {
        formats.map(|format| convert(&format!("{format},cluster_size={cluster}")))
    });
    let extended = CLUSTERS.iter().skip(5).flat_map(|cluster| {
        let formats = ["", "-c ", "-c -o compression_type=zstd "];
        formats.map(|format| convert(&format!("{format}-o extended_l2=on,cluster_size={cluster}")))
    });
    plain.chain(extended).collect()
}

/// Preallocation, order of writing, widths of refcounts.
fn layouts() -> Vec<Recipe> {
    let mut all = Vec::new();
    for cluster in ["512", "4k", "64k", "2M"] {
        for preallocation in ["off", "metadata", "falloc", "full"] {
            let options = format!("-o preallocation={preallocation},cluster_size={cluster}");
            all.push(convert(&options));
        }
        for compression in ["", "-c ", "-c -o compression_type=zstd "] {
            all.push(convert(&format!("-W -m 16 {compression}-o cluster_size={cluster}")));
        }
        all.push(convert(&format!("-S 0 -o cluster_size={cluster}")));
    }
    for preallocation in ["metadata", "falloc", "full"] {
        all.push(convert(&format!("-o extended_l2=on,preallocation={preallocation}")));
    }
    for bits in [1, 2, 4, 8, 16, 32, 64] {
        all.push(convert(&format!("-o refcount_bits={bits}")));
        all.push(convert(&format!("-o lazy_refcounts=on,refcount_bits={bits},cluster_size=4k")));
    }
    all
}

/// Ways an image is used before it is published.
const HISTORIES: [&str; 12] = [
    "empty",
    "fragmented",
    "mixed",
    "zeroed",
    "discarded",
    "snapshot kept",
    "snapshot deleted",
    "snapshot applied",
    "grown",
    "shrunk",
    "bitmap",
    "dirty",
];

fn with_history() -> Vec<Recipe> {
    let kinds = [
        "compat=0.10",
        "compat=1.1",
        "cluster_size=512",
        "cluster_size=4k,lazy_refcounts=on",
        "cluster_size=2M",
        "compression_type=zstd,cluster_size=16k",
        "extended_l2=on",
        "extended_l2=on,cluster_size=16k,compression_type=zstd",
    ];
    let all = kinds.iter().flat_map(|kind| HISTORIES.map(|history| (*kind, history)));
    // Version 2 has no autoclear and no incompatible features, so neither bitmaps nor a dirty bit.
    all.filter(|(kind, history)| *kind != "compat=0.10" || !matches!(*history, "bitmap" | "dirty"))
        .map(|(kind, history)| Recipe {
            name: format!("{history}, {kind}"),
            steps: history_steps(kind, history),
        })
        .collect()
}

fn history_steps(kind: &str, history: &str) -> Vec<Step> {
    let img = |words: &str| Step::Img(words.to_owned());
    let io = |commands: &[&str]| Step::Io(commands.iter().map(ToString::to_string).collect());
    let mut steps = vec![Step::Img(format!("create -f qcow2 -o {kind} image.qcow2 5M"))];
    let first = io(&["write -P 1 0 1M", "write -P 2 3M 300k", "write -P 9 5000k 120k"]);
    let second = io(&["write -P 3 512k 200k", "write -P 4 4M 70k", "write -P 5 600 3000"]);
    match history {
        "empty" => {}
        "fragmented" => steps.push(fragmented()),
        // A compressed cluster overwrites nothing, so it comes first.
        "mixed" => steps.extend([io(&["write -c -P 7 2M 2M"]), first, second]),
        "zeroed" => steps.extend([first, io(&["write -z 64k 256k", "write -z -u 3M 128k"])]),
        "discarded" => {
            steps.extend([first, io(&["discard 0 256k", "discard 3M 64k"]), second]);
        }
        "snapshot kept" => steps.extend([first, img("snapshot -c one image.qcow2"), second]),
        "snapshot deleted" => {
            let (create, delete) = ("snapshot -c one image.qcow2", "snapshot -d one image.qcow2");
            steps.extend([first, img(create), second, img(delete)]);
        }
        "snapshot applied" => {
            let (create, apply) = ("snapshot -c one image.qcow2", "snapshot -a one image.qcow2");
            steps.extend([first, img(create), second, img(apply)]);
        }
        "grown" => {
            let later = io(&["write -P 8 10M 600k", "write -P 7 6M 5k"]);
            steps.extend([first, img("resize -f qcow2 image.qcow2 12M"), later]);
        }
        "shrunk" => steps.extend([first, img("resize -f qcow2 --shrink image.qcow2 3200k")]),
        "bitmap" => steps.extend([first, img("bitmap --add image.qcow2 changed"), second]),
        // The lowest incompatible feature bit: the refcounts are not to be believed.
        "dirty" => steps.extend([first, second, Step::Mark(79, 1)]),
        other => panic!("no history {other}"),
    }
    steps
}

/// Writes of a few KiB all over the disk, in an order that has nothing to do with where.
fn fragmented() -> Step {
    let mut state = 7_u64;
    let commands = (0..60).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (place, sectors, pattern) =
            ((state >> 33) % 10_000, (state >> 20) % 24 + 1, state >> 60);
        format!("write -P {} {} {}", pattern + 1, place * 512, sectors * 512)
    });
    Step::Io(commands.collect())
}

/// Disks that end inside a cluster, a subcluster or the boot area.
fn odd_sizes() -> Vec<Recipe> {
    let mib = 1 << 20;
    let sizes =
        [512, 1024, 65_024, 66_048, mib - 512, mib, mib + 512, 2 * mib - 512, 3 * mib - 1536];
    let kinds = ["compat=0.10", "cluster_size=512", "cluster_size=2M", "extended_l2=on"];
    let pairs = kinds.iter().flat_map(|kind| sizes.map(|size| (*kind, size)));
    pairs
        .map(|(kind, size)| {
            let end = format!("write -P 3 {} 512", size - 512);
            let middle = format!("write -P 4 {} 512", size / 2 / 512 * 512);
            Recipe {
                name: format!("{size} bytes, {kind}"),
                steps: vec![
                    Step::Img(format!("create -f qcow2 -o {kind} image.qcow2 {size}")),
                    Step::Io(vec![end, middle]),
                ],
            }
        })
        .collect()
}

/// Content in other files, or encrypted.
fn foreign() -> Vec<Recipe> {
    let one = |name: &str, words: &[&str]| Recipe {
        name: name.to_owned(),
        steps: words.iter().map(|words| Step::Img(words.to_string())).collect(),
    };
    let luks = "create -f qcow2 --object secret,id=key,data=secret \
        -o encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10 image.qcow2 1M";
    let aes = "create -f qcow2 --object secret,id=key,data=secret \
        -o encrypt.format=aes,encrypt.key-secret=key image.qcow2 1M";
    vec![
        one("backing file, raw", &["create -f qcow2 -b source.raw -F raw image.qcow2"]),
        one(
            "backing file, qcow2",
            &[
                "convert -f raw -O qcow2 source.raw base.qcow2",
                "create -f qcow2 -b base.qcow2 -F qcow2 image.qcow2 3M",
            ],
        ),
        one(
            "backing file, version 2",
            &["create -f qcow2 -b source.raw -F raw -o compat=0.10 image.qcow2"],
        ),
        one(
            "data file",
            &["convert -f raw -O qcow2 -o data_file=content.raw source.raw image.qcow2"],
        ),
        one(
            "data file, raw",
            &[
                "convert -f raw -O qcow2 -o data_file=content.raw,data_file_raw=on source.raw image.qcow2",
            ],
        ),
        one("LUKS", &[luks]),
        one("AES", &[aes]),
    ]
}
