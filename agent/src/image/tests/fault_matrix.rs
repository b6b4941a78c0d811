//! Every fault of the server and of the disk against every kind of image. The disk is a fake in memory that fails or lies;
//! the server is real HTTP that misbehaves.
//!
//! One rule for all: success means that the disk holds the image, "written, not verified" comes only where verification was
//! switched off, and every failure leaves no partition table and says what went wrong, where, and what to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use ironwright_api::ReadbackMode;
use proptest::prelude::*;

use super::builder::{Cluster, Recipe};
use super::disks::MemoryDisk;
use super::servers::{Ask, End, Reply, Server};
use super::{chain, mixed_content, quick, request, sha256_hex, write_to};
use crate::image::tuning::Tuning;
use crate::image::{Hold, Request};
use crate::sys::disk::DiskOp;

/// What a server does wrong. Places are thousandths of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerFault {
    Good,
    Drops(usize),
    DropsAgainAndAgain(usize),
    Stalls(usize),
    Trickles(usize),
    Truncates(usize),
    FlipsAByte(usize),
    IgnoresRange,
    IgnoresRangeLater(usize),
    ChangesTheFile(usize),
    ChangesTheFileButNotItsTag(usize),
    SaysTooLong,
    SaysTooShort,
    SendsAnotherRange(usize),
    RedirectsForEver,
    FailsLater(usize),
    Garbage,
}

impl ServerFault {
    /// Whether a careful reader gets the image all the same.
    fn may_succeed(self) -> bool {
        matches!(
            self,
            Self::Good
                | Self::Drops(_)
                | Self::Stalls(_)
                | Self::Trickles(_)
                | Self::IgnoresRange
                | Self::IgnoresRangeLater(_)
                | Self::DropsAgainAndAgain(_)
        )
    }

    fn name(self) -> String {
        format!("{self:?}").split('(').next().unwrap_or_default().to_owned()
    }

    fn answer(self, ask: &Ask, content: &[u8]) -> Reply {
        let at = |thousandths: usize| content.len() * thousandths / 1000;
        let first = ask.range.map_or(0, |(first, _)| first);
        let good = Reply::good(ask, content).etag("\"1\"");
        let fresh = ask.is_body() && first == 0;
        let other = || content.iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>();
        match self {
            Self::Good => good,
            Self::Drops(place) if ask.number == 0 => good.cut(at(place)),
            Self::DropsAgainAndAgain(place) if ask.is_body() => good.cut(at(place).max(1) / 4 + 1),
            Self::Stalls(place) if fresh => Reply { end: End::Silence, ..good.cut(at(place)) },
            Self::Trickles(place) if fresh => Reply { end: End::Trickle, ..good.cut(at(place)) },
            Self::Truncates(place) => Reply::good(ask, &content[..at(place)]).etag("\"1\""),
            Self::FlipsAByte(place) => {
                let mut bad = content.to_vec();
                bad[at(place).min(content.len() - 1)] ^= 1;
                Reply::good(ask, &bad).etag("\"1\"")
            }
            Self::IgnoresRange => Reply::whole(content),
            Self::IgnoresRangeLater(place) if fresh && ask.number == 0 => good.cut(at(place)),
            Self::IgnoresRangeLater(_) => Reply::whole(content).etag("\"1\""),
            Self::ChangesTheFile(place) | Self::ChangesTheFileButNotItsTag(place)
                if ask.number == 0 =>
            {
                good.cut(at(place))
            }
            Self::ChangesTheFile(_) => Reply::good(ask, &other()).etag("\"2\""),
            Self::ChangesTheFileButNotItsTag(_) => Reply::good(ask, &other()).etag("\"1\""),
            Self::SaysTooLong => Reply {
                length: Some(content.len() - first + 5000),
                content_range: None,
                status: StatusCode::OK,
                ..good
            },
            Self::SaysTooShort => Reply::good(ask, &content[..content.len() - 700]).etag("\"1\""),
            Self::SendsAnotherRange(place) if ask.number > 0 || ask.range.is_some() => Reply {
                content_range: Some(format!(
                    "bytes {}-{}/{}",
                    at(place) + 1,
                    content.len() - 1,
                    content.len()
                )),
                ..good
            },
            Self::RedirectsForEver => Reply::status(StatusCode::FOUND),
            Self::FailsLater(place) if ask.number == 0 => good.cut(at(place)),
            Self::FailsLater(_) => Reply::status(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Garbage => Reply::good(ask, &other()).etag("\"1\""),
            Self::Drops(_)
            | Self::DropsAgainAndAgain(_)
            | Self::Stalls(_)
            | Self::Trickles(_)
            | Self::SendsAnotherRange(_) => good,
        }
    }
}

/// What the fake disk does wrong, at a place on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiskFault {
    Good,
    WriteEio(u64),
    WriteEnospc(u64),
    ZeroEio(u64),
    ReadEio(u64),
    FlushEio,
    LosesAWrite(u64),
    FlipsABit(u64),
    Shorter(u64),
}

