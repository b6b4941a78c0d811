//! Walks the body of an image and sends every byte that has a role where it belongs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use ironwright_qcow2::{FormatError, Header, Item, Kind, L1Entry, Piece, Region, Table};
use sha2::{Digest, Sha256};

use super::output::Output;
use super::ring::Ring;
use super::window::Window;
use super::{Check, Plan, Stop};
use crate::image::error::ImageError;

/// Bounds of the walk's memory.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Limits {
    /// Pieces known and not yet passed, late ones included.
    pub(in crate::image) pieces: usize,
    /// L2 tables known and not yet passed.
    pub(in crate::image) tables: usize,
    /// Bytes kept because their role is not known yet; 0 when all roles are.
    pub(in crate::image) ring_bytes: usize,
}

/// Bytes of the L1 table decoded at once: it may have 32 MiB, and nothing needs it as a whole.
const L1_PART_BYTES: u64 = 64 << 10;

/// What waits for the lowest offset of the file.
#[derive(Debug, Clone, Copy)]
enum Claim {
    Item(Item),
    L1,
    Table(Table),
    Check(u64),
}

/// Whether a claim is through.
enum Step {
    Done,
    /// More bytes must arrive first.
    Wait,
}

/// The walk.
#[derive(Debug)]
pub(in crate::image) struct Demux {
    header: Option<Header>,
    file_bytes: Option<u64>,
    items: BinaryHeap<Reverse<Item>>,
    /// How much of the L1 table was read; none: nothing of it is to be.
    l1: Option<u64>,
    tables: BTreeMap<u64, u64>,
    checks: BTreeMap<u64, Check>,
    window: Window,
    ring: Ring,
    /// Every byte before it has gone to its place or into the ring.
    settled: u64,
    late: Plan,
    limits: Limits,
    output: Output,
}

impl Demux {
    /// Starts with what `plan` knows; zeroes what it says is zero.
    pub(super) fn begin(plan: Plan, limits: Limits, output: Output) -> Result<Self, Stop> {
        let late = Plan { header: plan.header, file_bytes: plan.file_bytes, ..Plan::default() };
        let mut demux = Self {
            header: plan.header,
            file_bytes: plan.file_bytes,
            items: plan.items.into_iter().map(Reverse).collect::<Vec<_>>().into(),
            l1: plan.l1,
            tables: BTreeMap::new(),
            checks: plan.checks.into_iter().map(|check| (check.offset, check)).collect(),
            window: Window::default(),
            ring: Ring::new(limits.ring_bytes),
            settled: 0,
            late,
            limits,
            output,
        };
        for table in plan.tables {
            demux.add_table(table)?;
        }
        for (guest_offset, bytes) in plan.zeros {
            demux.output.zeros(guest_offset, bytes)?;
        }
        Ok(demux)
    }

    /// Takes the next bytes of the body.
    pub(super) fn feed(&mut self, chunk: Bytes) -> Result<(), Stop> {
        self.window.push(chunk);
        while let Some((offset, claim)) = self.next_claim() {
            if offset >= self.window.end() || matches!(self.step(claim)?, Step::Wait) {
                break;
            }
        }
        self.settle(self.next_offset());
        self.window.drop_before(self.settled.min(self.next_offset()));
        Ok(())
    }

    /// After the last byte: completes what QEMU would complete, and returns what is left for another pass.
    pub(super) fn finish(mut self) -> Result<Plan, Stop> {
        let file_bytes = self.window.end();
        if let Some(header) = &self.header {
            // Without a length that was said before, this is known only now.
            header.check_file(file_bytes)?;
        }
        while let Some((offset, claim)) = self.next_claim() {
            self.finish_claim(offset, claim, file_bytes)?;
        }
        self.output.flush()?;
        self.late.file_bytes = Some(file_bytes);
        self.late.items.sort_unstable();
        Ok(self.late)
    }

    /// The claim with the lowest offset; tables before data, so that a table at the same place is seen first.
    fn next_claim(&self) -> Option<(u64, Claim)> {
        let l1 = self.header.as_ref().zip(self.l1);
        let claims = [
            l1.map(|(header, read)| (header.l1_offset + read, Claim::L1)),
            self.checks.first_key_value().map(|(offset, _)| (*offset, Claim::Check(*offset))),
            self.tables.first_key_value().map(|(host_offset, guest_offset)| {
                let (host_offset, guest_offset) = (*host_offset, *guest_offset);
                (host_offset, Claim::Table(Table { host_offset, guest_offset }))
            }),
            self.items.peek().map(|Reverse(item)| (item.host_offset(), Claim::Item(*item))),
        ];
        claims.into_iter().flatten().min_by_key(|(offset, _)| *offset)
    }

    fn next_offset(&self) -> u64 {
        self.next_claim().map_or(u64::MAX, |(offset, _)| offset)
    }

