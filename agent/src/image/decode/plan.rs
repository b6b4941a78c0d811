//! What can be known before the body runs: the tables, read ahead by ranges where the server serves them.

use std::ops::Range;

use futures_util::StreamExt;
use ironwright_qcow2::{FormatError, Header, Item, L1Entry, MAX_EXTENT_BYTES, Map, Piece, Table};
use sha2::{Digest, Sha256};

use super::{Check, Plan};
use crate::image::detect::Format;
use crate::image::error::ImageError;
use crate::image::source::{Source, SourceError};
use crate::image::tuning::Tuning;

/// Requests for tables under way at once.
const IN_FLIGHT: usize = 8;
/// Longest L1 table read ahead: half a million entries, for 256 TiB of the usual clusters. Beyond it, it is read piece by piece.
const L1_BYTES: u64 = 4 << 20;
/// Longest request that joins several tables, bytes.
const REQUEST_BYTES: u64 = 1 << 20;
/// Widest gap between tables that one request spans, bytes.
const MAX_GAP_BYTES: u64 = 64 << 10;

/// Plans a write from `prefix`, the start of the file: its virtual size and what goes where.
pub(in crate::image) async fn plan(
    format: Format,
    source: &Source,
    prefix: &[u8],
    tuning: &Tuning,
) -> Result<(u64, Plan), ImageError> {
    let file_bytes = source.total();
    match format {
        Format::Raw => {
            // Without a length it is written as it comes: see `unpack`.
            let total = file_bytes.unwrap_or_default();
            Ok((total, Plan { items: raw_items(total), file_bytes, ..Plan::default() }))
        }
        Format::Packed(_) => Ok((0, Plan { file_bytes, ..Plan::default() })),
        Format::Qcow2 => {
            let header = Header::parse(prefix)?;
            if let Some(file_bytes) = file_bytes {
                header.check_file(file_bytes)?;
            }
            let ahead = match file_bytes.filter(|_| source.ranges()) {
                Some(file_bytes) => {
                    Ahead { source, header, file_bytes, prefix, tuning }.read().await?
                }
                None => None,
            };
            let late = || Plan { header: Some(header), file_bytes, l1: Some(0), ..Plan::default() };
            Ok((header.virtual_bytes, ahead.unwrap_or_else(late)))
        }
    }
}

fn raw_items(total: u64) -> Vec<Item> {
    let count = total.div_ceil(MAX_EXTENT_BYTES);
    (0..count)
        .map(|index| index * MAX_EXTENT_BYTES)
        .map(|offset| Item::plain(offset, offset, total - offset))
        .collect()
}

/// Reading tables ahead.
struct Ahead<'a> {
    source: &'a Source,
    header: Header,
    file_bytes: u64,
    prefix: &'a [u8],
    tuning: &'a Tuning,
}