impl DiskFault {
    fn name(self) -> String {
        format!("{self:?}").split('(').next().unwrap_or_default().to_owned()
    }

    fn disk(self, bytes: usize) -> MemoryDisk {
        const ENOSPC: i32 = 28;
        match self {
            Self::Good => MemoryDisk::new(bytes),
            Self::WriteEio(at) => MemoryDisk::failing(bytes, DiskOp::Write, at),
            Self::WriteEnospc(at) => MemoryDisk::failing_with(bytes, DiskOp::Write, at, ENOSPC),
            Self::ZeroEio(at) => MemoryDisk::failing(bytes, DiskOp::Zero, at),
            Self::ReadEio(at) => MemoryDisk::failing(bytes, DiskOp::Read, at),
            Self::FlushEio => MemoryDisk::failing(bytes, DiskOp::Flush, 0),
            Self::LosesAWrite(at) => MemoryDisk::losing(bytes, at),
            Self::FlipsABit(at) => MemoryDisk::lying(bytes, usize::try_from(at).unwrap()),
            Self::Shorter(end) => MemoryDisk::shorter(bytes, end),
        }
    }
}

/// An image file, and the bytes it stands for.
struct Sample {
    name: &'static str,
    file: Vec<u8>,
    expected: Vec<u8>,
}

const DISK: usize = 5 << 20;

fn samples() -> Vec<Sample> {
    let clusters: Vec<Cluster> = (0..64_u8)
        .map(|index| match index % 8 {
            1 => Cluster::Absent,
            4 => Cluster::Zero,
            2 | 5 => Cluster::Compressed(index),
            _ => Cluster::Plain(index),
        })
        .collect();
    let qcow2 = |zstd| {
        let recipe = Recipe {
            cluster_bits: 16,
            extended: false,
            zstd,
            clusters: clusters.clone(),
            short: 0,
            seed: 7,
        };
        (recipe.build(), recipe.expected())
    };
    let raw = mixed_content(4 << 20);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, &raw).unwrap();
    let gz = packer.finish().unwrap();
    let ((zlib, zlib_disk), (zstd, zstd_disk)) = (qcow2(false), qcow2(true));
    vec![
        Sample { name: "zlib", file: zlib, expected: zlib_disk },
        Sample { name: "zstd", file: zstd, expected: zstd_disk },
        Sample { name: "raw", file: raw.clone(), expected: raw.clone() },
        Sample { name: "raw.gz", file: gz, expected: raw },
    ]
}

/// How one write is asked for.
#[derive(Debug, Clone, Copy)]
struct Way {
    readback: ReadbackMode,
    hold: Hold,
}

fn impatient() -> Tuning {
    // Long enough that a busy machine, which lets a thread wait for its turn, is not taken for a silent server three times in a row.
    Tuning { stall: Duration::from_millis(150), progress_bytes: 1, ..quick() }
}