    fn step(&mut self, claim: Claim) -> Result<Step, Stop> {
        match claim {
            Claim::Item(item) => match item.kind() {
                Kind::Plain => self.plain(item),
                Kind::Compressed => self.compressed(item),
            },
            Claim::L1 => {
                let (Some(header), Some(read)) = (self.header, self.l1) else {
                    return Ok(Step::Done);
                };
                let part = L1_PART_BYTES.min(header.l1_bytes() - read);
                self.table(header.l1_offset + read, part, claim)
            }
            Claim::Table(table) => {
                let bytes = self.header.map_or(0, |header| header.cluster_bytes);
                self.table(table.host_offset, bytes, claim)
            }
            Claim::Check(offset) => {
                let bytes = self.checks.get(&offset).map_or(0, |check| check.bytes);
                self.table(offset, bytes as u64, claim)
            }
        }
    }

    /// A plain extent: as much of it as is at hand.
    fn plain(&mut self, item: Item) -> Result<Step, Stop> {
        self.items.pop();
        if item.host_offset() < self.window.start() {
            return self.plain_from_ring(item);
        }
        self.settle(item.host_offset());
        let mut left = Some(item);
        while let Some(item) = left {
            let bytes = self.window.at(item.host_offset());
            if bytes.is_empty() {
                self.items.push(Reverse(item));
                return Ok(Step::Wait);
            }
            let len = bytes.len().min(as_usize(item.host_bytes()));
            self.output.plain(item.guest_offset(), bytes.get(..len).unwrap_or_default())?;
            self.settled = self.settled.max(item.host_offset() + len as u64);
            left = item.advanced(len as u64);
        }
        Ok(Step::Done)
    }

    /// A plain extent whose beginning has passed: one grain at a time, from the ring or for another pass.
    fn plain_from_ring(&mut self, item: Item) -> Result<Step, Stop> {
        let mut left = Some(item);
        while let Some(item) = left {
            if item.host_offset() >= self.window.start() {
                self.items.push(Reverse(item));
                return Ok(Step::Done);
            }
            let len = item.host_bytes().min(self.output.grain_bytes());
            if item.host_offset() + len > self.window.end() {
                self.items.push(Reverse(item));
                return Ok(Step::Wait);
            }
            match self.gather(item.host_offset(), len) {
                Some(bytes) => self.output.plain(item.guest_offset(), &bytes)?,
                None => self.miss(Item::plain(item.host_offset(), item.guest_offset(), len))?,
            }
            left = item.advanced(len);
        }
        Ok(Step::Done)
    }

    fn compressed(&mut self, item: Item) -> Result<Step, Stop> {
        if item.host_end() > self.window.end() {
            return Ok(Step::Wait);
        }
        self.items.pop();
        self.settle(item.host_offset());
        match self.gather(item.host_offset(), item.host_bytes()) {
            Some(bytes) => self.output.compressed(item, &bytes)?,
            None => self.miss(item)?,
        }
        // The last sector may hold the beginning of another compressed cluster.
        self.settled = self.settled.max(item.host_end().saturating_sub(512));
        Ok(Step::Done)
    }

    /// A table that must be at hand as a whole.
    fn table(&mut self, offset: u64, bytes: u64, claim: Claim) -> Result<Step, Stop> {
        if offset + bytes > self.window.end() {
            return Ok(Step::Wait);
        }
        self.settle(offset);
        let content = self.gather(offset, bytes);
        if offset >= self.window.start() {
            self.settled = self.settled.max(offset + bytes);
        }
        match (claim, content) {
            (Claim::Item(_), _) => {}
            (Claim::Check(offset), content) => {
                let check = self.checks.remove(&offset);
                let expected = check.map(|check| check.sha256);
                let found = content.map(|content| <[u8; 32]>::from(Sha256::digest(&content)));
                if found != expected {
                    return Err(ImageError::MetadataChanged { offset }.into());
                }
            }
            (Claim::L1, content) => {
                let read = self.l1.take().unwrap_or_default();
                match content {
                    Some(content) => self.read_l1(read, &content)?,
                    None => self.late.l1 = Some(read),
                }
            }
            (Claim::Table(table), content) => {
                self.tables.remove(&table.host_offset);
                match content {
                    Some(content) => self.read_l2(table, &content)?,
                    None => self.late.tables.push(table),
                }
            }
        }
        Ok(Step::Done)
    }

    /// A part of the L1 table, from byte `read` of it on.
    fn read_l1(&mut self, read: u64, content: &[u8]) -> Result<(), Stop> {
        let Some(header) = self.header else { return Ok(()) };
        let end = read + content.len() as u64;
        self.l1 = (end < header.l1_bytes()).then_some(end);
        header.decode_l1_part(read / 8, content, self.file_bytes, |entry| match entry {
            L1Entry::Table(table) => self.add_table(table),
            L1Entry::Zero { guest_offset, bytes } => self.output.zeros(guest_offset, bytes),
        })
    }