impl Ahead<'_> {
    /// The whole plan; `None` when that needs too many requests or too much memory, or ranges stopped working: then the
    /// image is decoded as it arrives.
    async fn read(&self) -> Result<Option<Plan>, ImageError> {
        if self.header.l1_bytes() > L1_BYTES {
            return Ok(None);
        }
        let mut checks = Vec::new();
        let l1 = match self.l1(&mut checks).await {
            Err(ImageError::Source(SourceError::NoRange { .. })) => return Ok(None),
            l1 => l1?,
        };
        let mut map = Map::new(self.tuning.map_pieces);
        let mut tables = Vec::new();
        let fetchable = self.tuning.table_bytes + self.prefix.len() as u64;
        let limit = index(fetchable / self.header.cluster_bytes).min(self.tuning.tables);
        let decoded = self.header.decode_l1(&l1, Some(self.file_bytes), |entry| match entry {
            L1Entry::Table(_) if tables.len() >= limit => Err(FormatError::TooManyPieces { limit }),
            L1Entry::Table(table) => {
                tables.push(table);
                Ok(())
            }
            L1Entry::Zero { guest_offset, bytes } => map.push(Piece::Zero { guest_offset, bytes }),
        });
        drop(l1);
        match decoded {
            Err(FormatError::TooManyPieces { .. }) => return Ok(None),
            decoded => decoded?,
        }
        tables.sort_unstable();
        match self.tables(&tables, &mut map, &mut checks).await {
            Ok(true) => {}
            Ok(false)
            | Err(ImageError::Format(FormatError::TooManyPieces { .. }))
            | Err(ImageError::Source(SourceError::NoRange { .. })) => return Ok(None),
            Err(error) => return Err(error),
        }
        let mapped = map.finish(&self.header, &tables)?;
        Ok(Some(Plan {
            header: Some(self.header),
            file_bytes: Some(self.file_bytes),
            items: mapped.items,
            zeros: mapped.zeros,
            checks,
            ..Plan::default()
        }))
    }

    async fn l1(&self, checks: &mut Vec<Check>) -> Result<Vec<u8>, ImageError> {
        let range = self.header.l1_offset..self.header.l1_offset + self.header.l1_bytes();
        if let Some(bytes) = self.prefix_part(&range) {
            return Ok(bytes.to_vec());
        }
        let bytes = self.source.fetch(range.clone()).await?;
        checks.push(check(range.start, &bytes));
        Ok(bytes.to_vec())
    }

    /// Reads and decodes all tables; `false` when that would be too much.
    async fn tables(
        &self,
        tables: &[Table],
        map: &mut Map,
        checks: &mut Vec<Check>,
    ) -> Result<bool, ImageError> {
        let cluster = self.header.cluster_bytes;
        let mut far = Vec::new();
        for table in tables {
            match self.prefix_part(&(table.host_offset..table.host_offset + cluster)) {
                Some(bytes) => self.decode(table, bytes, map)?,
                None => far.push(*table),
            }
        }
        let requests = join_requests(&far, cluster);
        let bytes: u64 =
            requests.iter().map(|request| request.range.end - request.range.start).sum();
        if requests.len() > self.tuning.table_requests || bytes > self.tuning.table_bytes {
            return Ok(false);
        }
        let mut answers = futures_util::stream::iter(requests)
            .map(async |request| {
                let bytes = self.source.fetch(request.range.clone()).await?;
                Ok::<_, ImageError>((request, bytes))
            })
            .buffered(IN_FLIGHT);
        while let Some(answer) = answers.next().await {
            let (request, bytes) = answer?;
            for table in &request.tables {
                let start = index(table.host_offset - request.range.start);
                let table_bytes = bytes.get(start..start + index(cluster)).unwrap_or_default();
                checks.push(check(table.host_offset, table_bytes));
                self.decode(table, table_bytes, map)?;
            }
        }
        Ok(true)
    }

    fn decode(&self, table: &Table, bytes: &[u8], map: &mut Map) -> Result<(), ImageError> {
        let sink = |piece| map.push(piece);
        Ok(self.header.decode_l2(table.guest_offset, bytes, Some(self.file_bytes), sink)?)
    }

    fn prefix_part(&self, range: &Range<u64>) -> Option<&[u8]> {
        self.prefix.get(index(range.start)..index(range.end))
    }
}

/// One request and the tables in its answer.
struct TableRequest {
    range: Range<u64>,
    tables: Vec<Table>,
}

/// Joins tables that lie close together.
fn join_requests(tables: &[Table], cluster: u64) -> Vec<TableRequest> {
    let gap = cluster.min(MAX_GAP_BYTES);
    let mut requests: Vec<TableRequest> = Vec::new();
    for table in tables {
        let end = table.host_offset + cluster;
        match requests.last_mut() {
            Some(request)
                if table.host_offset <= request.range.end + gap
                    && end - request.range.start <= REQUEST_BYTES =>
            {
                request.range.end = request.range.end.max(end);
                request.tables.push(*table);
            }
            _ => {
                let range = table.host_offset..end;
                requests.push(TableRequest { range, tables: vec![*table] });
            }
        }
    }
    requests
}

fn check(offset: u64, bytes: &[u8]) -> Check {
    Check { offset, bytes: bytes.len(), sha256: Sha256::digest(bytes).into() }
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