/// Writes once and holds the result against the rule; returns what it was.
async fn attempt(sample: &Sample, server: ServerFault, fault: DiskFault, way: Way) -> &'static str {
    let told = format!("{} {server:?} {fault:?} {way:?}", sample.name);
    let content = sample.file.clone();
    let digest = sha256_hex(&sample.file);
    let running = Server::start(move |ask| server.answer(ask, &content)).await;
    let disk = Arc::new(fault.disk(DISK));
    let request = Request { readback: way.readback, hold: way.hold, ..request(&running, &digest) };
    match write_to(&running, &disk, &request, &impatient()).await {
        Ok(outcome) => {
            assert!(server.may_succeed(), "{told}: a success that cannot be");
            let proven = outcome.written.proven;
            assert_eq!(proven, way.readback == ReadbackMode::Full, "{told}");
            let mut content = disk.content();
            if way.hold == Hold::BootArea {
                // The caller writes what is held; until then nothing boots.
                assert!(disk.has_no_table(), "{told}");
                let tail = usize::try_from(outcome.held.tail_offset).unwrap();
                content[tail..tail + outcome.held.tail.len()].copy_from_slice(&outcome.held.tail);
                content[..outcome.held.head.len()].copy_from_slice(&outcome.held.head);
            }
            let same = content.starts_with(&sample.expected);
            assert!(same || !proven, "{told}: proven, and the disk holds something else");
            if proven { "proven" } else { "written, not verified" }
        }
        Err(error) => {
            let text = chain(&error);
            assert!(!error.remedy().is_empty(), "{told}: {text}");
            if disk.is_untouched() {
                return "refused, disk untouched";
            }
            if text.contains("may be incomplete") {
                // Only a disk that refuses to be zeroed may end like this, and it is said.
                let refuses = matches!(fault, DiskFault::ZeroEio(_) | DiskFault::FlushEio)
                    || matches!(fault, DiskFault::LosesAWrite(_) | DiskFault::ReadEio(_));
                assert!(refuses, "{told}: {text}");
                return "failed, disk could not be cleared, said so";
            }
            assert!(disk.has_no_table(), "{told}: {text}");
            assert!(text.contains("left without a partition table"), "{told}: {text}");
            let of_disk = text.contains("/dev/memory returns") || text.contains("os error");
            let tells_place = text.contains("at offset") || text.contains("flush of");
            assert!(!of_disk || tells_place, "{told}: no offset in {text}");
            "failed, no partition table"
        }
    }
}

const SERVER_FAULTS: [ServerFault; 22] = [
    ServerFault::Good,
    ServerFault::Drops(1),
    ServerFault::Drops(400),
    ServerFault::Drops(999),
    ServerFault::DropsAgainAndAgain(500),
    ServerFault::Stalls(500),
    ServerFault::Trickles(500),
    ServerFault::Truncates(10),
    ServerFault::Truncates(900),
    ServerFault::FlipsAByte(500),
    ServerFault::FlipsAByte(999),
    ServerFault::IgnoresRange,
    ServerFault::IgnoresRangeLater(300),
    ServerFault::ChangesTheFile(500),
    ServerFault::ChangesTheFileButNotItsTag(500),
    ServerFault::SaysTooLong,
    ServerFault::SaysTooShort,
    ServerFault::SendsAnotherRange(100),
    ServerFault::RedirectsForEver,
    ServerFault::FailsLater(300),
    ServerFault::FailsLater(950),
    ServerFault::Garbage,
];

const MIB: u64 = 1 << 20;