    fn read_l2(&mut self, table: Table, content: &[u8]) -> Result<(), Stop> {
        let Some(header) = self.header else { return Ok(()) };
        let (items, output, limit) = (&mut self.items, &mut self.output, self.limits.pieces);
        let late = self.late.items.len();
        header.decode_l2(table.guest_offset, content, self.file_bytes, |piece| match piece {
            Piece::Zero { guest_offset, bytes } => output.zeros(guest_offset, bytes),
            Piece::Stored(item) => {
                items.push(Reverse(item));
                if items.len() + late > limit { Err(too_many(limit).into()) } else { Ok(()) }
            }
        })
    }

    fn add_table(&mut self, table: Table) -> Result<(), Stop> {
        if self.tables.insert(table.host_offset, table.guest_offset).is_some() {
            return Err(FormatError::SharedL2Table { offset: table.host_offset }.into());
        }
        if self.tables.len() > self.limits.tables {
            return Err(too_many(self.limits.tables).into());
        }
        Ok(())
    }

    /// Remembers a piece that is gone for another pass.
    fn miss(&mut self, item: Item) -> Result<(), Stop> {
        let last = self.late.items.last_mut().filter(|last| {
            last.kind() == Kind::Plain
                && item.kind() == Kind::Plain
                && last.host_end() == item.host_offset()
                && last.guest_offset() + last.guest_bytes() == item.guest_offset()
                && last.host_bytes() + item.host_bytes() <= ironwright_qcow2::MAX_EXTENT_BYTES
        });
        if let Some(last) = last {
            let bytes = last.host_bytes() + item.host_bytes();
            *last = Item::plain(last.host_offset(), last.guest_offset(), bytes);
            return Ok(());
        }
        self.late.items.push(item);
        if self.late.items.len() + self.items.len() > self.limits.pieces {
            return Err(too_many(self.limits.pieces).into());
        }
        Ok(())
    }

    /// Puts unclaimed bytes before `offset` into the ring.
    fn settle(&mut self, offset: u64) {
        let end = offset.min(self.window.end());
        while self.settled < end {
            let bytes = self.window.at(self.settled);
            if bytes.is_empty() {
                return;
            }
            let len = bytes.len().min(as_usize(end - self.settled));
            if self.limits.ring_bytes > 0 {
                self.ring.push(self.settled, bytes.get(..len).unwrap_or_default());
            }
            self.settled += len as u64;
        }
    }

    /// `[offset, offset + len)` from ring and window, if all of it is at hand.
    fn gather(&self, offset: u64, len: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(as_usize(len));
        while (bytes.len() as u64) < len {
            let at = offset + bytes.len() as u64;
            let run = match self.window.at(at) {
                [] => self.ring.at(at),
                run => run,
            };
            let step = run.len().min(as_usize(len) - bytes.len());
            if step == 0 {
                return None;
            }
            bytes.extend_from_slice(run.get(..step).unwrap_or_default());
        }
        Some(bytes)
    }

    /// A claim beyond the last byte. A cluster that begins inside the file and ends after it reads as zeros there.
    fn finish_claim(&mut self, offset: u64, claim: Claim, file_bytes: u64) -> Result<(), Stop> {
        let outside = |region, bytes| FormatError::Outside { region, offset, bytes, file_bytes };
        let cluster = self.header.map_or(1, |header| header.cluster_bytes);
        match claim {
            Claim::Check(offset) => Err(ImageError::MetadataChanged { offset }.into()),
            Claim::L1 => {
                let bytes = self.header.map_or(0, |header| header.l1_bytes());
                Err(outside(Region::L1Table, bytes).into())
            }
            Claim::Table(_) => Err(outside(Region::L2Table, cluster).into()),
            Claim::Item(item) if item.kind() == Kind::Compressed => {
                self.items.pop();
                if offset >= file_bytes {
                    return Err(outside(Region::CompressedData, item.host_bytes()).into());
                }
                match self.gather(offset, file_bytes - offset) {
                    Some(bytes) => self.output.compressed(item, &bytes),
                    None => self.miss(item),
                }
            }
            Claim::Item(item) => {
                self.items.pop();
                let cluster_start = offset - offset % cluster;
                if cluster_start >= file_bytes {
                    return Err(outside(Region::Data, item.host_bytes()).into());
                }
                let len = item.host_bytes().min(cluster_start + cluster - offset);
                let present = file_bytes.saturating_sub(offset).min(len);
                match self.gather(offset, present) {
                    Some(bytes) => {
                        self.output.plain(item.guest_offset(), &bytes)?;
                        self.output.zeros(item.guest_offset() + present, len - present)?;
                    }
                    None => self.miss(Item::plain(offset, item.guest_offset(), len))?,
                }
                self.items.extend(item.advanced(len).map(Reverse));
                Ok(())
            }
        }
    }
}

fn too_many(limit: usize) -> FormatError {
    FormatError::TooManyPieces { limit }
}

fn as_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
