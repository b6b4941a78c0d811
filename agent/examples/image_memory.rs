//! For `cargo lab bench memory`: how much memory the image path takes for images far larger than any disk here.
//!
//! `make FILE GIB CLUSTER_BITS` writes a qcow2 whose every cluster is allocated and compressed: the most pieces a size can have.
//! `write URL SHA256 GIB CLUSTER_BITS` writes it to a fake disk that keeps nothing, knows what it must hold, and compares what
//! is written with that; then prints one JSON line with the peak of this process's resident memory.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use ironwright_agent::image::{Hold, Request, Watch, write};
use ironwright_agent::sys::disk::{BlockDevice, DiskError, DiskOp};
use ironwright_api::{Checksum, ChecksumAlgorithm, ReadbackMode};

const GIB: u64 = 1 << 30;
const HELD: u64 = 1 << 20;

/// The content of every cluster: compresses well, and is not zero.
fn cluster(bits: u32) -> Vec<u8> {
    (0..1_usize << bits).map(|at| u8::try_from(at / 64 % 251).unwrap_or(0) | 1).collect()
}

fn make(path: &Path, bytes: u64, bits: u32) -> anyhow::Result<()> {
    let cluster_bytes = 1_u64 << bits;
    let per_table = cluster_bytes / 8;
    let tables = bytes.div_ceil(cluster_bytes * per_table);
    let l1_bytes = (tables * 8).next_multiple_of(cluster_bytes);
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&cluster(bits))?;
    let packed = packer.finish()?;
    let stride = packed.len() as u64;
    // Layout: header, L1, then each L2 table and its data, as qemu-img leaves it.
    let group = cluster_bytes + (stride * per_table).next_multiple_of(cluster_bytes);
    let first = cluster_bytes + l1_bytes;
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&header(bytes, bits, tables, first + group * tables))?;
    let mut l1: Vec<u8> =
        (0..tables).flat_map(|table| (1 << 63 | (first + group * table)).to_be_bytes()).collect();
    l1.resize(usize::try_from(l1_bytes)?, 0);
    out.write_all(&l1)?;
    let sector_shift = 62 - (bits - 8);
    for table in 0..tables {
        let data = first + group * table + cluster_bytes;
        for entry in 0..per_table {
            let at = data + entry * stride;
            let more = (at + stride - 1) / 512 - at / 512;
            out.write_all(&(1 << 62 | more << sector_shift | at).to_be_bytes())?;
        }
        for _ in 0..per_table {
            out.write_all(&packed)?;
        }
        let pad = group - cluster_bytes - stride * per_table;
        out.write_all(&vec![0; usize::try_from(pad)?])?;
    }
    // The refcount table, which nobody reads.
    out.write_all(&vec![0; usize::try_from(cluster_bytes)?])?;
    Ok(out.flush()?)
}

/// QEMU `docs/interop/qcow2.rst`, section "Header", version 3.
fn header(bytes: u64, bits: u32, tables: u64, refcounts: u64) -> Vec<u8> {
    let mut header = vec![0; 1 << bits];
    let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &bits.to_be_bytes());
    put(24, &bytes.to_be_bytes());
    put(36, &u32::try_from(tables).unwrap_or(u32::MAX).to_be_bytes());
    put(40, &(1_u64 << bits).to_be_bytes());
    put(48, &refcounts.to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    header
}

/// A fake disk: keeps nothing, knows everything.
#[derive(Debug)]
struct Known {
    bytes: u64,
    pattern: Vec<u8>,
    written: AtomicU64,
}

impl Known {
    /// Calls `act` with each run of the expected content of `[offset, offset + len)`.
    fn each(&self, offset: u64, len: usize, mut act: impl FnMut(usize, &[u8])) {
        let mut done = 0;
        while done < len {
            let at =
                usize::try_from((offset + done as u64) % self.pattern.len() as u64).unwrap_or(0);
            let run = &self.pattern[at..];
            let run = &run[..run.len().min(len - done)];
            act(done, run);
            done += run.len();
        }
    }

    fn refuse(&self, op: DiskOp, offset: u64, bytes: u64, why: &str) -> DiskError {
        let source = std::io::Error::other(why.to_owned());
        DiskError { device: self.path().into(), op, offset, bytes, source }
    }
}

impl BlockDevice for Known {
    fn path(&self) -> &Path {
        Path::new("fake")
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sector_bytes(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.each(offset, buffer.len(), |at, run| buffer[at..at + run.len()].copy_from_slice(run));
        // The boot area is held back.
        let end = offset + buffer.len() as u64;
        for (from, to) in [(0, HELD), (self.bytes - HELD, self.bytes)] {
            let (from, to) = (from.max(offset), to.min(end));
            if from < to {
                let range = usize::try_from(from - offset).unwrap_or(0)
                    ..usize::try_from(to - offset).unwrap_or(0);
                buffer[range].fill(0);
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut same = true;
        self.each(offset, bytes.len(), |at, run| same &= bytes[at..at + run.len()] == *run);
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if same {
            Ok(())
        } else {
            Err(self.refuse(
                DiskOp::Write,
                offset,
                bytes.len() as u64,
                "other bytes than the image has",
            ))
        }
    }

    fn zero(&self, offset: u64, bytes: u64) -> Result<(), DiskError> {
        let held = offset + bytes <= HELD || offset >= self.bytes - HELD;
        if held {
            Ok(())
        } else {
            Err(self.refuse(DiskOp::Zero, offset, bytes, "the image has no zeros there"))
        }
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Silent;

impl Watch for Silent {
    fn progress(&self, _phase: &'static str, _bytes: u64, _total: Option<u64>) {}

    fn cancelled(&self) -> bool {
        false
    }
}

async fn run(url: String, digest: String, bytes: u64, bits: u32) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client =
        reqwest::Client::builder().tls_certs_only(std::iter::empty()).no_proxy().build()?;
    let disk = Arc::new(Known { bytes, pattern: cluster(bits), written: AtomicU64::new(0) });
    let request = Request {
        urls: vec![url],
        checksum: Checksum { algorithm: ChecksumAlgorithm::Sha256, value: digest },
        disk_format: None,
        readback: ReadbackMode::Full,
        hold: Hold::BootArea,
        starters: Vec::new(),
    };
    let device: Arc<dyn BlockDevice> = disk.clone();
    let outcome = write(&request, device, Arc::new(Silent), &client.into()).await?;
    let expected = bytes - 2 * HELD;
    let written = disk.written.load(Ordering::Relaxed);
    if written != expected || !outcome.written.proven {
        bail!("{written} of {expected} bytes were written, proven {}", outcome.written.proven);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
    let seconds = outcome.written.seconds;
    writeln!(std::io::stdout(), "{{\"peak_kib\": {peak_kib}, \"seconds\": {seconds:.1}}}")?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", path, gib, bits] => {
            make(Path::new(path), gib.parse::<u64>()? * GIB, bits.parse()?)
        }
        ["write", url, digest, gib, bits] => {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(run(
                url.into(),
                digest.into(),
                gib.parse::<u64>()? * GIB,
                bits.parse()?,
            ))
        }
        _ => bail!("make FILE GIB CLUSTER_BITS | write URL SHA256 GIB CLUSTER_BITS"),
    }
}