const DISK_FAULTS: [DiskFault; 24] = [
    DiskFault::WriteEio(0),
    DiskFault::WriteEio(MIB - 1),
    DiskFault::WriteEio(MIB + 70_000),
    DiskFault::WriteEio(3 * MIB),
    DiskFault::WriteEnospc(2 * MIB),
    DiskFault::WriteEnospc(4 * MIB - 1),
    DiskFault::ZeroEio(0),
    DiskFault::ZeroEio(MIB + 90_000),
    DiskFault::ZeroEio(5 * MIB - 1),
    DiskFault::ReadEio(0),
    DiskFault::ReadEio(2 * MIB + 5),
    DiskFault::ReadEio(4 * MIB - 1),
    DiskFault::FlushEio,
    DiskFault::LosesAWrite(0),
    DiskFault::LosesAWrite(513),
    DiskFault::LosesAWrite(MIB),
    DiskFault::LosesAWrite(2 * MIB + 300_000),
    DiskFault::LosesAWrite(4 * MIB - 1),
    DiskFault::LosesAWrite(5 * MIB - 1),
    DiskFault::FlipsABit(0),
    DiskFault::FlipsABit(2 * MIB + 12_345),
    DiskFault::FlipsABit(4 * MIB - 1),
    DiskFault::Shorter(3 * MIB),
    DiskFault::Shorter(4 * MIB - 512),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_server_and_of_a_fake_disk_ends_proven_or_without_a_partition_table() {
    let mut counts: BTreeMap<String, BTreeMap<&str, u32>> = BTreeMap::new();
    let ways = [
        Way { readback: ReadbackMode::Full, hold: Hold::Nothing },
        Way { readback: ReadbackMode::Full, hold: Hold::BootArea },
        Way { readback: ReadbackMode::None, hold: Hold::Nothing },
    ];
    for sample in samples() {
        for way in ways {
            for server in SERVER_FAULTS {
                let ended = attempt(&sample, server, DiskFault::Good, way).await;
                *counts
                    .entry(format!("server {}", server.name()))
                    .or_default()
                    .entry(ended)
                    .or_default() += 1;
            }
            for fault in DISK_FAULTS {
                let ended = attempt(&sample, ServerFault::Good, fault, way).await;
                *counts
                    .entry(format!("disk {}", fault.name()))
                    .or_default()
                    .entry(ended)
                    .or_default() += 1;
            }
        }
    }
    let writes: u32 = counts.values().flat_map(BTreeMap::values).sum();
    println!("fault matrix: {writes} writes");
    for (fault, outcomes) in &counts {
        println!("  {fault:40} {outcomes:?}");
    }
    assert_eq!(writes, 4 * 3 * (22 + 24));
    assert!(counts["server Good"].get("proven") == Some(&8), "{counts:?}");
    // A careful reader really gets there: these are no failures in disguise.
    for recovered in ["Drops", "Stalls", "Trickles", "IgnoresRange", "IgnoresRangeLater"] {
        let outcomes = &counts[&format!("server {recovered}")];
        assert!(
            outcomes.keys().all(|ended| !ended.contains("failed")),
            "{recovered}: {outcomes:?}"
        );
    }
}

fn any_server() -> impl Strategy<Value = ServerFault> {
    (0..SERVER_FAULTS.len(), 1..1000_usize).prop_map(|(which, place)| match SERVER_FAULTS[which] {
        ServerFault::Drops(_) => ServerFault::Drops(place),
        ServerFault::Truncates(_) => ServerFault::Truncates(place),
        ServerFault::FlipsAByte(_) => ServerFault::FlipsAByte(place),
        ServerFault::ChangesTheFile(_) => ServerFault::ChangesTheFile(place),
        ServerFault::FailsLater(_) => ServerFault::FailsLater(place),
        other @ (ServerFault::Good
        | ServerFault::DropsAgainAndAgain(_)
        | ServerFault::Stalls(_)
        | ServerFault::Trickles(_)
        | ServerFault::IgnoresRange
        | ServerFault::IgnoresRangeLater(_)
        | ServerFault::ChangesTheFileButNotItsTag(_)
        | ServerFault::SaysTooLong
        | ServerFault::SaysTooShort
        | ServerFault::SendsAnotherRange(_)
        | ServerFault::RedirectsForEver
        | ServerFault::Garbage) => other,
    })
}

fn any_disk() -> impl Strategy<Value = DiskFault> {
    let place = 0..DISK as u64;
    prop_oneof![
        3 => Just(DiskFault::Good),
        1 => place.clone().prop_map(DiskFault::WriteEio),
        1 => place.clone().prop_map(DiskFault::ReadEio),
        1 => place.clone().prop_map(DiskFault::LosesAWrite),
        1 => place.prop_map(DiskFault::FlipsABit),
        1 => (2 * MIB..4 * MIB).prop_map(DiskFault::Shorter),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn random_faults_of_both_at_once_end_proven_or_without_a_partition_table(
        which in 0..4_usize, server in any_server(), fault in any_disk(), full in any::<bool>(), held in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let way = Way {
            readback: if full { ReadbackMode::Full } else { ReadbackMode::None },
            hold: if held { Hold::BootArea } else { Hold::Nothing },
        };
        runtime.block_on(attempt(&samples()[which], server, fault, way));
    }
}
